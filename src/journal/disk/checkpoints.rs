//! The checkpoints of a store: two are kept, with the segments from the older one on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tracing::warn;

use crate::journal::disk::names::{self, Listing};
use crate::journal::disk::reserve;
use crate::journal::disk::walk::Checkpoint;
use crate::journal::disk::whole;
use crate::journal::frame::{self, Header};
use crate::journal::log::Sizes;
use crate::journal::store::{Appended, Store};

/// The checkpoints of a store.
pub struct Checkpoints {
    store: Arc<dyn Store>,
    newest: Mutex<Newest>,
    /// Bytes of all segments and checkpoints.
    kept: AtomicU64,
    least_reserve: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Newest {
    sequence: Option<u64>,
    bytes: u64,
}

impl Checkpoints {
    /// Those of `store`, of which `newest` is in use.
    pub fn new(store: Arc<dyn Store>, newest: Option<Checkpoint>, kept: u64, least_reserve: u64) -> Self {
        let newest =
            newest.map_or(Newest::default(), |newest| Newest { sequence: Some(newest.sequence), bytes: newest.bytes });
        Checkpoints { store, newest: Mutex::new(newest), kept: AtomicU64::new(kept), least_reserve }
    }

    /// The store.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The store, for a file of its own.
    pub fn shared_store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Counts bytes of segments.
    pub fn count(&self, bytes: u64) {
        self.kept.fetch_add(bytes, Relaxed);
    }

    /// Adds what the checkpoints take.
    pub fn sizes(&self, part: u64, tail: u64) -> Sizes {
        Sizes { part, tail, snapshot: self.newest.lock().bytes, kept: self.kept.load(Relaxed) }
    }

    /// Creates a file with its header, and makes both durable.
    ///
    /// # Errors
    ///
    /// The system could not.
    pub fn create(&self, name: &str, header: &Header) -> io::Result<Arc<dyn Appended>> {
        let file = whole::create(self.store(), name, header)?;
        self.count(frame::HEADER as u64);
        Ok(file)
    }

    /// Gives up the reserve; false if there is none.
    pub fn give_up_reserve(&self) -> bool {
        let given_up = reserve::give_up(self.store());
        if given_up {
            warn!("the disk is full: the reserve is given up");
        }
        given_up
    }

    /// Sees to it that there is a reserve. Without one, all works but a full disk.
    pub fn reserve(&self) {
        let bytes = self.newest.lock().bytes;
        if let Err(error) = reserve::fill(self.store(), reserve::wanted(bytes, self.least_reserve), self.least_reserve)
        {
            warn!(%error, "there is no space for a reserve");
        }
    }

    /// A checkpoint is durable: removes what is older than the one before.
    pub fn finished(&self, sequence: u64, bytes: u64) {
        let before = {
            let mut newest = self.newest.lock();
            std::mem::replace(&mut *newest, Newest { sequence: Some(sequence), bytes }).sequence
        };
        // Files that stay are removed the next time.
        if let Err(error) = before.filter(|before| *before < sequence).map_or(Ok(()), |before| self.trim(before)) {
            warn!(%error, "old files of the journal could not be removed");
        }
        if let Ok(files) = self.store.list() {
            self.kept.store(Listing::of(&files).bytes, Relaxed);
        }
    }

    fn trim(&self, below: u64) -> io::Result<()> {
        let listing = Listing::of(&self.store.list()?);
        let checkpoints = listing.checkpoints.iter().map(|sequence| (*sequence, names::checkpoint(*sequence)));
        // Checkpoints first: what is left has all of its segments at any time.
        for (_, name) in checkpoints.filter(|(sequence, _)| *sequence < below) {
            self.store.remove(&name)?;
        }
        self.store.sync_names()?;
        for sequence in listing.segments.iter().filter(|sequence| **sequence < below) {
            self.store.remove(&names::segment(*sequence))?;
        }
        self.store.sync_names()
    }
}
