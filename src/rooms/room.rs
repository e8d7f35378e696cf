//! One room as all tasks share it: changed under one lock, kept while anybody reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::model::command::Command;
use crate::rooms::edition::Edition;
use crate::model::moment::{Moment, Tick};
use crate::model::presence::{Outcome, Presence};
use crate::model::refusal::Refusal;

/// The largest set whose snapshot is kept framed for others: some 10 MB. A larger one is framed for
/// each reader anew, piece by piece.
const SHARED: usize = 100_000;

/// A snapshot made for somebody else is good enough while the events since then are few beside it:
/// one for so many members.
const FRESH: u64 = 16;

/// Holds that end in one step when their time is over, so that a hundred thousand that end together
/// hold up no one for longer than this takes: less than a millisecond.
const ENDS: usize = 256;

/// One room, shared.
#[derive(Debug)]
pub struct Room {
    state: Mutex<State>,
    agenda: Arc<Agenda>,
}

#[derive(Debug)]
struct State {
    presence: Presence,
    /// How many connections follow the room.
    readers: usize,
    /// The snapshot that was asked for last, for those who ask within a second or two.
    edition: Option<Arc<Edition>>,
    /// Where the room stands among the deadlines.
    due: Option<Tick>,
    /// Set when the room is taken out of the map: whoever still has it looks it up anew.
    retired: bool,
}

/// The room was taken out of the map meanwhile.
#[derive(Debug)]
pub struct Retired;

/// A room's place in memory, which stays its own while anybody keeps the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey(usize);

impl Room {
    /// A room that may be changed and read.
    pub fn new(presence: Presence, agenda: Arc<Agenda>) -> Self {
        let state = State { presence, readers: 0, edition: None, due: None, retired: false };
        Room { state: Mutex::new(state), agenda }
    }

    /// What tells this room from others.
    pub fn key(&self) -> RoomKey {
        RoomKey(std::ptr::from_ref(self).addr())
    }

    /// Reads the room at one moment. `read` must be short: it holds up the room's writers.
    pub fn look<T>(&self, read: impl FnOnce(&Presence) -> T) -> T {
        read(&self.state.lock().presence)
    }

    /// The whole set, from now or a moment ago but not before the event at `least`: those who come
    /// back together share the work of encoding it, and get the events since then like any others.
    pub fn edition(self: &Arc<Self>, least: u64) -> Arc<Edition> {
        let mut state = self.state.lock();
        let few = state.presence.roster().len() as u64 / FRESH;
        let good = |at| at >= least && state.presence.head().offset - at <= few;
        if let Some(edition) = &state.edition
            && state.presence.place(edition.cursor()).is_some_and(good)
        {
            return edition.clone();
        }
        let edition = Arc::new(Edition::new(state.presence.snapshot()));
        if state.presence.roster().len() <= SHARED {
            state.edition = Some(edition.clone());
            self.agenda.editions.lock()[0].push(Arc::downgrade(self));
        }
        edition
    }

    /// Does all of `commands`, or none.
    pub fn change(self: &Arc<Self>, commands: &[Command], now: Moment) -> Result<Result<Outcome, Refusal>, Retired> {
        let mut state = self.state.lock();
        if state.retired {
            return Err(Retired);
        }
        let outcome = state.presence.apply(commands, now);
        self.reschedule(&mut state);
        Ok(outcome)
    }

    /// Ends holds whose time is over, but not too many at once.
    pub fn expire(self: &Arc<Self>, now: Moment) -> Outcome {
        let mut state = self.state.lock();
        let outcome = state.presence.expire(now, ENDS);
        self.reschedule(&mut state);
        outcome
    }

    /// Keeps the room for a reader.
    pub fn follow(self: Arc<Self>) -> Result<Following, Retired> {
        let mut state = self.state.lock();
        if state.retired {
            return Err(Retired);
        }
        state.readers += 1;
        drop(state);
        Ok(Following(self))
    }

    /// Forgets what happened before a moment; true when nothing is left and the room must not be used any more.
    pub fn retire_if_idle(&self, before: Moment) -> bool {
        let mut state = self.state.lock();
        state.presence.trim(before);
        state.retired = state.readers == 0 && state.presence.is_idle();
        if state.retired {
            self.agenda.move_deadline(self.key(), &mut state.due, None);
        }
        state.retired
    }

    /// Stands among the deadlines by the hold that ends next.
    fn reschedule(self: &Arc<Self>, state: &mut State) {
        let next = state.presence.next_deadline();
        if next != state.due {
            self.agenda.move_deadline(self.key(), &mut state.due, next.map(|tick| (tick, Arc::downgrade(self))));
        }
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

/// What has to be done in rooms after some time, so that nobody looks through all of them. Its locks
/// are taken under a room's, and never the other way round.
#[derive(Debug, Default)]
pub struct Agenda {
    /// Which rooms keep an edition: since the last tick, and since the one before.
    editions: Mutex<[Vec<Weak<Room>>; 2]>,
    /// Rooms in which a hold ends by itself, the next first.
    deadlines: Mutex<BTreeMap<(Tick, RoomKey), Weak<Room>>>,
}

impl Agenda {
    /// Drops editions that are a tick old.
    pub fn tick(&self) {
        let mut rooms = self.editions.lock();
        let old = std::mem::take(&mut rooms[1]);
        rooms[1] = std::mem::take(&mut rooms[0]);
        drop(rooms);
        old.iter().filter_map(Weak::upgrade).for_each(|room| room.state.lock().edition = None);
    }

    /// The room whose next hold ended longest ago, if its time is over.
    pub fn due(&self, now: Tick) -> Option<Arc<Room>> {
        let mut deadlines = self.deadlines.lock();
        loop {
            let first = deadlines.first_entry().filter(|first| first.key().0 <= now)?;
            match first.get().upgrade() {
                Some(room) => return Some(room),
                None => drop(first.remove()),
            }
        }
    }

    fn move_deadline(&self, key: RoomKey, due: &mut Option<Tick>, new: Option<(Tick, Weak<Room>)>) {
        let mut deadlines = self.deadlines.lock();
        if let Some(old) = due.take() {
            deadlines.remove(&(old, key));
        }
        if let Some((tick, room)) = new {
            deadlines.insert((tick, key), room);
            *due = Some(tick);
        }
    }
}
