//! Reading a log anew, after a sign that it is not the one that this node read.

use std::collections::VecDeque;

use crate::journal::cluster::attendance::Key;
use crate::journal::cluster::batch::Seen;
use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::record::Record;
use crate::journal::cluster::timing::RING;
use crate::model::command::{Action, Command};
use crate::model::event::DelReason;
use crate::model::id::ClientId;
use crate::model::identity::Identity;
use crate::model::name::Name;

/// The last entries that a node read.
#[derive(Clone, Debug, Default)]
pub struct Ring(VecDeque<Seen>);

/// A log that is read anew. The node goes on meanwhile.
#[derive(Debug)]
pub struct Reread {
    pub(super) shared: Shared,
    pub(super) ring: Ring,
    /// What the node read before.
    older: Ring,
    old: Seen,
    /// The running hash where the node stands.
    there: Option<u64>,
    /// The last entry that the node had read, too; 0 if none is known.
    pub(super) common: u64,
    is_newer: bool,
    /// Who was signed out in what the node did not read.
    pub(super) signed_out: Vec<(Key, DelReason)>,
    /// An entry that the node had read is known not to be there.
    pub(super) lacks: bool,
}

impl Ring {
    /// Adds the newest.
    pub fn push(&mut self, seen: Seen) {
        self.0.push_back(seen);
        if self.0.len() > RING {
            self.0.pop_front();
        }
    }

    /// Whether a node that had read `seen` had read something else.
    pub fn contradicts(&self, seen: Seen) -> bool {
        let at = self.0.partition_point(|own| own.position < seen.position);
        match self.0.get(at) {
            Some(own) if own.position == seen.position => *own != seen,
            Some(_) => at > 0,
            None => false,
        }
    }

    fn has(&self, seen: Seen) -> bool {
        self.0.binary_search_by_key(&seen.position, |own| own.position).is_ok_and(|at| self.0[at] == seen)
    }
}

impl Reread {
    /// Reads on from `shared`, the state of a snapshot or of nothing, for a node that read `older`.
    pub(super) fn of(shared: Shared, older: Ring, old: Seen) -> Self {
        let mut ring = Ring::default();
        ring.push(shared.roll.seen);
        let there = (shared.roll.seen.position == old.position).then_some(shared.roll.seen.hash);
        Reread { shared, ring, older, old, there, common: 0, is_newer: false, signed_out: Vec::new(), lacks: false }
    }

    /// An entry that the node had read is not there, or is another one.
    pub fn lacks(&mut self, lacks: bool) {
        self.lacks = lacks;
    }

    /// The log's name in cursors.
    pub fn identity(&self) -> Identity {
        self.shared.roll.identity
    }

    /// The position to read on after.
    pub fn position(&self) -> u64 {
        self.shared.roll.seen.position
    }

    /// Whether an entry is of a later version, and can't be read by this one.
    pub fn is_newer(&self) -> bool {
        self.is_newer
    }

    /// Reads the next entry.
    pub fn entry(&mut self, position: u64, bytes: &[u8]) {
        let folded = self.shared.fold(position, bytes);
        self.is_newer |= folded.is_newer;
        let seen = self.shared.roll.seen;
        self.ring.push(seen);
        if position == self.old.position {
            self.there = Some(seen.hash);
        }
        for (key, reason) in folded.batch.iter().flat_map(|batch| batch.records.iter()).flat_map(sign_outs) {
            self.signed_out.push((key, reason));
        }
        if self.older.has(seen) {
            self.common = position;
            self.signed_out.clear();
        }
    }

    /// Whether all that the node read before is there, and the same.
    pub(super) fn is_same(&self) -> bool {
        self.there == Some(self.old.hash)
    }
}

/// The clients that a record ends the holds of, on whichever node.
pub(super) fn leaves(record: &Record) -> impl Iterator<Item = (Key, ClientId)> {
    actions(record).filter_map(|(room, user, action)| {
        let Action::LeaveClient(client) = action else { return None };
        Some(((room.clone(), user.clone()), *client))
    })
}

/// Whom a record signs out.
pub(super) fn sign_outs(record: &Record) -> impl Iterator<Item = (Key, DelReason)> {
    actions(record).filter_map(|(room, user, action)| {
        let Action::SignOut(reason) = action else { return None };
        Some(((room.clone(), user.clone()), *reason))
    })
}

/// What a record does about users: the room, the user and the action.
fn actions(record: &Record) -> impl Iterator<Item = (&Name, &Name, &Action)> {
    let change = if let Record::Change { room, commands } = record { Some((room, commands)) } else { None };
    change.into_iter().flat_map(|(room, commands)| {
        commands.iter().filter_map(move |command| {
            let Command::User(user, action) = command else { return None };
            Some((room, user, action))
        })
    })
}
