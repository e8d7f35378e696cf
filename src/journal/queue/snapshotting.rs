//! A snapshot that is being written.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::MutexGuard;
use tracing::{info, warn};

use crate::journal::log::{End, Snapshot};
use crate::journal::queue::shared::Shared;
use crate::journal::queue::state::{Phase, SNAPSHOT_AGAIN, State};
use crate::journal::ticket::{NotDurable, Ticket};
use crate::model::cursor::Position;
use crate::model::moment::Moment;

/// A snapshot that is being written. All its calls block. Dropped before its end, it never was, and another one is asked for.
pub struct Snapshotting {
    shared: Arc<Shared>,
    /// `None` when finished.
    snapshot: Option<Box<dyn Snapshot>>,
    /// The failures before it began.
    failures: u64,
    bytes: u64,
    started: Instant,
}

impl Snapshotting {
    pub(super) fn begin(shared: Arc<Shared>) -> Result<Snapshotting, NotDurable> {
        shared.answer_want();
        let mut state = shared.lock();
        if state.is_snapshotting || !state.keeps() {
            return Err(NotDurable);
        }
        state.is_snapshotting = true;
        if state.is_running() {
            (state.wants_turn, state.has_turned) = (!state.is_turning, false);
            shared.chores.notify_one();
        }
        let failures = state.failures;
        while state.keeps() && state.failures == failures && !state.has_turned {
            shared.turned.wait(&mut state);
        }
        let has_begun = state.keeps() && state.failures == failures;
        drop(state);
        // From here on, dropping it takes back what was noted.
        let mut begun = Snapshotting { shared, snapshot: None, failures, bytes: 0, started: Instant::now() };
        if has_begun {
            begun.snapshot = begun.shared.log.put_snapshot().map_err(|error| begun.failed(&error)).map(Some)?;
            return Ok(begun);
        }
        Err(NotDurable)
    }

    /// The entries before this position are in what is read from now on.
    pub fn at(&self) -> Position {
        self.snapshot.as_ref().map_or(Position::default(), |snapshot| snapshot.at())
    }

    /// Adds a part.
    ///
    /// # Errors
    ///
    /// The snapshot can't be written.
    pub fn put(&mut self, part: &[u8]) -> Result<(), NotDurable> {
        if !self.shared.lock().keeps() {
            return Err(NotDurable);
        }
        self.bytes += part.len() as u64;
        let put = self.snapshot.as_mut().ok_or(NotDurable)?.put(part);
        put.map_err(|error| self.failed(&error))
    }

    /// Makes the snapshot durable, and ends a failure.
    ///
    /// # Errors
    ///
    /// The snapshot may be lost.
    pub fn finish(mut self, now: Moment) -> Result<(), NotDurable> {
        let snapshot = self.snapshot.take().ok_or(NotDurable)?;
        // What the snapshot has of later entries must not be all that is left of them.
        let last = self.all_written()?;
        if let Err(error) = self.shared.flush() {
            self.shared.fail(error.to_string());
            return Err(self.failed(&error));
        }
        let parts = self.bytes;
        snapshot.finish(End { last, moment: now }).map_err(|error| self.failed(&error))?;
        self.shared.counters.checkpoints.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let took = self.started.elapsed();
        info!(bytes = parts, took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX), "wrote a checkpoint");
        let mut state = self.shared.lock();
        state.is_snapshotting = false;
        if state.failures != self.failures || !state.keeps() {
            self.leave(state);
            return Err(NotDurable);
        }
        self.recovered(&mut state);
        drop(state);
        self.shared.poke();
        self.shared.log.tidy();
        Ok(())
    }

    /// Another snapshot may begin, and after a failure in the time of this one it must.
    fn leave(&self, state: MutexGuard<'_, State>) {
        let is_needed = state.needs_snapshot();
        drop(state);
        if is_needed {
            self.shared.want();
        }
    }

    fn recovered(&self, state: &mut State) {
        if let Phase::Recovering { since } = state.phase {
            state.phase = Phase::Running;
            self.shared.admit(state);
            let failed_for_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            warn!(
                failed_for_ms,
                dropped = state.dropped,
                "the journal is written again, and a checkpoint has all changes"
            );
        }
    }

    /// Waits until all entries so far are handed to the system; the last position of them.
    fn all_written(&self) -> Result<Position, NotDurable> {
        let (promise, ticket) = Ticket::promised();
        let mut state = self.shared.lock();
        if !state.keeps() || state.failures != self.failures {
            return Err(NotDurable);
        }
        state.promises.push(promise);
        let last = Position(state.next.saturating_sub(1));
        drop(state);
        self.shared.poke();
        ticket.wait().map(|()| last)
    }

    fn failed(&self, error: &io::Error) -> NotDurable {
        warn!(%error, "a checkpoint could not be written");
        NotDurable
    }
}

impl Drop for Snapshotting {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if !std::mem::take(&mut state.is_snapshotting) {
            return;
        }
        let is_own = state.failures == self.failures;
        let broken = match state.phase {
            Phase::Recovering { .. } if is_own => state.fail(String::new()),
            Phase::Recovering { .. } | Phase::Running | Phase::Failing { .. } => Vec::new(),
        };
        if state.is_running() {
            state.ask_at = Some(Instant::now() + SNAPSHOT_AGAIN);
        }
        self.leave(state);
        drop(broken);
        self.shared.chores.notify_one();
    }
}
