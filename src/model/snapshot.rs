//! Snapshots: the whole set of a room at a cursor.

use crate::model::cursor::Cursor;
use crate::model::moment::Taken;
use crate::model::name::Name;
use crate::model::roster::Roster;

/// The whole set of a room at a cursor. Taken in microseconds also for a million members, which it shares with the room.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The room.
    pub room: Name,
    /// The last event that the set includes.
    pub cursor: Cursor,
    /// When the set was taken.
    pub taken: Taken,
    /// The set.
    pub roster: Roster,
}
