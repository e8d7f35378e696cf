//! The log as it is opened: with the state of its newest snapshot, where that fits, and read to its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::{Memory, Unreadable, digest, snapshot};
use crate::journal::engine::reader::{Break, Reader};
use crate::journal::engine::seam::{Engine, LogId, Snapshot, Trouble};
use crate::model::identity::Identity;

/// How long the next entry may take that is known to be there: longer than NATS takes for another leader.
const STUCK: Duration = Duration::from_secs(10);

/// How often an entry is looked for that is not there, and the pause between.
const LOOKS: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(200);

/// Opens the log, as it is now.
pub type Opening = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Arc<dyn Engine>, String>> + Send>> + Send + Sync>;

/// Why the log was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// It was written by a later version.
    #[error(
        "a gateway of a later version writes to the shared log what version {} can't read: update this gateway",
        env!("CARGO_PKG_VERSION")
    )]
    Newer,
    /// There is no answer, or not the wanted one.
    #[error("{0}")]
    Failed(String),
}

impl From<String> for Unread {
    fn from(why: String) -> Unread {
        Unread::Failed(why)
    }
}

/// The end of a state: the last entry that is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    journal: Uuid,
    position: u64,
    digest: u64,
}

/// What a log is to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The state's last entry is there, and the log ends at this position.
    Fits(u64),
    /// That entry is no longer there, since the log was trimmed.
    Trimmed,
    /// That entry is not there, or is another one, and was not trimmed.
    Lacks,
    /// It is another log.
    Other,
}

impl Place {
    /// The state's last entry.
    pub fn position(self) -> u64 {
        self.position
    }

    /// The end of `shared`.
    pub fn of(shared: &Shared) -> Place {
        let roll = &shared.roll;
        Place { journal: roll.identity.journal, position: roll.seen.position, digest: roll.last }
    }
}

/// What the log is to the state that ends at `place`. A server that has just become the leader may have old news of where the log
/// ends, so what is missing must stay so for a while.
pub(super) async fn fit(engine: &dyn Engine, place: Place) -> Result<Fit, String> {
    for _ in 1..LOOKS {
        match fit_now(engine, place).await? {
            Fit::Lacks => sleep(BETWEEN).await,
            fit @ (Fit::Fits(_) | Fit::Trimmed | Fit::Other) => return Ok(fit),
        }
    }
    fit_now(engine, place).await
}

async fn fit_now(engine: &dyn Engine, place: Place) -> Result<Fit, String> {
    if name(engine.identity()).journal != place.journal {
        return Ok(Fit::Other);
    }
    let extent = engine.extent().await.map_err(failed)?;
    if extent.first > place.position && extent.last >= place.position {
        return Ok(Fit::Trimmed);
    }
    let there = entry(engine, place.position).await?;
    Ok(match there.is_some_and(|bytes| digest::of(&bytes) == place.digest) {
        true => Fit::Fits(extent.last),
        false => Fit::Lacks,
    })
}

/// The state of the newest snapshot of the log, or of nothing where the log has its first entry.
pub(super) async fn begin(engine: &dyn Engine, memory: Memory) -> Result<Shared, Unread> {
    if let Some(found) = engine.snapshot().await.map_err(failed)?
        && let Some(shared) = restore(engine, found, memory).await?
    {
        return Ok(shared);
    }
    match engine.extent().await.map_err(failed)?.first {
        1 => Ok(Shared::new(name(engine.identity()), memory)),
        first => Err(Unread::Failed(format!("the log begins at {first}, and no snapshot leads there"))),
    }
}

/// The state of the log's newest snapshot, if that is newer than one that ends at `position`.
pub(super) async fn later(engine: &dyn Engine, position: u64, memory: Memory) -> Result<Option<Shared>, Unread> {
    match engine.snapshot().await.map_err(failed)? {
        Some(found) if found.at > position => restore(engine, found, memory).await,
        Some(_) | None => Ok(None),
    }
}

/// Reads the log from `after` on to where it ends now, and gives the reader of what follows. `each` says of an entry whether it is a
/// later version's.
pub(super) async fn read(
    engine: &dyn Engine,
    after: u64,
    mut each: impl FnMut(u64, &[u8]) -> bool,
) -> Result<Reader, Unread> {
    let mut reader = engine.read(after);
    let (end, mut at) = (engine.extent().await.map_err(failed)?.last, after);
    while at < end {
        let next = timeout(STUCK, reader.next()).await.map_err(|_| "reading the log stopped".to_owned())?;
        let (position, bytes) = next.map_err(|end| format!("reading the log ended: {end:?}"))?;
        if each(position, &bytes) {
            return Err(Unread::Newer);
        }
        at = position;
    }
    Ok(reader)
}

async fn restore(engine: &dyn Engine, mut found: Snapshot, memory: Memory) -> Result<Option<Shared>, Unread> {
    let mut parts = Vec::new();
    while let Some(part) = found.next().await.map_err(failed)? {
        parts.push(part);
    }
    if !fits(engine, &parts).await? {
        return Ok(None);
    }
    snapshot::restore(parts.iter().map(|part| &part[..]), memory).map(Some).map_err(unreadable)
}

/// Whether a snapshot is one of this very log: of entries that are there.
async fn fits(engine: &dyn Engine, parts: &[Bytes]) -> Result<bool, Unread> {
    let Some(first) = parts.first() else { return Ok(false) };
    let mut place = 0;
    let at = |at| {
        place = at;
        None
    };
    snapshot::fits(first, at).map_err(unreadable)?;
    let there = entry(engine, place).await?;
    Ok(snapshot::fits(first, |_| there.map(|bytes| bytes.to_vec())).map_err(unreadable)?.is_some())
}

/// The entry at a position, if it is there.
async fn entry(engine: &dyn Engine, position: u64) -> Result<Option<Bytes>, String> {
    let extent = engine.extent().await.map_err(failed)?;
    let Some(before) = position.checked_sub(1).filter(|_| (extent.first..=extent.last).contains(&position)) else {
        return Ok(None);
    };
    let mut reader = engine.read(before);
    match timeout(STUCK, reader.next()).await.map_err(|_| "reading the log stopped".to_owned())? {
        Ok((at, bytes)) => Ok((at == position).then_some(bytes)),
        // As if the extent had told so.
        Err(Break::Trimmed { .. } | Break::Forgotten { .. }) => Ok(None),
        Err(end @ (Break::Other(_) | Break::Closed)) => Err(format!("reading the log ended: {end:?}")),
    }
}

fn failed(trouble: Trouble) -> String {
    trouble.to_string()
}

fn unreadable(error: Unreadable) -> Unread {
    match error {
        Unreadable::Newer(_) => Unread::Newer,
        Unreadable::Checkpoint(_) | Unreadable::Malformed { .. } => Unread::Failed(error.to_string()),
    }
}

/// The log's name in cursors.
fn name(log: LogId) -> Identity {
    Identity { journal: Uuid::from_u128(log.drawn.wrapping_add(u128::from(log.made))), generation: 0 }
}
