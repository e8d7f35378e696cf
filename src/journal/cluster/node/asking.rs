//! What the log is to be told of the rooms in which readers of this node ask who is suspect.

use std::collections::BTreeSet;

use crate::journal::cluster::record::Record;
use crate::journal::cluster::roll::Roll;
use crate::journal::cluster::timing::OLDER;
use crate::model::name::Name;

/// The rooms in which readers ask, and what the log was told of them.
#[derive(Debug, Default)]
pub(super) struct Asking {
    rooms: BTreeSet<Name>,
    told: BTreeSet<Name>,
    /// Whether the two may differ.
    is_due: bool,
    /// When somebody was there last who can't read what would be told; 0 if nobody is known.
    older_at: u64,
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

    /// What the log is to be told now: nothing new that a version in it can't read, or one that was in it lately and may come back.
    pub fn owed(&mut self, roll: &Roll, now: u64) -> Vec<Record> {
        if !self.is_due && self.older_at == 0 {
            return Vec::new();
        }
        let record = |room: &Name, ask| Record::Asks { room: room.clone(), ask };
        if !roll.all_read(record(&Name::lobby(), true).format()) {
            self.older_at = now;
        } else if self.older_at > 0 && now.saturating_sub(self.older_at) > OLDER {
            (self.older_at, self.is_due) = (0, true);
        }
        if !std::mem::take(&mut self.is_due) {
            return Vec::new();
        }
        let is_read = self.older_at == 0;
        let wanted = if is_read { self.rooms.clone() } else { BTreeSet::new() };
        let ended = self.told.difference(&wanted).map(|room| record(room, false));
        let owed = ended.chain(wanted.difference(&self.told).map(|room| record(room, true))).collect();
        self.told = wanted;
        owed
    }
}
