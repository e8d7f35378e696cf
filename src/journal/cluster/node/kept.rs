//! A node with a snapshot of its own: it may begin with that where the log is away, and comes to the log later.

use std::collections::{HashMap, HashSet};

use crate::access::passbook::{Passbook, SecretId};
use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::node::again::permanent;
use crate::journal::cluster::node::{Item, Node, Options, Told, Trouble};
use crate::journal::cluster::record::Record;
use crate::journal::cluster::reread::Reread;
use crate::journal::cluster::roll::Restorer;
use crate::journal::cluster::snapshot::Snapshot;
use crate::journal::cluster::timing::{GRACE, SILENT};
use crate::journal::cluster::window::Ask;
use crate::model::command::Command;
use crate::model::hold::{HoldId, HoldKind};
use crate::model::moment::Moment;
use crate::model::presence::Presence;
use crate::model::roster::Mark;

/// What a log is to the state in a node's own snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The log of that state, which has gone on.
    GoesOn,
    /// The log of that state, without entries that the state has.
    Forgot,
    /// Another log, and nothing that lasts is in it but what comes from an older state of the same log.
    Emptied,
    /// Another log, which was restored from that state, or from a newer one.
    Restored,
    /// Another log, with members of its own.
    Other,
}

impl Turn {
    /// What `log`, read to its end, is to the state `kept`. `lacks`: an entry of that state is not there, or is another one.
    pub fn of(log: &Shared, kept: &Shared, lacks: bool) -> Turn {
        let (here, there) = (log.roll.identity, kept.roll.identity);
        if here.journal == there.journal {
            // In a later generation, others have found the loss.
            return if lacks && here.generation == there.generation { Turn::Forgot } else { Turn::GoesOn };
        }
        let origin = kept.roll.origin();
        match log.roll.restorer {
            Restorer::Nobody if log.roll.is_young() && is_bare(log) => Turn::Emptied,
            Restorer::Nobody => Turn::Other,
            Restorer::One(_, older) | Restorer::Left(older) | Restorer::Done(older) if !older.is_of(origin) => {
                Turn::Other
            }
            // Whoever restores may not come to the end.
            Restorer::One(_, older) if log.roll.is_young() && older.entries <= origin.entries => Turn::Emptied,
            Restorer::Left(_) | Restorer::Done(_) if log.roll.is_young() && log.roll.has_more(origin) => Turn::Emptied,
            Restorer::One(..) | Restorer::Left(_) | Restorer::Done(_) => Turn::Restored,
        }
    }
}

/// Whether nothing is there that would last without connections.
fn is_bare(log: &Shared) -> bool {
    let is_sign_in = |kind: &HoldKind| match kind {
        HoldKind::SignIn { .. } => true,
        HoldKind::Connection(_) => false,
    };
    let has_sign_ins = |room: &Presence| {
        let mut held = room.roster().held_from(Mark::default());
        // A member without holds of its own has one permanent sign-in.
        held.any(|(_, holds)| holds.is_none_or(|holds| holds.iter().any(|hold| is_sign_in(&hold.kind))))
    };
    let lists = log.lists();
    lists.cookies.all().next().is_none() && lists.revocations.is_empty() && !log.rooms().any(has_sign_ins)
}

impl Node {
    /// A node that begins with its own snapshot, `kept`, and has not reached the log.
    pub fn away(id: Incarnation, kept: Shared, options: Options, now: Moment) -> Self {
        let mut node = Node::new(id, kept, options, now);
        (node.trouble, node.echo) = (Some(Trouble::Away), 0);
        node
    }

    /// The log is the one of the node's own snapshot, and goes on from there until `end`. The node reads that before it says
    /// something.
    pub fn reach(&mut self, end: u64, now: Moment) {
        (self.trouble, self.outdated) = (None, false);
        (self.until, self.read_at) = (end, now.tick.0);
        self.lag.clear();
    }

    /// The log, which this node has not reached yet, has something of a later version, which this one can't read.
    pub fn is_outdated(&mut self) {
        self.outdated = true;
    }

    /// If nothing comes of what this node has not read yet, the log may be away again, or have forgotten that: it is to be reached anew.
    pub(super) fn doubt(&mut self, now: u64) {
        if self.is_silent() && now.saturating_sub(self.read_at) > SILENT {
            self.is_troubled(Trouble::Away);
        }
    }

    /// What a log that was read anew is to what this node has.
    pub fn turn(&self, reread: &Reread) -> Turn {
        Turn::of(&reread.shared, &self.shared, reread.lacks)
    }

    /// How often a snapshot is due, in milliseconds.
    pub fn snapshot_every(&self) -> u64 {
        self.options.snapshot_every
    }

