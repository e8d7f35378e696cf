//! Rooms: found by name, changed under their own locks, announced to the hubs.
//!
//! May import: [`crate::model`], [`crate::wire`], [`crate::runtime`], [`crate::journal`].

pub mod key;
pub mod netted;
pub mod edition;
pub mod upkeep;
pub mod histories;
pub mod tally;
pub mod asked;
pub mod changed;
pub mod room;
pub mod registers;
pub mod directory;
mod recent;
pub mod listing;
pub mod counting;
pub mod hold_registry;
pub mod cluster;
pub mod held;
mod agreed;
pub mod mirror;
pub mod connection_holds;
mod capture;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::journal::numbers::Numbers;
use crate::model::command::Command;
use crate::model::count::Prefix;
use crate::model::id::ConnectionId;
use crate::model::moment::{Taken, Tick};
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::presence::Presence;
use crate::model::refusal::Refusal;
use crate::rooms::changed::{Changed, Kept};
use crate::rooms::cluster::Cluster;
use crate::rooms::counting::Counting;
use crate::rooms::directory::Directory;
use crate::rooms::held::Held;
use crate::rooms::hold_registry::HoldRegistry;
use crate::rooms::key::RoomKey;
use crate::rooms::listing::Listing;
use crate::rooms::recent::Recent;
use crate::rooms::room::{ChangeError, Following, Room, Shortened};
use crate::rooms::tally::Round;
use crate::runtime::clock::Clock;
use crate::runtime::memory::{Kind, Level, Memory};
use crate::runtime::takeover::Ended;

/// The rooms with news that a hub may fall behind before it looks through all of its rooms instead.
const MAX_NEWS: usize = 1_024;

/// The ends of holds that may wait for another process: far more than clients end at once.
const MAX_ENDED: usize = 65_536;

/// The most rooms whose history is shortened before other tasks get their turn.
const MAX_RELIEVED: usize = 64;

/// All rooms. Every change of a room passes here.
#[derive(Debug)]
pub struct Rooms {
    directory: Arc<Directory>,
    listings: Recent<Listing>,
    held: Recent<Held>,
    hold_registry: HoldRegistry,
    /// Names the rooms that have new events. The events themselves are in the room's history, where each reader's
    /// cursor finds them, so a late hub joins all events since its last look.
    news: broadcast::Sender<News>,
    /// Whether holds stay that would end by time or with their connection.
    keeps_holds: AtomicBool,
    /// Where ends of holds go, once another process has the rooms.
    elsewhere: OnceLock<Sender<Ended>>,
    /// The node of this process, in a cluster.
    cluster: OnceLock<Cluster>,
}

/// A room with new events.
#[derive(Clone, Debug)]
pub struct News {
    /// The room.
    pub room: Arc<Room>,
    /// When the events were announced.
    pub at: Instant,
}

impl Rooms {
    /// The rooms of `directory`.
    pub fn new(directory: Directory) -> Self {
        Rooms {
            directory: Arc::new(directory),
            listings: Recent::default(),
            held: Recent::default(),
            hold_registry: HoldRegistry::default(),
            news: broadcast::Sender::new(MAX_NEWS),
            keeps_holds: AtomicBool::new(false),
            elsewhere: OnceLock::new(),
            cluster: OnceLock::new(),
        }
    }

    fn clock(&self) -> &Clock {
        &self.directory.registers().clock
    }

    /// The time by the gateway's clock.
    pub fn now(&self) -> Tick {
        self.clock().tick()
    }

    /// The present moment, for what is read now.
    pub fn taken(&self) -> Taken {
        self.directory.registers().taken()
    }

    /// The maximum number of rooms.
    pub fn most(&self) -> usize {
        self.directory.registers().index.most()
    }

