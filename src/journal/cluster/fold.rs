//! The fold: the shared state as the batches of a log make it.
//!
//! Judges each change, and reads no clock: moments stand in the batches, and the ticks of two nodes are never compared. What the
//! time ends is told by a record of whoever measures that time.

use std::sync::Arc;

use crate::access::passbook::Passbook;
use crate::access::revocations::Revoked;
use crate::journal::bytes::Unreadable;
use crate::journal::cluster::asks::Asks;
use crate::journal::cluster::batch::{Batch, Seen};
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::record::Record;
use crate::journal::cluster::roll::{Admitted, Roll, Standing};
use crate::journal::entry::Rules;
use crate::journal::fold::{Fold, Memory, State};
use crate::model::command::{Action, Command, NodeAction, SignIn};
use crate::model::cursor::{Cursor, Position};
use crate::model::event::DelReason;
use crate::model::hold::{ConnectionHold, HoldId, Holds, Lease};
use crate::model::identity::Identity;
use crate::model::moment::{Moment, Tick};
use crate::model::name::{HoldName, Name};
use crate::model::outcome::Outcome;
use crate::model::presence::{Bounds, Presence};
use crate::model::refusal::{Code, Refusal};
use crate::model::roster::Mark;

/// What the batches make: the same on each node.
#[derive(Debug)]
pub struct Shared {
    /// Who lives, and how far the log goes.
    pub roll: Roll,
    pub(super) state: State,
    pub(super) tickets: Passbook,
    /// The rooms of which readers ask who is suspect.
    pub(super) asks: Asks,
    pub(super) memory: Memory,
    /// The bytes of all histories.
    pub(super) histories: usize,
    /// A fault, for tests: batches of any number count.
    pub any_number: bool,
}

/// A lease of one member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseKey {
    /// The room.
    pub room: Name,
    /// The member.
    pub user: Name,
    /// The name of the sign-in.
    pub name: Option<HoldName>,
}

/// What a record did.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Commands were applied to a room.
    Changed(Name, Outcome),
    /// Commands were refused.
    Refused(Refusal),
    /// A lease has this owner from here on.
    Leased(LeaseKey, Arc<Lease>),
    /// An incarnation became suspect, or is no longer, at this position of the order of events.
    Suspected(Incarnation, bool, Position),
    /// An incarnation is no more, which stood so.
    Gone(Incarnation, Standing),
    /// A ticket was used: whether it was there.
    Used(bool),
    /// All cursors mean nothing any more.
    Restarted,
}

/// What an entry did.
#[derive(Debug, Default)]
pub struct Folded {
    /// The batch; `None` for one that does not count.
    pub batch: Option<Batch>,
    /// What its records did, each by the record's index.
    pub effects: Vec<(usize, Effect)>,
    /// Who wrote the entry, whether it counts or not, if it can be read.
    pub writer: Option<(Incarnation, u64)>,
    /// What its writer had read.
    pub seen: Option<Seen>,
    /// Whether the entry is of a later version, and can't be read by this one.
    pub is_newer: bool,
}

/// The fold of one batch.
struct Step<'a> {
    shared: &'a mut Shared,
    by: Incarnation,
    now: Moment,
    record: usize,
    effects: Vec<(usize, Effect)>,
}

impl Shared {
    /// The state before the first entry of the log of this identity.
    pub fn new(identity: Identity, memory: Memory) -> Self {
        let state = Fold::new(identity, memory).into_state();
        Shared::of(Roll::new(identity), state, memory)
    }

    pub(super) fn of(roll: Roll, state: State, memory: Memory) -> Self {
        let (tickets, asks) = (Passbook::new(usize::MAX), Asks::default());
        Shared { roll, state, tickets, asks, memory, histories: 0, any_number: false }
    }

    /// The room of this name, if it exists.
    pub fn room(&self, name: &Name) -> Option<&Presence> {
        self.state.rooms.get(name).map(|room| &**room)
    }

    /// All rooms.
    pub fn rooms(&self) -> impl Iterator<Item = &Presence> {
        self.state.rooms.values().map(|room| &**room)
    }

    /// Whether this very lease is still there.
    pub fn is_leased(&self, key: &LeaseKey, lease: &Lease) -> bool {
        let holds = self.room(&key.room).and_then(|room| room.roster().holds(&key.user));
        holds.is_some_and(|holds| holds.lease(key.name.as_ref()).is_some_and(|own| **own == *lease))
    }

    /// The rules in force.
    pub fn rules(&self) -> Rules {
        self.state.rules
    }

    /// The denylist, the revocations and the cookies.
    pub fn lists(&self) -> &State {
        &self.state
    }

    /// The tickets that were not used yet.
    pub fn tickets(&self) -> &Passbook {
        &self.tickets
    }

