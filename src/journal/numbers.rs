//! What the journal counts, for metrics and logs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the classes of flush times, in seconds; what takes longer is in one more class.
pub const FLUSH_BOUNDS: [f64; 12] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// The state of a journal at one moment. All zero for one in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Bytes of entries that are not handed to the system yet.
    pub queued_bytes: u64,
    /// The bound of `queued_bytes`.
    pub queue_bound: u64,
    /// Entries that were handed to the system.
    pub entries: u64,
    /// Writes of one or more entries.
    pub writes: u64,
    /// Entries that were dropped while writing failed; the next checkpoint has what they made.
    pub dropped: u64,
    /// Flushes by the time that they took, one number for each bound of [`FLUSH_BOUNDS`], and those above.
    pub flushes: [u64; FLUSH_BOUNDS.len() + 1],
    /// The time of all flushes.
    pub flush_time: Duration,
    /// Bytes of records after the newest checkpoint.
    pub tail_bytes: u64,
    /// Bytes of the newest checkpoint.
    pub checkpoint_bytes: u64,
    /// Bytes of all segments and checkpoints.
    pub kept_bytes: u64,
    /// Checkpoints that were finished.
    pub checkpoints: u64,
    /// Times at which writing began to fail.
    pub failures: u64,
    /// How long writing has been failing, if it is.
    pub failing_for: Option<Duration>,
    /// How long the oldest entry that is not flushed has waited, if there is one.
    pub unflushed_for: Option<Duration>,
}

/// The counters behind [`Numbers`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub entries: AtomicU64,
    pub writes: AtomicU64,
    pub checkpoints: AtomicU64,
    pub failures: AtomicU64,
    flushes: [AtomicU64; FLUSH_BOUNDS.len() + 1],
    flush_nanoseconds: AtomicU64,
}

impl Counters {
    /// Counts a write of `entries`.
    pub fn wrote(&self, entries: u64) {
        self.entries.fetch_add(entries, Relaxed);
        self.writes.fetch_add(u64::from(entries > 0), Relaxed);
    }

    /// Counts a flush.
    pub fn flushed(&self, took: Duration) {
        let class = FLUSH_BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        if let Some(class) = self.flushes.get(class) {
            class.fetch_add(1, Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.flush_nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// The counters' values; the rest is zero.
    pub fn read(&self) -> Numbers {
        Numbers {
            entries: self.entries.load(Relaxed),
            writes: self.writes.load(Relaxed),
            checkpoints: self.checkpoints.load(Relaxed),
            failures: self.failures.load(Relaxed),
            flushes: std::array::from_fn(|class| self.flushes.get(class).map_or(0, |class| class.load(Relaxed))),
            flush_time: Duration::from_nanos(self.flush_nanoseconds.load(Relaxed)),
            ..Numbers::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_are_counted_by_their_time() {
        let counters = Counters::default();
        [0, 1_000, 1_001, 9_000_000].into_iter().map(Duration::from_micros).for_each(|took| counters.flushed(took));
        let numbers = counters.read();
        assert_eq!(numbers.flushes, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(numbers.flush_time, Duration::from_micros(9_002_001));
    }
}
