//! The thread that flushes, prepares new parts of the log, and begins anew after a failure.

use std::time::{Duration, Instant};

use tracing::{error, warn};

use crate::journal::queue::options::SyncMode;
use crate::journal::queue::shared::Shared;
use crate::journal::queue::state::{Phase, State};
use crate::runtime::repeats::Repeats;

/// Attempts to begin anew that failed.
static ATTEMPTS: Repeats = Repeats::new();

/// The keeper looks for chores at least this often.
const IDLE: Duration = Duration::from_secs(60);

enum Chore {
    Say(String),
    Flush,
    Turn,
    BeginAnew,
    AskForSnapshot,
}

pub(super) fn run(shared: &Shared) {
    let mut flushed_at = None;
    while let Some(chore) = next(shared, flushed_at) {
        match chore {
            Chore::Say(reason) => error!(reason, "writing the journal fails: changes are refused until it works again"),
            Chore::Flush => {
                flushed_at = Some(Instant::now());
                match shared.flush() {
                    Ok(()) if shared.log.has_note() => shared.poke(),
                    Ok(()) => {}
                    Err(error) => shared.fail(error.to_string()),
                }
            }
            Chore::Turn => match shared.log.turn(false) {
                Ok(()) => shared.poke(),
                Err(error) => shared.fail(error.to_string()),
            },
            Chore::BeginAnew => begin_anew(shared),
            Chore::AskForSnapshot => shared.want(),
        }
    }
}

/// Waits for a chore; `None` when the journal is closed.
fn next(shared: &Shared, flushed_at: Option<Instant>) -> Option<Chore> {
    let mut state = shared.lock();
    loop {
        if state.is_closing {
            return None;
        }
        let now = Instant::now();
        if let Some(chore) = due(&mut state, now) {
            return Some(chore);
        }
        let flush_at = match shared.options.sync {
            SyncMode::Always => None,
            // A write after a pause is flushed at once, and busy ones once in each interval.
            SyncMode::Every(interval) => {
                state.unflushed.map(|since| flushed_at.map_or(since, |at| since.max(at + interval)))
            }
        };
        if flush_at.is_some_and(|at| at <= now) {
            state.unflushed = None;
            return Some(Chore::Flush);
        }
        let retry_at = match state.phase {
            Phase::Failing { retry_at, .. } if !state.is_writing => Some(retry_at),
            Phase::Failing { .. } | Phase::Running | Phase::Recovering { .. } => None,
        };
        let until = [flush_at, retry_at, state.ask_at].into_iter().flatten().min().unwrap_or(now + IDLE);
        shared.chores.wait_until(&mut state, until);
    }
}

fn due(state: &mut State, now: Instant) -> Option<Chore> {
    if let Some(reason) = state.news.take() {
        return Some(Chore::Say(reason));
    }
    if std::mem::take(&mut state.wants_turn) {
        state.is_turning = true;
        return Some(Chore::Turn);
    }
    if state.ask_at.take_if(|at| *at <= now).is_some() {
        return Some(Chore::AskForSnapshot);
    }
    let retry = state.retry;
    match &mut state.phase {
        // A write that hangs must end first: it could reach the new part.
        Phase::Failing { retry_at, .. } if *retry_at <= now && !state.is_writing => {
            *retry_at = now + retry;
            Some(Chore::BeginAnew)
        }
        Phase::Failing { .. } | Phase::Running | Phase::Recovering { .. } => None,
    }
}

/// Begins a new part of the log, which counts when a snapshot is durable.
fn begin_anew(shared: &Shared) {
    if let Err(error) = shared.log.turn(true) {
        if let Some(times) = ATTEMPTS.again() {
            warn!(times, %error, "the journal can't be written yet");
        }
        return;
    }
    let mut state = shared.lock();
    if let Phase::Failing { since, .. } = state.phase {
        state.phase = Phase::Recovering { since };
        state.from = state.next;
        state.has_turned = false;
    }
    drop(state);
    shared.poke();
}
