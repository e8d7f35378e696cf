//! The meter: counters of the gateway's own work, for operators.
//!
//! Counters are atomic, without locks. A counter shared by all threads costs 5 to 20 ns. What a hub counts for each delivery
//! stands in the hub's own [`HubMeter`] instead, and is summed when read.

pub mod histogram;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::hold::Transport;
use crate::model::outcome::Outcome;
use crate::model::refusal::{Code, TABLE};
use crate::runtime::meter::histogram::{Durations, Histogram};

/// From 16 us to 0.5 s.
type Passes = Histogram<16>;

/// From 64 us to 2.1 s.
type Lags = Histogram<64>;

/// From 1 us to 33 ms.
type Waits = Histogram<1>;

/// From 0.25 s to 2.3 hours.
type Absences = Histogram<250_000>;

/// The counters of a gateway. All of them only grow.
#[derive(Debug, Default)]
pub struct Meter {
    opened: [AtomicU64; 2],
    closed: [AtomicU64; 2],
    sent: [AtomicU64; 2],
    added: AtomicU64,
    removed: AtomicU64,
    events: AtomicU64,
    grace_saves: AtomicU64,
    absences: Absences,
    refusals: Refusals,
    caught_up: [AtomicU64; 3],
    lock_waits: Waits,
    hubs: Mutex<Vec<Arc<HubMeter>>>,
}

/// Refusals by code, in the order of [`TABLE`].
#[derive(Debug)]
struct Refusals([AtomicU64; TABLE.len()]);

impl Default for Refusals {
    fn default() -> Self {
        Refusals(std::array::from_fn(|_| AtomicU64::default()))
    }
}

/// How a reader with a cursor went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// With the events after the cursor: the history reached back to it.
    Events,
    /// With netted changes.
    Changes,
    /// With the whole set.
    Snapshot,
}

/// The counters of one hub, written by this hub only: a cache line that several hubs write would travel between processors.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct HubMeter {
    deliveries: AtomicU64,
    sent: [AtomicU64; 2],
    passes: Passes,
    lags: Lags,
}

/// One pass of a hub: its writes of a room's events to all readers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// Events, counted for each reader.
    pub deliveries: usize,
    /// Bytes written, by [`Transport`].
    pub sent: [usize; 2],
    /// The duration.
    pub took: Duration,
    /// The time from the announcement of the first of the events to the end of the pass.
    pub lag: Option<Duration>,
}

/// An open stream, counted as closed when dropped.
#[derive(Debug)]
pub struct Stream {
    meter: Arc<Meter>,
    transport: Transport,
}

impl Meter {
    /// Counts a stream as open until the returned value is dropped.
    pub fn stream(self: &Arc<Self>, transport: Transport) -> Stream {
        self.opened[transport as usize].fetch_add(1, Relaxed);
        Stream { meter: self.clone(), transport }
    }

    /// The counters of a new hub.
    pub fn hub(&self) -> Arc<HubMeter> {
        let hub = Arc::<HubMeter>::default();
        self.hubs.lock().push(hub.clone());
        hub
    }

    /// Counts the effect of some commands on a room.
    pub fn happened(&self, outcome: &Outcome) {
        self.events.fetch_add(outcome.events as u64, Relaxed);
        self.added.fetch_add(outcome.added as u64, Relaxed);
        self.removed.fetch_add(outcome.removed as u64, Relaxed);
        if outcome.saved > 0 {
            self.grace_saves.fetch_add(outcome.saved as u64, Relaxed);
        }
        outcome.absences.iter().for_each(|absence| self.absences.note(*absence));
    }

    /// Counts a room that is another now, with so many new events and members.
    pub fn shown(&self, events: usize, (before, after): (usize, usize)) {
        self.events.fetch_add(events as u64, Relaxed);
        self.added.fetch_add(after.saturating_sub(before) as u64, Relaxed);
        self.removed.fetch_add(before.saturating_sub(after) as u64, Relaxed);
    }

    /// Counts a refused request or message.
    pub fn refused(&self, code: Code) {
        self.refusals.0[code as usize].fetch_add(1, Relaxed);
    }

    /// Counts a step of a reader from its cursor.
    pub fn caught_up(&self, how: CatchUp) {
        self.caught_up[how as usize].fetch_add(1, Relaxed);
    }

    /// Counts a wait for a room's lock.
    pub fn waited(&self, wait: Duration) {
        self.lock_waits.note(wait);
    }

    /// Streams opened so far.
    pub fn opened(&self, transport: Transport) -> u64 {
        self.opened[transport as usize].load(Relaxed)
    }

    /// Streams that are open.
    pub fn open(&self, transport: Transport) -> u64 {
        // In this order: a stream that opens and closes in between must not make the difference negative.
        let closed = self.closed[transport as usize].load(Relaxed);
        self.opened(transport).saturating_sub(closed)
    }

    /// Bytes written to streams so far.
    pub fn sent(&self, transport: Transport) -> u64 {
        let at = transport as usize;
        self.sent[at].load(Relaxed) + self.of_hubs(|hub| hub.sent[at].load(Relaxed))
    }

