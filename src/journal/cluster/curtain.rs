//! The curtain: what readers are shown while this node reads what happened without it. Readers then get the way from the old set
//! to the new one at once, instead of people who leave and come back.

use std::collections::HashMap;

use crate::journal::cluster::fold::Shared;
use crate::model::cursor::Cursor;
use crate::model::name::Name;
use crate::model::roster::Roster;

/// The rooms as they were, until the curtain is lifted.
#[derive(Debug)]
pub struct Curtain {
    rooms: HashMap<Name, (Cursor, Roster)>,
    /// When it was lowered.
    since: u64,
    /// When it is lifted in any case.
    until: u64,
}

impl Curtain {
    /// Lowered now.
    pub fn of(shared: &Shared, since: u64, until: u64) -> Self {
        let room =
            |room: &crate::model::presence::Presence| (room.room().clone(), (room.head(), room.roster().clone()));
        Curtain { rooms: shared.rooms().map(room).collect(), since, until }
    }

    /// Stays for longer.
    pub fn extend(&mut self, since: u64, until: u64) {
        self.since = self.since.max(since);
        self.until = self.until.max(until);
    }

    /// When it was lowered last.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: u64) -> bool {
        self.until <= now
    }

    /// The room as readers see it.
    pub fn room(&self, name: &Name) -> Option<&(Cursor, Roster)> {
        self.rooms.get(name)
    }

    /// The rooms that are others now, each with the place of its readers.
    pub fn lift(self, shared: &Shared) -> Vec<(Name, Option<Cursor>)> {
        let is_new = |room: &&crate::model::presence::Presence| !self.rooms.contains_key(room.room());
        let new: Vec<_> = shared.rooms().filter(is_new).map(|room| (room.room().clone(), None)).collect();
        let changed = self
            .rooms
            .into_iter()
            .filter(|(name, (cursor, _))| shared.room(name).is_none_or(|room| room.head() != *cursor));
        changed.map(|(name, (cursor, _))| (name, Some(cursor))).chain(new).collect()
    }
}
