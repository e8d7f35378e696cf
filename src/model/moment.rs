//! Points in time, given to the model as arguments.

use std::ops::Add;
use std::time::Duration;

/// A point on the gateway's own clock, in milliseconds. The clock stands still while the machine sleeps or the process
/// is stopped, and does not follow the wall clock: only time counts in which the gateway could read from its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

/// A point on the wall clock: milliseconds since 1970, UTC.
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

/// When a reader's place in a room was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// For people: the time on the wall clock.
    pub at: Timestamp,
    /// The milliseconds until the grace period after the gateway's start is over, if it is not: members of before the start
    /// may be missing until then.
    pub fresh_for: Option<u64>,
}

impl Moment {
    /// The expected time of `tick` on the wall clock, rounded up to a second.
    pub fn time_of(&self, tick: Tick) -> Timestamp {
        let time = self.time.0.saturating_add(tick.0.saturating_sub(self.tick.0));
        Timestamp(time.div_ceil(1_000).saturating_mul(1_000))
    }
}

impl Add<Duration> for Tick {
    type Output = Tick;

    fn add(self, time: Duration) -> Tick {
        Tick(self.0.saturating_add(millis(time)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, time: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(millis(time)))
    }
}

impl Timestamp {
    /// The point in time `age` earlier.
    pub fn before(self, age: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(millis(age)))
    }
}

impl Tick {
    /// The point in time `age` earlier.
    pub fn before(self, age: Duration) -> Tick {
        Tick(self.0.saturating_sub(millis(age)))
    }

    /// The time since `earlier`.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
