//! The gateway's own clock: it passes only while the gateway could hear its clients.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::model::moment::{Moment, Tick};

/// How often the clock has to be told that the process runs: leases and graces end so much late.
pub const BEAT: Duration = Duration::from_millis(100);

/// The most that passes between two beats. A process that was stopped, or starved for longer, did not
/// hear its clients, and does not hold the time against them.
const MOST: Duration = Duration::from_millis(250);

/// After a gap, what came in meanwhile is read before anyone is judged: so many beats long.
const READING: u32 = 10;

/// A clock that passes from beat to beat. The wall clock and the machine's sleep do not move it either.
#[derive(Debug)]
pub struct Clock(Mutex<Passed>);

#[derive(Debug)]
struct Passed {
    /// What had passed at the last beat.
    before: Duration,
    beat: Instant,
    /// Beats to come in which nobody is judged.
    reading: u32,
}

impl Passed {
    fn by(&self, now: Instant) -> Duration {
        self.before + MOST.min(now.saturating_duration_since(self.beat))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::starting(Instant::now())
    }
}

impl Clock {
    /// A clock whose process was last seen running at `beat`.
    pub fn starting(beat: Instant) -> Self {
        Clock(Mutex::new(Passed { before: Duration::ZERO, beat, reading: 0 }))
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Moment { second, tick: self.tick() }
    }

    /// What time it is on this clock.
    pub fn tick(&self) -> Tick {
        millis(self.0.lock().by(Instant::now()))
    }

    /// Whether it may be judged whose time is over.
    pub fn judges(&self) -> bool {
        self.0.lock().reading == 0
    }

    /// Says that the process runs.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    fn beat_at(&self, now: Instant) {
        let mut passed = self.0.lock();
        let gap = now.saturating_duration_since(passed.beat) > 2 * MOST;
        passed.before = passed.by(now);
        passed.beat = now;
        passed.reading = if gap { READING } else { passed.reading.saturating_sub(1) };
    }
}

/// A length of time as the pure core counts it.
pub fn millis(time: Duration) -> Tick {
    u64::try_from(time.as_millis()).unwrap_or(Tick::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_the_process_was_stopped_does_not_count_and_then_it_reads_first() {
        let mut now = Instant::now();
        let clock = Clock::starting(now);
        let mut after = |time| {
            now += time;
            clock.beat_at(now);
            let before = clock.0.lock().before;
            (millis(before), clock.judges())
        };
        assert_eq!(after(BEAT), (100, true));
        assert_eq!(after(2 * BEAT), (300, true));
        assert_eq!(after(Duration::from_secs(60)), (550, false));
        for n in 1..READING {
            assert_eq!(after(BEAT), (550 + 100 * u64::from(n), false));
        }
        assert!(after(BEAT).1);
    }
}
