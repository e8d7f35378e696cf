//! Presence: one room's members, holds and order of events. Decides the outcome of each command.

mod follow;
mod growth;
mod kept;
mod lease;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::model::changes::Gap;
use crate::model::command::{Action, Command, SignIn};
use crate::model::cursor::{Cursor, Offset, Position};
use crate::model::deadlines::Deadlines;
use crate::model::event::{Change, DelReason, Event};
use crate::model::history::{Bound, History};
use crate::model::hold::{ConnectionHold, Hold, HoldId, HoldKind, Holds, MAX_NAMED};
use crate::model::id::{ClientId, ConnectionId};
use crate::model::info::Info;
use crate::model::moment::{Moment, Taken, Tick, Timestamp};
use crate::model::name::Name;
use crate::model::outcome::{EndCause, EndedHold, Outcome};
use crate::model::refusal::{Code, Refusal};
use crate::model::roster::{Edited, Member, Roster};
use crate::model::snapshot::Snapshot;
use crate::model::statement::Statement;

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
///
/// A change is two steps: [`Presence::check`] judges commands, and [`Presence::fold`] applies what was found good and then
/// stands in the journal. The fold judges nothing, so that the same entries make the same room for ever.
#[derive(Debug)]
pub struct Presence {
    room: Name,
    head: Cursor,
    /// The number of the next event of the commands that are being applied.
    next: Offset,
    applied: Position,
    roster: Roster,
    deadlines: Deadlines,
    history: History,
    bounds: Bounds,
}

impl Presence {
    /// An empty room. Its first event follows `start`, whose epoch no other room has.
    pub fn new(room: Name, start: Cursor, bounds: Bounds) -> Self {
        Presence {
            room,
            head: start,
            next: start.offset.next(),
            // Entries until then are of earlier rooms of this name.
            applied: Position(start.offset.0),
            roster: Roster::default(),
            deadlines: Deadlines::default(),
            history: History::new(start.offset, bounds.history),
            bounds,
        }
    }

    /// Puts other bounds in force. What is beyond them stays.
    pub fn bound(&mut self, members: usize, grace: Duration) {
        self.bounds = Bounds { members, grace, ..self.bounds };
    }

    /// Judges whether all of `commands` can be applied.
    ///
    /// # Errors
    ///
    /// The first refusal. Only commands about users are ever refused.
    pub fn check(&self, commands: &[Command]) -> Result<(), Refusal> {
        if let [Command::User(user, action)] = commands {
            self.check_action(user, action)?;
        }
        for command in commands {
            self.check_names(command)?;
        }
        let most = self.bounds.members;
        if most > 0 && self.growth(commands) > most.saturating_sub(self.roster.len()) {
            let message = format!("{} has {} of at most {most} members", self.room, self.roster.len());
            return Err(Refusal::new(Code::TooManyMembers, message));
        }
        Ok(())
    }

    /// The number of positions that the commands take: as many as they can make events, and at least one.
    pub fn takes(&self, commands: &[Command], now: Tick) -> u64 {
        let events = |command: &Command| match command {
            Command::User(..) => 1,
            Command::Expire(most) => self.deadlines.count_due(now, *most),
            Command::Begin(_) | Command::Trim(_) | Command::Shorten(..) => 0,
        };
        commands.iter().map(events).sum::<usize>().max(1) as u64
    }

    /// Applies `commands`, in order. Their events are numbered from `at` on, which is behind the last event.
    pub fn fold(&mut self, commands: &[Command], at: Position, now: Moment) -> Outcome {
        self.fold_of(None, commands, at, now)
    }

    /// The same for commands of a node of a cluster, which owns the leases that they make.
    pub fn fold_of(&mut self, node: Option<Uuid>, commands: &[Command], at: Position, now: Moment) -> Outcome {
        (self.next, self.applied) = (at.offset(), at);
        let mut outcome = Outcome::none(self.head);
        for command in commands {
            match command {
                Command::User(user, action) => self.act(node, user, action, now, &mut outcome),
                Command::Expire(most) => self.expire(*most, now, &mut outcome),
                Command::Begin(hold_for) => self.begin(now.tick + *hold_for),
                Command::Trim(_) | Command::Shorten(..) => self.forget(command),
            }
        }
        outcome
    }

    /// Forgets events by `command`, if that is one to forget by. Nobody who keeps the set needs to know.
    pub fn forget(&mut self, command: &Command) {
        match command {
            Command::Trim(before) => self.history.trim(*before),
            Command::Shorten(bytes, until) => self.history.shorten(*bytes, *until),
            Command::User(..) | Command::Expire(_) | Command::Begin(_) => {}
        }
    }

