//! The gateway's own clock, which runs only while the gateway could read from its clients.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::model::moment::{Moment, Tick, Timestamp};

/// The interval of [`Clock::beat`]. Leases and grace periods end late by up to one beat.
pub const BEAT: Duration = Duration::from_millis(100);

/// The most time that counts between two beats. A process that was stopped, or starved for longer, did not read from
/// its clients meanwhile.
const MAX_STEP: Duration = Duration::from_millis(250);

/// The beats after a gap in which no deadline is enforced, so that the bytes that arrived meanwhile are read first.
const CATCH_UP_BEATS: u32 = 10;

/// The longest time, on this clock, in which further gaps prolong a catch-up. A process that is starved for good sees a gap
/// at each beat, and its deadlines must still be enforced now and then.
const MAX_CATCH_UP: Duration = Duration::from_secs(3);

/// A clock that advances from beat to beat, independent of the wall clock and of the machine's sleep.
#[derive(Debug)]
pub struct Clock(Mutex<Reading>);

#[derive(Debug)]
struct Reading {
    /// The clock's time at the last beat.
    at_beat: Tick,
    beat: Instant,
    catch_up: Option<CatchUp>,
}

/// The beats after a gap.
#[derive(Clone, Copy, Debug)]
struct CatchUp {
    /// The clock's time at the first gap.
    began: Tick,
    /// Beats to come in which no deadline is enforced.
    beats: u32,
}

impl Reading {
    fn by(&self, now: Instant) -> Tick {
        self.at_beat + MAX_STEP.min(now.saturating_duration_since(self.beat))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::starting(Tick::default(), Instant::now())
    }
}

impl Clock {
    /// A clock that shows `at_beat` at `beat`, when the process was last seen running.
    pub fn starting(at_beat: Tick, beat: Instant) -> Self {
        Clock(Mutex::new(Reading { at_beat, beat, catch_up: None }))
    }

    /// The present moment on both clocks.
    pub fn now(&self) -> Moment {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { time: Timestamp(0) + time, tick: self.tick() }
    }

    /// The present time on this clock.
    pub fn tick(&self) -> Tick {
        self.0.lock().by(Instant::now())
    }

    /// Whether deadlines may be enforced now.
    pub fn enforces_deadlines(&self) -> bool {
        self.0.lock().catch_up.is_none()
    }

    /// Notes that the process runs.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    fn beat_at(&self, now: Instant) {
        let mut reading = self.0.lock();
        let is_gap = now.saturating_duration_since(reading.beat) > 2 * MAX_STEP;
        reading.at_beat = reading.by(now);
        reading.beat = now;
        reading.catch_up = match (is_gap, reading.catch_up) {
            (false, catch_up) => catch_up.map(|c| CatchUp { beats: c.beats - 1, ..c }).filter(|c| c.beats > 0),
            (true, None) => Some(CatchUp { began: reading.at_beat, beats: CATCH_UP_BEATS }),
            (true, Some(CatchUp { began, .. })) => {
                let may_go_on = reading.at_beat < began + MAX_CATCH_UP;
                may_go_on.then_some(CatchUp { began, beats: CATCH_UP_BEATS })
            }
        };
    }
}

/// The wall time in seconds since 1970, UTC, as tokens have it (RFC 7519, 2).
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_the_process_was_stopped_does_not_count_and_deadlines_wait() {
        let mut now = Instant::now();
        let clock = Clock::starting(Tick(0), now);
        let mut after = |time| {
            now += time;
            clock.beat_at(now);
            let at_beat = clock.0.lock().at_beat;
            (at_beat.0, clock.enforces_deadlines())
        };
        assert_eq!(after(BEAT), (100, true));
        assert_eq!(after(2 * BEAT), (300, true));
        assert_eq!(after(Duration::from_secs(60)), (550, false));
        for n in 1..CATCH_UP_BEATS {
            assert_eq!(after(BEAT), (550 + 100 * u64::from(n), false));
        }
        assert!(after(BEAT).1);
    }

    /// A process that gets 60 ms of each 660 ms has a gap before each beat.
    #[test]
    fn a_process_that_is_starved_for_good_enforces_deadlines_now_and_then() {
        let mut now = Instant::now();
        let clock = Clock::starting(Tick(0), now);
        let mut enforced = Vec::new();
        for beat in 0..40 {
            now += Duration::from_millis(660);
            clock.beat_at(now);
            enforced.extend(clock.enforces_deadlines().then_some(beat));
        }
        assert_eq!(enforced, [12, 25, 38]);
    }

    #[test]
    fn a_second_stop_during_the_catch_up_prolongs_it() {
        let mut now = Instant::now();
        let clock = Clock::starting(Tick(0), now);
        for gap in [60_000, 100, 100, 60_000] {
            now += Duration::from_millis(gap);
            clock.beat_at(now);
        }
        for _ in 1..CATCH_UP_BEATS {
            now += BEAT;
            clock.beat_at(now);
            assert!(!clock.enforces_deadlines());
        }
        clock.beat_at(now + BEAT);
        assert!(clock.enforces_deadlines());
    }
}
