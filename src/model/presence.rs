//! Presence: one room's members, holds and order of events. Decides the outcome of each command.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::model::changes::Gap;
use crate::model::command::{Action, Command};
use crate::model::cursor::{Cursor, Offset};
use crate::model::deadlines::Deadlines;
use crate::model::event::{Change, DelReason, Event};
use crate::model::history::{Bound, History};
use crate::model::hold::{ConnectionHold, Hold, HoldId, Holds};
use crate::model::id::{ClientId, ConnectionId};
use crate::model::meta::Meta;
use crate::model::moment::{Moment, Tick};
use crate::model::name::Name;
use crate::model::outcome::{EndCause, EndedHold, Outcome};
use crate::model::refusal::{Code, Refusal};
use crate::model::roster::{Member, Roster};
use crate::model::snapshot::Snapshot;

/// Bounds of one room.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The history.
    pub history: Bound,
    /// Members at most; 0 is no bound.
    pub members: usize,
    /// The grace period: how long the hold of a lost connection lasts.
    pub grace: Duration,
}

/// One room: members, holds, and the last events.
#[derive(Debug)]
pub struct Presence {
    room: Name,
    head: Cursor,
    roster: Roster,
    deadlines: Deadlines,
    history: History,
    bounds: Bounds,
}

impl Presence {
    /// An empty room. Its first event follows `start`, whose epoch no other room and no earlier life of this room has.
    pub fn new(room: Name, start: Cursor, bounds: Bounds) -> Self {
        Presence {
            room,
            head: start,
            roster: Roster::default(),
            deadlines: Deadlines::default(),
            history: History::new(start.offset, bounds.history),
            bounds,
        }
    }

    /// Applies all of `commands`, in order, or refuses all of them.
    ///
    /// # Errors
    ///
    /// A refusal, without any change. Only commands about users are ever refused.
    pub fn apply(&mut self, commands: &[Command], now: Moment) -> Result<Outcome, Refusal> {
        self.check(commands)?;
        let mut outcome =
            Outcome { added: 0, removed: 0, events: 0, cursor: self.head, ended: Vec::new(), denied: Vec::new() };
        for command in commands {
            match command {
                Command::User(user, action) => self.act(user, action, now, &mut outcome),
                Command::Expire(most) => self.expire(*most, now, &mut outcome),
                Command::Trim(before) => self.history.trim(*before),
                Command::Shorten(bytes, until) => self.history.shorten(*bytes, *until),
            }
        }
        Ok(outcome)
    }

