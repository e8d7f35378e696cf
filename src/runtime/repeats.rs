//! Lines that strangers can cause at will: only some of them are logged.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A spell of equal lines is over after so long without any: the next one is news again.
const CALM: Duration = Duration::from_secs(60);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Counts lines of one kind, and selects the 1st, 2nd, 4th, 8th … of a spell. A flood of causes is then no flood of lines.
/// Without locks.
#[derive(Debug)]
pub struct Repeats {
    /// Lines in the present spell.
    count: AtomicU64,
    /// The time of the last one, in milliseconds since `START`.
    last: AtomicU64,
}

impl Repeats {
    /// No line yet.
    pub const fn new() -> Self {
        Repeats { count: AtomicU64::new(0), last: AtomicU64::new(0) }
    }

    /// Counts one more; its number within the spell if this one is to be logged.
    pub fn again(&self) -> Option<u64> {
        self.again_at(START.elapsed())
    }

    fn again_at(&self, now: Duration) -> Option<u64> {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let last = self.last.swap(now, Relaxed);
        if u128::from(now.saturating_sub(last)) > CALM.as_millis() {
            self.count.store(0, Relaxed);
        }
        let count = self.count.fetch_add(1, Relaxed) + 1;
        count.is_power_of_two().then_some(count)
    }
}

impl Default for Repeats {
    fn default() -> Self {
        Repeats::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_logged_and_a_new_spell_begins_with_one() {
        let repeats = Repeats::new();
        let logged =
            |times: u64, at: Duration| -> Vec<u64> { (0..times).filter_map(|_| repeats.again_at(at)).collect() };
        assert_eq!(logged(20, Duration::from_secs(1)), [1, 2, 4, 8, 16]);
        assert_eq!(logged(20, CALM), [32], "the same spell");
        assert_eq!(logged(3, 3 * CALM), [1, 2], "another spell");
    }
}
