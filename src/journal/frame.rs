//! Bytes of the journal's files.

/// The version of the format.
pub const VERSION: u32 = 1;
