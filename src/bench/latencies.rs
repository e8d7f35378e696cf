//! A histogram of latencies, the source of the percentiles in a report.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency, in microseconds; longer latencies count as this: one hour.
const LONGEST_US: u64 = 3_600_000_000;

/// The number of latencies of each length, in microseconds with three significant digits.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        // These bounds are right for any histogram.
        Latencies(Histogram::new_with_bounds(1, LONGEST_US, 3).unwrap_or_else(|_| unreachable!("constant bounds")))
    }
}

impl Latencies {
    /// Adds one latency. Less than a microsecond counts as one.
    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US).max(1));
    }

    /// Adds all latencies of `other`.
    pub(super) fn merge(&mut self, other: &Latencies) {
        // Fails only for histograms of different bounds.
        let _ = self.0.add(&other.0);
    }

    /// The number of recorded latencies.
    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that `percent` of all do not exceed, in microseconds.
    pub(super) fn percentile_us(&self, percent: f64) -> u64 {
        self.0.value_at_percentile(percent)
    }

    /// The latency that `percent` of all do not exceed, in milliseconds.
    pub(super) fn percentile_ms(&self, percent: f64) -> f64 {
        self.percentile_us(percent) as f64 / 1_000.0
    }

    /// The longest latency, in seconds; 0 without any.
    pub(super) fn max_s(&self) -> f64 {
        self.0.max() as f64 / 1e6
    }
}
