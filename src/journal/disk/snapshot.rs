//! Writes checkpoints: aside, flushed and renamed, and the directory flushed. Two are kept, with the segments from the older
//! one on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tracing::warn;

use crate::journal::disk::names::{self, Listing};
use crate::journal::disk::reserve;
use crate::journal::disk::segments::{Begun, Segments};
use crate::journal::disk::walk::Checkpoint;
use crate::journal::frame::{self, Header, Kind, Note};
use crate::journal::log::{End, Record, Sizes, Snapshot};
use crate::journal::store::{self, Appended, Store};
use crate::model::cursor::Position;
use crate::model::moment::Moment;

/// A long checkpoint is flushed each time after so many bytes: one flush of all of it would hold up the segments' flushes.
const FLUSH_AFTER: usize = 8 << 20;

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

/// A checkpoint while it is written.
pub struct Writing {
    segments: Arc<Segments>,
    checkpoints: Arc<Checkpoints>,
    file: Arc<dyn Appended>,
    header: Header,
    begun: Begun,
    parts: u64,
    bytes: u64,
    unflushed: usize,
    /// The file's name, until the checkpoint is durable.
    unfinished: Option<String>,
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
        let file = self.store.create(name)?;
        file.append(&header.encode())?;
        file.sync()?;
        self.store.sync_names()?;
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
        if let Err(error) = reserve::fill(self.store(), reserve::wanted(bytes, self.least_reserve)) {
            warn!(%error, "there is no space for a reserve");
        }
    }

    /// A checkpoint is durable: removes what is older than the one before.
    fn finished(&self, sequence: u64, bytes: u64) {
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

impl Writing {
    /// Begins the checkpoint of all before the segment that is written.
    ///
    /// # Errors
    ///
    /// There is no such segment after a failure, or no place for a file.
    pub fn new(segments: Arc<Segments>, checkpoints: Arc<Checkpoints>) -> io::Result<Writing> {
        let begun = segments.begun()?;
        let sequence = begun.sequence;
        let name = names::unfinished(sequence);
        let identity = segments.identity();
        let header = Header { kind: Kind::Checkpoint, seed: fastrand::u32(..), identity, sequence };
        // One of an attempt that failed may be there.
        let _ = checkpoints.store().remove(&name);
        let created = checkpoints.create(&name, &header).inspect_err(|error| full(&checkpoints, error));
        if created.is_err() {
            let _ = checkpoints.store().remove(&name);
        }
        let bytes = frame::HEADER as u64;
        let (file, unfinished) = (created?, Some(name));
        Ok(Writing { segments, checkpoints, file, header, begun, parts: 0, bytes, unflushed: 0, unfinished })
    }

    fn append(&mut self, mut record: Vec<u8>) -> io::Result<()> {
        frame::seal(&mut record, self.header.seed);
        self.bytes += record.len() as u64;
        self.unflushed += record.len();
        let mut appended = self.file.append(&record);
        if appended.is_ok() && self.unflushed >= FLUSH_AFTER {
            self.unflushed = 0;
            appended = self.file.sync();
        }
        appended.inspect_err(|error| full(&self.checkpoints, error))
    }

    fn publish(&mut self) -> io::Result<()> {
        self.file.sync()?;
        let (sequence, store) = (self.header.sequence, self.checkpoints.store());
        store.rename(&names::unfinished(sequence), &names::checkpoint(sequence))?;
        self.unfinished = Some(names::checkpoint(sequence));
        store.sync_names()?;
        self.unfinished = None;
        Ok(())
    }
}

/// The next attempt needs space.
fn full(checkpoints: &Checkpoints, error: &io::Error) {
    if store::is_full(error) {
        checkpoints.give_up_reserve();
    }
}

impl Snapshot for Writing {
    fn at(&self) -> Position {
        self.begun.at
    }

    fn put(&mut self, part: &[u8]) -> io::Result<()> {
        self.parts += 1;
        let mut record = Vec::with_capacity(frame::HEAD + part.len());
        let position = Position(self.parts);
        frame::push(&Record { position, takes: 1, moment: Moment::default(), payload: part }, &mut record);
        self.append(record)
    }

    fn finish(mut self: Box<Self>, end: End) -> io::Result<()> {
        let mut record = Vec::new();
        let complete = Note::Complete { parts: self.parts, at: self.begun.at, last: end.last };
        complete.push(end.last, end.moment, &mut record);
        self.append(record)?;
        self.publish().inspect_err(|error| full(&self.checkpoints, error))?;
        self.segments.settle(self.begun);
        self.checkpoints.finished(self.header.sequence, self.bytes);
        Ok(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Its segment may be removed, and must not be missed.
        if let Some(name) = self.unfinished.take() {
            let _ = self.checkpoints.store().remove(&name);
        }
    }
}
