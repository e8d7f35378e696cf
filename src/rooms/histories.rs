//! Histories: the rooms by the size of their history, so that the largest are found when memory is short.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::rooms::key::RoomKey;

/// The classes of sizes: each begins at four times the size of the one before, the first at one byte.
const CLASSES: usize = 33;

/// The rooms that remember events, by class. A room changes its class rarely: when its history has become four times as
/// large, or eight times as small. So an event hardly ever needs the lock here, which is taken under the room's lock.
#[derive(Debug)]
pub struct Histories<R>(Mutex<[BTreeMap<RoomKey, Weak<R>>; CLASSES]>);

/// The class of a room without a history, in which no rooms are listed.
pub const NONE: usize = 0;

/// The class of rooms whose history is to be kept as long as there is any other. No history is so short by itself.
pub const LAST: usize = 1;

impl<R> Default for Histories<R> {
    fn default() -> Self {
        Histories(Mutex::new(std::array::from_fn(|_| BTreeMap::new())))
    }
}

impl<R> Histories<R> {
    /// Moves `room`, which is in the class `from` and remembers `bytes` now. Returns the class where it is then.
    pub fn move_room(&self, room: &Arc<R>, from: usize, bytes: usize) -> usize {
        let to = class(bytes);
        // A size that goes up and down at a boundary stays in the class.
        if to == from || (to < from && bytes > 0 && class(2 * bytes) == from) {
            return from;
        }
        self.relist(room, from, to);
        to
    }

    /// Lists `room`, which is in the class `from`, in the class `to`.
    pub fn relist(&self, room: &Arc<R>, from: usize, to: usize) {
        let key = RoomKey::of(&**room);
        let mut classes = self.0.lock();
        classes[from].remove(&key);
        if to != NONE {
            classes[to].insert(key, Arc::downgrade(room));
        }
    }

    /// One of the rooms with the largest histories; `None` when no room remembers anything.
    pub fn largest(&self) -> Option<Arc<R>> {
        let mut classes = self.0.lock();
        for class in classes.iter_mut().rev() {
            while let Some(first) = class.first_entry() {
                match first.get().upgrade() {
                    Some(room) => return Some(room),
                    None => drop(first.remove()),
                }
            }
        }
        None
    }
}

fn class(bytes: usize) -> usize {
    (usize::BITS - bytes.leading_zeros()).div_ceil(2) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_found_and_a_size_at_a_boundary_stays_in_its_class() {
        let histories = Histories::default();
        let [small, large] = [Arc::new("small"), Arc::new("large")];
        assert_eq!(histories.largest(), None);
        let small_class = histories.move_room(&small, NONE, 1_000);
        let large_class = histories.move_room(&large, NONE, 4_096);
        assert!(small_class < large_class);
        assert_eq!(histories.largest(), Some(large.clone()));
        assert_eq!(histories.move_room(&large, large_class, 4_000), large_class);
        assert_eq!(histories.move_room(&large, large_class, 1_000), small_class);
        assert_eq!(histories.move_room(&large, small_class, 0), NONE);
        assert_eq!(histories.largest(), Some(small.clone()));
        drop(small);
        assert_eq!(histories.largest(), None);
        let class = histories.move_room(&large, NONE, usize::MAX / 2);
        assert_eq!(class, CLASSES - 1);
        histories.relist(&large, class, LAST);
        assert_eq!(histories.move_room(&large, LAST, 4_096), large_class, "with its next event");
    }
}
