//! What all engines have in common: an ordered log of opaque batches, snapshots of what the batches make, and questions from node to
//! node beside them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::journal::engine::appends::Appending;
use crate::journal::engine::calls::Calls;
use crate::journal::engine::reader::Reader;

pub use crate::journal::engine::values::{Extent, LogId, MOST_BYTES, OpenError, SNAPSHOTS, Trouble};

/// What an engine answers.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>;

/// One ordered log of batches, with positions from 1 on without a gap. All that is asked of a server is bounded in time.
pub trait Engine: Send + Sync + fmt::Debug {
    /// The log that was opened.
    fn identity(&self) -> LogId;

    /// The most bytes of a batch, of a part of a snapshot, of a question, and of an answer.
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

    /// Takes the questions to a node from now on, until the value is dropped, also when the connection is lost and made anew. The server
    /// hears of it a moment later. A name has 32 digits of base 16; with another one, no questions come. One process serves a name, and
    /// once at a time: with two, a question may be taken by either or both. Needs a runtime of tokio.
    ///
    /// A log of one process alone has no questions.
    fn serve(&self, _name: &str) -> Calls {
        Calls::none()
    }

    /// Asks the node of a name, beside the log: neither the question nor the answer is kept anywhere. `None`: nobody serves the name,
    /// and nobody took the question. A node that has just lost its connection serves its name again when it has another one, so only
    /// the log says that a node is gone. Errors:
    ///
    /// - [`Trouble::TooLarge`]: nothing was sent.
    /// - [`Trouble::Full`]: too many calls of this engine are under way, or too many questions wait for the node. It did not take this one.
    /// - [`Trouble::Unknown`]: no server is connected, or no answer came in time, or one that is too large. The node may have taken the
    ///   question, or may still take it.
    fn call(&self, _name: &str, _question: Bytes, _within: Duration) -> Answer<'_, Option<Bytes>> {
        Box::pin(async { Ok(None) })
    }
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
