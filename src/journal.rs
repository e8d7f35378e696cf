//! The journal: what lasts. All changes in one order, and checkpoints of the whole state.
//!
//! The pure half knows no file and no clock: entries, their bytes, checkpoints, and the fold that makes the state of them.
//!
//! May import: [`crate::model`], [`crate::access`], [`crate::runtime`].

pub mod bytes;
pub mod entry;
pub mod values;
pub mod codec;
pub mod checkpoint;
pub mod fold;

#[cfg(test)]
mod made_up;