    /// Folds the entry at `position`, which is above all before.
    pub fn fold(&mut self, position: u64, bytes: &[u8]) -> Folded {
        self.roll.read(position, bytes);
        let batch = match Batch::decode(bytes) {
            Ok(batch) => batch,
            Err(unreadable) => {
                let is_newer = matches!(unreadable, Unreadable::Newer(_)) && Batch::may_be_newer(bytes);
                return Folded { is_newer, ..Folded::default() };
            }
        };
        let (writer, seen) = (Some((batch.incarnation, batch.number)), Some(batch.seen));
        let admitted = self.roll.admit(&batch, self.any_number);
        if admitted == Admitted::No {
            return Folded { writer, seen, ..Folded::default() };
        }
        let now = Moment { time: batch.moment.time, tick: self.roll.clock };
        self.roll.begin_order(now.time);
        // What the batch as such does is the effect of no record.
        let mut step = Step { shared: self, by: batch.incarnation, now, record: usize::MAX, effects: Vec::new() };
        if admitted == Admitted::Again {
            step.suspected(batch.incarnation, false);
        }
        for (index, record) in batch.records.iter().enumerate() {
            step.record = index;
            step.apply(record);
        }
        let effects = step.effects;
        self.roll.mix(self.roll.next.0);
        self.state.last.moment = now;
        Folded { batch: Some(batch), effects, writer, seen, is_newer: false }
    }

    /// Forgets events from before `time`, and rooms of which nothing is left. Changes nothing that the fold asks for.
    pub fn forget(&mut self, time: Tick) {
        self.histories = 0;
        self.state.rooms.retain(|_, room| {
            room.forget(&Command::Trim(time));
            self.histories += room.history_bytes();
            !room.is_idle()
        });
    }

    /// The place of a room that begins now.
    pub fn place(&self, room: &Name) -> Cursor {
        Cursor { epoch: self.roll.identity.epoch(room), offset: self.roll.next.offset().before() }
    }

    /// Forgets the events of a room, which its readers have, and the room if nothing else is left of it.
    pub fn forget_events(&mut self, name: &Name) {
        let Some(room) = self.state.rooms.get_mut(name) else { return };
        self.histories = self.histories.saturating_sub(room.history_bytes());
        room.forget_all();
        if room.is_idle() {
            self.state.rooms.remove(name);
        }
    }

    /// Whether readers ask who of this room is suspect.
    pub fn is_asked(&self, room: &Name) -> bool {
        self.asks.has(room)
    }

    pub(super) fn bounds(&self) -> Bounds {
        let Rules { members, grace, max_named: _ } = self.state.rules;
        Bounds { history: self.memory.history, members, grace }
    }
}

