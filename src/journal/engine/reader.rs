//! Reading a log to its end and beyond, whatever happens to connections.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::journal::engine::values::{Extent, LogId};

/// The batches that are read ahead of the reader.
const AHEAD: usize = 32;

/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A batch and its position.
pub type Entry = (u64, Bytes);

/// Reads entries in order, without a gap, for ever. Connections that break are made anew.
#[derive(Debug)]
pub struct Reader {
    entries: mpsc::Receiver<Result<Entry, Break>>,
    end: Option<Break>,
}

/// Why the next entry can't be read. Ends a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Entries were removed before they were read: a snapshot has what they made.
    Trimmed {
        /// The first entry that is there.
        first: u64,
    },
    /// Entries that were read are no longer in the log.
    Forgotten {
        /// The last entry that is known to be there.
        last: u64,
    },
    /// Another log is there under the same name, or none.
    Other(LogId),
    /// The engine was closed.
    Closed,
}

impl Reader {
    /// A reader of what a task finds.
    pub(super) fn start(follow: impl Follow, identity: LogId, after: u64) -> Reader {
        let (sender, entries) = mpsc::channel(AHEAD);
        let place = Place { identity, after, last: None, reached: false };
        // Ends with the reader, after the request that is under way.
        tokio::spawn(keep(follow, place, Feed(sender)));
        Reader { entries, end: None }
    }

    /// Waits for the next entry. A call that is dropped loses none.
    ///
    /// # Errors
    ///
    /// Nothing follows: the caller reads anew, from another place or in another log.
    pub async fn next(&mut self) -> Result<Entry, Break> {
        if let Some(end) = self.end {
            return Err(end);
        }
        let next = self.entries.recv().await.unwrap_or(Err(Break::Closed));
        self.end = next.as_ref().err().copied();
        next
    }
}

/// Where a reader is.
#[derive(Debug)]
pub(super) struct Place {
    /// The log that is read.
    pub identity: LogId,
    /// The last entry that was read, or after which the reader began.
    pub after: u64,
    /// The bytes of the last entry: other bytes there mean that the log forgot it.
    pub last: Option<Bytes>,
    /// Whether this attempt reached the log.
    reached: bool,
}

/// Why an attempt to follow a log ended.
#[derive(Debug)]
pub(super) enum Stop {
    /// The log can't be followed.
    Break(Break),
    /// Another attempt may do better.
    Again(String),
    /// The reader was dropped.
    Dropped,
}

/// One attempt after the other to follow a log.
pub(super) trait Follow: Send + Sync + 'static {
    /// Follows the log from `place` on until something goes wrong.
    fn follow(&self, place: &mut Place, feed: &Feed) -> impl Future<Output = Stop> + Send;
}

/// Where the entries go.
#[derive(Debug)]
pub(super) struct Feed(mpsc::Sender<Result<Entry, Break>>);

impl Place {
    /// Checks that the log goes on from here. Says so once for each attempt, before the first entry.
    pub fn check(&mut self, identity: LogId, extent: Extent) -> Result<(), Stop> {
        self.reached = true;
        match () {
            () if identity != self.identity => Err(Stop::Break(Break::Other(identity))),
            () if extent.last < self.after => Err(Stop::Break(Break::Forgotten { last: extent.last })),
            () if extent.first > self.after + 1 => Err(Stop::Break(Break::Trimmed { first: extent.first })),
            () => Ok(()),
        }
    }

    /// Checks that the last entry is still what it was.
    pub fn check_last(&self, bytes: &Bytes) -> Result<(), Stop> {
        match self.last.as_ref().is_none_or(|last| last == bytes) {
            true => Ok(()),
            false => Err(Stop::Break(Break::Forgotten { last: self.after.saturating_sub(1) })),
        }
    }
}

impl Feed {
    /// Hands an entry to the reader. One at another place than the next is not handed on.
    pub async fn send(&self, place: &mut Place, (position, bytes): Entry) -> Result<(), Stop> {
        match position {
            _ if position == place.after + 1 => {}
            _ if position > place.after => return Err(Stop::Break(Break::Trimmed { first: position })),
            _ => return Err(Stop::Again("an entry came twice".to_owned())),
        }
        (place.after, place.last) = (position, Some(bytes.clone()));
        self.0.send(Ok((position, bytes))).await.map_err(|_| Stop::Dropped)
    }

    /// Whether the reader ended.
    pub fn is_dropped(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits for the end of the reader.
    pub async fn dropped(&self) {
        self.0.closed().await;
    }
}

/// Follows the log until the reader ends.
async fn keep(follow: impl Follow, mut place: Place, feed: Feed) {
    let (mut pause, mut troubled) = (PAUSES.0, false);
    loop {
        place.reached = false;
        let before = place.after;
        let why = match follow.follow(&mut place, &feed).await {
            Stop::Dropped => return,
            Stop::Break(end) => {
                drop(feed.0.send(Err(end)).await);
                return;
            }
            Stop::Again(why) => why,
        };
        if place.reached && place.after > before {
            pause = PAUSES.0;
            if troubled {
                info!("the shared log was read again");
            }
            troubled = false;
        }
        if !troubled {
            warn!(why, after = place.after, "reading the shared log was interrupted; trying again");
        }
        troubled = true;
        tokio::select! {
            () = sleep(pause) => {}
            () = feed.dropped() => return,
        }
        pause = PAUSES.1.min(2 * pause);
    }
}
