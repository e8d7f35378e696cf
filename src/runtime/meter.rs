//! What the gateway counts of its own work, for operators.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::model::hold::Transport;

/// A pass takes this long or less, then twice as long, and so on: 16 us to half a second.
const SHORTEST: Duration = Duration::from_micros(16);
const BOUNDS: usize = 16;

/// Counters that only grow, but for the streams that are open. Nobody waits for anybody here.
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

/// An open stream; closed when dropped.
#[derive(Debug)]
pub struct Stream {
    meter: Arc<Meter>,
    transport: Transport,
}

/// How long passes took so far.
#[derive(Clone, Debug)]
pub struct Passes {
    /// How many took as long as the bound or less, but longer than the one before; with the others under infinity.
    pub buckets: Vec<(f64, u64)>,
    /// All of them together, in seconds.
    pub sum: f64,
}

impl Meter {
    /// Counts a stream for as long as what is returned lives.
    pub fn stream(self: &Arc<Self>, transport: Transport) -> Stream {
        self.opened[index(transport)].fetch_add(1, Relaxed);
        Stream { meter: self.clone(), transport }
    }

    /// Events happened in a room, by which some users became members and some are members no more.
    pub fn happened(&self, events: usize, added: usize, removed: usize) {
        self.events.fetch_add(events as u64, Relaxed);
        self.added.fetch_add(added as u64, Relaxed);
        self.removed.fetch_add(removed as u64, Relaxed);
    }

    /// A hub wrote a room's events to its readers, in a pass that took so long.
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
        // In this order, or one that opens and closes in between would make it less than none.
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

    /// Events written to readers so far, each time to each of them.
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Relaxed)
    }

    /// How long passes took so far.
    pub fn passes(&self) -> Passes {
        let counts = self.passes.iter().map(|count| count.load(Relaxed));
        let bounds = (0..BOUNDS).map(|bucket| bound(bucket).as_secs_f64()).chain([f64::MAX]);
        let sum = Duration::from_micros(self.pass_micros.load(Relaxed)).as_secs_f64();
        Passes { buckets: bounds.zip(counts).collect(), sum }
    }
}

impl Passes {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The bound that 99 of 100 kept, in seconds; `None` while there were none, or when it was beyond the last.
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
    fn members_are_those_who_came_less_those_who_went() {
        let meter = Meter::default();
        meter.happened(5, 3, 1);
        meter.happened(1, 0, 1);
        assert_eq!((meter.members(), meter.events()), (1, 6));
    }

    #[test]
    fn passes_are_told_by_the_bound_that_99_of_100_kept() {
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
