//! Reading the log.

use crate::journal::cluster::attendance::Key;
use crate::journal::cluster::batch::{Batch, Seen};
use crate::journal::cluster::fold::Effect;
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::node::{Answer, Cause, Item, Node, Told, Trouble};
use crate::journal::cluster::record::Record;
use crate::journal::cluster::reread::{leaves, sign_outs};
use crate::journal::cluster::roll::Standing;
use crate::journal::cluster::timing::{GRACE, SILENT};
use crate::journal::cluster::window::{Ask, Own};
use crate::model::event::DelReason;
use crate::model::hold::Holds;
use crate::model::moment::Moment;

impl Node {
    /// Reads the next entry of the log. Does nothing in trouble.
    pub fn entry(&mut self, position: u64, bytes: &[u8], now: Moment) {
        if self.trouble.is_some() {
            return;
        }
        let tick = now.tick.0;
        self.lag.read(position, tick);
        self.read_at = tick;
        if self.is_stale(now) && self.curtain.is_none() {
            self.lower(tick, tick + SILENT + GRACE);
        }
        let lived = self.shared.roll.lives.contains_key(&self.id);
        let folded = self.shared.fold(position, bytes);
        if folded.is_newer {
            return self.is_troubled(Trouble::Newer);
        }
        self.compare(folded.seen, tick);
        self.ring.push(self.shared.roll.seen);
        match folded.batch {
            Some(batch) => {
                self.judge.hear(batch.incarnation);
                self.figures.heard(&batch, position);
                let own = if batch.incarnation == self.id { self.echoed(&batch, tick) } else { Vec::new() };
                if batch.incarnation == self.id && batch.number == 1 {
                    self.begun = position;
                }
                self.follow(&batch, &folded.effects, own.last().map(|own| own.number));
                self.answer(position, own, folded.effects);
            }
            None => self.uncounted(folded.writer, tick),
        }
        if lived && !self.shared.roll.lives.contains_key(&self.id) {
            self.is_troubled(Trouble::Reaped);
        }
    }

    /// Compares what the writer of a batch had read with what this node read.
    fn compare(&mut self, seen: Option<Seen>, now: u64) {
        let differs = seen.is_some_and(|seen| self.ring.contradicts(seen));
        if differs && now >= self.verified && !self.options.faults.no_hash {
            self.is_troubled(Trouble::Differs);
        }
    }

    /// An own batch counts.
    fn echoed(&mut self, batch: &Batch, now: u64) -> Vec<Own> {
        if now.saturating_sub(self.echo) > crate::journal::cluster::timing::FRESH {
            self.fresh_since = now;
        }
        self.judge.echoed(now.saturating_sub(self.echo), self.options.faults.local_time);
        self.echo = now;
        self.figures.echoed(now.saturating_sub(batch.moment.tick.0));
        self.caught_up |= self.curtain.as_ref().is_none_or(|curtain| batch.moment.tick.0 >= curtain.since());
        self.window.echoed(batch.number, now)
    }

    /// A batch does not count: an own one came twice, too early, or too late.
    fn uncounted(&mut self, writer: Option<(Incarnation, u64)>, now: u64) {
        let Some((_, number)) = writer.filter(|(who, _)| *who == self.id) else { return };
        match self.shared.roll.lives.get(&self.id) {
            Some(life) if life.next < number => self.window.missing(now),
            Some(_) => {}
            // A first batch that came too late.
            None if number == 1 => self.is_troubled(Trouble::Reaped),
            None => self.window.missing(now),
        }
    }

    /// Does what the records mean for connections and leases of this node. `own` is the number of an own batch.
    fn follow(&mut self, batch: &Batch, effects: &[(usize, Effect)], own: Option<u64>) {
        if batch.number == 1 {
            self.asking.look_again();
        }
        for (index, record) in batch.records.iter().enumerate() {
            for (key, reason) in sign_outs(record) {
                self.sign_out(&key, reason, own.map(|number| (number, index)));
            }
            for (key, client) in leaves(record) {
                if let Some(connection) = self.attendance.went(&key, client) {
                    self.told.push(Told::Ended(key.clone(), connection, Cause::Left));
                    self.owe(&key);
                }
            }
            if is_fact(record) {
                self.told.push(Told::Fact(record.clone()));
            }
            if let Record::Came { room, user, client } = record
                && own.is_none()
            {
                let key = (room.clone(), user.clone());
                if let Some(connection) = self.attendance.went(&key, *client) {
                    self.told.push(Told::Ended(key.clone(), connection, Cause::Replaced));
                    self.owe(&key);
                }
            }
        }
        for (index, effect) in effects {
            match effect {
                Effect::Leased(key, lease) if lease.owner == self.id.0 => {
                    let goes_on = matches!(batch.records.get(*index), Some(Record::Retire(_))) && own.is_some();
                    self.leases.take(key.clone(), lease.clone(), self.judge.clock(), goes_on);
                }
                Effect::Leased(key, _) => self.leases.give_up(key),
                Effect::Changed(room, outcome) => self.told.push(Told::Changed(room.clone(), outcome.clone())),
                Effect::Suspected(who, is, at) => self.told.push(Told::Suspected(*who, *is, *at)),
                Effect::Gone(who, standing) => {
                    self.asking.look_again();
                    self.figures.gone(*who, matches!(standing, Standing::Suspect(_)));
                    self.told.push(Told::Gone(*who));
                }
                Effect::Restarted => self.told.push(Told::Restarted),
                Effect::Refused(_) | Effect::Used(_) => {}
            }
        }
    }

