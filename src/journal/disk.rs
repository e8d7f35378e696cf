//! The log on a disk: segments of records, and checkpoints.
//!
//! A segment is created and made durable, with its name, before a record is written to it. Its first record says which
//! segment it continues. A file whose flush failed is never written or flushed again: the next segment begins after a gap,
//! and counts only with a checkpoint of its own. Notes between the records say what was flushed, so that at the next start
//! bytes that a power cut tore differ from damage: whatever was flushed can't be torn.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::warn;

use crate::journal::disk::checkpoints::Checkpoints;
use crate::journal::disk::frames::Frames;
use crate::journal::disk::names::Listing;
use crate::journal::disk::segments::{Last, Segments};
use crate::journal::disk::snapshot::Writing;
use crate::journal::disk::walk::{Walked, walk};
use crate::journal::error::OpenError;
use crate::journal::frame::Kind;
use crate::journal::log::{Appended, End, Log, Read, Sizes, Snapshot, Source};
use crate::journal::store::Store;
use crate::journal::store::directory::{Directory, Lock};
use crate::model::cursor::Position;
use crate::model::identity::Identity;

pub mod frames;
pub mod names;
pub mod reserve;
pub mod walk;
pub mod whole;
pub mod checkpoints;
pub mod segments;
pub mod snapshot;
pub mod own;

#[cfg(test)]
mod tests;

/// A journal on a disk that was opened and is not written yet.
pub struct Opening {
    store: Arc<dyn Store>,
    lock: Option<Lock>,
    listing: Listing,
    identity: Identity,
    walked: Option<Walked>,
    least_reserve: u64,
}

/// A journal on a disk.
pub struct Disk {
    segments: Arc<Segments>,
    checkpoints: Arc<Checkpoints>,
    lock: Mutex<Option<Lock>>,
}

/// Opens the journal in `directory`, which is created if need be, and waits at most `wait` for another process to end.
///
/// # Errors
///
/// The directory can't be used, or another process uses it.
pub fn open(directory: &Path, wait: Duration) -> Result<Opening, OpenError> {
    let directory = Directory::create(directory).map_err(OpenError::io("opening the directory"))?;
    let lock = directory.lock(wait).map_err(OpenError::io("locking the directory"))?.ok_or(OpenError::InUse(wait))?;
    Opening::new(Arc::new(directory), Some(lock))
}

impl Opening {
    /// Opens the journal in `store`.
    ///
    /// # Errors
    ///
    /// The store can't be read, or what is there can't be used at all.
    pub fn new(store: Arc<dyn Store>, lock: Option<Lock>) -> Result<Opening, OpenError> {
        let listing = Listing::of(&store.list().map_err(OpenError::io("reading the directory"))?);
        if listing.is_unfinished {
            return Err(OpenError::Unfinished);
        }
        if listing.is_of_node() {
            return Err(OpenError::OfNode);
        }
        let (identity, least_reserve) = (Identity::default(), reserve::LEAST);
        let mut opening = Opening { store, lock, listing, identity, walked: None, least_reserve };
        opening.identity = opening.identity_from_now_on()?;
        Ok(opening)
    }

    /// The journal in `store`, with a reserve that tests can afford.
    #[cfg(test)]
    pub fn with_little_reserve(store: &crate::journal::store::pretended::Pretended) -> Opening {
        let mut opening = Opening::new(Arc::new(store.clone()), None).unwrap();
        opening.least_reserve = 600;
        opening
    }

    /// A new journal and a backup get a new name, so that no cursor of another journal resumes here.
    fn identity_from_now_on(&self) -> Result<Identity, OpenError> {
        let journal = uuid::Uuid::new_v4();
        let Some(identity) = self.last_identity()? else { return Ok(Identity { journal, generation: 0 }) };
        let generation = identity.generation.saturating_add(1);
        Ok(if self.listing.is_backup { Identity { journal, generation } } else { identity })
    }