    /// The present state for this node's own disk, if it is the whole present.
    pub fn picture(&self, now: Moment) -> Option<Snapshot> {
        // A log that is being restored is no substitute for the snapshot from which it is.
        let is_restored = match self.shared.roll.restorer {
            Restorer::One(..) => false,
            Restorer::Nobody | Restorer::Left(_) | Restorer::Done(_) => self.restoration.is_none(),
        };
        (is_restored && self.is_well(now) && self.begun > 0).then(|| Snapshot::of(&self.shared))
    }

    /// Whether this node has all that the log has.
    pub(super) fn is_well(&self, now: Moment) -> bool {
        !self.is_stale(now) && self.curtain.is_none() && self.trouble.is_none() && !self.is_silent()
    }

    /// Whether this node says nothing, since it has not read the log to where it was when the node reached it, or can't.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.trouble, Some(Trouble::Away | Trouble::Newer)) || self.shared.roll.seen.position < self.until
    }

    /// Takes over the log, in the place of the own snapshot with which this life began. No batch of this life was made.
    pub(super) fn arrive(&mut self, reread: Reread, generation: u64, now: u64) {
        self.lower(now, now + SILENT + GRACE);
        let turn = self.turn(&reread);
        let Reread { shared, ring, .. } = reread;
        let old = std::mem::replace(&mut self.shared, shared);
        self.ring = ring;
        self.tell_lists(&old, turn == Turn::Emptied);
        match turn {
            // Behind the first record of this life.
            Turn::Forgot => {
                self.loss(&old, generation).into_iter().rev().for_each(|item| self.queue.insert(1, item));
            }
            Turn::Emptied => self.restoration = Some(self.lasting(&old)),
            Turn::GoesOn | Turn::Restored | Turn::Other => {}
        }
    }

    /// What is to be said of a log that forgot entries which the state `old` has: that all cursors are void, and the permanent
    /// sign-ins that are missing, unless others have written since, who may have ended them.
    fn loss(&self, old: &Shared, to: u64) -> Vec<Item> {
        let roll = &self.shared.roll;
        let mut said = vec![Item::Record(Record::Generation { from: roll.identity.generation, to })];
        if roll.seen.position < old.roll.seen.position {
            for (room, mut commands) in permanent(old) {
                let here = self.shared.room(&room).map(Presence::roster);
                commands.retain(|command| {
                    let Command::User(user, crate::model::command::Action::SignIn(sign_in)) = command else {
                        return false;
                    };
                    let holds = here.and_then(|roster| roster.holds(user));
                    holds.is_none_or(|holds| holds.get(&HoldId::SignIn(sign_in.name.clone())).is_none())
                });
                let each =
                    commands.into_iter().map(|command| Record::Change { room: room.clone(), commands: vec![command] });
                // As of a caller who has gone: another life says them, too.
                said.extend(each.map(|record| Item::Ask(Ask { ticket: None, record })));
            }
        }
        said
    }

    /// Tells what is other in the lists than in those of `old`, whose entries were not all read one by one. While another log is
    /// filled, `keeps` what will be there again.
    pub(super) fn tell_lists(&mut self, old: &Shared, keeps: bool) {
        let (here, before) = (self.shared.lists(), old.lists());
        let mut facts = Vec::new();
        let ids = |book: &Passbook| book.all().map(|(id, ..)| id).collect::<HashSet<SecretId>>();
        for (now, was, is_cookie) in
            [(&here.cookies, &before.cookies, true), (self.shared.tickets(), old.tickets(), false)]
        {
            let (known, there) = (ids(was), ids(now));
            facts.extend(now.all().filter(|(id, ..)| !known.contains(id)).map(|(id, pass, end)| match is_cookie {
                true => Record::Cookie { id, pass: pass.clone(), end },
                false => Record::Ticket { id, pass: pass.clone(), end },
            }));
            facts.extend(known.difference(&there).filter(|_| !keeps).map(|id| match is_cookie {
                true => Record::CookieEnded(*id),
                false => Record::TicketUsed(*id),
            }));
        }
        let known: HashMap<_, _> = before.revocations.all().map(|(revoked, until, _)| (revoked, until)).collect();
        let at = self.shared.roll.time.0 / 1_000;
        let new = here.revocations.all().filter(|(revoked, until, _)| known.get(revoked) != Some(until));
        facts.extend(new.map(|(revoked, before, _)| Record::Revoked { revoked: revoked.clone(), before, at }));
        let known: HashSet<_> = before.denylist.all().map(|denial| (denial.room, denial.user, denial.client)).collect();
        let new = here
            .denylist
            .all()
            .filter(|denial| !known.contains(&(denial.room.clone(), denial.user.clone(), denial.client)));
        facts.extend(new.map(|denial| {
            let (room, user, client, reason) = (denial.room, denial.user, denial.client, denial.reason);
            Record::Denied { room, user, client, reason }
        }));
        self.told.extend(facts.into_iter().map(Told::Fact));
    }
}
