//! Rooms as all tasks share them: found by name, changed under one lock, announced to the hubs.

use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::command::Command;
use crate::edition::Edition;
use crate::name::Name;
use crate::presence::{Bounds, Outcome, Presence};
use crate::refusal::{Code, Refusal};

/// How many rooms' news a hub may fall behind before it looks through all of its rooms instead.
const NEWS: usize = 1_024;

/// The largest set whose snapshot is kept framed for others: some 10 MB. A larger one is framed for
/// each reader anew, piece by piece.
const SHARED: usize = 100_000;

/// A snapshot made for somebody else is good enough while the events since then are few beside it:
/// one for so many members.
const FRESH: u64 = 16;

/// One room, shared.
#[derive(Debug)]
pub struct Room {
    state: Mutex<State>,
    editions: Arc<Editions>,
}

#[derive(Debug)]
struct State {
    presence: Presence,
    /// How many connections follow the room.
    readers: usize,
    /// The snapshot that was asked for last, for those who ask within a second or two.
    edition: Option<Arc<Edition>>,
    /// Set when the room is taken out of the map: whoever still has it looks it up anew.
    retired: bool,
}

/// The room was taken out of the map meanwhile.
struct Retired;

impl Room {
    fn new(presence: Presence, editions: Arc<Editions>) -> Self {
        let state = State { presence, readers: 0, edition: None, retired: false };
        Room { state: Mutex::new(state), editions }
    }

    /// Reads the room at one moment. `read` must be short: it holds up the room's writers.
    pub fn look<T>(&self, read: impl FnOnce(&Presence) -> T) -> T {
        read(&self.state.lock().presence)
    }

    /// The whole set, from now or a moment ago: those who come back together share the work of
    /// encoding it, and get the events since then like any others.
    pub fn edition(self: &Arc<Self>) -> Arc<Edition> {
        let mut state = self.state.lock();
        let few = state.presence.roster().len() as u64 / FRESH;
        let good = |at| state.presence.head().offset - at <= few;
        if let Some(edition) = &state.edition
            && state.presence.place(edition.cursor()).is_some_and(good)
        {
            return edition.clone();
        }
        let edition = Arc::new(Edition::new(state.presence.snapshot()));
        if state.presence.roster().len() <= SHARED {
            state.edition = Some(edition.clone());
            self.editions.made_in(self);
        }
        edition
    }

    fn enter<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T, Retired> {
        let mut state = self.state.lock();
        if state.retired { Err(Retired) } else { Ok(act(&mut state)) }
    }

    fn retire_if_idle(&self, before: u64) -> bool {
        let mut state = self.state.lock();
        state.presence.trim(before);
        state.retired = state.readers == 0 && state.presence.is_idle();
        state.retired
    }
}

/// A reader's stake in a room, which keeps the room while it lasts.
#[derive(Debug)]
pub struct Following(Arc<Room>);

impl Following {
    /// The room that is followed.
    pub fn room(&self) -> &Arc<Room> {
        &self.0
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.state.lock().readers -= 1;
    }
}

/// Which rooms keep an edition: since the last tick, and since the one before.
#[derive(Debug, Default)]
struct Editions(Mutex<[Vec<Weak<Room>>; 2]>);

impl Editions {
    fn made_in(&self, room: &Arc<Room>) {
        self.0.lock()[0].push(Arc::downgrade(room));
    }

    /// Drops those that are a tick old.
    fn tick(&self) {
        let mut rooms = self.0.lock();
        let old = std::mem::take(&mut rooms[1]);
        rooms[1] = std::mem::take(&mut rooms[0]);
        drop(rooms);
        old.iter().filter_map(Weak::upgrade).for_each(|room| room.state.lock().edition = None);
    }
}

/// All rooms, by name.
#[derive(Debug)]
pub struct Rooms {
    map: DashMap<Name, Arc<Room>>,
    count: AtomicUsize,
    most: usize,
    bounds: Bounds,
    /// The next room's epoch. It starts at random, so that a cursor from before a restart is not
    /// taken for one of now.
    epoch: AtomicU64,
    editions: Arc<Editions>,
    /// Names the rooms that have news. It carries no events: those are in the room's history, where
    /// each reader's cursor finds them, so a hub that is late joins what has gathered.
    news: broadcast::Sender<Arc<Room>>,
}