    /// The name in the newest file that has a header.
    fn last_identity(&self) -> Result<Option<Identity>, OpenError> {
        let segments = self.listing.segments.iter().rev().map(|sequence| (Kind::Segment, *sequence));
        let checkpoints = self.listing.checkpoints.iter().map(|sequence| (Kind::Checkpoint, *sequence));
        for (kind, sequence) in segments.chain(checkpoints) {
            match Frames::open(&*self.store, &names::name(kind, sequence), kind, sequence) {
                Ok(Some(frames)) => return Ok(Some(frames.header.identity)),
                Ok(None) | Err(OpenError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Takes out of use what does not count, so that new records never follow it.
    fn tidy(&self, walked: &Walked) -> io::Result<()> {
        for (sequence, error) in &walked.damaged {
            let name = names::checkpoint(*sequence);
            warn!(file = name, %error, "an older checkpoint is used");
            self.store.rename(&name, &names::lost(&name))?;
        }
        for sequence in &walked.void {
            let name = names::segment(*sequence);
            warn!(file = name, "nothing in this file was acknowledged as durable, and entries before it are missing");
            self.store.rename(&name, &names::lost(&name))?;
        }
        for name in &self.listing.leftovers {
            self.store.remove(name)?;
        }
        self.store.sync_names()?;
        if let Some(tear) = walked.tear {
            let file = names::segment(tear.sequence);
            warn!(file, offset = tear.offset, bytes = tear.bytes, "cut off the end of a write that was interrupted");
            self.store.cut(&file, tear.offset)?;
        }
        Ok(())
    }

    fn start(self, first: Position) -> io::Result<Disk> {
        let walked = self.walked.as_ref();
        if let Some(walked) = walked {
            self.tidy(walked)?;
        }
        let last = walked.map(|walked| Last {
            sequence: walked.segments.last().map_or(0, |(sequence, _)| *sequence),
            position: walked.last,
            identity: walked.identity,
            moment: walked.end.moment,
        });
        let checkpoint = walked.and_then(|walked| walked.checkpoint);
        let checkpoints =
            Arc::new(Checkpoints::new(self.store.clone(), checkpoint, self.listing.bytes, self.least_reserve));
        let tail = walked.map_or(0, |walked| walked.segments.iter().map(|(_, bytes)| bytes).sum());
        let sequence = AtomicU64::new(self.listing.highest + 1);
        let segments = Segments::new(checkpoints.clone(), self.identity, sequence, last.unwrap_or_default(), tail);
        let disk = Disk { segments: Arc::new(segments), checkpoints, lock: Mutex::new(None) };
        disk.turn(false)?;
        disk.append(first, &mut Vec::new())?;
        disk.flush()?;
        if self.listing.is_backup {
            self.store.remove(names::BACKUP)?;
            self.store.sync_names()?;
        }
        disk.checkpoints.reserve();
        *disk.lock.lock() = self.lock;
        Ok(disk)
    }
}

impl Source for Opening {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn is_fresh(&self) -> bool {
        self.listing.is_fresh() || self.walked.as_ref().is_some_and(|walked| !walked.has_any())
    }

    fn read(&mut self, each: &mut dyn FnMut(Read<'_>) -> Result<(), String>) -> Result<End, OpenError> {
        if self.listing.is_fresh() {
            return Ok(End::default());
        }
        let walked = walk(&*self.store, &self.listing, each)?;
        if walked.has_any() && !self.listing.is_backup && walked.identity != self.identity {
            let file = names::segment(self.listing.segments.last().copied().unwrap_or_default());
            return Err(OpenError::Foreign { file });
        }
        Ok(self.walked.insert(walked).end)
    }

    fn begin(mut self: Box<Self>, first: Position) -> Result<Arc<dyn Log>, OpenError> {
        if self.walked.is_none() {
            self.read(&mut |_| Ok(()))?;
        }
        Ok(Arc::new(self.start(first).map_err(OpenError::io("writing to the directory"))?))
    }
}

impl Log for Disk {
    fn identity(&self) -> Identity {
        self.segments.identity()
    }

    fn append(&self, from: Position, batch: &mut Vec<u8>) -> io::Result<Appended> {
        self.segments.append(from, batch)
    }

    fn flush(&self) -> io::Result<()> {
        self.segments.flush()
    }

    fn has_note(&self) -> bool {
        self.segments.has_note()
    }

    fn turn(&self, after_gap: bool) -> io::Result<()> {
        self.segments.turn(after_gap)
    }

    fn put_snapshot(&self) -> io::Result<Box<dyn Snapshot>> {
        Ok(Box::new(Writing::new(self.segments.clone(), self.checkpoints.clone())?))
    }

    fn tidy(&self) {
        self.checkpoints.reserve();
    }

    fn sizes(&self) -> Sizes {
        let (part, tail) = self.segments.sizes();
        self.checkpoints.sizes(part, tail)
    }

    fn release(&self) {
        self.lock.lock().take();
    }
}
