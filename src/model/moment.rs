//! Moments, as the pure core is told them.

/// A place on the gateway's own clock, in milliseconds. It starts anew with each gateway and passes
/// neither when the wall clock is set nor while the machine sleeps or the process is stopped: leases
/// and graces last as long as the gateway could have heard from their holders.
pub type Tick = u64;

/// When something happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970, UTC: what people are shown, and how old history is.
    pub second: u64,
    /// What leases and graces are measured by.
    pub tick: Tick,
}

impl Moment {
    /// The second in which `tick` comes, as far as one can say now.
    pub fn second_of(&self, tick: Tick) -> u64 {
        self.second + tick.saturating_sub(self.tick).div_ceil(1_000)
    }
}
