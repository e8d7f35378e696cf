//! What is queued, and whether writing works.

use std::mem;
use std::time::{Duration, Instant};

use crate::journal::ticket::Promise;

/// Before another attempt at a snapshot that was not finished, while records can still be written.
pub const SNAPSHOT_AGAIN: Duration = Duration::from_secs(10);

/// Whether writing works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It does.
    Running,
    /// Records are dropped. The next attempt to begin anew is at `retry_at`.
    Failing { since: Instant, retry_at: Instant },
    /// Records are written again, and count when a snapshot is durable.
    Recovering { since: Instant },
}

/// The state behind the queue's lock.
pub struct State {
    /// Between two attempts to write again after a failure.
    pub retry: Duration,
    pub phase: Phase,
    /// The position of the next entry.
    pub next: u64,
    /// The first position of what is queued.
    pub from: u64,
    pub bytes: Vec<u8>,
    /// Of those entries in `bytes` that somebody waits for.
    pub promises: Vec<Promise>,
    /// Bytes that the writer has taken.
    pub in_flight: usize,
    pub is_writing: bool,
    /// The writer waits for work.
    pub is_asleep: bool,
    /// The writer has something to do besides entries.
    pub is_poked: bool,
    pub is_stopping: bool,
    pub is_closing: bool,
    pub dropped: u64,
    /// Grows with each failure.
    pub failures: u64,
    /// Since when entries wait to be flushed.
    pub unflushed: Option<Instant>,
    /// The keeper is to prepare a new part of the log.
    pub wants_turn: bool,
    /// The keeper prepares one, or has, and the writer did not begin it yet.
    pub is_turning: bool,
    /// The writer began a new part.
    pub has_turned: bool,
    pub is_snapshotting: bool,
    /// When a snapshot is to be asked for again.
    pub ask_at: Option<Instant>,
    /// What the keeper is to log.
    pub news: Option<String>,
}

/// What is taken out of the queue.
#[derive(Default)]
pub struct Batch {
    pub from: u64,
    pub bytes: Vec<u8>,
    pub promises: Vec<Promise>,
}

/// Buffers above this size are given back after use.
const MOST_BUFFER: usize = 1 << 20;

impl Batch {
    /// Empties the batch for the next one. Promises that were not kept are broken.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(MOST_BUFFER);
        self.promises.clear();
        self.promises.shrink_to(MOST_BUFFER / mem::size_of::<Promise>());
    }
}

impl State {
    pub fn new(first: u64, retry: Duration) -> State {
        State {
            retry,
            phase: Phase::Running,
            next: first,
            from: first,
            bytes: Vec::new(),
            promises: Vec::new(),
            in_flight: 0,
            is_writing: false,
            is_asleep: false,
            is_poked: false,
            is_stopping: false,
            is_closing: false,
            dropped: 0,
            failures: 0,
            unflushed: None,
            wants_turn: false,
            is_turning: false,
            has_turned: false,
            is_snapshotting: false,
            ask_at: None,
            news: None,
        }
    }

    /// Whether entries are written at all.
    pub fn keeps(&self) -> bool {
        !self.is_closing && !self.is_failing()
    }

    pub fn is_failing(&self) -> bool {
        matches!(self.phase, Phase::Failing { .. })
    }

    /// Whether records count only when a snapshot is durable, which can begin.
    pub fn needs_snapshot(&self) -> bool {
        matches!(self.phase, Phase::Recovering { .. }) && self.has_turned
    }

    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Bytes that are not handed to the system yet.
    pub fn queued(&self) -> usize {
        self.bytes.len() + self.in_flight
    }

    /// Whether the writer has something to do. While writing fails, the log belongs to the keeper, which prepares a new part.
    pub fn has_work(&self) -> bool {
        !self.is_failing() && (self.is_poked || !self.bytes.is_empty() || !self.promises.is_empty())
    }

    /// Gives all that is queued to the writer, whose `batch` is empty.
    pub fn take(&mut self, batch: &mut Batch) {
        mem::swap(&mut self.bytes, &mut batch.bytes);
        mem::swap(&mut self.promises, &mut batch.promises);
        batch.from = mem::replace(&mut self.from, self.next);
        (self.in_flight, self.is_writing, self.is_poked) = (batch.bytes.len(), true, false);
    }

    /// Writing fails from here on. Returns the promises that can't be kept, to be dropped without the lock.
    pub fn fail(&mut self, reason: String) -> Vec<Promise> {
        let now = Instant::now();
        let (since, retry_at) = match self.phase {
            Phase::Failing { .. } => return Vec::new(),
            Phase::Running => (now, now),
            Phase::Recovering { since } => (since, now + self.retry),
        };
        if self.is_running() {
            self.news = Some(reason);
        }
        self.phase = Phase::Failing { since, retry_at };
        self.failures += 1;
        (self.unflushed, self.wants_turn, self.is_turning, self.ask_at) = (None, false, false, None);
        self.bytes = Vec::new();
        self.from = self.next;
        mem::take(&mut self.promises)
    }

    /// Since when writing has been failing.
    pub fn failing_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running => None,
            Phase::Failing { since, .. } | Phase::Recovering { since } => Some(since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_writing_fails_the_writer_leaves_the_log_alone() {
        let mut state = State::new(5, Duration::ZERO);
        assert!(!state.has_work());
        state.is_poked = true;
        assert!(state.has_work());
        assert!(state.fail("full".to_owned()).is_empty() && state.fail("again".to_owned()).is_empty());
        assert!(!state.has_work() && !state.keeps());
        assert_eq!((state.failures, state.news.as_deref()), (1, Some("full")));
        state.phase = Phase::Recovering { since: Instant::now() };
        assert!(state.has_work() && state.keeps(), "the new part waits to be begun");
    }
}
