//! Deadlines: the holds of a room that end by themselves.

use std::collections::BTreeSet;

use crate::model::hold::HoldId;
use crate::model::moment::Tick;
use crate::model::name::Name;

/// The holds of a room that end by themselves, the earliest first.
#[derive(Debug, Default)]
pub struct Deadlines(BTreeSet<(Tick, Name, HoldId)>);

impl Deadlines {
    /// Moves a hold's deadline from `old` to `new`; `None` is no deadline.
    pub fn change(&mut self, user: &Name, id: &HoldId, old: Option<Tick>, new: Option<Tick>) {
        if let Some(old) = old {
            self.0.remove(&(old, user.clone(), id.clone()));
        }
        if let Some(new) = new {
            self.0.insert((new, user.clone(), id.clone()));
        }
    }

    /// Adds many deadlines at once.
    pub fn add_all(&mut self, deadlines: Vec<(Tick, Name, HoldId)>) {
        // Built from a sorted list, and then merged: far cheaper than as many searches.
        self.0.append(&mut deadlines.into_iter().collect());
    }

    /// The number of holds, at most `most`, whose deadline has passed.
    pub fn count_due(&self, now: Tick, most: usize) -> usize {
        self.0.iter().take(most).take_while(|(deadline, ..)| *deadline <= now).count()
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Tick> {
        self.0.first().map(|(deadline, ..)| *deadline)
    }

    /// The hold with the earliest deadline, and the deadline, if that has passed.
    pub fn due(&self, now: Tick) -> Option<(Tick, Name, HoldId)> {
        self.0.first().filter(|(deadline, ..)| *deadline <= now).cloned()
    }
}
