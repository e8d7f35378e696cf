//! Positions: places in the order of all entries.

pub use crate::model::cursor::Position;

/// Positions stay below this, because clients compare them as JavaScript numbers.
pub const MAX_POSITION: u64 = 1 << 53;