    /// What the journal counts.
    pub fn journal_numbers(&self) -> Numbers {
        self.directory.registers().journal.numbers()
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
    pub fn change(&self, room: &Name, commands: &[Command]) -> Result<Changed, Refusal> {
        let adds = commands.iter().any(|command| command.adds().is_some());
        loop {
            let found = match self.directory.find(room) {
                Some(room) => room,
                None if adds => self.directory.find_or_make(room),
                // Without a member to add, an absent room stays absent.
                None => {
                    let absent = self.directory.absent(room);
                    absent.check(commands)?;
                    return Ok(Changed { outcome: Outcome::none(absent.head()), kept: Kept::done() });
                }
            };
            match found.change(commands, self.clock().now()) {
                Ok(changed) => {
                    self.announce(found, &changed.outcome);
                    return Ok(changed);
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

    /// From here on, no hold ends by time or by the loss of its connection: the gateway stops, and the next one judges. What
    /// clients end, ends.
    pub fn keep_holds(&self) {
        self.keeps_holds.store(true, Relaxed);
    }

    /// Whether holds stay that would end by time or with their connection.
    pub fn keeps_holds(&self) -> bool {
        self.keeps_holds.load(Relaxed)
    }

    /// From here on, another process has the rooms: changes are refused, and the holds that clients end come through the channel.
    /// No change is under way any more.
    pub fn hand_over(&self) -> Receiver<Ended> {
        self.keep_holds();
        let (ends, receiver) = channel(MAX_ENDED);
        // The first successor is the only one.
        let _ = self.elsewhere.set(ends);
        self.directory.registers().hand_over();
        // A change looks whether it may be made under its room's lock.
        self.names().iter().for_each(|room| self.read(room, |_| ()));
        receiver
    }

    /// Whether another process has the rooms.
    pub fn are_handed_over(&self) -> bool {
        self.elsewhere.get().is_some()
    }

    /// Tells the process that has the rooms of a hold that its client ends.
    pub fn end_elsewhere(&self, room: &Name, user: Name, connection: ConnectionId) -> Changed {
        if let Some(elsewhere) = self.elsewhere.get() {
            // A hold that is not told of ends with its grace period.
            let _ = elsewhere.try_send(Ended { room: room.clone(), user, connection });
        }
        Changed { outcome: Outcome::none(self.read(room, Presence::head)), kept: Kept::done() }
    }

    /// Ends some of the holds whose deadline has passed, in one room; false when none is due, or when deadlines may not
    /// be enforced now.
    pub fn expire(&self) -> bool {
        let now = self.clock().now();
        // The nodes of a cluster end holds by records.
        if !self.clock().enforces_deadlines() || self.keeps_holds() || self.cluster().is_some() {
            return false;
        }
        let Some(room) = self.directory.registers().upkeep.due(now.tick) else {
            return false;
        };
        // A room that was removed meanwhile has no deadlines left.
        if let Ok(changed) = room.expire(now) {
            self.announce(room, &changed.outcome);
        }
        true
    }

    /// Whether a hold in any room ends by itself.
    pub fn have_deadlines(&self) -> bool {
        self.directory.registers().upkeep.has_deadlines()
    }

    /// Notifies connections and hubs of a change, outside the room's lock.
    fn announce(&self, room: Arc<Room>, outcome: &Outcome) {
        outcome.ended.iter().for_each(|ended| self.hold_registry.notify(room.key(), ended));
        self.directory.registers().meter.happened(outcome);
        if outcome.events > 0 {
            self.publish(room);
        }
    }

    /// Tells the hubs that `room` has new events.
    fn publish(&self, room: Arc<Room>) {
        // Fails only when no hub listens, and then no reader waits for news.
        let _ = self.news.send(News { room, at: Instant::now() });
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

    /// At most `limit` of the rooms that `prefix` selects, after the name `after`, in byte order, with their numbers of
    /// members.
    pub fn list(&self, prefix: &Prefix, after: Option<&str>, limit: usize) -> Vec<(Name, usize)> {
        self.directory.counts(prefix, after, limit)
    }

    /// `room` with its number of members, if it exists.
    pub fn one(&self, room: Name) -> Option<(Name, usize)> {
        let count = || self.read(&room, |presence| presence.roster().len());
        self.exists(&room).then(count).map(|count| (room, count))
    }

    /// The names of all rooms.
    pub fn names(&self) -> Vec<Name> {
        self.directory.registers().index.all()
    }

    /// All rooms with their numbers of members, as of at most a second ago.
    pub async fn listing(&self) -> Arc<Listing> {
        self.listings.get(listing::read(&self.directory)).await
    }

    /// The number of members that each connection holds, as of at most a second ago.
    pub async fn held(&self) -> Arc<Held> {
        self.held.get(held::read(&self.directory)).await
    }

    /// The number of rooms that `prefix` selects, at most `limit`.
    pub fn count_selected(&self, prefix: &Prefix, limit: usize) -> usize {
        self.directory.registers().index.count(prefix, limit)
    }

    /// Adds a reader of counts.
    pub fn count_all(&self) -> Counting {
        Counting::begin(self.directory.clone())
    }

    /// The number of readers of counts.
    pub fn count_readers(&self) -> usize {
        self.directory.registers().tally.readers()
    }

    /// Makes the changes of counts so far readable.
    pub fn release_counts(&self) {
        self.directory.registers().tally.release();
    }

    /// Subscribes to the changes of counts that become readable together.
    pub fn count_rounds(&self) -> watch::Receiver<Arc<Round>> {
        self.directory.registers().tally.rounds()
    }

    /// Forgets the events older than `age`, and the idle rooms.
    pub fn sweep(&self, age: Duration) {
        let now = self.clock().now();
        let before = now.tick.before(age);
        self.directory.remove_idle(|room| room.retire_if_idle(before));
        self.directory.registers().trim_denylist(now.tick);
    }

    /// The memory of the process.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.directory.registers().memory
    }

    /// Reads the memory in use, and gives up what it does not allow: snapshots and changes of slow readers, and history, the largest
    /// first, of a bounded number of rooms at once; true when more has to go.
    ///
    /// Before [`Level::Refuse`], the events of the last `spared` stay: readers who follow are a moment behind, and each
    /// would need a snapshot in place of an event.
    pub fn relieve(&self, spared: Duration) -> bool {
        let registers = self.directory.registers();
        registers.memory.look();
        if registers.memory.level() >= Level::Snapshots {
            registers.upkeep.left_behind().iter().for_each(|set| set.withdraw());
        }
        let now = self.clock().now();
        let until = if registers.memory.level() < Level::Refuse { now.tick.before(spared) } else { now.tick };
        let mut beyond = registers.memory.too_much_history();
        for _ in 0..MAX_RELIEVED {
            let before = registers.memory.held(Kind::Histories);
            let Some(room) = registers.histories.largest().filter(|_| beyond > 0) else {
                return false;
            };
            match room.shorten(until) {
                Shortened::Gone => self.directory.release(&room),
                Shortened::Less => {}
                Shortened::Nothing => return false,
            }
            beyond = beyond.saturating_sub(before.saturating_sub(registers.memory.held(Kind::Histories)));
        }
        beyond > 0
    }

    /// Drops the editions stored before the last tick, old readings of all rooms, and the rooms that were only watched and are no longer.
    pub fn tick(&self) {
        self.listings.drop_old();
        self.held.drop_old();
        self.directory.release_left();
        self.directory.registers().upkeep.old_editions().iter().for_each(|room| room.drop_edition());
    }

    /// From here on, changes go to the log of a cluster.
    pub fn join_cluster(&self, cluster: Cluster) {
        // A process is a node of one cluster.
        let _ = self.cluster.set(cluster);
    }

    /// Tells the log of the cluster in which rooms readers ask who is suspect. Once the rooms are gone nobody asks any more, and the
    /// task waits until the process ends.
    pub async fn tell_asked(this: Weak<Self>) {
        let Some(asked) = this.upgrade().map(|rooms| rooms.directory.registers().asked.clone()) else { return };
        let tell = |rooms| {
            let this = this.upgrade();
            let cluster = this.as_ref().and_then(|this| this.cluster());
            cluster.map(|cluster| cluster.participant().with(|node, _| node.ask_suspects(rooms))).is_some()
        };
        asked.each(tell).await;
    }

    /// The node of this process, if it is one of a cluster.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.get()
    }

    /// Subscribes to the rooms that have new events.
    pub fn news(&self) -> broadcast::Receiver<News> {
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

    /// A journal that keeps nothing.
    pub fn no_journal() -> Arc<crate::journal::queue::Journal> {
        Arc::new(crate::journal::queue::Journal::memory(crate::journal::position::Position(1)))
    }

    /// The same within `memory`.
    pub fn with_memory(most: usize, bounds: crate::model::presence::Bounds, memory: Memory) -> Self {
        let registers = registers::Registers::new(
            most,
            Arc::new(memory),
            Arc::default(),
            Rooms::no_journal(),
            Arc::default(),
            Duration::ZERO,
        );
        Rooms::new(Directory::new(registers, bounds, crate::model::identity::Identity::default()))
    }
}

#[cfg(test)]
mod tests;
