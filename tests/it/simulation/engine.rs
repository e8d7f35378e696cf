//! The log of a world, which may forget.

use std::sync::Arc;

use presently::cluster::Memory;
use presently::cluster::digest;
use presently::cluster::fold::Shared;
use presently::cluster::node;
use presently::cluster::snapshot::{Snapshot, fits};
use presently::model::history::Bound;
use presently::model::identity::Identity;
use uuid::Uuid;

/// One ordered log, and snapshots beside it.
pub struct Engine {
    pub journal: Uuid,
    pub up: bool,
    entries: Vec<Entry>,
    snapshots: Vec<Vec<Vec<u8>>>,
    /// The last position of which nothing is left.
    trimmed: u64,
}

/// A position and a batch.
pub type Entry = (u64, Arc<[u8]>);

/// Histories of a few hundred events, so that readers also fall behind them.
pub const MEMORY: Memory = Memory { history: Bound { events: 200, bytes: 1 << 20 }, bytes: 1 << 24 };

impl Engine {
    pub fn new(journal: u128) -> Self {
        Engine { journal: Uuid::from_u128(journal), up: true, entries: vec![], snapshots: vec![], trimmed: 0 }
    }

    pub fn last(&self) -> u64 {
        self.entries.last().map_or(self.trimmed, |(position, _)| *position)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Positions may skip.
    pub fn append(&mut self, bytes: Arc<[u8]>, skip: u64) {
        self.entries.push((self.last() + 1 + skip, bytes));
    }

    /// The entries after a position; `None` when some of them are no longer there.
    pub fn after(&self, position: u64) -> Option<&[Entry]> {
        let from = self.entries.partition_point(|(at, _)| *at <= position);
        (position >= self.trimmed).then(|| &self.entries[from..])
    }

    /// Whether this very history has the end of the state.
    pub fn has(&self, shared: &Shared) -> bool {
        let roll = &shared.roll;
        roll.identity.journal == self.journal
            && self.at(roll.seen.position).is_some_and(|bytes| digest::of(&bytes) == roll.last)
    }

    /// Whether an entry at the end of the state is missing, or is another one.
    pub fn lacks(&self, shared: &Shared) -> bool {
        let position = shared.roll.seen.position;
        shared.roll.identity.journal == self.journal && position >= self.trimmed && !self.has(shared)
    }

    fn at(&self, position: u64) -> Option<Vec<u8>> {
        let at = self.entries.binary_search_by_key(&position, |(at, _)| *at).ok()?;
        Some(self.entries[at].1.to_vec())
    }

    /// Forgets the last entries.
    pub fn forget(&mut self, entries: usize) {
        self.entries.truncate(self.entries.len().saturating_sub(entries));
    }

    /// Keeps a snapshot, and trims the log below the oldest of three.
    pub fn keep(&mut self, snapshot: Snapshot) {
        self.snapshots.push(snapshot.parts().collect());
        if self.snapshots.len() < 4 {
            return;
        }
        self.snapshots.remove(0);
        let oldest = self.snapshots.iter().filter_map(|parts| fits(&parts[0], |at| self.at(at)).unwrap()).min();
        if let Some(oldest) = oldest {
            // The entry of the snapshot stays, to compare.
            self.entries.retain(|(at, _)| *at >= oldest);
            self.trimmed = self.trimmed.max(oldest - 1);
        }
    }

    /// The state of the newest snapshot of this very history, or of nothing; `None` if neither is there.
    pub fn state(&self) -> Option<Shared> {
        let fits = |parts: &&Vec<Vec<u8>>| fits(&parts[0], |at| self.at(at)).unwrap().is_some();
        match self.snapshots.iter().rev().find(fits) {
            Some(parts) => Some(node::restore(parts, MEMORY).unwrap()),
            None if self.trimmed == 0 => Some(Shared::new(Identity { journal: self.journal, generation: 0 }, MEMORY)),
            None => None,
        }
    }
}
