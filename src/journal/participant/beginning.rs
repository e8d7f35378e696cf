//! What a node begins with: the log, its own snapshot, or both.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::journal::cluster::Memory;
use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::node::kept::Turn;
use crate::journal::engine::reader::Reader;
use crate::journal::engine::seam::Engine;
use crate::journal::participant::keeper::{Keeper, time};
use crate::journal::participant::opening::{Fit, Opening, Place, Unread, begin, fit, later, read};

/// How long a node with a snapshot of its own waits for the servers of the log. Servers that are there answer within a second.
/// After the loss of a leader it takes 4 to 8 s, and longer after other faults; readers should not wait for that.
const OPENS_WITHIN: Duration = Duration::from_secs(5);

/// What a node begins with.
pub(super) enum Beginning {
    /// The log, read to its end.
    Log(Box<Log>),
    /// The own snapshot, in the place of which the log comes.
    Turned(Box<Shared>, Box<Log>),
    /// The own snapshot alone.
    Away(Box<Shared>),
}

/// A log that was read to its end.
pub(super) struct Log {
    pub engine: Arc<dyn Engine>,
    pub reader: Reader,
    pub shared: Shared,
    /// An entry of the own snapshot is not there.
    pub lacks: bool,
}

impl Beginning {
    /// Reads the log, and the newest of the node's own snapshots.
    pub async fn of(opening: &Opening, keeper: Option<Arc<Keeper>>, memory: Memory) -> Result<Beginning, String> {
        let Some(keeper) = keeper else { return read_all(opening().await?, memory).await };
        let (own, mut opened) = (keeper.clone(), opening());
        let own = spawn_blocking(move || own.read(memory));
        let (own, early) = join(own, timeout(OPENS_WITHIN, &mut opened)).await;
        let own = own.map_err(|panic| format!("--data: {panic}")).flatten()?;
        match (own, early) {
            (None, Ok(engine)) => read_all(engine?, memory).await,
            (None, Err(_)) => read_all(opened.await?, memory).await,
            // Within that time, only servers that refuse this gateway answer by an error.
            (Some(own), Ok(engine)) => both(engine?, own, &keeper, memory).await,
            (Some(own), Err(_)) => Ok(away(Box::new(own), "no server answers")),
        }
    }
}

fn away(own: Box<Shared>, why: &str) -> Beginning {
    warn!(why, snapshot = time(&own), "the shared log can't be read yet; starting from this node's own snapshot");
    Beginning::Away(own)
}

/// Reads the log without a snapshot of its own.
async fn read_all(engine: Arc<dyn Engine>, memory: Memory) -> Result<Beginning, String> {
    let shared = begin(&*engine, memory).await.map_err(|why| why.to_string())?;
    read_on(engine, shared, false).await.map(Beginning::Log).map_err(|(_, why)| why.to_string())
}

/// Reads the log on from `shared`. After a failure the state is as far as it came.
async fn read_on(engine: Arc<dyn Engine>, mut shared: Shared, lacks: bool) -> Result<Box<Log>, (Box<Shared>, Unread)> {
    let after = shared.roll.seen.position;
    let reader = read(&*engine, after, |position, bytes| shared.fold(position, bytes).is_newer).await;
    match reader {
        Ok(reader) => Ok(Box::new(Log { engine, reader, shared, lacks })),
        Err(why) => Err((Box::new(shared), why)),
    }
}

/// Begins with the log, from the newer snapshot, if the own one is of this log; or with the own one, where the log does not answer.
async fn both(engine: Arc<dyn Engine>, own: Shared, keeper: &Arc<Keeper>, memory: Memory) -> Result<Beginning, String> {
    let without = |own, why| match why {
        Unread::Newer => Err(why.to_string()),
        Unread::Failed(why) => Ok(away(own, &why)),
    };
    let place = Place::of(&own);
    let found = async {
        let fit = fit(&*engine, place).await?;
        let other = match fit {
            Fit::Fits(_) => later(&*engine, own.roll.seen.position, memory).await?,
            Fit::Trimmed | Fit::Lacks | Fit::Other => Some(begin(&*engine, memory).await?),
        };
        Ok::<_, Unread>((fit, other))
    };
    let (fit, other) = match found.await {
        Ok(found) => found,
        Err(why) => return without(Box::new(own), why),
    };
    let lacks = fit == Fit::Lacks;
    let Some(other) = other else {
        return read_on(engine, own, lacks).await.map(Beginning::Log).or_else(|(own, why)| without(own, why));
    };
    let log = match read_on(engine, other, lacks).await {
        Ok(log) => log,
        Err((_, why)) => return without(Box::new(own), why),
    };
    match Turn::of(&log.shared, &own, log.lacks) {
        Turn::GoesOn | Turn::Restored => Ok(Beginning::Log(log)),
        Turn::Forgot | Turn::Emptied => Ok(Beginning::Turned(Box::new(own), log)),
        Turn::Other => {
            let (keeper, identity) = (keeper.clone(), log.shared.roll.identity);
            // A panic there leaves them where they are.
            drop(spawn_blocking(move || keeper.set_aside(identity)).await);
            Ok(Beginning::Log(log))
        }
    }
}

/// Says what comes of an own snapshot when the log is there.
pub(super) fn tell(turn: Turn, own: &Shared) {
    let snapshot = time(own);
    match turn {
        Turn::GoesOn => info!(snapshot, "the shared log goes on from this node's own snapshot"),
        Turn::Forgot => {
            warn!(snapshot, "the shared log lacks entries that this node's own snapshot has; all cursors are void")
        }
        Turn::Emptied => warn!(snapshot, "the shared log is empty; sign-ins come back from this node's own snapshot"),
        Turn::Restored => {
            info!(snapshot, "the shared log is another one, and was restored from as new a state as this node's")
        }
        Turn::Other => {}
    }
}
