//! One room, shared by all tasks: changed under one lock, kept while it has readers.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::command::Command;
use crate::model::cursor::Offset;
use crate::model::moment::{Moment, Tick};
use crate::model::outcome::Outcome;
use crate::model::presence::Presence;
use crate::model::refusal::Refusal;
use crate::rooms::edition::Edition;
use crate::rooms::key::RoomKey;
use crate::rooms::registers::Registers;

/// The most members of a set whose edition is stored for other readers: some 10 MB. A larger set is framed for each
/// reader anew, part by part.
const MAX_STORED: usize = 100_000;

/// A stored edition still serves while at most one event for this many members has happened since.
const MEMBERS_PER_EVENT: u64 = 16;

/// The most holds that one step ends at their deadlines: less than a millisecond under the lock, also when a hundred
/// thousand leases end together.
const MAX_EXPIRED: usize = 256;

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
    /// Whether the room is in the index: it has members or remembered events.
    exists: bool,
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
        let state = State { presence, readers: 0, edition: None, deadline: None, exists: false, retired: false };
        Room { state: Mutex::new(state), registers }
    }

    /// The room's key.
    pub fn key(&self) -> RoomKey {
        RoomKey::of(self)
    }

    /// Reads the room at one moment. `read` must be short: the room's writers wait for it.
    pub fn read<T>(&self, read: impl FnOnce(&Presence) -> T) -> T {
        read(&self.state.lock().presence)
    }

    /// An edition of the present set, or a slightly older edition that includes the event at `at_least`. Concurrent
    /// readers share the work of encoding, and get the events since then like any other events.
    pub fn edition(self: &Arc<Self>, at_least: Offset) -> Arc<Edition> {
        let mut state = self.state.lock();
        let few = state.presence.roster().len() as u64 / MEMBERS_PER_EVENT;
        let serves = |at: Offset| at >= at_least && state.presence.head().offset.0 - at.0 <= few;
        if let Some(edition) = &state.edition
            && state.presence.place(edition.snapshot().cursor).is_some_and(serves)
        {
            return edition.clone();
        }
        let edition = Arc::new(Edition::new(state.presence.snapshot()));
        if state.presence.roster().len() <= MAX_STORED {
            state.edition = Some(edition.clone());
            self.registers.upkeep.stores_edition(self);
        }
        edition
    }

    /// Drops the stored edition.
    pub fn drop_edition(&self) {
        self.state.lock().edition = None;
    }

    /// Applies all of `commands`, or none.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Refused`] with the first refusal, and [`ChangeError::Retired`] for a room that was removed
    /// meanwhile.
    pub(super) fn change(self: &Arc<Self>, commands: &[Command], now: Moment) -> Result<Outcome, ChangeError> {
        let mut state = self.state.lock();
        if state.retired {
            return Err(ChangeError::Retired);
        }
        let outcome = self.apply(&mut state, commands, now).map_err(ChangeError::Refused)?;
        let deadline = state.presence.next_deadline();
        self.move_deadline(&mut state, deadline);
        Ok(outcome)
    }

    fn apply(&self, state: &mut State, commands: &[Command], now: Moment) -> Result<Outcome, Refusal> {
        let name = state.presence.room().clone();
        self.registers.check_denylist(&name, commands, now.tick)?;
        let begins = !state.exists && commands.iter().any(|command| command.adds().is_some());
        if begins {
            self.registers.index.insert(&name)?;
        }
        let outcome = state.presence.apply(commands, now);
        if begins {
            state.exists = !state.presence.is_idle();
            if !state.exists {
                self.registers.index.remove(&name);
            }
        }
        let outcome = outcome?;
        self.registers.record_denied(&name, &outcome, now.tick);
        Ok(outcome)
    }

    /// Ends holds whose deadline has passed, a bounded number at once.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Retired`]; the command is never refused.
    pub(super) fn expire(self: &Arc<Self>, now: Moment) -> Result<Outcome, ChangeError> {
        self.change(&[Command::Expire(MAX_EXPIRED)], now)
    }

    /// Adds a reader, which keeps the room in memory; `None` when the room was removed meanwhile.
    pub(super) fn follow(self: Arc<Self>) -> Option<Following> {
        let mut state = self.state.lock();
        if state.retired {
            return None;
        }
        state.readers += 1;
        drop(state);
        Some(Following(self))
    }

    /// Retires the room if it has no readers and does not exist; true when retired.
    pub(super) fn retire(&self) -> bool {
        let mut state = self.state.lock();
        state.retired |= state.readers == 0 && !state.exists;
        state.retired
    }

    /// Forgets the events from before `before`. A room without members and events then exists no longer, and retires
    /// unless readers keep it; true when retired.
    pub(super) fn retire_if_idle(self: &Arc<Self>, before: Tick, now: Moment) -> bool {
        let mut state = self.state.lock();
        // A trim is never refused.
        let _ = state.presence.apply(&[Command::Trim(before)], now);
        if state.exists && state.presence.is_idle() {
            state.exists = false;
            self.registers.index.remove(state.presence.room());
            self.move_deadline(&mut state, None);
        }
        drop(state);
        self.retire()
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
        let mut state = self.0.state.lock();
        state.readers -= 1;
        let is_left = state.readers == 0 && !state.exists;
        drop(state);
        if is_left {
            self.0.registers.upkeep.leaves(self.0.clone());
        }
    }
}
