//! Deadlines: the holds of a room that end by themselves.

use std::collections::BTreeSet;

use crate::model::hold::HoldId;
use crate::model::moment::Tick;
use crate::model::name::Name;

/// The holds of a room that end by themselves, the earliest first.
#[derive(Debug, Default)]
pub struct Deadlines(BTreeSet<(Tick, Name, HoldId)>);

impl Deadlines {
    /// All of `deadlines`, sorted once.
    pub fn of(deadlines: impl IntoIterator<Item = (Tick, Name, HoldId)>) -> Self {
        Deadlines(deadlines.into_iter().collect())
    }

    /// Moves a hold's deadline from `old` to `new`; `None` is no deadline.
    pub fn change(&mut self, user: &Name, id: &HoldId, old: Option<Tick>, new: Option<Tick>) {
        if let Some(old) = old {
            self.0.remove(&(old, user.clone(), id.clone()));
        }
        if let Some(new) = new {
            self.0.insert((new, user.clone(), id.clone()));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Tick> {
        self.0.first().map(|(deadline, ..)| *deadline)
    }

    /// The hold with the earliest deadline, if that has passed.
    pub fn due(&self, now: Tick) -> Option<(Name, HoldId)> {
        self.0.first().filter(|(deadline, ..)| *deadline <= now).map(|(_, user, id)| (user.clone(), id.clone()))
    }
}
