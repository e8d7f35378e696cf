//! Keys: the identity of a room in memory.

/// A room's key: unique among the rooms in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey(usize);

impl RoomKey {
    /// The key of the room at this place in memory.
    pub fn of<R>(room: &R) -> Self {
        RoomKey(std::ptr::from_ref(room).addr())
    }
}