    pub(super) fn sign_out(&mut self, key: &Key, reason: DelReason, at: Option<(u64, usize)>) {
        for (connection, client) in self.attendance.sign_out(key, at) {
            self.told.push(Told::Ended(key.clone(), connection, Cause::SignedOut(reason)));
            if let Some(client) = client {
                let (room, user) = key.clone();
                let record = Record::Denied { room, user, client, reason };
                self.queue.push_back(Item::Ask(Ask { ticket: None, record }));
            }
        }
    }

    /// Answers what own batches asked for, and compares what they told with what is so.
    fn answer(&mut self, position: u64, owns: Vec<Own>, mut effects: Vec<(usize, Effect)>) {
        for own in owns {
            for (index, key) in &own.keys {
                let refused = effects.iter().find(|(at, _)| at == index).map(|(_, effect)| effect);
                if let Some(Effect::Refused(refusal)) = refused {
                    let refusal = refusal.clone();
                    self.refuse(key, &refusal, (own.number, *index));
                }
                self.told_of(key, own.number);
            }
            own.came.iter().for_each(|(key, client)| self.attendance.came(key, *client));
            for (index, ask) in &own.asks {
                let Some(ticket) = ask.ticket else { continue };
                let at = effects.iter().position(|(at, effect)| at == index && is_answer(effect));
                let answer = match at.map(|at| effects.swap_remove(at).1) {
                    Some(Effect::Changed(_, outcome)) => Answer::Done(outcome),
                    Some(Effect::Refused(refusal)) => Answer::Refused(refusal),
                    Some(Effect::Used(used)) => Answer::Used(used),
                    Some(Effect::Leased(..) | Effect::Suspected(..) | Effect::Gone(..) | Effect::Restarted) | None => {
                        Answer::Recorded
                    }
                };
                self.told.push(Told::Answer(ticket, position, answer));
            }
            self.window.remember(own, self.shared.roll.clock.0);
        }
    }

    /// The record `at` was refused: a hold, unless it is there already, or was ended meanwhile and another one comes behind it.
    fn refuse(&mut self, key: &Key, refusal: &crate::model::refusal::Refusal, at: (u64, usize)) {
        let is_there = self.holds_of(key).is_some_and(|holds| self.has_hold(&holds));
        if is_there || self.attendance.joins_behind(key, at) {
            return;
        }
        for (connection, _) in self.attendance.empty(key) {
            self.told.push(Told::Ended(key.clone(), connection, Cause::Refused(refusal.clone())));
        }
    }

    /// An own batch about a user is in the log.
    fn told_of(&mut self, key: &Key, number: u64) {
        let holds = self.holds_of(key);
        self.attendance.echoed(key, self.id.hold(), number, holds.as_ref());
        self.reconcile(key);
    }

    /// Compares what the log says of an own hold with what is meant.
    pub(super) fn reconcile(&mut self, key: &Key) {
        if self.options.faults.no_reconcile {
            return;
        }
        let holds = self.holds_of(key);
        if self.attendance.reconcile(key, self.id.hold(), holds.as_ref()) {
            self.owe(key);
        }
        self.settle(key);
    }

    pub(super) fn settle(&mut self, key: &Key) {
        if self.attendance.is_settled(key) {
            self.told.push(Told::Settled(key.clone()));
        }
    }

    pub(super) fn holds_of(&self, (room, user): &Key) -> Option<Holds> {
        self.shared.room(room)?.roster().holds(user)
    }

    pub(super) fn has_hold(&self, holds: &Holds) -> bool {
        holds.get(&crate::model::hold::HoldId::Connection(self.id.hold())).is_some()
    }
}

/// Whether a record is about passes or clients, and about no room's members.
fn is_fact(record: &Record) -> bool {
    match record {
        Record::Revoked { .. } | Record::Cookie { .. } | Record::CookieEnded(_) => true,
        Record::Ticket { .. } | Record::TicketUsed(_) | Record::Denied { .. } => true,
        Record::Up { .. } | Record::Retire(_) | Record::Down | Record::Suspect { .. } | Record::Reap { .. } => false,
        Record::Generation { .. } | Record::Claim(_) | Record::Restore { .. } | Record::Restored => false,
        Record::Change { .. } | Record::Came { .. } | Record::Rules(_) | Record::Asks { .. } => false,
    }
}

fn is_answer(effect: &Effect) -> bool {
    match effect {
        Effect::Changed(..) | Effect::Refused(_) | Effect::Used(_) => true,
        Effect::Leased(..) | Effect::Suspected(..) | Effect::Gone(..) | Effect::Restarted => false,
    }
}
