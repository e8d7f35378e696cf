//! Points in time, given to the model as arguments.

use std::ops::Add;
use std::time::Duration;

/// A point on the gateway's own clock, in milliseconds. The clock stands still while the machine sleeps or the process
/// is stopped, and does not follow the wall clock: only time counts in which the gateway could read from its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

/// A point on the wall clock: whole seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// For people. It may step in either direction, so nothing is decided by it.
    pub time: Timestamp,
    /// For deadlines, and for the age of events.
    pub tick: Tick,
}

impl Moment {
    /// The expected time of `tick` on the wall clock, rounded up to a second.
    pub fn time_of(&self, tick: Tick) -> Timestamp {
        Timestamp(self.time.0 + tick.0.saturating_sub(self.tick.0).div_ceil(1_000))
    }
}

impl Add<Duration> for Tick {
    type Output = Tick;

    fn add(self, time: Duration) -> Tick {
        Tick(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, time: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(time.as_secs()))
    }
}

impl Tick {
    /// The point in time `age` earlier.
    pub fn before(self, age: Duration) -> Tick {
        Tick(self.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
    }
}
