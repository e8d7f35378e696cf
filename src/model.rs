//! The pure core: rooms, members, commands and events as values.
//!
//! May import: nothing of Presently outside this folder; no executor, clock, socket or random number. Time and ids are
//! arguments, so the same commands at the same moments always make the same room.

pub mod origin;
pub mod refusal;
pub mod name;
pub mod count;
pub mod json;
pub mod meta;
pub mod info;
pub mod statement;
pub mod id;
pub mod moment;
pub mod cursor;
pub mod identity;
pub mod hold;
pub mod roster;
pub mod event;
pub mod command;
pub mod history;
pub mod snapshot;
pub mod changes;
pub mod deadlines;
pub mod denylist;
pub mod outcome;
pub mod presence;
