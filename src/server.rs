//! The listening sockets, and one small task for each accepted connection.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::gateway::Gateway;
use crate::http::{Door, is_trusted};
use crate::model::refusal::Refusal;
use crate::runtime::address::Address;
use crate::runtime::handover::{self, Limits};
use crate::runtime::head_timer::HeadLimits;
use crate::runtime::listener::{ListenError, Listeners};
use crate::runtime::rates::Source;
use crate::runtime::repeats::Repeats;

/// The pause after an error of accepting, such as at the limit of open files. Without a pause, the loop would only burn
/// the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The reason why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{error}; choose another with {option}")]
    Listen {
        /// The option that names the address.
        option: &'static str,
        /// The address, and the reason.
        error: ListenError,
    },
    /// The users of `--user` break a bound.
    #[error("cannot sign in the users given at start: {}", .0.message)]
    Users(Refusal),
}

/// A listening gateway.
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    gateway: Arc<Gateway>,
}

impl Server {
    /// Listens on the configured addresses. [`Server::run`] then serves.
    ///
    /// # Errors
    ///
    /// An address cannot be listened on, or the users of `--user` are refused.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let listeners = listen("--listen", &config.listen).await?;
        let gateway = Gateway::start(config).map_err(StartError::Users)?;
        Ok(Server { listeners, gateway })
    }

    /// The first IP address that the gateway listens on; port 0 if there is none.
    pub fn local_addr(&self) -> SocketAddr {
        self.listeners.addresses().next().unwrap_or((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Serves until `stop` resolves, then ends all streams and requests within 5 s.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        for place in self.listeners.places() {
            info!(version = env!("CARGO_PKG_VERSION"), "listening on {place}");
        }
        tokio::select! {
            () = self.accept() => {}
            () = stop => {}
        }
        drop(self.listeners);
        info!("stopping");
        self.gateway.stop().await;
        info!("stopped");
    }

    async fn accept(&self) {
        let limits = limits(self.gateway.config());
        let door = Arc::new(Door::new(self.gateway.clone()));
        let failures = Repeats::new();
        loop {
            match self.listeners.accept().await {
                Ok((socket, peer)) => {
                    // Closed without an answer: an EventSource gives up after an error status, but reconnects after a close.
                    let trusted = is_trusted(peer, &self.gateway.config().trusted_proxies);
                    // A proxy's streams are counted by the addresses that it reports.
                    let address = (!trusted).then(|| peer.to_canonical());
                    if address.is_some_and(|address| !self.gateway.rates().admits(Source::direct(address))) {
                        continue;
                    }
                    let Some(admission) = self.gateway.admissions().admit(address) else {
                        continue;
                    };
                    // The system ends the connection of a client that acknowledges no bytes for so long.
                    #[cfg(target_os = "linux")]
                    let _ = SockRef::from(&socket).set_tcp_user_timeout(Some(self.gateway.config().send_within));
                    let (door, gateway) = (door.clone(), self.gateway.clone());
                    self.gateway.tasks().spawn(async move {
                        let answer = |request, slot| {
                            let door = door.clone();
                            async move { door.answer(request, slot, peer).await }
                        };
                        let served = handover::serve(socket, admission, limits, gateway.tasks().stop(), answer).await;
                        if let Err(error) = served {
                            debug!(%error, "connection ended");
                        }
                    });
                }
                // The client was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if let Some(times) = failures.again() {
                        warn!(%error, times, "cannot accept connections");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn listen(option: &'static str, addresses: &[Address]) -> Result<Listeners, StartError> {
    Listeners::bind(addresses).await.map_err(|error| StartError::Listen { option, error })
}

fn limits(config: &Config) -> Limits {
    let head = HeadLimits { within: config.request_within, idle: config.idle_within };
    Limits { max_head: config.max_head as usize, head }
}