impl Rooms {
    /// No rooms yet, and at most `most`.
    pub fn new(most: usize, bounds: Bounds) -> Self {
        let (random, _) = Uuid::new_v4().as_u64_pair();
        Rooms {
            map: DashMap::new(),
            count: AtomicUsize::new(0),
            most,
            bounds,
            // 48 bits: ten characters in each cursor, and no two starts alike in practice.
            epoch: AtomicU64::new(random >> 16),
            editions: Arc::default(),
            news: broadcast::Sender::new(NEWS),
        }
    }

    /// Does all of `commands` in `room`, or none; tells the hubs of the change.
    pub fn change(&self, room: &Name, commands: &[Command]) -> Result<Outcome, Refusal> {
        let adds = commands.iter().any(Command::adds);
        loop {
            let shared = match self.find(room) {
                Some(shared) => shared,
                None if adds => self.make(room)?,
                // Nobody is there to be changed: an empty room of the moment says so.
                None => return self.nobody(room).apply(commands, now()),
            };
            let Ok(outcome) = shared.enter(|state| state.presence.apply(commands, now())) else {
                continue;
            };
            if outcome.as_ref().is_ok_and(|outcome| outcome.changed) {
                // Fails only when no hub listens, and then nobody waits for news.
                let _ = self.news.send(shared);
            }
            return outcome;
        }
    }

    /// Reads `room` at one moment; one that nobody named reads as empty.
    pub fn look<T>(&self, room: &Name, read: impl FnOnce(&Presence) -> T) -> T {
        match self.find(room) {
            Some(shared) => shared.look(read),
            None => read(&self.nobody(room)),
        }
    }

    /// Takes a stake in `room` for a reader.
    pub fn follow(&self, room: &Name) -> Result<Following, Refusal> {
        loop {
            let shared = self.find(room).map_or_else(|| self.make(room), Ok)?;
            if shared.enter(|state| state.readers += 1).is_ok() {
                return Ok(Following(shared));
            }
        }
    }

    /// At most `limit` rooms after the name `after`, in byte order, with their counts.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Vec<(Name, usize)> {
        let mut first = BinaryHeap::with_capacity(limit + 1);
        for entry in &self.map {
            if after.is_none_or(|after| **entry.key() > *after) {
                first.push(entry.key().clone());
                if first.len() > limit {
                    first.pop();
                }
            }
        }
        let count = |name: Name| {
            let count = self.look(&name, |presence| presence.roster().len());
            (name, count)
        };
        first.into_sorted_vec().into_iter().map(count).collect()
    }

    /// Forgets events older than `age` seconds, and the rooms in which nothing is left.
    pub fn sweep(&self, age: u64) {
        let before = now().saturating_sub(age);
        let names: Vec<Name> = self.map.iter().map(|entry| entry.key().clone()).collect();
        for name in names {
            if self.map.remove_if(&name, |_, room| room.retire_if_idle(before)).is_some() {
                self.count.fetch_sub(1, Relaxed);
            }
        }
    }

    /// Lets go of snapshots that nobody asked for since the last tick but one.
    pub fn tick(&self) {
        self.editions.tick();
    }

    /// Listens for rooms that have news.
    pub fn news(&self) -> broadcast::Receiver<Arc<Room>> {
        self.news.subscribe()
    }

    fn find(&self, room: &Name) -> Option<Arc<Room>> {
        self.map.get(room).map(|entry| entry.value().clone())
    }

    fn make(&self, room: &Name) -> Result<Arc<Room>, Refusal> {
        if self.count.fetch_add(1, Relaxed) >= self.most {
            self.count.fetch_sub(1, Relaxed);
            let message = format!("there are {} rooms, and no more than that may be", self.most);
            return Err(Refusal::new(Code::TooManyRooms, message).of("room"));
        }
        let mut made = false;
        let entry = self.map.entry(room.clone()).or_insert_with(|| {
            made = true;
            let epoch = self.epoch.fetch_add(1, Relaxed) + 1;
            Arc::new(Room::new(Presence::new(room.clone(), epoch, self.bounds), self.editions.clone()))
        });
        let shared = entry.value().clone();
        drop(entry);
        if !made {
            self.count.fetch_sub(1, Relaxed);
        }
        Ok(shared)
    }

    /// What a room that does not exist looks like. Its epoch is no room's, so its cursor resumes nowhere.
    fn nobody(&self, room: &Name) -> Presence {
        Presence::new(room.clone(), 0, self.bounds)
    }
}

