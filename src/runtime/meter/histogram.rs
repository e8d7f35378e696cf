//! Histograms of durations, without locks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The bounds of a histogram. Each bound is twice the bound before.
const BOUNDS: usize = 16;

/// Counts durations by the bound that they keep: `FIRST` microseconds, and up to 32,768 times as much.
#[derive(Debug, Default)]
pub struct Histogram<const FIRST: u64> {
    counts: [AtomicU64; BOUNDS + 1],
    nanos: AtomicU64,
}

impl<const FIRST: u64> Histogram<FIRST> {
    /// Counts one duration.
    pub fn note(&self, took: Duration) {
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        let bucket = (0..BOUNDS).find(|bucket| took <= Self::bound(*bucket)).unwrap_or(BOUNDS);
        self.counts[bucket].fetch_add(1, Relaxed);
    }

    /// All durations so far.
    pub fn read(&self) -> Durations {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        let bounds = (0..BOUNDS).map(|bucket| Self::bound(bucket).as_secs_f64()).chain([f64::INFINITY]);
        let sum = Duration::from_nanos(self.nanos.load(Relaxed)).as_secs_f64();
        Durations { buckets: bounds.zip(counts).collect(), sum }
    }

    fn bound(bucket: usize) -> Duration {
        Duration::from_micros(FIRST << bucket)
    }
}

/// Durations as read from a histogram.
#[derive(Clone, Debug)]
pub struct Durations {
    /// Each bucket's bound in seconds, and the number of durations above the bound before and not above this one. The last
    /// bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all durations, in seconds.
    pub sum: f64,
}

impl Durations {
    /// Adds the durations of a histogram with the same bounds.
    pub fn add(mut self, other: &Durations) -> Self {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|((_, count), (_, more))| *count += more);
        self.sum += other.sum;
        self
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The bound in seconds that 99 of 100 durations kept; `None` without durations, or beyond the last finite bound.
    pub fn p99(&self) -> Option<f64> {
        let most = self.count().checked_sub(1)? * 99 / 100;
        let mut passed = 0;
        let bucket = self.buckets.iter().find(|(_, count)| {
            passed += count;
            passed > most
        });
        bucket.map(|(bound, _)| *bound).filter(|bound| bound.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p99_is_the_bound_that_99_of_100_durations_kept() {
        let all = Histogram::<16>::default();
        assert_eq!((all.read().count(), all.read().p99()), (0, None));
        for _ in 0..99 {
            all.note(Duration::from_micros(20));
        }
        assert_eq!(all.read().p99(), Some(32e-6));
        all.note(Duration::from_millis(1));
        assert_eq!(all.read().p99(), Some(32e-6), "one of a hundred");
        all.note(Duration::from_millis(1));
        assert_eq!(all.read().p99(), Some(1_024e-6), "two of a hundred and one");
        (0..9).for_each(|_| all.note(Duration::from_secs(9)));
        assert_eq!(all.read().p99(), None, "longer than any bound");
    }

    #[test]
    fn a_duration_at_a_bound_keeps_the_bound_and_sums_are_exact() {
        let all = Histogram::<1>::default();
        for nanos in [0, 1_000, 1_001, 2_000, 32_768_000, 32_768_001] {
            all.note(Duration::from_nanos(nanos));
        }
        let read = all.read().add(&all.read());
        let counted: Vec<_> = read.buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(counted, [(1e-6, 4), (2e-6, 4), (32_768e-6, 2), (f64::INFINITY, 2)]);
        assert_eq!((read.count(), (read.sum * 1e9).round()), (12, 131_080_004.0));
    }
}
