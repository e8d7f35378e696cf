//! Rooms: found by name, changed under their own locks, announced to the hubs.
//!
//! May import: [`crate::model`], [`crate::wire`], [`crate::runtime`].

pub mod key;
pub mod upkeep;
pub mod edition;
pub mod room;
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
use crate::rooms::room::{ChangeError, Following, Room};
use crate::runtime::clock::Clock;
use crate::runtime::meter::Meter;

/// The rooms with news that a hub may fall behind before it looks through all of its rooms instead.
const MAX_NEWS: usize = 1_024;

/// All rooms. Every change of a room passes here.
#[derive(Debug)]
pub struct Rooms {
    directory: Directory,
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
            directory,
            hold_registry: HoldRegistry::default(),
            clock,
            meter,
            news: broadcast::Sender::new(MAX_NEWS),
        }
    }

    /// The number of rooms.
    pub fn count(&self) -> usize {
        self.directory.len()
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
                None if adds => self.directory.find_or_create(room)?,
                // Without a member to add, an absent room stays absent.
                None => return self.directory.absent(room).apply(commands, self.clock.now()),
            };
            match found.change(commands, self.clock.now()) {
                Ok(outcome) => {
                    self.announce(found, &outcome);
                    return Ok(outcome);
                }
                Err(ChangeError::Refused(refusal)) => return Err(refusal),
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
        let Some(room) = self.directory.upkeep().due(now.tick) else {
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

    /// Adds a reader to `room`, which is created if absent.
    ///
    /// # Errors
    ///
    /// `too_many_rooms` when a new room is needed.
    pub fn follow(&self, room: &Name) -> Result<Following, Refusal> {
        loop {
            if let Some(following) = self.directory.find_or_create(room)?.follow() {
                return Ok(following);
            }
        }
    }

    /// At most `limit` rooms after the name `after`, in byte order, with their numbers of members.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Vec<(Name, usize)> {
        let count = |name: Name| {
            let count = self.read(&name, |presence| presence.roster().len());
            (name, count)
        };
        self.directory.names(after, limit).into_iter().map(count).collect()
    }

    /// Forgets the events older than `age`, and the idle rooms.
    pub fn sweep(&self, age: Duration) {
        let now = self.clock.now();
        let before = now.tick.before(age);
        self.directory.remove_idle(|room| room.retire_if_idle(before, now));
    }

    /// Drops the editions stored before the last tick.
    pub fn tick(&self) {
        self.directory.upkeep().old_editions().iter().for_each(|room| room.drop_edition());
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
        Rooms::new(Directory::new(most, bounds, crate::model::cursor::Epoch(0)), Arc::default(), Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::model::command::Action;
    use crate::model::moment::Tick;
    use crate::model::presence::Bounds;
    use crate::model::refusal::Code;

    const BOUNDS: Bounds = Bounds { history: 10, members: 0, grace: Duration::ZERO };
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
        let following = rooms.follow(&name("b")).unwrap();
        assert_eq!(sign_in(&rooms, "c", "ann").unwrap_err().code, Code::TooManyRooms);
        sign_out(&rooms, "nobody-named-it", "ann");
        rooms.sweep(NOW);
        assert_eq!(rooms.list(None, 10), [(name("a"), 1), (name("b"), 0)]);
        drop(following);
        rooms.sweep(NOW);
        assert_eq!(rooms.list(None, 10), [(name("a"), 1)]);
        sign_in(&rooms, "c", "ann").unwrap();
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
        let directory = Directory::new(10, BOUNDS, crate::model::cursor::Epoch(0));
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
}
