//! The directory of a node: its own snapshots, read at the start, and written as time passes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{debug, warn};

use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::snapshot::Snapshot;
use crate::journal::cluster::{Memory, snapshot};
use crate::journal::disk::own::{Of, Own};
use crate::model::identity::Identity;

/// A node's own snapshots. Calls block.
pub struct Keeper {
    own: Own,
    directory: PathBuf,
}

/// When the next own snapshot is written.
pub(super) struct Keeping {
    keeper: Option<Arc<Keeper>>,
    every: u64,
    /// The tick from which on one is due.
    due: u64,
    writing: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Keeps snapshots in a directory that was opened.
    pub fn new(own: Own, directory: &Path) -> Self {
        Keeper { own, directory: directory.to_owned() }
    }

    /// The state of the newest snapshot that can be used.
    ///
    /// # Errors
    ///
    /// A sentence: the directory can't be read.
    pub fn read(&self, memory: Memory) -> Result<Option<Shared>, String> {
        let restore = |parts: &[Vec<u8>]| snapshot::restore(parts.iter().map(|part| &part[..]), memory);
        let newest = self.own.newest(|parts| restore(parts).map_err(|error| error.to_string()));
        newest.map_err(|error| error.sentence("--data", &self.directory))
    }

    /// Writes a snapshot. A failure is logged, and another one is due soon.
    pub fn write(&self, snapshot: Snapshot) {
        let began = Instant::now();
        let of = Of { identity: snapshot.identity(), entry: snapshot.position(), moment: snapshot.moment() };
        match self.own.write(of, snapshot.parts()) {
            Ok(bytes) => debug!(bytes, entry = of.entry, took = ?began.elapsed(), "this node's snapshot was written"),
            Err(error) => warn!(%error, "this node's snapshot could not be written"),
        }
    }

    /// Puts the snapshots aside that are of other logs than `log`.
    pub fn set_aside(&self, log: Identity) {
        let directory = self.directory.display();
        warn!(%directory, "the snapshots in the directory of --data are of another shared log, which has other members; they are \
            left aside");
        if let Err(error) = self.own.set_aside(log.journal) {
            warn!(%error, "this node's snapshots could not be renamed");
        }
    }

    /// Lets go of the directory.
    pub fn release(&self) {
        self.own.release();
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Keeping {
    /// Writes each `every` milliseconds. The first one is due at once: what is there is of an earlier life, or nothing.
    pub fn new(keeper: Option<Arc<Keeper>>, every: u64) -> Self {
        Keeping { keeper, every, due: 0, writing: None }
    }

    /// Whether a snapshot is due, and none is being written.
    pub fn is_due(&self, tick: u64) -> bool {
        let is_idle = self.writing.as_ref().is_none_or(JoinHandle::is_finished);
        self.keeper.is_some() && tick >= self.due && is_idle
    }

    /// Writes a snapshot on a thread that may block.
    pub fn write(&mut self, snapshot: Snapshot, tick: u64) {
        self.due = tick + self.every;
        let keeper = self.keeper.clone();
        self.writing = keeper.map(|keeper| spawn_blocking(move || keeper.write(snapshot)));
    }

    /// The log is another one, or was read anew: what was written is of the past.
    pub fn hurry(&mut self) {
        self.due = 0;
    }

    /// Puts the snapshots aside that are of other logs than `log`.
    pub fn set_aside(&self, log: Identity) {
        if let Some(keeper) = self.keeper.clone() {
            drop(spawn_blocking(move || keeper.set_aside(log)));
        }
    }
}

/// The time of the last entry of a state, as text.
pub(super) fn time(shared: &Shared) -> String {
    // Later years than 9999 can't be written.
    const LAST: u64 = 253_402_300_799_000;
    let time = UNIX_EPOCH + std::time::Duration::from_millis(shared.roll.time.0.min(LAST));
    humantime::format_rfc3339_seconds(time).to_string()
}
