//! The fold: the whole state as the entries of a journal make it.
//!
//! Nothing is judged here, and no clock is read: what stands in the journal was accepted before, and has its moment.

pub mod restore;

use std::collections::HashMap;

use crate::access::passbook::Passbook;
use crate::access::revocations::Revocations;
use crate::journal::entry::{Entry, Rules, Stamp};
use crate::model::command::Command;
use crate::model::cursor::{Cursor, Offset, Position};
use crate::model::denylist::Denylist;
use crate::model::history::Bound;
use crate::model::identity::Identity;
use crate::model::moment::Tick;
use crate::model::name::Name;
use crate::model::presence::{Bounds, Presence};

/// What the entries make.
#[derive(Debug)]
pub struct State {
    /// The rooms with members, or with events that are remembered, and others that had some.
    pub rooms: HashMap<Name, Box<Presence>>,
    /// The clients that may only watch.
    pub denylist: Denylist,
    /// The revocations.
    pub revocations: Revocations,
    /// The cookies.
    pub cookies: Passbook,
    /// The rules in force.
    pub rules: Rules,
    /// The last position that an entry or an event has, and the moment of the last entry.
    pub last: Stamp,
    /// The last process that began.
    pub incarnation: Option<u128>,
    /// Whether the last process ended cleanly.
    pub ended: bool,
}

/// Bounds on what is remembered of the events while a journal is folded.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Of one room.
    pub history: Bound,
    /// The bytes of all rooms together, about.
    pub bytes: usize,
}

/// A state, and what is needed to go on.
#[derive(Debug)]
pub struct Fold {
    state: State,
    identity: Identity,
    memory: Memory,
    /// The bytes of all histories.
    histories: usize,
    included: Included,
}

/// Which entries a checkpoint has in it, beside those that each of its rooms tells itself.
#[derive(Debug, Default)]
struct Included {
    /// Before this, those about rooms that are not in the checkpoint.
    listed: Position,
    /// Before this, those about a room that was listed and then absent.
    absent: HashMap<Name, Position>,
    /// Before this, the revocations.
    revocations: Position,
    /// Before this, the cookies.
    cookies: Position,
}

impl Fold {
    /// The state before the first entry of the journal of this identity.
    pub fn new(identity: Identity, memory: Memory) -> Self {
        let state = State {
            rooms: HashMap::new(),
            denylist: Denylist::default(),
            revocations: Revocations::default(),
            cookies: Passbook::new(usize::MAX),
            rules: Rules::default(),
            last: Stamp::default(),
            incarnation: None,
            ended: false,
        };
        Fold { state, identity, memory, histories: 0, included: Included::default() }
    }

    /// The state so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state, to be taken apart.
    pub fn into_state(self) -> State {
        self.state
    }

    /// Folds the next entry. After a checkpoint, also one that the checkpoint has in it already.
    pub fn fold(&mut self, stamp: Stamp, entry: Entry) {
        let Stamp { position, moment } = stamp;
        self.state.last = Stamp { position: self.state.last.position.max(position), moment };
        match entry {
            Entry::Begin { incarnation, hold_for } => {
                self.state.incarnation = Some(incarnation);
                let crashed = !std::mem::take(&mut self.state.ended);
                let later = |room: &&mut Box<Presence>| room.applied() < position;
                for room in self.state.rooms.values_mut().filter(later) {
                    room.fold(&[Command::Begin(hold_for)], position, moment);
                    if crashed {
                        room.restart(position.offset());
                    }
                }
            }
            Entry::Rules(rules) => self.rule(rules),
            Entry::Change { room, commands } => self.change(stamp, room, &commands),
            Entry::Mark => {}
            Entry::Revoked { revoked, before, at } => {
                if position >= self.included.revocations {
                    self.state.revocations.forget(at);
                    self.state.revocations.extend(revoked, before, at);
                }
            }
            Entry::Cookie { id, pass, end } => {
                if position >= self.included.cookies {
                    self.state.cookies.keep_again(id, pass, end, moment.tick);
                }
            }
            Entry::CookieEnded { id } => {
                if position >= self.included.cookies {
                    self.state.cookies.take(id, moment.tick);
                }
            }
            Entry::End => self.state.ended = true,
        }
    }

    fn rule(&mut self, rules: Rules) {
        self.state.rules = rules;
        self.state.rooms.values_mut().for_each(|room| room.bound(rules.members, rules.grace));
    }

    fn change(&mut self, stamp: Stamp, name: Name, commands: &[Command]) {
        let Stamp { position, moment } = stamp;
        let room = match self.state.rooms.get_mut(&name) {
            Some(room) if room.applied() >= position => return,
            Some(room) => room,
            None if position < *self.included.absent.get(&name).unwrap_or(&self.included.listed) => return,
            None => {
                let room = Presence::new(name.clone(), self.start(&name, position), self.bounds());
                self.state.rooms.entry(name.clone()).or_insert(Box::new(room))
            }
        };
        let before = room.history_bytes();
        let outcome = room.fold(commands, position, moment);
        self.histories = self.histories + room.history_bytes() - before;
        self.state.denylist.record(&name, &outcome, moment.tick);
        let last = &mut self.state.last.position;
        *last = (*last).max(Position(outcome.cursor.offset.0));
        if self.histories > self.memory.bytes {
            self.histories = self.state.forget_half();
        }
    }

    /// The place of a room before its first entry, at `first`: behind all events of earlier rooms of this name.
    fn start(&self, room: &Name, first: Position) -> Cursor {
        Cursor { epoch: self.identity.epoch(room), offset: Offset(first.0.saturating_sub(1)) }
    }

    fn bounds(&self) -> Bounds {
        let Rules { members, grace, max_named: _ } = self.state.rules;
        Bounds { history: self.memory.history, members, grace }
    }
}

impl State {
    /// Forgets the older half of each room's events, and returns the bytes that are left. Seldom: it takes as many entries to fill
    /// that half again.
    pub(super) fn forget_half(&mut self) -> usize {
        let halve = |room: &mut Box<Presence>| {
            room.forget(&Command::Shorten(room.history_bytes() / 2, Tick(u64::MAX)));
            room.history_bytes()
        };
        self.rooms.values_mut().map(halve).sum()
    }
}

#[cfg(test)]
mod tests;
