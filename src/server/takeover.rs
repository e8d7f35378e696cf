//! One process takes over from another without a moment in which nobody listens.

use std::future::pending;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tracing::{info, warn};

use super::{Desk, STOP_WITHIN, StartError};
use crate::gateway::Gateway;
use crate::runtime::config::Config;
use crate::runtime::drain::{Return, Stop};
use crate::runtime::exposure;
use crate::runtime::inherited::Inherited;
use crate::runtime::listener::Listeners;
use crate::runtime::service;
use crate::runtime::takeover::predecessor::{Estate, Predecessor};
use crate::runtime::takeover::successor::{Succession, Successor};
use crate::runtime::takeover::{Ended, Entrance, reason};

/// How long a new process may take to load the journal and to serve.
const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// Whose place this process takes, and who may take its place.
#[derive(Debug, Default)]
pub(super) struct Takeover {
    predecessor: Option<Predecessor>,
    succession: Option<Succession>,
}

/// Takes over from the gateway that runs with the directory of `--data`, if `--takeover` asks for it and one runs: its listening
/// sockets come to the `inherited` ones.
pub(super) async fn take(config: &Config, inherited: Inherited) -> Result<(Estate, Option<Predecessor>), StartError> {
    let mut estate = Estate { public: inherited, operators: Inherited::default() };
    if !config.data.takeover {
        return Ok((estate, None));
    }
    let Some(folder) = &config.data.dir else {
        return Err(StartError::Options("--takeover needs --data, the directory of the running gateway".to_owned()));
    };
    if process::id() == 1 {
        let why = "--takeover: this is process 1 of a container, and so is the running gateway; restart the container";
        return Err(StartError::Options(why.to_owned()));
    }
    let Some(mut predecessor) = Predecessor::ask(folder).await.map_err(StartError::Takeover)? else {
        info!("no gateway runs with {}, so there is nothing to take over", folder.display());
        return Ok((estate, None));
    };
    estate.add(predecessor.sockets().await.map_err(StartError::Takeover)?);
    exposure::judge(config, &estate.public.addresses()).await.map_err(StartError::Options)?;
    Ok((estate, Some(predecessor)))
}

impl Takeover {
    /// Lets other processes of the same user take over from this one, which has the directory of `--data`.
    pub fn new(config: &Config, predecessor: Option<Predecessor>) -> Self {
        // A node of a cluster has no journal to hand over, and others that serve.
        let folder = config.data.dir.as_deref().filter(|_| config.cluster.url.is_none());
        let succession = folder.and_then(|folder| {
            let failed = |error: &_| warn!(error = reason(error), "no other process can take over; see --takeover");
            Succession::open(folder).inspect_err(failed).ok()
        });
        Takeover { predecessor, succession }
    }

    /// Tells the service manager, and the process from which this one takes over, that the gateway serves. What clients end there
    /// ends here.
    pub async fn serve(&mut self, gateway: &Arc<Gateway>) {
        let Some(mut predecessor) = self.predecessor.take() else {
            return service::ready();
        };
        service::took_over();
        match predecessor.serve().await {
            Ok(()) => info!("took over from the running gateway"),
            Err(error) => warn!(%error, "the gateway that was taken over from is gone"),
        }
        let (tasks, gateway) = (gateway.tasks().clone(), gateway.clone());
        let stop = tasks.stop().clone();
        tasks.spawn(async move {
            let hearing = async {
                while let Some(ended) = predecessor.ended().await {
                    gateway.end_elsewhere(ended);
                }
            };
            stop.run_until_cancelled(hearing).await;
        });
    }

    /// The next process that wants to take over from `gateway`, and may.
    pub async fn asked(&self, gateway: &Gateway) -> Successor {
        let Some(succession) = &self.succession else {
            return pending().await;
        };
        loop {
            let successor = succession.asked().await;
            let why = match () {
                () if process::id() == 1 => {
                    "the running gateway is process 1 of its container, which would end with it"
                }
                () if gateway.is_failing() => "the running gateway cannot write its journal at the moment; see its log",
                () => return successor,
            };
            warn!(why, "a takeover was refused");
            successor.refuse(why).await;
        }
    }
}

impl Desk {
    /// Hands everything over to `successor`, then ends all streams and requests. Where the successor fails, the gateway ends as
    /// after a request to stop: it has let go of the journal.
    pub(super) async fn hand_over(&self, public: Listeners, operators: &Listeners, mut successor: Successor) {
        let mut ends = self.gateway.hand_over().await;
        if let Err(error) = self.give(&public, operators, &mut successor).await {
            warn!(%error, "the takeover failed");
            return self.close(public, Stop::Interrupt).await;
        }
        info!("handed over to another process");
        public.leave();
        let closing = async {
            self.gateway.drain(Return::AtOnce).await;
            self.gateway.stop(STOP_WITHIN).await;
        };
        tokio::select! {
            () = closing => {}
            () = tell(&mut ends, &mut successor) => {}
        }
        while let Ok(ended) = ends.try_recv() {
            if successor.tell(&ended).await.is_err() {
                return;
            }
        }
    }

    async fn give(&self, public: &Listeners, operators: &Listeners, successor: &mut Successor) -> std::io::Result<()> {
        let mut gifts = public.gifts(Entrance::Public)?;
        gifts.extend(operators.gifts(Entrance::Operators)?);
        successor.give(&gifts).await?;
        drop(gifts);
        successor.serving(SERVES_WITHIN).await
    }
}

/// Tells the successor of the holds that clients end here, for ever.
async fn tell(ends: &mut Receiver<Ended>, successor: &mut Successor) {
    while let Some(ended) = ends.recv().await {
        if let Err(error) = successor.tell(&ended).await {
            warn!(%error, "the process that took over is gone");
            break;
        }
    }
    pending().await
}
