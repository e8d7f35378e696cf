//! The seam below the journal: one ordered log of records, and snapshots of what the records make. A disk is behind it, or
//! another place that keeps order. All calls block, and are for threads of the journal's own.

use std::io;

use crate::journal::position::Position;
use crate::model::moment::Moment;

/// Names one journal, and one life of it: a backup that is started goes on under another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when the journal was created.
    pub id: u128,
    /// Grows when a copy begins a life of its own, and then comes with another `id`.
    pub generation: u64,
}

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

/// One ordered log of records, and snapshots of what the records make.
pub trait Log: Send + Sync {
    /// The journal's name.
    fn identity(&self) -> Identity;

    /// Reads the newest snapshot, then every record after it. `each` may refuse what it is given, with a reason.
    ///
    /// # Errors
    ///
    /// What is there can't be read, is damaged, or was refused.
    fn read(&self, each: &mut dyn FnMut(Read<'_>) -> Result<(), String>) -> Result<End, super::error::OpenError>;

    /// Hands the framed records of `batch` to the system, in order. Every position at or above `from` that was given before
    /// is in this batch. Returns the position at which a snapshot may begin, once after each [`Log::turn`].
    ///
    /// # Errors
    ///
    /// Nothing of the batch counts as kept, and no further batch may be handed over before the next `turn`.
    fn append(&self, from: Position, batch: &mut Vec<u8>) -> io::Result<Option<Position>>;

    /// Makes durable all that was handed over before the call.
    ///
    /// # Errors
    ///
    /// What was handed over since the last flush may be lost.
    fn flush(&self) -> io::Result<()>;

    /// Whether the log has something of its own to append, even with an empty batch.
    fn has_note(&self) -> bool;

    /// Prepares a new part of the log, which the next batch begins. After a failure, records may be missing before it
    /// (`after_gap`), and it counts only with a snapshot that begins with it.
    ///
    /// # Errors
    ///
    /// The new part could not be made durable.
    fn turn(&self, after_gap: bool) -> io::Result<()>;

    /// Begins a snapshot of all before the position that [`Log::append`] returned last.
    ///
    /// # Errors
    ///
    /// The log has no place for it.
    fn put_snapshot(&self) -> io::Result<Box<dyn Snapshot>>;

    /// Bytes of records after the last snapshot, and the last snapshot's bytes.
    fn tail(&self) -> (u64, u64);

    /// Lets go of the log, so that another process may have it.
    fn release(&self);
}

/// A snapshot while it is written. Dropped before its end, it never was.
pub trait Snapshot: Send {
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