    /// Members of all rooms.
    pub fn members(&self) -> u64 {
        let removed = self.removed.load(Relaxed);
        self.added.load(Relaxed).saturating_sub(removed)
    }

    /// Events of all rooms so far.
    pub fn events(&self) -> u64 {
        self.events.load(Relaxed)
    }

    /// Deliveries so far: each event once for each reader.
    pub fn deliveries(&self) -> u64 {
        self.of_hubs(|hub| hub.deliveries.load(Relaxed))
    }

    /// Lost connections so far whose client came back within the grace period.
    pub fn grace_saves(&self) -> u64 {
        self.grace_saves.load(Relaxed)
    }

    /// The times from a connection's loss to the `del` of its user.
    pub fn absences(&self) -> Durations {
        self.absences.read()
    }

    /// Refusals so far, by code.
    pub fn refusals(&self) -> [(&'static str, u64); TABLE.len()] {
        std::array::from_fn(|at| (TABLE[at].name, self.refusals.0[at].load(Relaxed)))
    }

    /// Steps of readers from their cursors so far.
    pub fn catch_ups(&self, how: CatchUp) -> u64 {
        self.caught_up[how as usize].load(Relaxed)
    }

    /// The waits for rooms' locks.
    pub fn lock_waits(&self) -> Durations {
        self.lock_waits.read()
    }

    /// The durations of all passes.
    pub fn passes(&self) -> Durations {
        let hubs = self.hubs.lock();
        hubs.iter().fold(Passes::default().read(), |all, hub| all.add(&hub.passes.read()))
    }

    /// The lags of all passes.
    pub fn lags(&self) -> Durations {
        let hubs = self.hubs.lock();
        hubs.iter().fold(Lags::default().read(), |all, hub| all.add(&hub.lags.read()))
    }

    fn of_hubs(&self, count: impl Fn(&HubMeter) -> u64) -> u64 {
        self.hubs.lock().iter().map(|hub| count(hub)).sum()
    }
}

impl HubMeter {
    /// Counts one pass.
    pub fn passed(&self, pass: &Pass) {
        self.deliveries.fetch_add(pass.deliveries as u64, Relaxed);
        self.sent(pass.sent);
        self.passes.note(pass.took);
        pass.lag.iter().for_each(|lag| self.lags.note(*lag));
    }

    /// Counts bytes written, by [`Transport`].
    pub fn sent(&self, bytes: [usize; 2]) {
        for (all, bytes) in self.sent.iter().zip(bytes) {
            all.fetch_add(bytes as u64, Relaxed);
        }
    }
}

impl Stream {
    /// Counts bytes that were written beside a hub's passes.
    pub fn sent(&self, bytes: usize) {
        if bytes > 0 {
            self.meter.sent[self.transport as usize].fetch_add(bytes as u64, Relaxed);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.meter.closed[self.transport as usize].fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cursor::Cursor;

    #[test]
    fn a_stream_is_open_until_it_is_dropped() {
        let meter = Arc::new(Meter::default());
        let first = meter.stream(Transport::Sse);
        let _second = meter.stream(Transport::Sse);
        drop(first);
        assert_eq!((meter.opened(Transport::Sse), meter.open(Transport::Sse)), (2, 1));
        assert_eq!((meter.opened(Transport::WebSocket), meter.open(Transport::WebSocket)), (0, 0));
    }

    #[test]
    fn members_are_the_users_added_less_the_users_removed() {
        let meter = Meter::default();
        let outcome = |events, added, removed, absences: &[u64]| Outcome {
            added,
            removed,
            events,
            saved: 2,
            absences: absences.iter().copied().map(Duration::from_secs).collect(),
            ..Outcome::none(Cursor::default())
        };
        meter.happened(&outcome(5, 3, 1, &[5, 6]));
        meter.happened(&outcome(1, 0, 1, &[]));
        assert_eq!((meter.members(), meter.events(), meter.grace_saves()), (1, 6, 4));
        assert_eq!((meter.absences().count(), meter.absences().sum), (2, 11.0));
    }

    #[test]
    fn what_hubs_and_streams_count_is_summed() {
        let meter = Arc::new(Meter::default());
        let stream = meter.stream(Transport::WebSocket);
        stream.sent(1_000);
        let took = Duration::from_millis(1);
        for lag in [None, Some(took)] {
            meter.hub().passed(&Pass { deliveries: 3, sent: [70, 200], took, lag });
        }
        assert_eq!(meter.deliveries(), 6);
        assert_eq!([Transport::Sse, Transport::WebSocket].map(|transport| meter.sent(transport)), [140, 1_400]);
        assert_eq!((meter.passes().count(), meter.lags().count()), (2, 1));
    }

    #[test]
    fn refusals_are_counted_by_their_code() {
        let meter = Meter::default();
        meter.refused(Code::NotJoined);
        meter.refused(Code::Failed);
        let counted = meter.refusals().into_iter().filter(|(_, count)| *count > 0);
        assert_eq!(counted.collect::<Vec<_>>(), [("not_joined", 1), ("failed", 1)]);
    }
}
