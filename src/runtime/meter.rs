//! The meter: counters of the gateway's own work, for operators.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::model::hold::Transport;

/// The bound of the first bucket. Each further bucket has twice the bound: 16 us to half a second.
const SHORTEST: Duration = Duration::from_micros(16);
const BOUNDS: usize = 16;

/// Counters without locks. All of them only grow.
#[derive(Debug, Default)]
pub struct Meter {
    opened: [AtomicU64; 2],
    closed: [AtomicU64; 2],
    added: AtomicU64,
    removed: AtomicU64,
    events: AtomicU64,
    deliveries: AtomicU64,
    passes: [AtomicU64; BOUNDS + 1],
    pass_micros: AtomicU64,
}

/// An open stream, counted as closed when dropped.
#[derive(Debug)]
pub struct Stream {
    meter: Arc<Meter>,
    transport: Transport,
}

/// The duration of all passes so far.
#[derive(Clone, Debug)]
pub struct Passes {
    /// Each bucket's bound in seconds, and the number of passes that took longer than the bound before and not longer
    /// than this one. The last bound stands for infinity.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all durations, in seconds.
    pub sum: f64,
}

impl Meter {
    /// Counts a stream as open until the returned value is dropped.
    pub fn stream(self: &Arc<Self>, transport: Transport) -> Stream {
        self.opened[index(transport)].fetch_add(1, Relaxed);
        Stream { meter: self.clone(), transport }
    }

    /// Counts the events of a room, the users who became members and the users who are no longer members.
    pub fn happened(&self, events: usize, added: usize, removed: usize) {
        self.events.fetch_add(events as u64, Relaxed);
        self.added.fetch_add(added as u64, Relaxed);
        self.removed.fetch_add(removed as u64, Relaxed);
    }

    /// Counts one pass of a hub: its writes of a room's events to readers.
    pub fn passed(&self, deliveries: usize, took: Duration) {
        self.deliveries.fetch_add(deliveries as u64, Relaxed);
        self.pass_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        let bucket = (0..BOUNDS).find(|bucket| took <= bound(*bucket)).unwrap_or(BOUNDS);
        self.passes[bucket].fetch_add(1, Relaxed);
    }

    /// Streams opened so far.
    pub fn opened(&self, transport: Transport) -> u64 {
        self.opened[index(transport)].load(Relaxed)
    }

    /// Streams that are open.
    pub fn open(&self, transport: Transport) -> u64 {
        // In this order: a stream that opens and closes in between must not make the difference negative.
        let closed = self.closed[index(transport)].load(Relaxed);
        self.opened(transport).saturating_sub(closed)
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
        self.deliveries.load(Relaxed)
    }

    /// The duration of all passes so far.
    pub fn passes(&self) -> Passes {
        let counts = self.passes.iter().map(|count| count.load(Relaxed));
        let bounds = (0..BOUNDS).map(|bucket| bound(bucket).as_secs_f64()).chain([f64::MAX]);
        let sum = Duration::from_micros(self.pass_micros.load(Relaxed)).as_secs_f64();
        Passes { buckets: bounds.zip(counts).collect(), sum }
    }
}

impl Passes {
    /// The number of passes.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The bound in seconds that 99 of 100 passes kept; `None` without passes, or beyond the last bound.
    pub fn p99(&self) -> Option<f64> {
        let most = self.count().checked_sub(1)? * 99 / 100;
        let mut passed = 0;
        let bucket = self.buckets.iter().find(|(_, count)| {
            passed += count;
            passed > most
        });
        bucket.map(|(bound, _)| *bound).filter(|bound| *bound < f64::MAX)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.meter.closed[index(self.transport)].fetch_add(1, Relaxed);
    }
}

fn bound(bucket: usize) -> Duration {
    SHORTEST * (1 << bucket)
}

fn index(transport: Transport) -> usize {
    match transport {
        Transport::Sse => 0,
        Transport::WebSocket => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        meter.happened(5, 3, 1);
        meter.happened(1, 0, 1);
        assert_eq!((meter.members(), meter.events()), (1, 6));
    }

    #[test]
    fn p99_is_the_bound_that_99_of_100_passes_kept() {
        let meter = Meter::default();
        assert_eq!((meter.passes().count(), meter.passes().p99()), (0, None));
        for _ in 0..99 {
            meter.passed(2, Duration::from_micros(20));
        }
        assert_eq!(meter.passes().p99(), Some(32e-6));
        meter.passed(2, Duration::from_millis(1));
        assert_eq!(meter.passes().p99(), Some(32e-6), "one of a hundred");
        meter.passed(2, Duration::from_millis(1));
        assert_eq!(meter.passes().p99(), Some(1_024e-6), "two of a hundred and one");
        assert_eq!((meter.deliveries(), meter.passes().count()), (202, 101));
        (0..9).for_each(|_| meter.passed(0, Duration::from_secs(9)));
        assert_eq!(meter.passes().p99(), None, "longer than any bound");
    }
}
