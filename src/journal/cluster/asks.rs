//! The rooms of which readers ask who is suspect: only there, silence makes events.

use std::collections::{BTreeMap, BTreeSet};

use crate::journal::bytes::{Input, Keep, Unreadable, put_all};
use crate::journal::cluster::incarnation::Incarnation;
use crate::model::name::Name;

/// The rooms that are asked about, each with the incarnations whose readers ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks(BTreeMap<Name, BTreeSet<Incarnation>>);

impl Asks {
    /// Whether no room is asked about.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a room is asked about.
    pub fn has(&self, room: &Name) -> bool {
        self.0.contains_key(room)
    }

    /// The rooms, in order of names.
    pub fn rooms(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// Notes that readers of an incarnation ask about a room, or no longer do. Whether the room is asked about from now on, or is no
    /// longer; `None` if that stays as it was.
    pub fn change(&mut self, room: &Name, who: Incarnation, ask: bool) -> Option<bool> {
        if ask {
            let is_new = !self.has(room);
            self.0.entry(room.clone()).or_default().insert(who);
            return is_new.then_some(true);
        }
        let asking = self.0.get_mut(room)?;
        asking.remove(&who);
        let is_last = asking.is_empty();
        if is_last {
            self.0.remove(room);
        }
        is_last.then_some(false)
    }

    /// Forgets an incarnation. Returns the rooms that are no longer asked about.
    pub fn remove(&mut self, who: Incarnation) -> Vec<Name> {
        let rooms: Vec<_> = self.rooms().cloned().collect();
        rooms.into_iter().filter(|room| self.change(room, who, false).is_some()).collect()
    }
}

impl Keep for Asks {
    fn put(&self, to: &mut Vec<u8>) {
        let all: Vec<(Name, Incarnation)> =
            self.0.iter().flat_map(|(room, asking)| asking.iter().map(|who| (room.clone(), *who))).collect();
        put_all(&all, to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        let all: Vec<(Name, Incarnation)> = Keep::take(from)?;
        let mut asks = BTreeMap::<_, BTreeSet<_>>::new();
        for (room, who) in all {
            asks.entry(room).or_default().insert(who);
        }
        Ok(Asks(asks))
    }
}
