//! What all engines have in common: an ordered log of opaque batches, and snapshots of what the batches make.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::journal::engine::appends::Appending;
use crate::journal::engine::reader::Reader;

pub use crate::journal::engine::values::{Extent, LogId, MOST_BYTES, OpenError, SNAPSHOTS, Trouble};

/// What an engine answers.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>;

/// One ordered log of batches, with positions from 1 on without a gap. All that is asked of a server is bounded in time.
pub trait Engine: Send + Sync + fmt::Debug {
    /// The log that was opened.
    fn identity(&self) -> LogId;

    /// The most bytes of a batch, and of a part of a snapshot.
    fn most_bytes(&self) -> usize;

    /// Hands a batch over, in the order of the calls. The position is the answer when the batch is durable by the rules of
    /// the engine. No batch is appended twice by one call, and none to another log than the one that was opened; a batch without an
    /// answer may be in the log, or come later.
    fn append(&self, batch: Bytes) -> Appending;

    /// Starts reading after a position. Needs a runtime of tokio.
    fn read(&self, after: u64) -> Reader;

    /// Where the log begins and ends now.
    fn extent(&self) -> Answer<'_, Extent>;

    /// Begins a snapshot of what the entries up to `at` make.
    fn put_snapshot(&self, at: u64) -> Answer<'_, Box<dyn Writing>>;

    /// The newest whole snapshot.
    fn snapshot(&self) -> Answer<'_, Option<Snapshot>>;

    /// Removes the entries before a position.
    fn trim(&self, before: u64) -> Answer<'_, ()>;
}

/// A snapshot while it is written. Dropped before its end, it never was.
pub trait Writing: Send {
    /// Adds a part.
    fn put(&mut self, part: Bytes) -> Answer<'_, ()>;

    /// Makes the snapshot whole, and removes snapshots beyond [`SNAPSHOTS`].
    fn finish(self: Box<Self>) -> Answer<'static, ()>;
}

/// A whole snapshot.
#[derive(Debug)]
pub struct Snapshot {
    /// The last entry that the snapshot has.
    pub at: u64,
    /// The number of its parts.
    pub parts: u64,
    coming: mpsc::Receiver<Result<Bytes, Trouble>>,
}

impl Snapshot {
    /// A snapshot whose parts come from the engine.
    pub fn new(at: u64, parts: u64, coming: mpsc::Receiver<Result<Bytes, Trouble>>) -> Snapshot {
        Snapshot { at, parts, coming }
    }

    /// The next part.
    ///
    /// # Errors
    ///
    /// The rest can't be read. Another attempt finds this or a newer snapshot.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        self.coming.recv().await.transpose()
    }
}