impl Step<'_> {
    fn apply(&mut self, record: &Record) {
        let by = self.by;
        match record {
            Record::Up { rules, .. } if !self.shared.roll.ruled => self.rule(*rules),
            Record::Up { .. } => {}
            Record::Retire(older) => {
                if *older != by && self.shared.roll.lives.contains_key(older) {
                    self.remove(*older, DelReason::NodeLost, Some(by));
                }
            }
            Record::Down => self.shared.roll.stop(by),
            Record::Suspect { who, next } => {
                if *who != by && self.shared.roll.suspect(*who, *next) {
                    self.suspected(*who, true);
                }
            }
            Record::Reap { who, since } => self.reap(*who, *since),
            Record::Generation { from, to } => self.restart(*from, *to),
            Record::Claim(origin) => self.shared.roll.claim(by, *origin),
            Record::Restore { room, commands } => {
                if self.shared.roll.is_restorer(by) {
                    self.restore(room, commands);
                }
            }
            Record::Restored => self.shared.roll.restored(by),
            Record::Change { room, commands } => self.change(room, commands),
            Record::Came { .. } => {}
            Record::Denied { room, user, client, reason } => {
                self.shared.state.denylist.add(room, user, *client, self.now.tick, *reason);
            }
            Record::Rules(rules) => self.rule(*rules),
            Record::Revoked { revoked, before, at } => self.revoke(revoked, *before, *at),
            Record::Cookie { id, pass, end } => {
                self.shared.state.cookies.keep_again(*id, pass.clone(), *end, self.now.tick);
            }
            Record::CookieEnded(id) => drop(self.shared.state.cookies.take(*id, self.now.tick)),
            Record::Ticket { id, pass, end } => {
                self.shared.tickets.keep_again(*id, pass.clone(), *end, self.now.tick);
            }
            Record::TicketUsed(id) => {
                let used = self.shared.tickets.take(*id, self.now.tick).is_some();
                self.tell(Effect::Used(used));
            }
            Record::Asks { room, ask } => match self.shared.asks.change(room, by, *ask) {
                Some(true) => self.suspects().into_iter().for_each(|who| self.silence(room, Some(who), true)),
                Some(false) => self.silence(room, None, false),
                None => {}
            },
        }
    }

    fn tell(&mut self, effect: Effect) {
        self.effects.push((self.record, effect));
    }

    fn suspected(&mut self, who: Incarnation, is: bool) {
        self.tell(Effect::Suspected(who, is, self.shared.roll.next));
        // As in version 0.1: nodes of both versions give the same entries the same positions.
        self.shared.roll.next.0 += 1;
        for room in self.shared.asks.rooms().cloned().collect::<Vec<_>>() {
            self.silence(&room, Some(who), is);
        }
    }

    fn suspects(&self) -> Vec<Incarnation> {
        let lives = self.shared.roll.lives.iter();
        lives.filter(|(_, life)| matches!(life.standing, Standing::Suspect(_))).map(|(who, _)| *who).collect()
    }

    /// Notes in a room that the holds of an incarnation, or of all that are silent there, are silent or no longer are.
    fn silence(&mut self, name: &Name, who: Option<Incarnation>, is: bool) {
        let changes = |hold: &&ConnectionHold| hold.silent != is && who.is_none_or(|who| who.hold() == hold.connection);
        let held = self.shared.room(name).into_iter().flat_map(|room| room.roster().held_from(Mark::default()));
        let commands: Vec<_> = held
            .flat_map(|(member, holds)| {
                let connections = holds.into_iter().flat_map(Holds::connections).filter(changes);
                connections.map(|hold| {
                    Command::User(member.user.clone(), Action::Node(NodeAction::Silence(hold.connection, is)))
                })
            })
            .collect();
        if !commands.is_empty() {
            self.change(name, &commands);
        }
    }

    fn rule(&mut self, rules: Rules) {
        self.shared.roll.ruled = true;
        self.shared.state.rules = rules;
        self.shared.state.rooms.values_mut().for_each(|room| room.bound(rules.members, rules.grace));
    }

    /// Judges the commands, and applies them if they are good.
    fn change(&mut self, name: &Name, commands: &[Command]) {
        let full = self.shared.roll.is_full();
        match self.apply_to(name, commands, full) {
            Err(refusal) => {
                self.shared.roll.mix(1);
                self.tell(Effect::Refused(refusal));
            }
            Ok(outcome) => {
                self.leased(name, commands);
                self.tell(Effect::Changed(name.clone(), outcome));
            }
        }
    }

    fn apply_to(&mut self, name: &Name, commands: &[Command], full: bool) -> Result<Outcome, Refusal> {
        let Shared { roll, state, memory, histories, .. } = &mut *self.shared;
        let Rules { members, grace, max_named: _ } = state.rules;
        let bounds = Bounds { history: memory.history, members, grace };
        let room = state.rooms.entry(name.clone()).or_insert_with(|| {
            let start = Cursor { epoch: roll.identity.epoch(name), offset: roll.next.offset().before() };
            Box::new(Presence::new(name.clone(), start, bounds))
        });
        let judged = match full && room.would_add(commands) {
            true => Err(Refusal::new(Code::TooMuchMemory, "a node of the cluster is short of memory; try again later")),
            false => room.check(commands),
        };
        let before = room.history_bytes();
        let folded = judged.map(|()| room.fold_of(Some(self.by.0), commands, roll.next, self.now));
        if let Ok(outcome) = &folded {
            // Each change has a position of its own, by which leases are told apart.
            roll.next.0 += outcome.events.max(1) as u64;
            roll.mix((outcome.events as u64) << 32 | room.roster().len() as u64);
        }
        *histories = *histories + room.history_bytes() - before;
        if room.is_idle() {
            state.rooms.remove(name);
        }
        if *histories > memory.bytes {
            self.shared.histories = self.shared.state.forget_half();
        }
        folded
    }

    /// Tells the owners of the leases that the commands made.
    fn leased(&mut self, room: &Name, commands: &[Command]) {
        for command in commands {
            let (user, name) = if let Command::User(user, Action::SignIn(SignIn { name, ttl: Some(_), .. })) = command {
                (user, name)
            } else if let Command::User(user, Action::Node(NodeAction::Inherit(name, _))) = command {
                (user, name)
            } else {
                continue;
            };
            let holds = self.shared.room(room).and_then(|room| room.roster().holds(user));
            if let Some(lease) = holds.as_ref().and_then(|holds| holds.lease(name.as_ref())) {
                let key = LeaseKey { room: room.clone(), user: user.clone(), name: name.clone() };
                self.effects.push((self.record, Effect::Leased(key, lease.clone())));
            }
        }
    }

    fn reap(&mut self, who: Incarnation, since: u64) {
        if who == self.by || !self.shared.roll.is_silent_since(who, since) {
            return;
        }
        let stopped = self.shared.roll.lives.get(&who).is_some_and(|life| matches!(life.standing, Standing::Down(_)));
        self.remove(who, if stopped { DelReason::Timeout } else { DelReason::NodeLost }, None);
    }

    /// Ends what an incarnation holds. Its leases go to `heir`, or else to the incarnation that all agree on.
    fn remove(&mut self, who: Incarnation, reason: DelReason, heir: Option<Incarnation>) {
        for (gone, standing) in self.shared.roll.remove(who) {
            for name in self.rooms_of(gone) {
                let commands = self.ends_of(gone, &name, reason, heir);
                self.change(&name, &commands);
            }
            self.shared.asks.remove(gone).iter().for_each(|room| self.silence(room, None, false));
            self.tell(Effect::Gone(gone, standing));
        }
    }

    /// The rooms in which an incarnation holds or owns something, in order of names.
    fn rooms_of(&self, gone: Incarnation) -> Vec<Name> {
        let id = HoldId::Connection(gone.hold());
        let has = |room: &&Presence| {
            let mut held = room.roster().held_from(Mark::default()).filter_map(|(_, holds)| holds);
            held.any(|holds| holds.get(&id).is_some() || holds.leases().any(|(_, lease)| lease.owner == gone.0))
        };
        let mut names: Vec<_> = self.shared.rooms().filter(has).map(|room| room.room().clone()).collect();
        names.sort_unstable();
        names
    }

    fn ends_of(&self, gone: Incarnation, name: &Name, reason: DelReason, heir: Option<Incarnation>) -> Vec<Command> {
        let (id, given) = (HoldId::Connection(gone.hold()), self.shared.roll.next);
        let live: Vec<_> = self.shared.roll.live().collect();
        let mut commands = Vec::new();
        let Some(room) = self.shared.room(name) else { return commands };
        for (member, holds) in room.roster().held_from(Mark::default()) {
            let Some(holds) = holds else { continue };
            let user = &member.user;
            for (lease_name, lease) in holds.leases().filter(|(_, lease)| lease.owner == gone.0) {
                let agreed = || live.iter().copied().max_by_key(|one| one.claim(name, user));
                let Some(Incarnation(owner)) = heir.or_else(agreed) else { continue };
                let lease = Arc::new(Lease { owner, given, ttl: lease.ttl });
                let inherit = NodeAction::Inherit(lease_name.cloned(), lease);
                commands.push(Command::User(user.clone(), Action::Node(inherit)));
            }
            if holds.get(&id).is_some() {
                commands.push(Command::User(user.clone(), Action::Node(NodeAction::End(gone.hold(), reason))));
            }
        }
        commands
    }

    fn restart(&mut self, from: u64, to: u64) {
        let Shared { roll, state, histories, .. } = &mut *self.shared;
        if roll.identity.generation != from {
            return;
        }
        roll.identity.generation = to;
        let offset = roll.next.offset();
        roll.next.0 += 1;
        for room in state.rooms.values_mut() {
            room.renew(Cursor { epoch: roll.identity.epoch(&room.room().clone()), offset });
        }
        *histories = 0;
        self.tell(Effect::Restarted);
    }

    fn restore(&mut self, room: &Name, commands: &[Command]) {
        let is_there = |command: &&Command| {
            let Command::User(user, Action::SignIn(SignIn { name, .. })) = command else { return true };
            let holds = self.shared.room(room).and_then(|room| room.roster().holds(user));
            holds.is_some_and(|holds| holds.get(&HoldId::SignIn(name.clone())).is_some())
        };
        let missing: Vec<_> = commands.iter().filter(|command| !is_there(command)).cloned().collect();
        if !missing.is_empty() {
            self.change(room, &missing);
        }
    }

    fn revoke(&mut self, revoked: &Revoked, before: u64, at: u64) {
        let revocations = &mut self.shared.state.revocations;
        revocations.forget(at);
        revocations.extend(revoked.clone(), before, at);
        let Revoked::Subject(sub) = revoked else { return };
        let made = |room: &Presence| room.roster().made_by(sub, before).cloned().collect::<Vec<_>>();
        let mut rooms: Vec<_> = self.shared.rooms().map(|room| (room.room().clone(), made(room))).collect();
        rooms.retain(|(_, users)| !users.is_empty());
        rooms.sort_unstable();
        for (room, users) in rooms {
            let revoke = |user| Command::User(user, Action::Revoke(sub.clone(), before));
            self.change(&room, &users.into_iter().map(revoke).collect::<Vec<_>>());
        }
    }
}
