//! The seam below the journal: one ordered log of records, and snapshots of what the records make. A disk is behind it, or
//! another place that keeps order. All calls block, and are for threads of the journal's own.

use std::io;
use std::sync::Arc;

use crate::journal::error::OpenError;
use crate::model::cursor::Position;
use crate::model::identity::Identity;
use crate::model::moment::Moment;

/// One entry as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The entry's position.
    pub position: Position,
    /// The positions that the entry takes, at least one.
    pub takes: u32,
    /// When the entry was made.
    pub moment: Moment,
    /// The encoded entry.
    pub payload: &'a [u8],
}

/// What is read when a journal is opened.
#[derive(Clone, Copy, Debug)]
pub enum Read<'a> {
    /// The next part of the newest snapshot.
    Part(&'a [u8]),
    /// The next record after the snapshot.
    Record(Record<'a>),
}

/// Where a journal ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The last position that was taken, by a record or within a snapshot; 0 if there is none.
    pub last: Position,
    /// The last moment: the next process's clock goes on from its tick.
    pub moment: Moment,
}

impl Record<'_> {
    /// The last of the positions that the entry takes.
    pub fn last(&self) -> Position {
        Position(self.position.0.saturating_add(u64::from(self.takes).saturating_sub(1)))
    }
}

/// A log before this process writes to it.
pub trait Source: Send {
    /// The journal's name.
    fn identity(&self) -> Identity;

    /// Whether nothing was ever written. Known after [`Source::read`].
    fn is_fresh(&self) -> bool;

    /// Reads the newest snapshot, then every record after it. `each` may refuse what it is given, with a reason.
    ///
    /// # Errors
    ///
    /// What is there can't be read, is damaged, or was refused.
    fn read(&mut self, each: &mut dyn FnMut(Read<'_>) -> Result<(), String>) -> Result<End, OpenError>;

    /// Takes over the log after [`Source::read`]. The first entry will be at `first` or later.
    ///
    /// # Errors
    ///
    /// The log can't be written.
    fn begin(self: Box<Self>, first: Position) -> Result<Arc<dyn Log>, OpenError>;
}

/// One ordered log of records, and snapshots of what the records make.
pub trait Log: Send + Sync {
    /// The journal's name.
    fn identity(&self) -> Identity;

    /// Hands the records of `batch` to the system, in order. Every position at or above `from` that was given before is in
    /// this batch. The first call after a [`Log::turn`] says that a snapshot may begin, at `from`.
    ///
    /// # Errors
    ///
    /// Nothing of the batch counts as kept, and batches fail until a `turn` after the gap.
    fn append(&self, from: Position, batch: &mut Vec<u8>) -> io::Result<Appended>;

    /// Makes durable all that was handed over before the call.
    ///
    /// # Errors
    ///
    /// What was handed over since the last flush may be lost, and batches fail until a `turn` after the gap.
    fn flush(&self) -> io::Result<()>;

    /// Whether the log has something of its own to append, with an empty batch if need be.
    fn has_note(&self) -> bool;

    /// Prepares a new part of the log, which the next batch begins. After a failure, records may be missing before it
    /// (`after_gap`), and it counts only with a snapshot that begins with it.
    ///
    /// # Errors
    ///
    /// The new part could not be made durable.
    fn turn(&self, after_gap: bool) -> io::Result<()>;

    /// Begins a snapshot of all before the newest part.
    ///
    /// # Errors
    ///
    /// The log has no place for it.
    fn put_snapshot(&self) -> io::Result<Box<dyn Snapshot>>;

    /// Does what may follow a snapshot, and that nobody waits for.
    fn tidy(&self);

    /// What the log takes.
    fn sizes(&self) -> Sizes;

    /// Lets go of the log, so that another process may have it.
    fn release(&self);
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// The number of its entries.
    pub entries: u64,
    /// It began a new part, so a snapshot may begin.
    pub turned: bool,
}

/// What a log takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The records in the newest part.
    pub part: u64,
    /// The records after the newest snapshot.
    pub tail: u64,
    /// The newest snapshot.
    pub snapshot: u64,
    /// The log's parts and snapshots that are kept.
    pub kept: u64,
}

/// A snapshot while it is written. Dropped before its end, it never was.
pub trait Snapshot: Send {
    /// The entries before this position are in what is read from now on.
    fn at(&self) -> Position;

    /// Adds a part.
    ///
    /// # Errors
    ///
    /// The snapshot can't be written.
    fn put(&mut self, part: &[u8]) -> io::Result<()>;

    /// Makes the snapshot durable, and trims the log below the snapshot before it.
    ///
    /// # Errors
    ///
    /// The snapshot may be lost.
    fn finish(self: Box<Self>, end: End) -> io::Result<()>;
}
