//! All rooms: found by name, changed, announced to the hubs.
//!
//! May import: [`crate::model`], [`crate::wire`], [`crate::runtime`].

pub mod edition;
pub mod room;
pub mod hold_registry;
pub mod connection_holds;

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use dashmap::DashMap;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::runtime::clock::Clock;
use crate::model::command::Command;
use crate::rooms::hold_registry::Holders;
use crate::runtime::meter::Meter;
use crate::model::moment::Moment;
use crate::model::name::Name;
use crate::model::presence::{Bounds, Outcome, Presence};
use crate::model::refusal::{Code, Refusal};
use crate::rooms::room::{Agenda, Following, Room, RoomKey};

/// How many rooms' news a hub may fall behind before it looks through all of its rooms instead.
const NEWS: usize = 1_024;

/// All rooms, by name.
#[derive(Debug)]
pub struct Rooms {
    map: DashMap<Name, Arc<Room>>,
    clock: Arc<Clock>,
    holders: Holders,
    meter: Arc<Meter>,
    agenda: Arc<Agenda>,
    count: AtomicUsize,
    most: usize,
    bounds: Bounds,
    /// The next room's epoch. It starts at random, so that a cursor from before a restart is not
    /// taken for one of now.
    epoch: AtomicU64,
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
            clock: Arc::default(),
            holders: Holders::default(),
            meter: Arc::default(),
            agenda: Arc::default(),
            count: AtomicUsize::new(0),
            most,
            bounds,
            // 48 bits: ten characters in each cursor, and no two starts alike in practice.
            epoch: AtomicU64::new(random >> 16),
            news: broadcast::Sender::new(NEWS),
        }
    }

    /// What time it is.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// What is counted of the gateway's work.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// How many rooms there are.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// The open connections that hold members.
    pub fn holders(&self) -> &Holders {
        &self.holders
    }

    /// Does all of `commands` in `room`, or none; tells the hubs of the change.
    pub fn change(&self, room: &Name, commands: &[Command]) -> Result<Outcome, Refusal> {
        let adds = commands.iter().any(Command::adds);
        loop {
            let shared = match self.find(room) {
                Some(shared) => shared,
                None if adds => self.make(room)?,
                // Nobody is there to be changed: an empty room of the moment says so.
                None => return self.nobody(room).apply(commands, self.clock.now()),
            };
            if let Ok(outcome) = shared.change(commands, self.clock.now()) {
                let outcome = outcome?;
                self.announce(shared, &outcome);
                return Ok(outcome);
            }
        }
    }

    /// Ends some of the holds whose time is over; false when there are none, or when it is too early to judge.
    pub fn expire(&self) -> bool {
        let now = self.clock.now();
        let Some(room) = self.agenda.due(now.tick).filter(|_| self.clock.judges()) else {
            return false;
        };
        let outcome = room.expire(now);
        self.announce(room, &outcome);
        true
    }

    /// Tells those who have to know of a change, outside of the room's lock.
    fn announce(&self, room: Arc<Room>, outcome: &Outcome) {
        outcome.ended.iter().for_each(|ended| self.holders.tell(room.key(), ended));
        self.meter.happened(outcome.events, outcome.added, outcome.removed);
        if outcome.events > 0 {
            // Fails only when no hub listens, and then nobody waits for news.
            let _ = self.news.send(room);
        }
    }

    /// Reads `room` at one moment; one that nobody named reads as empty.
    pub fn look<T>(&self, room: &Name, read: impl FnOnce(&Presence) -> T) -> T {
        match self.find(room) {
            Some(shared) => shared.look(read),
            None => read(&self.nobody(room)),
        }
    }

    /// What tells `room` from others, if there is such a room.
    pub fn key(&self, room: &Name) -> Option<RoomKey> {
        self.find(room).map(|room| room.key())
    }

    /// Takes a stake in `room` for a reader.
    pub fn follow(&self, room: &Name) -> Result<Following, Refusal> {
        loop {
            let shared = self.find(room).map_or_else(|| self.make(room), Ok)?;
            if let Ok(following) = shared.follow() {
                return Ok(following);
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
        let now = self.clock.now();
        let before = Moment { second: now.second.saturating_sub(age), ..now };
        let names: Vec<Name> = self.map.iter().map(|entry| entry.key().clone()).collect();
        for name in names {
            if self.map.remove_if(&name, |_, room| room.retire_if_idle(before)).is_some() {
                self.count.fetch_sub(1, Relaxed);
            }
        }
    }

    /// Lets go of snapshots that nobody asked for since the last tick but one.
    pub fn tick(&self) {
        self.agenda.tick();
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
            Arc::new(Room::new(Presence::new(room.clone(), epoch, self.bounds), self.agenda.clone()))
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::model::command::Verb;

    const BOUNDS: Bounds = Bounds { history: 10, members: 0, grace: 0 };

    const LATER: Moment = Moment { second: u64::MAX, tick: 0 };

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn sign_in(rooms: &Rooms, room: &str, user: &str) -> Result<Outcome, Refusal> {
        rooms.change(&name(room), &[Command::sign_in(name(user), None)])
    }

    fn sign_out(rooms: &Rooms, room: &str, user: &str) -> Outcome {
        rooms.change(&name(room), &[Command::sign_out(name(user))]).unwrap()
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
        assert!(rooms.map.remove_if(&name("a"), |_, room| room.retire_if_idle(LATER)).is_some());
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

    /// What waits in sockets is read first: a renewal may be among it.
    #[test]
    fn nobody_is_judged_in_the_moments_after_the_process_was_stopped() {
        let mut rooms = Rooms::new(10, BOUNDS);
        rooms.clock = Arc::new(Clock::starting(Instant::now() - Duration::from_secs(60)));
        let lease = Command { user: name("ann"), verb: Verb::SignIn { meta: None, ttl: Some(1) } };
        rooms.change(&name("a"), &[lease]).unwrap();
        let ends = rooms.look(&name("a"), |presence| presence.next_deadline()).unwrap();
        rooms.clock.beat();
        while rooms.clock.tick() < ends {
            std::thread::yield_now();
        }
        assert!(!rooms.expire(), "its time is over, but it may have been renewed");
        while !rooms.clock.judges() {
            rooms.clock.beat();
        }
        assert!(rooms.expire() && rooms.look(&name("a"), |presence| presence.roster().is_empty()));
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