    /// The earliest deadline of a hold.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.deadlines.next()
    }

    fn check_action(&self, user: &Name, action: &Action) -> Result<(), Refusal> {
        match action {
            Action::Set(..) if self.roster.get(user).is_none() => {
                let message = format!("{user} is not a member of {}", self.room);
                Err(Refusal::new(Code::NotPresent, message))
            }
            Action::Update(connection, _) | Action::Leave(connection) if self.hold(user, *connection).is_none() => {
                let message = format!("this connection does not hold {user} in {}", self.room);
                Err(Refusal::new(Code::NotJoined, message))
            }
            Action::Join(..) | Action::SignIn(_) | Action::SignOut(_) | Action::Set(..) | Action::Update(..) => Ok(()),
            Action::Release(_) | Action::Leave(_) | Action::Kick(_) | Action::Lose(..) => Ok(()),
            Action::LeaveClient(_) | Action::Revoke(..) | Action::Node(_) => Ok(()),
        }
    }

    /// Refuses one named sign-in of a member too many.
    fn check_names(&self, command: &Command) -> Result<(), Refusal> {
        let Command::User(user, Action::SignIn(SignIn { name: Some(name), .. })) = command else {
            return Ok(());
        };
        let id = HoldId::SignIn(Some(name.clone()));
        match self.roster.holds(user) {
            Some(holds) if holds.get(&id).is_none() && holds.named() >= MAX_NAMED => {
                let message = format!("{user} has {MAX_NAMED} named sign-ins in {}, the maximum", self.room);
                Err(Refusal::new(Code::TooManyHolds, message).of("hold"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The number of members that the commands would add, less the number that they would remove.
    fn growth(&self, commands: &[Command]) -> usize {
        let is_member = |user: &Name| self.roster.get(user).is_some();
        let added: HashSet<_> = commands.iter().filter_map(Command::adds).filter(|user| !is_member(user)).collect();
        let removed = commands.iter().filter_map(Command::removes).filter(|user| is_member(user)).count();
        added.len().saturating_sub(removed)
    }

    fn act(&mut self, node: Option<Uuid>, user: &Name, action: &Action, now: Moment, outcome: &mut Outcome) {
        match action {
            Action::SignIn(sign_in) => {
                let kind = self.sign_in_kind(node, sign_in, now);
                self.put_hold(user, kind, sign_in.statement.clone(), sign_in.info.as_ref(), now, outcome);
            }
            Action::Join(hold, statement, info) => {
                let kind = HoldKind::Connection(*hold);
                self.put_hold(user, kind, statement.clone(), info.as_ref(), now, outcome);
            }
            Action::Set(statement, info) => self.edit(user, info.as_ref(), now, outcome, |holds| {
                if let Some(statement) = statement {
                    holds.say_for_member(statement.clone());
                }
            }),
            Action::Update(connection, statement) => self.edit(user, None, now, outcome, |holds| {
                holds.say(&HoldId::Connection(*connection), statement.clone());
            }),
            Action::SignOut(reason) => self.sign_out(user, *reason, now, outcome),
            Action::Release(name) => {
                self.end(user, &[HoldId::SignIn(Some(name.clone()))], DelReason::Closed, now, outcome);
            }
            Action::Leave(connection) => {
                self.end(user, &[HoldId::Connection(*connection)], DelReason::Closed, now, outcome);
            }
            Action::Kick(connection) => {
                self.end(user, &[HoldId::Connection(*connection)], DelReason::Kicked, now, outcome);
            }
            Action::Revoke(sub, before) => self.revoke(user, sub, *before, now, outcome),
            Action::Lose(connection, since) => self.lose(user, *connection, *since, now, outcome),
            Action::LeaveClient(client) => self.leave_client(user, *client, now, outcome),
            Action::Node(action) => self.act_of_node(user, action, now, outcome),
        }
    }

    /// Ends the holds whose deadline has passed, the earliest first, at most `most` of them.
    fn expire(&mut self, most: usize, now: Moment, outcome: &mut Outcome) {
        for _ in 0..most {
            let Some((deadline, user, id)) = self.deadlines.due(now.tick) else {
                break;
            };
            let (reason, lost) = match id {
                HoldId::SignIn(_) => (DelReason::Expired, None),
                // When the connections of an earlier process were lost is not known.
                HoldId::Connection(connection) => {
                    let is_own = self.hold(&user, connection).is_some_and(|hold| !hold.unclaimed);
                    (DelReason::Timeout, is_own.then(|| deadline.before(self.bounds.grace)))
                }
            };
            let left = self.end(&user, &[id], reason, now, outcome);
            outcome.absences.extend(lost.filter(|_| left.is_some()).map(|lost| now.tick.since(lost)));
        }
    }

    /// Adds or replaces a hold. The first hold makes the user a member. A hold of a client replaces the client's older
    /// hold, made by another connection.
    fn put_hold(
        &mut self,
        user: &Name,
        kind: HoldKind,
        statement: Option<Statement>,
        info: Option<&Info>,
        now: Moment,
        outcome: &mut Outcome,
    ) {
        let (id, deadline) = (kind.id(), kind.deadline());
        let Some(holds) = self.roster.holds(user) else {
            self.deadlines.change(user, &id, None, deadline);
            let holds = Holds::of(kind, statement);
            let (meta, info) = (holds.shown(), info.cloned().unwrap_or_default());
            let member = Arc::new(Member { user: user.clone(), meta, info, joined: now.time });
            self.roster.put(member.clone(), holds);
            outcome.added += 1;
            self.publish(Change::Add(member), now, outcome);
            return;
        };
        let older = match &kind {
            HoldKind::Connection(hold) => hold.client.and_then(|client| holds.of_client(client)).copied(),
            HoldKind::SignIn { .. } => None,
        };
        drop(holds);
        let older = older.map(|hold| HoldId::Connection(hold.connection)).filter(|older| *older != id);
        let mut gone = [None, None];
        self.edit(user, info, now, outcome, |holds| gone = holds.put(kind, older.as_ref(), statement));
        for Hold { kind, .. } in gone.into_iter().flatten() {
            self.deadlines.change(user, &kind.id(), kind.deadline(), None);
            if let HoldKind::Connection(ConnectionHold { connection, deadline, .. }) = kind
                && older == Some(HoldId::Connection(connection))
            {
                match deadline {
                    None => outcome.ended.push(EndedHold { connection, cause: EndCause::Replaced, event: None }),
                    // The connection was lost, and nobody saw that.
                    Some(_) => outcome.saved += 1,
                }
            }
        }
        self.deadlines.change(user, &id, None, deadline);
    }

    /// Changes the holds of a member by `change`, and the `info` if one is given. At most one event tells of it.
    fn edit(
        &mut self,
        user: &Name,
        info: Option<&Info>,
        now: Moment,
        outcome: &mut Outcome,
        change: impl FnOnce(&mut Holds),
    ) {
        if let Some(edited) = self.roster.edit(user, info, change) {
            self.tell(edited, now, outcome);
        }
    }

    /// Publishes what readers see of an edit.
    fn tell(&mut self, edited: Edited, now: Moment, outcome: &mut Outcome) {
        match edited {
            Edited::Changed(member) => drop(self.publish(Change::Update(member), now, outcome)),
            Edited::Suspect(suspect) => drop(self.publish(Change::Suspect(suspect), now, outcome)),
            Edited::Same | Edited::Left => {}
        }
    }

    fn sign_out(&mut self, user: &Name, reason: DelReason, now: Moment, outcome: &mut Outcome) {
        let Some(holds) = self.roster.holds(user) else {
            return;
        };
        for Hold { kind, .. } in holds.iter() {
            self.deadlines.change(user, &kind.id(), kind.deadline(), None);
        }
        let event = self.del(user, reason, now, outcome);
        for hold in holds.iter() {
            if let HoldKind::Connection(ConnectionHold { connection, client, deadline, .. }) = &hold.kind {
                if deadline.is_none() {
                    outcome.ended.push(EndedHold {
                        connection: *connection,
                        cause: EndCause::Left,
                        event: Some(event.clone()),
                    });
                }
                if let Some(client) = client {
                    outcome.denied.push((user.clone(), *client, reason));
                }
            }
        }
    }

    /// Starts the grace period of a connection's hold.
    fn lose(&mut self, user: &Name, connection: ConnectionId, since: Option<Tick>, now: Moment, outcome: &mut Outcome) {
        if self.hold(user, connection).is_none_or(|hold| hold.deadline.is_some()) {
            return;
        }
        let deadline = since.unwrap_or(now.tick) + self.bounds.grace;
        self.deadlines.change(user, &HoldId::Connection(connection), None, Some(deadline));
        self.edit(user, None, now, outcome, |holds| holds.lose(connection, deadline));
    }

    /// Ends the sign-ins of `user` that were made with revoked tokens.
    fn revoke(&mut self, user: &Name, sub: &Name, before: u64, now: Moment, outcome: &mut Outcome) {
        let made: Vec<_> = self.roster.holds(user).iter().flat_map(|holds| holds.made_by(sub, before)).collect();
        self.end(user, &made, DelReason::Kicked, now, outcome);
    }

    fn leave_client(&mut self, user: &Name, client: ClientId, now: Moment, outcome: &mut Outcome) {
        let hold = self.roster.holds(user).and_then(|holds| holds.of_client(client).copied());
        let Some(ConnectionHold { connection, deadline, .. }) = hold else {
            return;
        };
        let event = self.end(user, &[HoldId::Connection(connection)], DelReason::Closed, now, outcome);
        if deadline.is_none() && event.is_some() {
            outcome.ended.push(EndedHold { connection, cause: EndCause::Left, event });
        }
    }

    /// Ends some holds. The end of the last hold removes the member, for the same reason; returns the `del` then. Otherwise
    /// the member falls back to what was said before.
    fn end(
        &mut self,
        user: &Name,
        ids: &[HoldId],
        reason: DelReason,
        now: Moment,
        outcome: &mut Outcome,
    ) -> Option<Arc<Event>> {
        let deadlines = &mut self.deadlines;
        let edited = self.roster.edit(user, None, |holds| {
            for hold in ids.iter().filter_map(|id| holds.take(id)) {
                deadlines.change(user, &hold.kind.id(), hold.kind.deadline(), None);
            }
        });
        match edited? {
            Edited::Left => Some(self.del(user, reason, now, outcome)),
            edited @ (Edited::Same | Edited::Changed(_) | Edited::Suspect(_)) => {
                self.tell(edited, now, outcome);
                None
            }
        }
    }

    fn del(&mut self, user: &Name, reason: DelReason, now: Moment, outcome: &mut Outcome) -> Arc<Event> {
        self.roster.remove(user);
        outcome.removed += 1;
        self.publish(Change::Del(user.clone(), reason), now, outcome)
    }

    /// Appends the event of a change to the history. The change and its event are one step for every reader.
    fn publish(&mut self, change: Change, now: Moment, outcome: &mut Outcome) -> Arc<Event> {
        self.head.offset = self.next;
        self.next = self.next.next();
        let event = Arc::new(Event::new(self.room.clone(), self.head, now.time, change));
        self.history.push(now.tick, event.clone());
        outcome.events += 1;
        outcome.cursor = self.head;
        event
    }

    /// The hold of `user` that `connection` made.
    pub fn hold(&self, user: &str, connection: ConnectionId) -> Option<ConnectionHold> {
        match self.roster.holds(user)?.get(&HoldId::Connection(connection))?.kind {
            HoldKind::Connection(hold) => Some(hold),
            HoldKind::SignIn { .. } => None,
        }
    }

    /// The room's name.
    pub fn room(&self) -> &Name {
        &self.room
    }

    /// The room's place: the cursor of the last event, or of a restart after it.
    pub fn head(&self) -> Cursor {
        self.head
    }

    /// The position of the last entry that was applied.
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The number of events after `offset`, where these are known.
    pub fn count_after(&self, offset: Offset) -> Option<usize> {
        self.history.count_after(offset)
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

    /// The present set, as `taken` now.
    pub fn snapshot(&self, taken: Taken) -> Snapshot {
        Snapshot { room: self.room.clone(), cursor: self.head, taken, roster: self.roster.clone() }
    }

    /// The last `most` events that all readers see, the newest first, and when the last event before these happened, if there was one.
    pub fn last_events(&self, most: usize) -> (Vec<Arc<Event>>, Option<Timestamp>) {
        let mut newest = self.history.newest().filter(|event| event.change.is_seen()).cloned();
        let events = newest.by_ref().take(most).collect();
        let before = newest.next().map(|event| event.at).or(self.history.forgotten());
        (events, before)
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
impl Presence {
    /// Applies all of `commands` right behind the last event, or refuses all of them.
    fn apply(&mut self, commands: &[Command], now: Moment) -> Result<Outcome, Refusal> {
        self.check(commands)?;
        Ok(self.fold(commands, Position(self.head.offset.next().0), now))
    }
}

#[cfg(test)]
mod tests;
