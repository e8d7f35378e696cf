//! The own snapshots of a node: of the log that the gateways of a cluster share, as far as the node has read it. Two are kept.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::warn;
use uuid::Uuid;

use crate::journal::disk::frames::Frames;
use crate::journal::disk::names::{self, Listing};
use crate::journal::disk::walk::read_whole;
use crate::journal::disk::whole::Whole;
use crate::journal::error::OpenError;
use crate::journal::frame::{Header, Kind};
use crate::journal::log::{End, Read};
use crate::journal::store::Store;
use crate::journal::store::directory::{Directory, Lock};
use crate::model::cursor::Position;
use crate::model::identity::Identity;
use crate::model::moment::Moment;

/// The snapshots that are kept: the newest, and one for the case that the newest is damaged.
const KEPT: usize = 2;

/// The directory of a node.
pub struct Own {
    store: Arc<dyn Store>,
    state: Mutex<State>,
}

struct State {
    lock: Option<Lock>,
    /// Whether snapshots may still be written.
    is_open: bool,
    /// The number of the next snapshot.
    next: u64,
}

/// What a snapshot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of {
    /// The log's name in cursors.
    pub identity: Identity,
    /// The last entry that is in it.
    pub entry: u64,
    /// When that entry was made.
    pub moment: Moment,
}

/// Judges whether `directory` is one for a node of a cluster, or for a gateway alone. Nothing is said of a directory that is not
/// there or can't be read.
///
/// # Errors
///
/// It is the other's.
pub fn judge(directory: &Path, of_node: bool) -> Result<(), OpenError> {
    let files = Directory::open(directory).and_then(|directory| directory.list()).unwrap_or_default();
    let listing = Listing::of(&files);
    match of_node {
        true => judge_own(&listing),
        false if listing.is_of_node() => Err(OpenError::OfNode),
        false => Ok(()),
    }
}

fn judge_own(listing: &Listing) -> Result<(), OpenError> {
    match () {
        () if listing.is_unfinished => Err(OpenError::Unfinished),
        () if listing.is_backup || !listing.is_fresh() => Err(OpenError::OfJournal),
        () => Ok(()),
    }
}

impl Own {
    /// Opens `directory`, which is created if need be, and waits at most `wait` for another process to end.
    ///
    /// # Errors
    ///
    /// The directory can't be used, is a journal's, or another process uses it.
    pub fn open(directory: &Path, wait: Duration) -> Result<Own, OpenError> {
        let directory = Directory::create(directory).map_err(OpenError::io("opening the directory"))?;
        let lock =
            directory.lock(wait).map_err(OpenError::io("locking the directory"))?.ok_or(OpenError::InUse(wait))?;
        Own::new(Arc::new(directory), Some(lock))
    }

    /// Opens the snapshots in `store`.
    ///
    /// # Errors
    ///
    /// The store can't be read or written, or is a journal's.
    pub fn new(store: Arc<dyn Store>, lock: Option<Lock>) -> Result<Own, OpenError> {
        let listing = Listing::of(&store.list().map_err(OpenError::io("reading the directory"))?);
        judge_own(&listing)?;
        let removed = listing.leftovers.iter().try_for_each(|name| store.remove(name));
        removed.map_err(OpenError::io("removing a file"))?;
        let state = Mutex::new(State { lock, is_open: true, next: listing.highest + 1 });
        Ok(Own { store, state })
    }

    /// The newest snapshot of which `restore` makes something. One that is damaged, or refused with a reason, is put aside.
    ///
    /// # Errors
    ///
    /// The system can't read a file, or can't put it aside.
    pub fn newest<T>(&self, restore: impl Fn(&[Vec<u8>]) -> Result<T, String>) -> Result<Option<T>, OpenError> {
        let listing = self.listing().map_err(OpenError::io("reading the directory"))?;
        for sequence in listing.snapshots {
            let mut parts = Vec::new();
            let read = read_whole(&*self.store, Kind::Snapshot, sequence, &mut |read| {
                if let Read::Part(part) = read {
                    parts.push(part.to_vec());
                }
                Ok(())
            });
            let why = match read {
                Ok(_) => match restore(&parts) {
                    Ok(restored) => return Ok(Some(restored)),
                    Err(why) => why,
                },
                Err(error @ OpenError::Io(..)) => return Err(error),
                Err(error) => error.to_string(),
            };
            let file = names::snapshot(sequence);
            warn!(file, why, "this node's snapshot can't be used, and is left aside");
            self.lose(&[sequence]).map_err(OpenError::io(format!("renaming {file}")))?;
        }
        Ok(None)
    }

    /// Writes a snapshot, and removes those before the one before it. Gives its bytes; `None` once the directory was let go.
    ///
    /// # Errors
    ///
    /// The system refused it. The snapshots before are as they were.
    pub fn write(&self, of: Of, parts: impl Iterator<Item = Vec<u8>>) -> io::Result<Option<u64>> {
        let mut state = self.state.lock();
        if !state.is_open {
            return Ok(None);
        }
        let sequence = state.next;
        state.next += 1;
        let header = Header { kind: Kind::Snapshot, seed: fastrand::u32(..), identity: of.identity, sequence };
        let mut whole = Whole::begin(self.store.clone(), header)?;
        for part in parts {
            whole.put(&part)?;
        }
        let entry = Position(of.entry);
        whole.complete(entry, End { last: entry, moment: of.moment })?;
        whole.publish()?;
        self.tidy()?;
        Ok(Some(whole.bytes()))
    }

    /// Puts the snapshots aside that are of other logs than the one of this name.
    ///
    /// # Errors
    ///
    /// The system refused it.
    pub fn set_aside(&self, journal: Uuid) -> io::Result<()> {
        let _not_meanwhile = self.state.lock();
        let mut snapshots = self.listing()?.snapshots;
        snapshots.retain(|sequence| {
            let frames = Frames::open(&*self.store, &names::snapshot(*sequence), Kind::Snapshot, *sequence);
            frames.ok().flatten().is_none_or(|frames| frames.header.identity.journal != journal)
        });
        self.lose(&snapshots)
    }

    /// Lets go of the directory, so that another process may have it.
    pub fn release(&self) {
        let mut state = self.state.lock();
        state.is_open = false;
        state.lock.take();
    }

    fn listing(&self) -> io::Result<Listing> {
        Ok(Listing::of(&self.store.list()?))
    }

    fn lose(&self, snapshots: &[u64]) -> io::Result<()> {
        for sequence in snapshots {
            let name = names::snapshot(*sequence);
            self.store.rename(&name, &names::lost(&name))?;
        }
        self.store.sync_names()
    }

    fn tidy(&self) -> io::Result<()> {
        for sequence in self.listing()?.snapshots.iter().skip(KEPT) {
            self.store.remove(&names::snapshot(*sequence))?;
        }
        self.store.sync_names()
    }
}
