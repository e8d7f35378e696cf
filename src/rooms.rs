//! Rooms: found by name, changed under their own locks, announced to the hubs.
//!
//! May import: [`crate::model`], [`crate::wire`], [`crate::runtime`].

pub mod key;
pub mod upkeep;
pub mod histories;
pub mod edition;
pub mod room;
pub mod registers;
pub mod directory;
pub mod hold_registry;
pub mod connection_holds;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::model::command::Command;
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::presence::Presence;
use crate::model::refusal::Refusal;
use crate::rooms::directory::Directory;
use crate::rooms::hold_registry::HoldRegistry;
use crate::rooms::key::RoomKey;
use crate::rooms::room::{ChangeError, Following, Room, Shortened};
use crate::runtime::clock::Clock;
use crate::runtime::memory::{Kind, Level, Memory};
use crate::runtime::meter::Meter;

/// The rooms with news that a hub may fall behind before it looks through all of its rooms instead.
const MAX_NEWS: usize = 1_024;

/// The most rooms whose history is shortened before other tasks get their turn.
const MAX_RELIEVED: usize = 64;

/// All rooms. Every change of a room passes here.
#[derive(Debug)]
pub struct Rooms {
    directory: Arc<Directory>,
    hold_registry: HoldRegistry,
    clock: Arc<Clock>,
    meter: Arc<Meter>,
    /// Names the rooms that have new events. The events themselves are in the room's history, where each reader's
    /// cursor finds them, so a late hub joins all events since its last look.
    news: broadcast::Sender<Arc<Room>>,
}

impl Rooms {
    /// The rooms of `directory`, with the time of `clock`.
    pub fn new(directory: Directory, clock: Arc<Clock>, meter: Arc<Meter>) -> Self {
        Rooms {
            directory: Arc::new(directory),
            hold_registry: HoldRegistry::default(),
            clock,
            meter,
            news: broadcast::Sender::new(MAX_NEWS),
        }
    }

    /// The number of rooms.
    pub fn count(&self) -> usize {
        self.directory.registers().index.len()
    }

    /// Whether `room` exists: whether it has members or remembered events.
    pub fn exists(&self, room: &Name) -> bool {
        self.directory.registers().index.contains(room)
    }

    /// The open connections that hold members.
    pub fn hold_registry(&self) -> &HoldRegistry {
        &self.hold_registry
    }

    /// Applies all of `commands` to `room`, or none, and announces the change.
    ///
    /// # Errors
    ///
    /// The refusal of the commands, or `too_many_rooms` when a new room is needed.
    pub fn change(&self, room: &Name, commands: &[Command]) -> Result<Outcome, Refusal> {
        let adds = commands.iter().any(|command| command.adds().is_some());
        loop {
            let found = match self.directory.find(room) {
                Some(room) => room,
                None if adds => self.directory.find_or_make(room),
                // Without a member to add, an absent room stays absent.
                None => return self.directory.absent(room).apply(commands, self.clock.now()),
            };
            match found.change(commands, self.clock.now()) {
                Ok(outcome) => {
                    self.announce(found, &outcome);
                    return Ok(outcome);
                }
                Err(ChangeError::Refused(refusal)) => {
                    // The room may have been made for these commands only.
                    self.directory.release(&found);
                    return Err(refusal);
                }
                Err(ChangeError::Retired) => {}
            }
        }
    }

    /// Ends some of the holds whose deadline has passed, in one room; false when none is due, or when deadlines may not
    /// be enforced now.
    pub fn expire(&self) -> bool {
        let now = self.clock.now();
        if !self.clock.enforces_deadlines() {
            return false;
        }
        let Some(room) = self.directory.registers().upkeep.due(now.tick) else {
            return false;
        };
        // A room that was removed meanwhile has no deadlines left.
        if let Ok(outcome) = room.expire(now) {
            self.announce(room, &outcome);
        }
        true
    }

