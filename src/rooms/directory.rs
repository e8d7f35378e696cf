//! The directory: rooms by name, those that exist and those that are only watched.

use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::RwLock;

use crate::model::count::Prefix;
use crate::model::cursor::{Cursor, Epoch};
use crate::model::identity::Identity;
use crate::model::name::Name;
use crate::model::presence::{Bounds, Presence};
use crate::rooms::registers::Registers;
use crate::rooms::room::{Following, Room};

/// Rooms by name.
///
/// A room exists while it has members or remembered events, and a bounded number of rooms exist. A room that is only
/// watched is in memory as long as its readers; connections bound their number.
#[derive(Debug)]
pub struct Directory {
    map: DashMap<Name, Arc<Room>>,
    bounds: Bounds,
    identity: RwLock<Identity>,
    registers: Arc<Registers<Room>>,
}

impl Directory {
    /// A directory of rooms in `registers`, each within `bounds`. `identity` keeps the rooms' cursors apart from those of
    /// other journals.
    pub fn new(registers: Registers<Room>, bounds: Bounds, identity: Identity) -> Self {
        let (registers, identity) = (Arc::new(registers), RwLock::new(identity));
        Directory { map: DashMap::new(), bounds, identity, registers }
    }

    /// From here on, rooms are those of this journal.
    pub fn is_of(&self, identity: Identity) {
        if *self.identity.read() != identity {
            *self.identity.write() = identity;
        }
    }

    /// The epoch of the room named `name`.
    pub fn epoch(&self, name: &Name) -> Epoch {
        self.identity.read().epoch(name)
    }

    /// The bounds of each room.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The names of all rooms in memory.
    pub fn names(&self) -> Vec<Name> {
        self.map.iter().map(|entry| entry.key().clone()).collect()
    }

    /// What all rooms share.
    pub fn registers(&self) -> &Registers<Room> {
        &self.registers
    }

    /// The room named `name`, if it is in memory.
    pub fn find(&self, name: &Name) -> Option<Arc<Room>> {
        self.map.get(name).map(|entry| entry.value().clone())
    }

    /// The room named `name`, made if it is not in memory. A made room does not exist before its first member.
    pub fn find_or_make(&self, name: &Name) -> Arc<Room> {
        self.find(name).unwrap_or_else(|| {
            let make = || {
                // Behind all events of earlier rooms of this name.
                let start = Cursor { epoch: self.epoch(name), offset: self.registers.journal.last().offset() };
                Arc::new(Room::new(Presence::new(name.clone(), start, self.bounds), self.registers.clone()))
            };
            self.map.entry(name.clone()).or_insert_with(make).value().clone()
        })
    }

    /// Puts back a room that was kept. A bound on rooms that is lower now refuses only further rooms.
    pub fn restore(&self, presence: Presence) {
        let name = presence.room().clone();
        let room = Arc::new(Room::new(presence, self.registers.clone()));
        room.restore();
        self.map.insert(name, room);
    }

    /// Adds a reader to the room named `name`, which is made if it is not in memory.
    pub fn follow(&self, name: &Name) -> Following {
        self.release_left();
        loop {
            if let Some(following) = self.find_or_make(name).follow() {
                return following;
            }
        }
    }

    /// Removes the rooms that their last reader has left and that do not exist. Called often: before each new reader and
    /// once each tick.
    pub fn release_left(&self) {
        self.registers.upkeep.left().iter().for_each(|room| self.release(room));
    }

    /// Removes `room` from memory, if it has no reader and does not exist.
    pub fn release(&self, room: &Arc<Room>) {
        // The room's lock is not held here, and the map's is only with the room's inside.
        let name = room.read(|presence| presence.room().clone());
        self.map.remove_if(&name, |_, found| Arc::ptr_eq(found, room) && room.retire());
    }

    /// Removes the existing rooms for which `is_idle` is true. While `is_idle` runs for a room, nobody can find the room.
    pub fn remove_idle(&self, is_idle: impl Fn(&Arc<Room>) -> bool) {
        for name in self.registers.index.all() {
            self.map.remove_if(&name, |_, room| is_idle(room));
        }
    }

    /// At most `limit` of the existing rooms that `prefix` selects, after the name `after`, in byte order, with their
    /// numbers of members. Each count is read at a moment of its own.
    pub fn counts(&self, prefix: &Prefix, after: Option<&str>, limit: usize) -> Vec<(Name, usize)> {
        let count = |room: Name| {
            let count = self.find(&room).map_or(0, |room| room.read(|presence| presence.roster().len()));
            (room, count)
        };
        self.registers.index.after(prefix, after, limit).into_iter().map(count).collect()
    }

    /// The number of rooms in memory.
    #[cfg(test)]
    pub fn in_memory(&self) -> usize {
        self.map.len()
    }

    /// The state of an absent room: empty, and in an epoch of no room, so that the cursor resumes nowhere.
    pub fn absent(&self, name: &Name) -> Presence {
        Presence::new(name.clone(), Cursor::default(), self.bounds)
    }
}
