//! What the log is to be told of the rooms in which readers of this node ask who is suspect.

use std::collections::BTreeSet;

use crate::journal::cluster::record::Record;
use crate::journal::cluster::roll::Roll;
use crate::model::name::Name;

/// The rooms in which readers ask, and what the log was told of them.
#[derive(Debug, Default)]
pub(super) struct Asking {
    rooms: BTreeSet<Name>,
    told: BTreeSet<Name>,
    /// Whether the two may differ.
    is_due: bool,
}

impl Asking {
    /// Readers ask in these rooms from now on.
    pub fn ask(&mut self, rooms: BTreeSet<Name>) {
        (self.rooms, self.is_due) = (rooms, true);
    }

    /// The log was told nothing: another life begins.
    pub fn untell(&mut self) {
        (self.told, self.is_due) = (BTreeSet::new(), true);
    }

    /// Somebody came or went, who may be of another version.
    pub fn look_again(&mut self) {
        self.is_due = true;
    }

    /// What the log is to be told now: nothing that a version in it can't read.
    pub fn owed(&mut self, roll: &Roll) -> Vec<Record> {
        if !std::mem::take(&mut self.is_due) {
            return Vec::new();
        }
        let record = |room: &Name, ask| Record::Asks { room: room.clone(), ask };
        let is_read = roll.all_read(record(&Name::lobby(), true).format());
        let wanted = if is_read { self.rooms.clone() } else { BTreeSet::new() };
        let ended = self.told.difference(&wanted).map(|room| record(room, false));
        let owed = ended.chain(wanted.difference(&self.told).map(|room| record(room, true))).collect();
        self.told = wanted;
        owed
    }
}
