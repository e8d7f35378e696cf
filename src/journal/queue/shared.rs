//! What rooms, the writer, the keeper and a snapshot share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::journal::frame;
use crate::journal::log::{Appended, Log, Record};
use crate::journal::numbers::{Counters, Numbers};
use crate::journal::queue::options::{Options, SyncMode};
use crate::journal::queue::state::{Batch, State};
use crate::journal::ticket::{Given, NotDurable, Refused, Ticket};
use crate::model::cursor::Position;

/// A part of the log with more bytes is followed by a new one.
const MOST_PART: u64 = 64 << 20;

/// A snapshot is not worth its writing while the records after the last one take less.
const LEAST_TAIL: u64 = 8 << 20;

/// How often a journal that closes looks whether a snapshot has ended.
const SETTLES: Duration = Duration::from_millis(10);

const OPEN: u8 = 0;
const NOT_DURABLE: u8 = 1;
const STOPPING: u8 = 2;

pub struct Shared {
    pub log: Arc<dyn Log>,
    pub options: Options,
    pub counters: Counters,
    /// What [`Shared::admits`] says, kept up to date under the lock.
    admission: AtomicU8,
    state: Mutex<State>,
    /// The writer waits here for work,
    work: Condvar,
    /// the keeper for its chores,
    pub chores: Condvar,
    /// and a snapshot for a new part of the log.
    pub turned: Condvar,
    is_wanted: AtomicBool,
    wanted: Notify,
}

impl Shared {
    pub fn new(log: Arc<dyn Log>, first: Position, options: Options) -> Shared {
        Shared {
            log,
            options,
            counters: Counters::default(),
            admission: AtomicU8::new(OPEN),
            state: Mutex::new(State::new(first.0, options.retry)),
            work: Condvar::new(),
            chores: Condvar::new(),
            turned: Condvar::new(),
            is_wanted: AtomicBool::new(false),
            wanted: Notify::new(),
        }
    }