/// Seconds since 1970, UTC.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { history: 10, members: 0 };

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn sign_in(rooms: &Rooms, room: &str, user: &str) -> Result<Outcome, Refusal> {
        rooms.change(&name(room), &[Command::SignIn { user: name(user), meta: None }])
    }

    fn sign_out(rooms: &Rooms, room: &str, user: &str) -> Outcome {
        rooms.change(&name(room), &[Command::SignOut { user: name(user) }]).unwrap()
    }

    #[test]
    fn rooms_are_bounded_and_an_idle_one_makes_place() {
        let rooms = Rooms::new(2, BOUNDS);
        sign_in(&rooms, "a", "ann").unwrap();
        let following = rooms.follow(&name("b")).unwrap();
        assert_eq!(sign_in(&rooms, "c", "ann").unwrap_err().code, Code::TooManyRooms);
        sign_out(&rooms, "nobody-named-it", "ann");
        rooms.sweep(0);
        assert_eq!(rooms.list(None, 10), [(name("a"), 1), (name("b"), 0)]);
        drop(following);
        rooms.sweep(0);
        assert_eq!(rooms.list(None, 10), [(name("a"), 1)]);
        sign_in(&rooms, "c", "ann").unwrap();
    }

    #[test]
    fn a_room_that_comes_again_has_another_epoch() {
        let rooms = Rooms::new(10, BOUNDS);
        let first = sign_in(&rooms, "a", "ann").unwrap().cursor;
        sign_out(&rooms, "a", "ann");
        // History of this very second is kept; that of a second that is yet to come is not.
        rooms.map.get(&name("a")).unwrap().state.lock().presence.trim(u64::MAX);
        rooms.sweep(0);
        assert!(rooms.list(None, 10).is_empty());
        let second = sign_in(&rooms, "a", "ann").unwrap().cursor;
        assert_ne!(first.epoch, second.epoch);
        assert!(rooms.look(&name("a"), |presence| presence.place(first)).is_none());
    }

    #[test]
    fn writers_and_the_sweeper_lose_nothing_between_them() {
        let rooms = Rooms::new(10, BOUNDS);
        std::thread::scope(|threads| {
            threads.spawn(|| (0..2_000).for_each(|_| rooms.sweep(0)));
            for writer in 0..2 {
                let rooms = &rooms;
                threads.spawn(move || {
                    for n in 0..2_000 {
                        let user = format!("{writer}-{n}");
                        sign_in(rooms, "a", &user).unwrap();
                        assert!(rooms.look(&name("a"), |p| p.roster().get(&user).is_some()));
                        sign_out(rooms, "a", &user);
                    }
                });
            }
        });
        assert_eq!(rooms.look(&name("a"), |p| p.roster().len()), 0);
    }

    #[test]
    fn rooms_are_listed_in_order_and_by_pages() {
        let rooms = Rooms::new(100, BOUNDS);
        for room in ["d", "a", "c", "b"] {
            sign_in(&rooms, room, "ann").unwrap();
        }
        let names = |after, limit| -> Vec<String> {
            rooms.list(after, limit).into_iter().map(|(name, _)| name.to_string()).collect()
        };
        assert_eq!(names(None, 3), ["a", "b", "c"]);
        assert_eq!(names(Some("c"), 3), ["d"]);
        assert_eq!(names(Some("bb"), 1), ["c"]);
    }
}
