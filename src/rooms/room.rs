//! One room, shared by all tasks: changed under one lock, kept while it has readers.

use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use crate::journal::codec;
use crate::journal::ticket::Given;
use crate::model::changes::Changes;
use crate::model::command::Command;
use crate::model::cursor::Offset;
use crate::model::moment::{Moment, Taken, Tick};
use crate::model::presence::Presence;
use crate::model::refusal::Refusal;
use crate::rooms::changed::Changed;
use crate::rooms::edition::Edition;
use crate::rooms::histories::{self, LAST};
use crate::rooms::key::RoomKey;
use crate::rooms::netted::{Netted, Withdraw};
use crate::rooms::registers::Registers;
use crate::rooms::tally::Serial;
use crate::runtime::memory::{Kind, Level};
use crate::runtime::meter::Meter;

/// The most members of a set whose edition is stored for other readers: some 10 MB. A larger set is framed for each
/// reader anew, part by part.
const MAX_STORED: usize = 100_000;

/// A stored edition still serves while at most one event for this many members has happened since.
const MEMBERS_PER_EVENT: usize = 16;

/// The most holds that one step ends at their deadlines: less than a millisecond under the lock, also when a hundred
/// thousand leases end together.
const MAX_EXPIRED: usize = 256;

/// The most history that one step forgets for want of memory: some 4,000 events, a fraction of a millisecond under the lock.
const MAX_SHORTENED: usize = 256 * 1024;

/// A shorter history is forgotten as a whole.
const MIN_HISTORY: usize = 1_024;

/// What an event and its member take, about. An overestimate costs only a reading of the memory.
const MAX_EVENT: u64 = 2_048;

/// The outcome of [`Room::shorten`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortened {
    /// The room no longer exists.
    Gone,
    /// The room remembers less, or is now the last of which something is to be forgotten.
    Less,
    /// The room is such a last one, and nothing can be forgotten yet.
    Nothing,
}

/// The outcome of [`Room::show`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Whether the room has members or remembered events.
    pub exists: bool,
    /// Whether readers have something to read.
    pub has_news: bool,
}

/// One room, shared.
#[derive(Debug)]
pub struct Room {
    state: Mutex<State>,
    registers: Arc<Registers<Room>>,
}

#[derive(Debug)]
struct State {
    presence: Presence,
    /// The number of readers.
    readers: usize,
    /// The last edition, stored for the readers of the next second or two.
    edition: Option<Arc<Edition>>,
    /// The room's deadline as noted in the upkeep.
    deadline: Option<Tick>,
    /// The bytes of history as counted, and the class in which the room is listed.
    history: (usize, usize),
    /// Whether the room is in the index: it has members or remembered events.
    exists: bool,
    /// The room's last change in the tally.
    tallied: Serial,
    /// Set when the room is removed from the directory: a task that still has the room looks it up again.
    retired: bool,
}

/// The reason why a room did not apply some commands.
#[derive(Debug)]
pub enum ChangeError {
    /// The room was removed from the directory meanwhile.
    Retired,
    /// The commands cannot all be applied.
    Refused(Refusal),
}

impl Room {
    /// A room that may be changed and read.
    pub fn new(presence: Presence, registers: Arc<Registers<Room>>) -> Self {
        let history = (0, histories::NONE);
        let state = State {
            presence,
            readers: 0,
            edition: None,
            deadline: None,
            history,
            exists: false,
            tallied: Serial::default(),
            retired: false,
        };
        Room { state: Mutex::new(state), registers }
    }

    /// Enters a room that was kept in the registers.
    pub(super) fn restore(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.exists = true;
        self.registers.index.restore(state.presence.room());
        let deadline = state.presence.next_deadline();
        self.move_deadline(&mut state, deadline);
        self.count_history(&mut state);
        self.registers.meter.shown(0, (0, state.presence.roster().len()));
    }

    /// The room's key.
    pub fn key(&self) -> RoomKey {
        RoomKey::of(self)
    }