    /// Runs a thread of the journal. If it panics, writing fails.
    pub fn run(&self, run: fn(&Shared)) {
        struct Ends<'a>(&'a Shared);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                let is_closing = self.0.lock().is_closing;
                if !is_closing {
                    self.0.fail("a thread of the journal ended".to_owned());
                }
            }
        }
        let _ends = Ends(self);
        run(self);
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    #[inline]
    pub fn admits(&self) -> Result<(), Refused> {
        match self.admission.load(Relaxed) {
            OPEN => Ok(()),
            STOPPING => Err(Refused::Stopping),
            _ => Err(Refused::NotDurable),
        }
    }

    /// Works out what [`Shared::admits`] says. Called after each change of what it depends on.
    pub fn admit(&self, state: &State) {
        let admission = match state {
            state if state.is_stopping || state.is_closing => STOPPING,
            state if !state.is_running() || state.queued() > self.options.queue => NOT_DURABLE,
            _ => OPEN,
        };
        self.admission.store(admission, Relaxed);
    }

    pub fn append(&self, mut record: Record<'_>, waits: bool) -> Given {
        let promised = waits.then(Ticket::promised);
        let mut state = self.state.lock();
        let position = Position(state.next);
        state.next = state.next.saturating_add(u64::from(record.takes));
        if !state.keeps() {
            state.dropped += 1;
            return Given { position, ticket: if waits { Ticket::lost() } else { Ticket::done() } };
        }
        record.position = position;
        frame::push(&record, &mut state.bytes);
        let ticket = match promised {
            None => Ticket::done(),
            // Nothing counts before the snapshot.
            Some(_) if !state.is_running() => Ticket::lost(),
            Some((promise, ticket)) => {
                state.promises.push(promise);
                ticket
            }
        };
        let broken = if state.queued() > self.options.queue { self.overfull(&mut state) } else { Vec::new() };
        let wakes = std::mem::take(&mut state.is_asleep);
        drop(state);
        drop(broken);
        if wakes {
            self.work.notify_one();
        }
        Given { position, ticket }
    }

    /// The queue is full: changes are refused. What may not be refused still finds room, up to twice the bound.
    fn overfull(&self, state: &mut State) -> Vec<crate::journal::ticket::Promise> {
        let bound = self.options.queue.saturating_mul(2);
        let broken = match state.queued() > bound {
            true => {
                self.chores.notify_one();
                state.fail("the disk is too slow: the queue is full twice over".to_owned())
            }
            false => Vec::new(),
        };
        self.admit(state);
        broken
    }

    /// Waits for work and takes it; false when the journal is closed and all is written.
    pub fn take(&self, batch: &mut Batch) -> bool {
        let mut state = self.state.lock();
        while !state.has_work() {
            if state.is_closing {
                return false;
            }
            state.is_asleep = true;
            self.work.wait(&mut state);
            state.is_asleep = false;
        }
        state.take(batch);
        true
    }

    /// A batch was handed to the system; whether its promises hold.
    pub fn wrote(&self, appended: Appended) -> bool {
        self.counters.wrote(appended.entries);
        let sizes = self.log.sizes();
        let mut state = self.state.lock();
        let was_full = state.queued() > self.options.queue;
        (state.in_flight, state.is_writing) = (0, false);
        if was_full {
            self.admit(&state);
        }
        if state.is_failing() {
            self.chores.notify_one();
            return false;
        }
        if appended.turned {
            (state.has_turned, state.is_turning) = (true, false);
            self.turned.notify_all();
        }
        let is_recovered = appended.turned && !state.is_running();
        let is_long = sizes.tail > sizes.snapshot.max(LEAST_TAIL) && state.ask_at.is_none();
        if (is_recovered || is_long) && !state.is_snapshotting {
            self.want();
        }
        if appended.entries > 0 && state.unflushed.is_none() && self.options.sync != SyncMode::Always {
            state.unflushed = Some(Instant::now());
            self.chores.notify_one();
        }
        if sizes.part > MOST_PART && state.is_running() && !state.wants_turn && !state.is_turning {
            state.wants_turn = true;
            self.chores.notify_one();
        }
        true
    }

    /// A step of the log's failed.
    pub fn fail(&self, reason: String) {
        let mut state = self.state.lock();
        let broken = state.fail(reason);
        self.admit(&state);
        drop(state);
        drop(broken);
        self.chores.notify_one();
        self.turned.notify_all();
    }

    /// The writer is no longer in the log: after a failure.
    pub fn idle(&self) {
        let mut state = self.state.lock();
        (state.in_flight, state.is_writing) = (0, false);
        self.chores.notify_one();
    }

    /// Wakes the writer, which has something to do besides entries.
    pub fn poke(&self) {
        self.state.lock().is_poked = true;
        self.work.notify_one();
    }

    /// Flushes, and counts the time.
    pub fn flush(&self) -> io::Result<()> {
        let start = Instant::now();
        self.log.flush()?;
        self.counters.flushed(start.elapsed());
        Ok(())
    }

    /// Asks for a snapshot.
    pub fn want(&self) {
        if !self.is_wanted.swap(true, Relaxed) {
            self.wanted.notify_waiters();
        }
    }

    /// A snapshot is begun.
    pub fn answer_want(&self) {
        self.is_wanted.store(false, Relaxed);
    }

    pub async fn wanted(&self) {
        loop {
            let told = self.wanted.notified();
            if self.is_wanted.load(Relaxed) {
                return;
            }
            told.await;
        }
    }

    pub fn next(&self) -> u64 {
        self.state.lock().next
    }

    pub fn is_failing(&self) -> bool {
        !self.state.lock().is_running()
    }

    pub fn numbers(&self) -> Numbers {
        let sizes = self.log.sizes();
        let state = self.state.lock();
        Numbers {
            queued_bytes: state.queued() as u64,
            queue_bound: self.options.queue as u64,
            dropped: state.dropped,
            failures: state.failures,
            failing_for: state.failing_since().map(|since| since.elapsed()),
            unflushed_for: state.unflushed.map(|since| since.elapsed()),
            tail_bytes: sizes.tail,
            checkpoint_bytes: sizes.snapshot,
            kept_bytes: sizes.kept,
            ..self.counters.read()
        }
    }

    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.is_stopping = true;
        self.admit(&state);
    }

    pub fn close(&self) {
        let mut state = self.state.lock();
        state.is_closing = true;
        self.admit(&state);
        drop(state);
        self.work.notify_all();
        self.chores.notify_all();
        self.turned.notify_all();
    }

    /// Waits until no snapshot is being written. None begins after [`Shared::close`].
    pub fn settle(&self) {
        let mut state = self.state.lock();
        while state.is_snapshotting {
            self.turned.wait_for(&mut state, SETTLES);
        }
    }

    /// The last flush, and its note, after the threads have ended.
    pub fn end(&self) -> Result<(), NotDurable> {
        let (is_running, next) = {
            let state = self.state.lock();
            (state.is_running(), state.next)
        };
        if !is_running || self.flush().is_err() {
            return Err(NotDurable);
        }
        self.log.append(Position(next), &mut Vec::new()).map(drop).map_err(|_| NotDurable)
    }
}
