//! Upkeep: the rooms with a deadline or a stored edition, so that no task has to search all rooms.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::model::moment::Tick;
use crate::rooms::key::RoomKey;
use crate::rooms::netted::Withdraw;

/// The rooms that need attention later. The locks here are taken under a room's lock, and never the other way round.
#[derive(Debug)]
pub struct Upkeep<R> {
    /// The rooms that store an edition: since the last tick, and since the tick before.
    editions: Mutex<[Vec<Weak<R>>; 2]>,
    /// All editions and changes that have readers, with the ticks since they were made.
    under_way: Mutex<Vec<(u32, Weak<dyn Withdraw>)>>,
    /// The rooms in which a hold ends by itself, by the earliest deadline.
    deadlines: Mutex<BTreeMap<(Tick, RoomKey), Weak<R>>>,
    /// The rooms that their last reader has left and that do not exist.
    left: Mutex<Vec<Arc<R>>>,
    /// Whether there are such rooms. Most readers leave existing rooms.
    any_left: AtomicBool,
}

impl<R> Default for Upkeep<R> {
    fn default() -> Self {
        Upkeep {
            editions: Mutex::default(),
            under_way: Mutex::default(),
            deadlines: Mutex::default(),
            left: Mutex::default(),
            any_left: AtomicBool::new(false),
        }
    }
}

impl<R> Upkeep<R> {
    /// Notes that `room` stores an edition.
    pub fn stores_edition(&self, room: &Arc<R>) {
        self.editions.lock()[0].push(Arc::downgrade(room));
    }

    /// Notes an edition, or changes, that a reader begins.
    pub fn begins(&self, set: Weak<dyn Withdraw>) {
        self.under_way.lock().push((0, set));
    }

    /// What slow readers still read: no further reader gets these editions, because no room stores them any more.
    pub fn left_behind(&self) -> Vec<Arc<dyn Withdraw>> {
        let under_way = self.under_way.lock();
        under_way.iter().filter(|(ticks, _)| *ticks >= 2).filter_map(|(_, set)| set.upgrade()).collect()
    }

    /// The rooms whose edition was stored before the last tick. Called once each tick.
    pub fn old_editions(&self) -> Vec<Arc<R>> {
        let mut under_way = self.under_way.lock();
        under_way.retain(|(_, set)| set.strong_count() > 0);
        under_way.iter_mut().for_each(|(ticks, _)| *ticks += 1);
        drop(under_way);
        let mut rooms = self.editions.lock();
        let old = std::mem::take(&mut rooms[1]);
        rooms[1] = std::mem::take(&mut rooms[0]);
        drop(rooms);
        old.iter().filter_map(Weak::upgrade).collect()
    }

    /// Notes that the last reader has left `room`.
    pub fn leaves(&self, room: Arc<R>) {
        self.left.lock().push(room);
        self.any_left.store(true, Relaxed);
    }

    /// The rooms that their last reader has left since the last call.
    pub fn left(&self) -> Vec<Arc<R>> {
        match self.any_left.swap(false, Relaxed) {
            true => std::mem::take(&mut *self.left.lock()),
            false => Vec::new(),
        }
    }

    /// The room with the earliest deadline, if the deadline has passed.
    pub fn due(&self, now: Tick) -> Option<Arc<R>> {
        let mut deadlines = self.deadlines.lock();
        loop {
            let first = deadlines.first_entry().filter(|first| first.key().0 <= now)?;
            match first.get().upgrade() {
                Some(room) => return Some(room),
                None => drop(first.remove()),
            }
        }
    }

    /// Whether a hold in any room ends by itself.
    pub fn has_deadlines(&self) -> bool {
        !self.deadlines.lock().is_empty()
    }

    /// Moves the deadline of `room` from `old` to `new`; `None` is no deadline.
    pub fn move_deadline(&self, room: &Arc<R>, old: Option<Tick>, new: Option<Tick>) {
        let key = RoomKey::of(&**room);
        let mut deadlines = self.deadlines.lock();
        if let Some(old) = old {
            deadlines.remove(&(old, key));
        }
        if let Some(new) = new {
            deadlines.insert((new, key), Arc::downgrade(room));
        }
    }
}