    /// The earliest deadline of a hold.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.deadlines.next()
    }

    /// Refuses the commands unless all of them can be applied.
    fn check(&self, commands: &[Command]) -> Result<(), Refusal> {
        if let [Command::User(user, action)] = commands {
            self.check_action(user, action)?;
        }
        let most = self.bounds.members;
        if most > 0 && self.growth(commands) > most.saturating_sub(self.roster.len()) {
            let message = format!("{} has {} of at most {most} members", self.room, self.roster.len());
            return Err(Refusal::new(Code::TooManyMembers, message));
        }
        Ok(())
    }

    fn check_action(&self, user: &Name, action: &Action) -> Result<(), Refusal> {
        match action {
            Action::SetMeta(_) if self.roster.get(user).is_none() => {
                let message = format!("{user} is not a member of {}", self.room);
                Err(Refusal::new(Code::NotPresent, message))
            }
            Action::Update(connection, _) | Action::Leave(connection) if self.hold(user, *connection).is_none() => {
                let message = format!("this connection does not hold {user} in {}", self.room);
                Err(Refusal::new(Code::NotJoined, message))
            }
            Action::Join { .. }
            | Action::SignIn { .. }
            | Action::SignOut(_)
            | Action::SetMeta(_)
            | Action::Update(..) => Ok(()),
            Action::Leave(_) | Action::Lose(_) | Action::LeaveClient(_) => Ok(()),
        }
    }

    /// The number of members that the commands would add, less the number that they would remove.
    fn growth(&self, commands: &[Command]) -> usize {
        let is_member = |user: &Name| self.roster.get(user).is_some();
        let added: HashSet<_> = commands.iter().filter_map(Command::adds).filter(|user| !is_member(user)).collect();
        let removed = commands.iter().filter_map(Command::removes).filter(|user| is_member(user)).count();
        added.len().saturating_sub(removed)
    }

    /// Whether the commands would make a new member.
    pub fn would_add(&self, commands: &[Command]) -> bool {
        commands.iter().filter_map(Command::adds).any(|user| self.roster.get(user).is_none())
    }

    /// Whether the commands would make a member's `meta` longer, other than by a connection that takes the place of its
    /// client's hold.
    pub fn would_enlarge(&self, commands: &[Command]) -> bool {
        let enlarges = |user: &Name, meta: &Meta| {
            self.roster.get(user).is_some_and(|member| meta.as_str().len() > member.meta.as_str().len())
        };
        let replaces = |user: &Name, hold: &ConnectionHold| {
            hold.client.and_then(|client| self.roster.holds(user)?.of_client(client)).is_some()
        };
        commands.iter().any(|command| match command {
            Command::User(user, Action::SetMeta(meta) | Action::Update(_, meta)) => enlarges(user, meta),
            Command::User(user, Action::SignIn { meta: Some(meta), .. }) => enlarges(user, meta),
            Command::User(user, Action::Join { meta: Some(meta), hold }) => {
                enlarges(user, meta) && !replaces(user, hold)
            }
            Command::User(..) | Command::Expire(_) | Command::Trim(_) | Command::Shorten(..) => false,
        })
    }

    fn act(&mut self, user: &Name, action: &Action, now: Moment, outcome: &mut Outcome) {
        match action {
            Action::SignIn { meta, ttl } => {
                let hold = Hold::SignIn(ttl.map(|ttl| now.tick + ttl));
                self.put_hold(user, hold, meta.as_ref(), now, outcome);
            }
            Action::Join { hold, meta } => {
                self.replace(user, hold, outcome);
                self.put_hold(user, Hold::Connection(hold.clone()), meta.as_ref(), now, outcome);
            }
            Action::SetMeta(meta) | Action::Update(_, meta) => self.update(user, meta, now, outcome),
            Action::SignOut(reason) => self.sign_out(user, *reason, now, outcome),
            Action::Leave(connection) => {
                self.end(user, HoldId::Connection(*connection), DelReason::Closed, now, outcome);
            }
            Action::Lose(connection) => self.lose(user, *connection, now),
            Action::LeaveClient(client) => self.leave_client(user, *client, now, outcome),
        }
    }

    /// Ends the holds whose deadline has passed, the earliest first, at most `most` of them.
    fn expire(&mut self, most: usize, now: Moment, outcome: &mut Outcome) {
        for _ in 0..most {
            let Some((user, id)) = self.deadlines.due(now.tick) else {
                break;
            };
            let reason = match id {
                HoldId::SignIn => DelReason::Expired,
                HoldId::Connection(_) => DelReason::Timeout,
            };
            self.end(&user, id, reason, now, outcome);
        }
    }

    /// Adds or replaces a hold. The first hold makes the user a member.
    fn put_hold(&mut self, user: &Name, hold: Hold, meta: Option<&Meta>, now: Moment, outcome: &mut Outcome) {
        let (id, deadline) = (hold.id(), hold.deadline());
        if let Some(holds) = self.roster.holds_mut(user) {
            let old = holds.put(hold).and_then(|old| old.deadline());
            self.deadlines.change(user, id, old, deadline);
            if let Some(meta) = meta {
                self.update(user, meta, now, outcome);
            }
            return;
        }
        self.deadlines.change(user, id, None, deadline);
        let member = Member { user: user.clone(), meta: meta.cloned().unwrap_or_default(), joined: now.time };
        let member = Arc::new(member);
        self.roster.put(member.clone(), Holds::of(hold));
        outcome.added += 1;
        self.publish(Change::Add(member), now, outcome);
    }

    /// Removes an older hold of the client of `hold`, made by another connection.
    fn replace(&mut self, user: &Name, hold: &ConnectionHold, outcome: &mut Outcome) {
        let old = hold.client.and_then(|client| self.roster.holds(user)?.of_client(client).cloned());
        let Some(old) = old.filter(|old| old.connection != hold.connection) else {
            return;
        };
        self.release(user, HoldId::Connection(old.connection));
        if old.deadline.is_none() {
            outcome.ended.push(EndedHold { connection: old.connection, cause: EndCause::Replaced, event: None });
        }
    }

    fn update(&mut self, user: &Name, meta: &Meta, now: Moment, outcome: &mut Outcome) {
        if self.roster.get(user).is_some_and(|member| member.meta != *meta) {
            self.roster.set_meta(user, meta.clone());
            self.publish(Change::Update(user.clone(), meta.clone()), now, outcome);
        }
    }

    fn sign_out(&mut self, user: &Name, reason: DelReason, now: Moment, outcome: &mut Outcome) {
        let Some(holds) = self.roster.holds(user).cloned() else {
            return;
        };
        for hold in holds.iter() {
            self.deadlines.change(user, hold.id(), hold.deadline(), None);
        }
        let event = self.del(user, reason, now, outcome);
        let cause = if reason == DelReason::Kicked { EndCause::Kicked } else { EndCause::Left };
        for hold in holds.iter() {
            if let Hold::Connection(ConnectionHold { connection, client, deadline, .. }) = hold {
                if deadline.is_none() {
                    outcome.ended.push(EndedHold { connection: *connection, cause, event: Some(event.clone()) });
                }
                if let Some(client) = client {
                    outcome.denied.push((user.clone(), *client, reason));
                }
            }
        }
    }

    /// Starts the grace period of a connection's hold.
    fn lose(&mut self, user: &Name, connection: ConnectionId, now: Moment) {
        let Some(mut hold) = self.hold(user, connection).filter(|hold| hold.deadline.is_none()).cloned() else {
            return;
        };
        hold.deadline = Some(now.tick + self.bounds.grace);
        self.deadlines.change(user, HoldId::Connection(connection), None, hold.deadline);
        if let Some(holds) = self.roster.holds_mut(user) {
            holds.put(Hold::Connection(hold));
        }
    }

    fn leave_client(&mut self, user: &Name, client: ClientId, now: Moment, outcome: &mut Outcome) {
        let hold = self.roster.holds(user).and_then(|holds| holds.of_client(client)).cloned();
        let Some(ConnectionHold { connection, deadline, .. }) = hold else {
            return;
        };
        let event = self.end(user, HoldId::Connection(connection), DelReason::Closed, now, outcome);
        if deadline.is_none() && event.is_some() {
            outcome.ended.push(EndedHold { connection, cause: EndCause::Left, event });
        }
    }

    /// Ends one hold. The end of the last hold removes the member, for the same reason.
    fn end(
        &mut self,
        user: &Name,
        id: HoldId,
        reason: DelReason,
        now: Moment,
        outcome: &mut Outcome,
    ) -> Option<Arc<Event>> {
        let was_last = self.release(user, id);
        was_last.then(|| self.del(user, reason, now, outcome))
    }

    /// Removes a hold; true when it was the member's last. The member is still in the set then.
    fn release(&mut self, user: &Name, id: HoldId) -> bool {
        let Some(holds) = self.roster.holds_mut(user) else {
            return false;
        };
        let old = holds.take(id);
        let was_last = holds.is_empty();
        self.deadlines.change(user, id, old.and_then(|hold| hold.deadline()), None);
        was_last
    }

    fn del(&mut self, user: &Name, reason: DelReason, now: Moment, outcome: &mut Outcome) -> Arc<Event> {
        self.roster.remove(user);
        outcome.removed += 1;
        self.publish(Change::Del(user.clone(), reason), now, outcome)
    }

    /// Appends the event of a change to the history. The change and its event are one step for every reader.
    fn publish(&mut self, change: Change, now: Moment, outcome: &mut Outcome) -> Arc<Event> {
        self.head.offset = self.head.offset.next();
        let event = Arc::new(Event::new(self.room.clone(), self.head, change));
        self.history.push(now.tick, event.clone());
        outcome.events += 1;
        outcome.cursor = self.head;
        event
    }

    /// The hold of `user` that `connection` made.
    pub fn hold(&self, user: &str, connection: ConnectionId) -> Option<&ConnectionHold> {
        match self.roster.holds(user)?.get(HoldId::Connection(connection))? {
            Hold::Connection(hold) => Some(hold),
            Hold::SignIn(_) => None,
        }
    }

    /// Whether `command` renews a lease, and changes nothing else.
    pub fn renews(&self, command: &Command) -> bool {
        let Command::User(user, Action::SignIn { meta, .. }) = command else {
            return false;
        };
        let sign_in = self.roster.holds(user).and_then(|holds| holds.get(HoldId::SignIn));
        let same = |meta: &Meta| self.roster.get(user).is_some_and(|member| member.meta == *meta);
        sign_in.is_some_and(|hold| hold.deadline().is_some()) && meta.as_ref().is_none_or(same)
    }

    /// The room's name.
    pub fn room(&self) -> &Name {
        &self.room
    }

    /// The room's place: the cursor of the last event.
    pub fn head(&self) -> Cursor {
        self.head
    }

    /// The members.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The offset to resume after, if the history reaches back to `cursor`.
    pub fn place(&self, cursor: Cursor) -> Option<Offset> {
        let here = cursor.epoch == self.head.epoch && self.history.after(cursor.offset).is_some();
        here.then_some(cursor.offset)
    }

    /// The events after `offset`; `None` when some of them are forgotten.
    pub fn after(&self, offset: Offset) -> Option<impl Iterator<Item = &Arc<Event>>> {
        self.history.after(offset)
    }

    /// The present set.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { room: self.room.clone(), cursor: self.head, roster: self.roster.clone() }
    }

    /// The gap since `offset`, to be netted outside of the room's lock; `None` when the history does not reach back to
    /// it.
    pub fn gap(&self, offset: Offset) -> Option<Gap> {
        let briefs = self.history.briefs_after(offset)?.collect();
        Some(Gap { room: self.room.clone(), cursor: self.head, briefs, roster: self.roster.clone() })
    }

    /// The memory that the history takes, in bytes, about.
    pub fn history_bytes(&self) -> usize {
        self.history.bytes()
    }

    /// Whether nothing would be lost with this room: no members, no history.
    pub fn is_idle(&self) -> bool {
        self.roster.is_empty() && self.history.is_empty()
    }
}

#[cfg(test)]
mod tests;
