//! Where the positions of a process begin.

use crate::model::moment::Timestamp;

pub use crate::model::cursor::Position;

/// Positions stay below this, because clients compare them as JavaScript numbers.
pub const MAX_POSITION: u64 = 1 << 53;

/// The positions of a millisecond: more than a gateway can make events in one.
const PER_MILLISECOND: u64 = 1_024;

/// 2100-01-01. A wall clock beyond it is wrong, and would use up the positions.
const LATEST: Timestamp = Timestamp(4_102_444_800_000);

/// The longest step where the wall clock is of no help.
const STEP: u64 = 1 << 32;

/// The first position of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Above the wall clock.
    ByClock(Position),
    /// A random step above the last position: the wall clock is not above it, or wrong.
    ByStep(Position),
}

impl First {
    /// The first position after `last`. Restored files know nothing of the positions used since they were copied, but the
    /// wall clock is above these; where it is not, a random step makes it unlikely that a position is used again.
    pub fn after(last: Position, now: Timestamp, random: u64) -> First {
        let by_clock = now.0.saturating_mul(PER_MILLISECOND).saturating_add(1);
        match now <= LATEST && by_clock > last.0 {
            true => First::ByClock(Position(by_clock)),
            false => First::ByStep(Position(last.0.saturating_add(1 + random % STEP))),
        }
    }

    /// The position.
    pub fn position(self) -> Position {
        match self {
            First::ByClock(position) | First::ByStep(position) => position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_above_the_clock_or_a_random_step_above_the_last() {
        let now = Timestamp(1_800_000_000_000);
        let by_clock = Position(now.0 * 1_024 + 1);
        assert_eq!(First::after(Position(0), now, 7), First::ByClock(by_clock));
        assert_eq!(First::after(Position(by_clock.0 - 1), now, 7), First::ByClock(by_clock));
        assert_eq!(First::after(by_clock, now, 7), First::ByStep(Position(by_clock.0 + 8)));
        assert_eq!(First::after(Position(5), Timestamp(LATEST.0 + 1), u64::MAX), First::ByStep(Position(5 + STEP)));
        assert!(First::after(Position(0), LATEST, 0).position().0 < MAX_POSITION);
    }
}