    /// Notifies connections and hubs of a change, outside the room's lock.
    fn announce(&self, room: Arc<Room>, outcome: &Outcome) {
        outcome.ended.iter().for_each(|ended| self.hold_registry.notify(room.key(), ended));
        self.meter.happened(outcome.events, outcome.added, outcome.removed);
        if outcome.events > 0 {
            // Fails only when no hub listens, and then no reader waits for news.
            let _ = self.news.send(room);
        }
    }

    /// Reads `room` at one moment; an absent room reads as empty.
    pub fn read<T>(&self, room: &Name, read: impl FnOnce(&Presence) -> T) -> T {
        match self.directory.find(room) {
            Some(room) => room.read(read),
            None => read(&self.directory.absent(room)),
        }
    }

    /// The key of `room`; `None` for an absent room.
    pub fn key(&self, room: &Name) -> Option<RoomKey> {
        self.directory.find(room).map(|room| room.key())
    }

    /// Adds a reader to `room`. Watching makes no room exist.
    pub fn follow(&self, room: &Name) -> Following {
        self.directory.follow(room)
    }

    /// At most `limit` rooms after the name `after`, in byte order, with their numbers of members.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Vec<(Name, usize)> {
        let count = |name: Name| {
            let count = self.read(&name, |presence| presence.roster().len());
            (name, count)
        };
        self.directory.registers().index.after(after, limit).into_iter().map(count).collect()
    }

    /// Forgets the events older than `age`, and the idle rooms.
    pub fn sweep(&self, age: Duration) {
        let now = self.clock.now();
        let before = now.tick.before(age);
        self.directory.remove_idle(|room| room.retire_if_idle(before, now));
        self.directory.registers().trim_denylist(now.tick);
    }

    /// The memory of the process.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.directory.registers().memory
    }

    /// Reads the memory in use, and gives up what it does not allow: snapshots of slow readers, and history, the largest
    /// first, of a bounded number of rooms at once; true when more has to go.
    ///
    /// Before [`Level::Refuse`], the events of the last `spared` stay: readers who follow are a moment behind, and each
    /// would need a snapshot in place of an event.
    pub fn relieve(&self, spared: Duration) -> bool {
        let registers = self.directory.registers();
        registers.memory.look();
        if registers.memory.level() >= Level::Snapshots {
            registers.upkeep.left_editions().iter().for_each(|edition| edition.withdraw());
        }
        let now = self.clock.now();
        let until = if registers.memory.level() < Level::Refuse { now.tick.before(spared) } else { now.tick };
        let mut beyond = registers.memory.too_much_history();
        for _ in 0..MAX_RELIEVED {
            let before = registers.memory.held(Kind::Histories);
            let Some(room) = registers.histories.largest().filter(|_| beyond > 0) else {
                return false;
            };
            match room.shorten(until, now) {
                Shortened::Gone => self.directory.release(&room),
                Shortened::Less => {}
                Shortened::Nothing => return false,
            }
            beyond = beyond.saturating_sub(before.saturating_sub(registers.memory.held(Kind::Histories)));
        }
        beyond > 0
    }

    /// Drops the editions stored before the last tick, and the rooms that were only watched and are no longer.
    pub fn tick(&self) {
        self.directory.release_left();
        self.directory.registers().upkeep.old_editions().iter().for_each(|room| room.drop_edition());
    }

    /// Subscribes to the rooms that have new events.
    pub fn news(&self) -> broadcast::Receiver<Arc<Room>> {
        self.news.subscribe()
    }
}

#[cfg(test)]
impl Rooms {
    /// At most `most` rooms within `bounds`, with a clock and a meter of their own.
    pub fn within(most: usize, bounds: crate::model::presence::Bounds) -> Self {
        Rooms::with_memory(
            most,
            bounds,
            Memory::new(u64::MAX, Box::new(crate::runtime::memory::tests::MadeUp::default())),
        )
    }

