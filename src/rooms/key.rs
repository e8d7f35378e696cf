//! Keys: what tells one room in memory from all others.

/// A room's key: unique among the rooms that anybody keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey(usize);

impl RoomKey {
    /// The key of the room that lies at this place in memory.
    pub fn of<R>(room: &R) -> Self {
        RoomKey(std::ptr::from_ref(room).addr())
    }
}
