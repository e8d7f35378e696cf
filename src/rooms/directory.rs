//! The directory: rooms by name.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use dashmap::DashMap;

use crate::model::cursor::{Cursor, Epoch};
use crate::model::name::Name;
use crate::model::presence::{Bounds, Presence};
use crate::model::refusal::{Code, Refusal};
use crate::rooms::room::Room;
use crate::rooms::upkeep::Upkeep;

/// Rooms by name, a bounded number.
#[derive(Debug)]
pub struct Directory {
    map: DashMap<Name, Arc<Room>>,
    count: AtomicUsize,
    most: usize,
    bounds: Bounds,
    last_epoch: AtomicU64,
    upkeep: Arc<Upkeep<Room>>,
}

impl Directory {
    /// A directory of at most `most` rooms, each within `bounds`. Each room gets an epoch of its own, counted from
    /// `epoch`, so a start at random keeps the cursors of two processes apart.
    pub fn new(most: usize, bounds: Bounds, epoch: Epoch) -> Self {
        Directory {
            map: DashMap::new(),
            count: AtomicUsize::new(0),
            most,
            bounds,
            last_epoch: AtomicU64::new(epoch.0),
            upkeep: Arc::default(),
        }
    }

    /// The rooms that need attention later.
    pub fn upkeep(&self) -> &Upkeep<Room> {
        &self.upkeep
    }

    /// The number of rooms.
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// The room named `name`.
    pub fn find(&self, name: &Name) -> Option<Arc<Room>> {
        self.map.get(name).map(|entry| entry.value().clone())
    }

    /// The room named `name`, created if absent.
    ///
    /// # Errors
    ///
    /// `too_many_rooms` at the bound.
    pub fn find_or_create(&self, name: &Name) -> Result<Arc<Room>, Refusal> {
        self.find(name).map_or_else(|| self.create(name), Ok)
    }

    fn create(&self, name: &Name) -> Result<Arc<Room>, Refusal> {
        if self.count.fetch_add(1, Relaxed) >= self.most {
            self.count.fetch_sub(1, Relaxed);
            let message = format!("there are {} rooms, the maximum", self.most);
            return Err(Refusal::new(Code::TooManyRooms, message).of("room"));
        }
        let mut is_new = false;
        let entry = self.map.entry(name.clone()).or_insert_with(|| {
            is_new = true;
            let epoch = Epoch(self.last_epoch.fetch_add(1, Relaxed) + 1);
            let start = Cursor { epoch, ..Cursor::default() };
            Arc::new(Room::new(Presence::new(name.clone(), start, self.bounds), self.upkeep.clone()))
        });
        let room = entry.value().clone();
        drop(entry);
        if !is_new {
            self.count.fetch_sub(1, Relaxed);
        }
        Ok(room)
    }

    /// The names of at most `limit` rooms after the name `after`, in byte order.
    pub fn names(&self, after: Option<&str>, limit: usize) -> Vec<Name> {
        let mut first = BinaryHeap::with_capacity(limit + 1);
        for entry in &self.map {
            if after.is_none_or(|after| **entry.key() > *after) {
                first.push(entry.key().clone());
                if first.len() > limit {
                    first.pop();
                }
            }
        }
        first.into_sorted_vec()
    }

    /// Removes the rooms for which `is_idle` is true. While `is_idle` runs for a room, nobody can find the room.
    pub fn remove_idle(&self, is_idle: impl Fn(&Arc<Room>) -> bool) {
        let names: Vec<Name> = self.map.iter().map(|entry| entry.key().clone()).collect();
        for name in names {
            if self.map.remove_if(&name, |_, room| is_idle(room)).is_some() {
                self.count.fetch_sub(1, Relaxed);
            }
        }
    }

    /// The state of an absent room: empty, and in an epoch of no room, so that the cursor resumes nowhere.
    pub fn absent(&self, name: &Name) -> Presence {
        Presence::new(name.clone(), Cursor::default(), self.bounds)
    }
}