    /// The room's state. A free lock costs as much as by `lock`; only a wait is measured.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.try_lock().unwrap_or_else(|| self.wait())
    }

    #[cold]
    fn wait(&self) -> MutexGuard<'_, State> {
        let since = Instant::now();
        let state = self.state.lock();
        self.registers.meter.waited(since.elapsed());
        state
    }

    /// The counters.
    pub fn meter(&self) -> &Meter {
        &self.registers.meter
    }

    /// Reads the room at one moment. `read` must be short: the room's writers wait for it.
    pub fn read<T>(&self, read: impl FnOnce(&Presence) -> T) -> T {
        read(&self.lock().presence)
    }

    /// A reader asks from now on who is suspect, or has gone.
    pub fn ask_suspects(&self, ask: bool) {
        let name = self.read(|presence| presence.room().clone());
        match ask {
            true => self.registers.asked.begin(&name),
            false => self.registers.asked.end(&name),
        }
    }

    /// The number of readers.
    pub fn readers(&self) -> usize {
        self.lock().readers
    }

    /// The present moment, for a place that is taken now.
    pub fn taken(&self) -> Taken {
        self.registers.taken()
    }

    /// An edition of the present set, or a slightly older edition that includes the event at `at_least`. Concurrent
    /// readers share the work of encoding, and get the events since then like any other events.
    pub fn edition(self: &Arc<Self>, at_least: Offset) -> Arc<Edition> {
        let taken = self.taken();
        let mut state = self.lock();
        let few = state.presence.roster().len() / MEMBERS_PER_EVENT;
        let serves = |at: Offset| at >= at_least && state.presence.count_after(at).is_some_and(|events| events <= few);
        if let Some(edition) = &state.edition
            && edition.is_fresh() == taken.fresh_for.is_some()
            && state.presence.place(edition.cursor()).is_some_and(serves)
        {
            return edition.clone();
        }
        let shared = state.presence.roster().len() <= MAX_STORED;
        let edition = Arc::new(Edition::new(state.presence.snapshot(taken), shared, &self.registers.memory));
        self.registers.upkeep.begins(Arc::downgrade(&edition) as Weak<dyn Withdraw>);
        if shared {
            state.edition = Some(edition.clone());
            self.registers.upkeep.stores_edition(self);
        }
        edition
    }

    /// Keeps `changes` for a reader who gets them in several parts.
    pub fn keep_changes(&self, changes: Changes) -> Arc<Netted> {
        let netted = Arc::new(Netted::new(changes, &self.registers.memory));
        self.registers.upkeep.begins(Arc::downgrade(&netted) as Weak<dyn Withdraw>);
        netted
    }

    /// Whether memory is so short that readers had better share an edition than get changes of their own.
    pub fn spares_memory(&self) -> bool {
        self.registers.memory.level() >= Level::Snapshots
    }

    /// Drops the stored edition.
    pub fn drop_edition(&self) {
        self.lock().edition = None;
    }

    /// Applies all of `commands`, or none.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Refused`] with the first refusal, and [`ChangeError::Retired`] for a room that was removed
    /// meanwhile.
    pub(super) fn change(self: &Arc<Self>, commands: &[Command], now: Moment) -> Result<Changed, ChangeError> {
        let mut state = self.lock();
        if state.retired {
            return Err(ChangeError::Retired);
        }
        let existed = state.exists;
        let Changed { outcome, kept } = self.apply(&mut state, commands, now).map_err(ChangeError::Refused)?;
        if outcome.added != outcome.removed || existed != state.exists {
            self.tally(&mut state);
        }
        let deadline = state.presence.next_deadline();
        self.move_deadline(&mut state, deadline);
        self.count_history(&mut state);
        drop(state);
        self.registers.memory.grew(outcome.events as u64 * MAX_EVENT);
        Ok(Changed { outcome, kept })
    }

    /// Goes on to the state of `of`, what the log of a cluster makes of the room, in which so many `events` are new, or in one step.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Retired`]; nothing is refused.
    pub(super) fn show(
        self: &Arc<Self>,
        of: &Presence,
        events: Option<usize>,
        now: Tick,
    ) -> Result<Shown, ChangeError> {
        let mut state = self.lock();
        if state.retired {
            return Err(ChangeError::Retired);
        }
        let before = (state.exists, state.presence.roster().len());
        match events {
            Some(events) => state.presence.follow(of, events, now),
            None => state.presence.leap(of),
        }
        state.exists = !state.presence.is_idle();
        match (before.0, state.exists) {
            (false, true) => self.registers.index.restore(state.presence.room()),
            (true, false) => self.registers.index.remove(state.presence.room()),
            (false, false) | (true, true) => {}
        }
        let members = state.presence.roster().len();
        if before != (state.exists, members) {
            self.tally(&mut state);
        }
        self.registers.meter.shown(events.unwrap_or_default(), (before.1, members));
        self.count_history(&mut state);
        let exists = state.exists;
        drop(state);
        self.registers.memory.grew(events.unwrap_or(1) as u64 * MAX_EVENT);
        Ok(Shown { exists, has_news: events != Some(0) })
    }

    fn apply(&self, state: &mut State, commands: &[Command], now: Moment) -> Result<Changed, Refusal> {
        self.registers.check_owner()?;
        let name = state.presence.room().clone();
        self.registers.check_denylist(&name, commands, now.tick)?;
        self.check_memory(&state.presence, commands)?;
        if commands.iter().any(Command::may_wait) {
            self.registers.journal.admits()?;
        }
        state.presence.check(commands)?;
        let begins = !state.exists && commands.iter().any(|command| command.adds().is_some());
        if begins {
            self.registers.index.insert(&name)?;
        }
        let takes = state.presence.takes(commands, now.tick);
        let encode = |out: &mut Vec<u8>| codec::encode_change(&name, commands, out);
        let is_asked = commands.iter().any(Command::is_asked);
        let Given { position, ticket } = self.registers.journal.append(takes, is_asked, now, encode);
        let outcome = state.presence.fold(commands, position, now);
        if begins {
            state.exists = !state.presence.is_idle();
            if !state.exists {
                self.registers.index.remove(&name);
            }
        }
        self.registers.record_denied(&name, &outcome, now.tick);
        Ok(Changed { outcome, kept: ticket.into() })
    }

    /// Refuses new members, and larger `meta`, when memory is short. Members stay, and who takes the place of a hold comes
    /// back: a lack of memory must not end a presence.
    fn check_memory(&self, presence: &Presence, commands: &[Command]) -> Result<(), Refusal> {
        let level = self.registers.memory.level();
        let grows = (level >= Level::Refuse && presence.would_add(commands))
            || (level >= Level::Full && presence.would_enlarge(commands));
        if grows { Err(self.registers.memory.refusal()) } else { Ok(()) }
    }

    /// Ends holds whose deadline has passed, a bounded number at once.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Retired`]; the command is never refused.
    pub(super) fn expire(self: &Arc<Self>, now: Moment) -> Result<Changed, ChangeError> {
        self.change(&[Command::Expire(MAX_EXPIRED)], now)
    }

    /// Adds a reader, which keeps the room in memory; `None` when the room was removed meanwhile.
    pub(super) fn follow(self: Arc<Self>) -> Option<Following> {
        let mut state = self.lock();
        if state.retired {
            return None;
        }
        state.readers += 1;
        drop(state);
        Some(Following(self))
    }

    /// Retires the room if it has no readers and does not exist; true when retired.
    pub(super) fn retire(&self) -> bool {
        let mut state = self.lock();
        state.retired |= state.readers == 0 && !state.exists;
        state.retired
    }

    /// Forgets the events from before `before`. A room without members and events then exists no longer, and retires
    /// unless readers keep it; true when retired.
    pub(super) fn retire_if_idle(self: &Arc<Self>, before: Tick) -> bool {
        self.forget(&mut self.lock(), &Command::Trim(before));
        self.retire()
    }

    /// Forgets the oldest half of the events, a bounded number at once, for want of memory, but no event after `until`. A
    /// room with only such events is listed last.
    pub(super) fn shorten(self: &Arc<Self>, until: Tick) -> Shortened {
        let mut state = self.lock();
        let bytes = state.presence.history_bytes();
        let most = (bytes / 2).max(bytes.saturating_sub(MAX_SHORTENED));
        let most = if most < MIN_HISTORY { 0 } else { most };
        self.forget(&mut state, &Command::Shorten(most, until));
        if !state.exists {
            return Shortened::Gone;
        }
        let class = state.history.1;
        if state.presence.history_bytes() < bytes {
            return Shortened::Less;
        }
        if class == LAST {
            return Shortened::Nothing;
        }
        self.registers.histories.relist(self, class, LAST);
        state.history.1 = LAST;
        Shortened::Less
    }

    /// Forgets events by `command`. Without members and events, the room exists no longer.
    fn forget(self: &Arc<Self>, state: &mut State, command: &Command) {
        state.presence.forget(command);
        self.count_history(state);
        if state.exists && state.presence.is_idle() {
            state.exists = false;
            self.registers.index.remove(state.presence.room());
            self.move_deadline(state, None);
            self.tally(state);
        }
    }

    /// Notes a new count, or the room's end, for readers of counts. After the room's change in the index: a reader that
    /// does not find the room there gets the change instead.
    fn tally(&self, state: &mut State) {
        let tally = &self.registers.tally;
        if tally.is_read() {
            let count = state.exists.then(|| state.presence.roster().len());
            tally.note(&mut state.tallied, state.presence.room(), count);
        }
    }

    fn count_history(self: &Arc<Self>, state: &mut State) {
        let (counted, class) = state.history;
        let bytes = state.presence.history_bytes();
        if bytes != counted {
            self.registers.memory.recount(Kind::Histories, counted as u64, bytes as u64);
            state.history = (bytes, self.registers.histories.move_room(self, class, bytes));
        }
    }

    fn move_deadline(self: &Arc<Self>, state: &mut State, to: Option<Tick>) {
        if to != state.deadline {
            self.registers.upkeep.move_deadline(self, state.deadline, to);
            state.deadline = to;
        }
    }
}

/// A reader's share in a room, which keeps the room in memory until dropped.
#[derive(Debug)]
pub struct Following(Arc<Room>);

impl Following {
    /// The room.
    pub fn room(&self) -> &Arc<Room> {
        &self.0
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.readers -= 1;
        let is_left = state.readers == 0 && !state.exists;
        drop(state);
        if is_left {
            self.0.registers.upkeep.leaves(self.0.clone());
        }
    }
}
