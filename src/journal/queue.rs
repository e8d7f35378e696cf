//! The journal as rooms see it: a place in the order, at once, and a ticket for the answer.
//!
//! An entry is copied to a queue under one short lock. A thread, the `writer`, takes all that is queued, writes it with one
//! write, and keeps the tickets. Another, the `keeper`, flushes, and prepares what the writer must not wait for.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use crate::journal::error::OpenError;
use crate::journal::log::{Record, Source};
use crate::journal::numbers::Numbers;
use crate::journal::queue::options::Options;
use crate::journal::queue::shared::Shared;
use crate::journal::queue::snapshotting::Snapshotting;
use crate::journal::ticket::{Given, NotDurable, Refused, Ticket};
use crate::model::cursor::Position;
use crate::model::identity::Identity;
use crate::model::moment::Moment;

mod keeper;
pub mod options;
mod shared;
pub mod snapshotting;
mod state;
mod writer;

#[cfg(test)]
mod tests;

/// The order of all entries, and what keeps them.
pub struct Journal(Kept);

enum Kept {
    Nothing(AtomicU64),
    Log(Running),
}

struct Running {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

thread_local! {
    /// Entries are encoded here before the queue's lock is taken.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Larger scratch space is given back.
const MOST_SCRATCH: usize = 64 << 10;

impl Journal {
    /// Keeps nothing, and gives back at once. The first entry has the position `first`.
    pub fn memory(first: Position) -> Journal {
        Journal(Kept::Nothing(AtomicU64::new(first.0)))
    }

    /// Goes on with a log that was read. The first entry has the position `first`, which is above the last one there.
    ///
    /// # Errors
    ///
    /// The log can't be written.
    pub fn start(source: Box<dyn Source>, first: Position, options: Options) -> Result<Journal, OpenError> {
        let shared = Arc::new(Shared::new(source.begin(first)?, first, options));
        let running = Running { shared: shared.clone(), threads: Mutex::default() };
        let spawn = |name: &str, run: fn(&Shared)| {
            let shared = shared.clone();
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || shared.run(run));
            thread.map_err(OpenError::io("starting a thread"))
        };
        // The one that runs ends with `running`, if the other can't be started.
        running.threads.lock().push(spawn("journal-writer", writer::run)?);
        running.threads.lock().push(spawn("journal-keeper", keeper::run)?);
        Ok(Journal(Kept::Log(running)))
    }

    /// The log's name. `None` for a journal in memory.
    pub fn identity(&self) -> Option<Identity> {
        self.shared().map(|shared| shared.log.identity())
    }

    /// Whether a change may be made now.
    ///
    /// # Errors
    ///
    /// The change could not be kept, or another process has the journal.
    #[inline]
    pub fn admits(&self) -> Result<(), Refused> {
        match &self.0 {
            Kept::Nothing(_) => Ok(()),
            Kept::Log(running) => running.shared.admits(),
        }
    }

    /// Appends an entry that takes `takes` positions (at least one), written by `encode` if the journal keeps entries. Never
    /// waits for the disk and never fails: the ticket tells. Without `waits`, the ticket is of no use.
    #[inline]
    pub fn append(&self, takes: u64, waits: bool, moment: Moment, encode: impl FnOnce(&mut Vec<u8>)) -> Given {
        let takes = takes.max(1);
        match &self.0 {
            Kept::Nothing(next) => Given { position: Position(next.fetch_add(takes, Relaxed)), ticket: Ticket::done() },
            Kept::Log(running) => {
                let mut scratch = SCRATCH.take();
                encode(&mut scratch);
                let takes = u32::try_from(takes).unwrap_or(u32::MAX);
                let record = Record { position: Position::default(), takes, moment, payload: &scratch };
                let given = running.shared.append(record, waits);
                scratch.clear();
                scratch.shrink_to(MOST_SCRATCH);
                SCRATCH.set(scratch);
                given
            }
        }
    }

    /// A journal in memory goes on with the position `next`, which the log of a cluster gives.
    pub fn goes_on(&self, next: Position) {
        match &self.0 {
            Kept::Nothing(own) => own.store(next.0, Relaxed),
            Kept::Log(_) => {}
        }
    }

    /// The last position that was given; the one before the first if none was.
    pub fn last(&self) -> Position {
        let next = match &self.0 {
            Kept::Nothing(next) => next.load(Relaxed),
            Kept::Log(running) => running.shared.next(),
        };
        Position(next.saturating_sub(1))
    }

    /// Whether entries can't be written at the moment.
    pub fn is_failing(&self) -> bool {
        self.shared().is_some_and(Shared::is_failing)
    }

    /// Waits until a snapshot is wanted: the records after the last one take more than it, or writing failed. Says so
    /// again until one is begun.
    pub async fn snapshot_wanted(&self) {
        match self.shared() {
            Some(shared) => shared.wanted().await,
            None => std::future::pending().await,
        }
    }

    /// Begins a snapshot, one at a time. Blocks until records go to a new part of the log.
    ///
    /// # Errors
    ///
    /// Writing fails, another snapshot is being written, or the journal is closed or in memory.
    pub fn snapshot(&self) -> Result<Snapshotting, NotDurable> {
        Snapshotting::begin(self.shared_arc().ok_or(NotDurable)?)
    }

    /// What the journal counts.
    pub fn numbers(&self) -> Numbers {
        self.shared().map_or_else(Numbers::default, Shared::numbers)
    }

    /// From here on, [`Journal::admits`] says that the gateway is stopping. Entries are still appended.
    pub fn stop(&self) {
        if let Some(shared) = self.shared() {
            shared.stop();
        }
    }

    /// Writes and flushes all that is queued, and lets go of the log, so that another process may have it. Later entries are
    /// lost. Blocks.
    ///
    /// # Errors
    ///
    /// Some entries could not be made durable.
    pub fn close(&self) -> Result<(), NotDurable> {
        let Kept::Log(running) = &self.0 else { return Ok(()) };
        running.shared.close();
        let threads: Vec<_> = running.threads.lock().drain(..).collect();
        for thread in threads {
            thread.join().map_err(|_| NotDurable)?;
        }
        // What it trims may be another process's already.
        running.shared.settle();
        let flushed = running.shared.end();
        running.shared.log.release();
        flushed
    }

    fn shared(&self) -> Option<&Shared> {
        match &self.0 {
            Kept::Nothing(_) => None,
            Kept::Log(running) => Some(&running.shared),
        }
    }

    fn shared_arc(&self) -> Option<Arc<Shared>> {
        match &self.0 {
            Kept::Nothing(_) => None,
            Kept::Log(running) => Some(running.shared.clone()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The threads end by themselves, and with the last one the log is let go.
        self.shared.close();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kept::Nothing(next) => f.debug_tuple("Journal").field(next).finish(),
            Kept::Log(running) => f.debug_tuple("Journal").field(&running.shared.numbers()).finish(),
        }
    }
}
