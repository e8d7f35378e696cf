//! Positions: places in the order of all entries.

use std::fmt;

/// The number of an entry, and of an event. A later one is larger; numbers may be skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Positions stay below this, because clients compare them as JavaScript numbers.
pub const MAX_POSITION: u64 = 1 << 53;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