    /// The same within `memory`.
    pub fn with_memory(most: usize, bounds: crate::model::presence::Bounds, memory: Memory) -> Self {
        let directory = Directory::new(most, bounds, crate::model::cursor::Epoch(0), Arc::new(memory));
        Rooms::new(directory, Arc::default(), Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Instant;

    use super::*;
    use crate::model::command::Action;
    use crate::model::history::Bound;
    use crate::model::moment::Tick;
    use crate::model::presence::Bounds;
    use crate::model::refusal::Code;
    use crate::runtime::memory::tests::MadeUp;

    const BOUNDS: Bounds =
        Bounds { history: Bound { events: 10, bytes: usize::MAX }, members: 0, grace: Duration::ZERO };
    const NOW: Duration = Duration::ZERO;

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
    fn rooms_are_bounded_and_an_idle_room_makes_space() {
        let rooms = Rooms::within(2, BOUNDS);
        sign_in(&rooms, "a", "ann").unwrap();
        sign_in(&rooms, "b", "ann").unwrap();
        assert_eq!(sign_in(&rooms, "c", "ann").unwrap_err().code, Code::TooManyRooms);
        sign_in(&rooms, "a", "bob").unwrap();
        sign_out(&rooms, "nobody-named-it", "ann");
        sign_out(&rooms, "b", "ann");
        let now = rooms.clock.now();
        rooms.directory.remove_idle(|room| room.retire_if_idle(Tick(u64::MAX), now));
        assert_eq!(rooms.list(None, 10), [(name("a"), 2)]);
        assert_eq!(rooms.directory.in_memory(), 1, "the refused room and the idle room are gone");
        sign_in(&rooms, "c", "ann").unwrap();
    }

    #[test]
    fn watching_makes_no_room_exist_and_leaves_nothing_behind() {
        let rooms = Rooms::within(1, BOUNDS);
        let watched: Vec<_> = (0..100).map(|n| rooms.follow(&name(&format!("watched-{n}")))).collect();
        let again = rooms.follow(&name("watched-7"));
        let start = again.room().read(|presence| presence.head());
        assert_eq!((rooms.count(), rooms.list(None, 10)), (0, vec![]));
        sign_in(&rooms, "watched-7", "ann").unwrap();
        assert!(again.room().read(|presence| presence.after(start.offset).is_some()), "the watcher's cursor holds");
        assert_eq!(sign_in(&rooms, "watched-8", "ann").unwrap_err().code, Code::TooManyRooms);
        drop((watched, again));
        rooms.tick();
        assert_eq!((rooms.count(), rooms.directory.in_memory()), (1, 1), "only the room with a member is left");
    }

    #[test]
    fn a_watched_room_stops_existing_and_begins_again_in_the_same_epoch() {
        let rooms = Rooms::within(1, BOUNDS);
        let following = rooms.follow(&name("a"));
        let first = sign_in(&rooms, "a", "ann").unwrap().cursor;
        sign_out(&rooms, "a", "ann");
        let now = rooms.clock.now();
        rooms.directory.remove_idle(|room| room.retire_if_idle(Tick(u64::MAX), now));
        assert_eq!((rooms.count(), rooms.directory.in_memory()), (0, 1));
        assert_eq!(sign_in(&rooms, "a", "ann").unwrap().cursor.epoch, first.epoch);
        assert_eq!(rooms.count(), 1);
        drop(following);
        rooms.tick();
        assert_eq!(rooms.list(None, 10), [(name("a"), 1)]);
    }

    #[test]
    fn watchers_writers_and_the_sweeper_leave_nothing_behind() {
        let rooms = Rooms::within(10, BOUNDS);
        std::thread::scope(|threads| {
            threads.spawn(|| (0..2_000).for_each(|_| rooms.sweep(NOW)));
            for watcher in 0..2 {
                let rooms = &rooms;
                threads.spawn(move || {
                    for n in 0..2_000 {
                        let following = rooms.follow(&name(&format!("{}", n % 3)));
                        if watcher == 0 {
                            sign_in(rooms, &format!("{}", n % 3), "ann").unwrap();
                            sign_out(rooms, &format!("{}", n % 3), "ann");
                        }
                        drop(following);
                    }
                });
            }
        });
        rooms.tick();
        let now = rooms.clock.now();
        rooms.directory.remove_idle(|room| room.retire_if_idle(Tick(u64::MAX), now));
        assert_eq!((rooms.count(), rooms.directory.in_memory()), (0, 0));
    }

    #[test]
    fn a_room_that_is_created_again_has_another_epoch() {
        let rooms = Rooms::within(10, BOUNDS);
        let first = sign_in(&rooms, "a", "ann").unwrap().cursor;
        sign_out(&rooms, "a", "ann");
        // A sweep keeps the history of the current millisecond, so the room is retired with a later time.
        let now = rooms.clock.now();
        rooms.directory.remove_idle(|room| room.retire_if_idle(Tick(u64::MAX), now));
        assert!(rooms.list(None, 10).is_empty());
        let second = sign_in(&rooms, "a", "ann").unwrap().cursor;
        assert_ne!(first.epoch, second.epoch);
        assert!(rooms.read(&name("a"), |presence| presence.place(first)).is_none());
    }

    #[test]
    fn writers_and_the_sweeper_lose_nothing_between_them() {
        let rooms = Rooms::within(10, BOUNDS);
        std::thread::scope(|threads| {
            threads.spawn(|| (0..2_000).for_each(|_| rooms.sweep(NOW)));
            for writer in 0..2 {
                let rooms = &rooms;
                threads.spawn(move || {
                    for n in 0..2_000 {
                        let user = format!("{writer}-{n}");
                        sign_in(rooms, "a", &user).unwrap();
                        assert!(rooms.read(&name("a"), |p| p.roster().get(&user).is_some()));
                        sign_out(rooms, "a", &user);
                    }
                });
            }
        });
        assert_eq!(rooms.read(&name("a"), |p| p.roster().len()), 0);
    }

    /// Bytes in the sockets are read first: a lease's renewal may be among them.
    #[test]
    fn no_deadline_is_enforced_just_after_the_process_was_stopped() {
        let clock = Arc::new(Clock::starting(Tick(0), Instant::now() - Duration::from_secs(60)));
        let memory = Memory::new(u64::MAX, Box::new(MadeUp::default()));
        let directory = Directory::new(10, BOUNDS, crate::model::cursor::Epoch(0), Arc::new(memory));
        let rooms = Rooms::new(directory, clock, Arc::default());
        let lease = Command::User(name("ann"), Action::SignIn { meta: None, ttl: Some(Duration::from_millis(1)) });
        rooms.change(&name("a"), &[lease]).unwrap();
        let ends = rooms.read(&name("a"), |presence| presence.next_deadline()).unwrap();
        rooms.clock.beat();
        while rooms.clock.tick() < ends {
            std::thread::yield_now();
        }
        assert!(!rooms.expire(), "the deadline has passed, but a renewal may be in a socket");
        while !rooms.clock.enforces_deadlines() {
            rooms.clock.beat();
        }
        assert!(rooms.expire() && rooms.read(&name("a"), |presence| presence.roster().is_empty()));
    }

    #[test]
    fn rooms_are_listed_in_order_and_in_pages() {
        let rooms = Rooms::within(100, BOUNDS);
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

    #[test]
    fn for_want_of_memory_the_largest_histories_go_and_newcomers_are_refused_but_nobody_who_is_present() {
        let resident = MadeUp::default();
        let unbounded = Bounds { history: Bound { events: 10_000, bytes: usize::MAX }, ..BOUNDS };
        let memory = Memory::new(1_000_000_000, Box::new(resident.clone()));
        let rooms = Rooms::with_memory(10, unbounded, memory);
        let known = |room: &str| rooms.read(&name(room), |presence| presence.history_bytes());
        sign_in(&rooms, "small", "ann").unwrap();
        for n in 0..2_000 {
            sign_in(&rooms, "large", &n.to_string()).unwrap();
        }
        (0..100).for_each(|n| drop(sign_out(&rooms, "large", &n.to_string())));
        let (small, large) = (known("small"), known("large"));
        assert_eq!(rooms.memory().held(Kind::Histories), (small + large) as u64);
        assert!(!rooms.relieve(NOW));

        resident.0.store(700_000_000 + large as u64 / 4, Relaxed);
        while rooms.relieve(NOW) {
            resident.0.store(700_000_000, Relaxed);
        }
        assert!(known("large") < large * 3 / 4 && known("large") > 0 && known("small") == small);

        resident.0.store(900_000_000, Relaxed);
        while rooms.relieve(NOW) {}
        assert_eq!((rooms.memory().held(Kind::Histories), rooms.count()), (0, 2), "the members stay");
        assert_eq!(sign_in(&rooms, "small", "bob").unwrap_err().code, Code::TooMuchMemory);
        assert_eq!(sign_in(&rooms, "new", "ann").unwrap_err().code, Code::TooMuchMemory);
        assert_eq!(rooms.directory.in_memory(), 2, "a refused room leaves nothing behind");
        sign_in(&rooms, "small", "ann").unwrap();
        let meta = |text| crate::model::meta::Meta::read(text).unwrap();
        let says = |text| rooms.change(&name("small"), &[Command::User(name("ann"), Action::SetMeta(meta(text)))]);
        says(r#"{"status":"away"}"#).unwrap();

        resident.0.store(1_000_000_000, Relaxed);
        rooms.relieve(NOW);
        assert_eq!(says(r#"{"status":"far away"}"#).unwrap_err().code, Code::TooMuchMemory);
        says(r#"{"status":"here"}"#).unwrap();
        sign_out(&rooms, "small", "ann");
        while rooms.relieve(NOW) {}
        assert_eq!(rooms.count(), 1, "an empty room goes with its history");

        resident.0.store(0, Relaxed);
        rooms.relieve(NOW);
        sign_in(&rooms, "new", "ann").unwrap();
    }

    #[test]
    fn for_want_of_memory_no_reader_who_is_a_moment_behind_loses_events_until_newcomers_are_refused() {
        let resident = MadeUp::default();
        let memory = Memory::new(1_000_000_000, Box::new(resident.clone()));
        let directory = Directory::new(100, BOUNDS, crate::model::cursor::Epoch(0), Arc::new(memory));
        let hour = Duration::from_secs(3_600);
        let clock = Clock::starting(Tick(0) + 2 * hour, Instant::now());
        let rooms = Rooms::new(directory, Arc::new(clock), Arc::default());
        let start = sign_in(&rooms, "busy", "ann").unwrap().cursor;
        let is_known = || rooms.read(&name("busy"), |presence| presence.after(start.offset).is_some());
        (0..50).for_each(|n| drop(sign_in(&rooms, &n.to_string(), "ann").unwrap()));
        sign_in(&rooms, "busy", "bob").unwrap();
        resident.0.store(899_000_000, Relaxed);
        while rooms.relieve(hour) {}
        assert!(is_known());
        sign_in(&rooms, "busy", "cyd").unwrap();
        while rooms.relieve(hour) {}
        assert!(is_known());
        while rooms.relieve(NOW) {}
        assert!(!is_known(), "older events go");
        assert_eq!(rooms.memory().held(Kind::Histories), 0);
        resident.0.store(0, Relaxed);
        rooms.relieve(NOW);
        sign_in(&rooms, "busy", "dan").unwrap();
        resident.0.store(900_000_000, Relaxed);
        while rooms.relieve(hour) {}
        assert_eq!(rooms.memory().held(Kind::Histories), 0);
    }
}
