//! Who is in one room, why, and in which order it came about. Pure: no clock, no executor, no IO.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::model::denylist::Barred;
use crate::model::changes::Changes;
use crate::model::command::{Command, Verb};
use crate::model::event::{Change, Cursor, Event, Reason};
use crate::model::history::History;
use crate::model::hold::{ConnectionHold, Hold, Holds, Which};
use crate::model::meta::Meta;
use crate::model::moment::{Moment, Tick};
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::model::roster::{Member, Roster};
use crate::model::snapshot::Snapshot;

/// How much one room may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events to remember.
    pub history: usize,
    /// Members at most; 0 is no bound.
    pub members: usize,
    /// How long a lost connection holds on.
    pub grace: Tick,
}

/// What came of some commands: how many users came and went, and the room's place afterwards.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Users who became members.
    pub added: usize,
    /// Users who are members no more.
    pub removed: usize,
    /// How many events were made.
    pub events: usize,
    /// Where the room stands now, with all of it.
    pub cursor: Cursor,
    /// Open connections whose holds others ended.
    pub ended: Vec<Ended>,
}

/// The end of an open connection's hold, which the connection itself did not ask for.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Whose hold it was.
    pub connection: Uuid,
    /// Why.
    pub why: Why,
    /// The member's `del`, if it was the last hold.
    pub event: Option<Arc<Event>>,
}

/// Why others ended a connection's hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A newer connection of the same client has taken its place.
    Replaced,
    /// The user was signed out, or the client left over HTTP.
    Left,
    /// The user was sent away.
    Kicked,
}

/// One room: its set, what holds its members, and the last events that made it so.
#[derive(Debug)]
pub struct Presence {
    room: Name,
    head: Cursor,
    roster: Roster,
    /// The holds that end by themselves, the next first.
    deadlines: BTreeSet<(Tick, Name, Which)>,
    barred: Option<Box<Barred>>,
    history: History,
    bounds: Bounds,
}

impl Presence {
    /// An empty room in a life of its own.
    pub fn new(room: Name, epoch: u64, bounds: Bounds) -> Self {
        Presence {
            room,
            head: Cursor { epoch, offset: 0 },
            roster: Roster::default(),
            deadlines: BTreeSet::new(),
            barred: None,
            history: History::new(0, bounds.history),
            bounds,
        }
    }

    /// Does all of `commands`, in order, or refuses all of them.
    pub fn apply(&mut self, commands: &[Command], now: Moment) -> Result<Outcome, Refusal> {
        self.permit(commands, now)?;
        let mut outcome = self.nothing();
        for command in commands {
            self.act(command, now, &mut outcome);
        }
        Ok(outcome)
    }

    /// Ends the holds whose time is over, but at most so many at once.
    pub fn expire(&mut self, now: Moment, most: usize) -> Outcome {
        let mut outcome = self.nothing();
        for _ in 0..most {
            let Some((_, user, which)) = self.deadlines.first().filter(|(ends, ..)| *ends <= now.tick).cloned() else {
                break;
            };
            let reason = match which {
                Which::SignIn => Reason::Expired,
                Which::Connection(_) => Reason::Timeout,
            };
            self.end(&user, which, reason, now, &mut outcome);
        }
        outcome
    }

    /// When the next hold ends by itself.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.deadlines.first().map(|(ends, ..)| *ends)
    }

    fn nothing(&self) -> Outcome {
        Outcome { added: 0, removed: 0, events: 0, cursor: self.head, ended: Vec::new() }
    }

    /// Refuses commands that cannot all be done, before any of them is.
    fn permit(&self, commands: &[Command], now: Moment) -> Result<(), Refusal> {
        if let [command] = commands {
            self.permit_one(command, now)?;
        }
        let most = self.bounds.members;
        if most > 0 && self.grown_by(commands) > most.saturating_sub(self.roster.len()) {
            let message = format!("{} has {} of at most {most} members", self.room, self.roster.len());
            return Err(Refusal::new(Code::TooManyMembers, message));
        }
        Ok(())
    }

    fn permit_one(&self, Command { user, verb }: &Command, now: Moment) -> Result<(), Refusal> {
        match verb {
            Verb::SetMeta(_) if self.roster.get(user).is_none() => {
                let message = format!("{user} is not a member of {}", self.room);
                Err(Refusal::new(Code::NotPresent, message))
            }
            Verb::Update(connection, _) | Verb::Leave(connection) if self.hold(user, *connection).is_none() => {
                let message = format!("this connection does not hold {user} in {}", self.room);
                Err(Refusal::new(Code::NotJoined, message))
            }
            Verb::Join { hold, .. } => self.permit_client(user, hold, now),
            Verb::SignIn { .. } | Verb::SignOut(_) | Verb::SetMeta(_) | Verb::Update(..) => Ok(()),
            Verb::Leave(_) | Verb::Lose(_) | Verb::LeaveClient(_) => Ok(()),
        }
    }

    /// A client that was signed out only watches for a while.
    fn permit_client(&self, user: &Name, hold: &ConnectionHold, now: Moment) -> Result<(), Refusal> {
        let barred = self.barred.as_ref().zip(hold.client);
        let Some(reason) = barred.and_then(|(barred, client)| barred.why(user, client, now.tick)) else {
            return Ok(());
        };
        let (code, how) = match reason {
            Reason::Kicked => (Code::Kicked, "sent away"),
            Reason::SignedOut | Reason::Closed | Reason::Timeout | Reason::Expired => (Code::SignedOut, "signed out"),
        };
        let message = format!("{user} was {how}; this client only watches, for an hour or until its id is another");
        Err(Refusal::new(code, message).of("client"))
    }

    /// By how many members the commands would grow the room.
    fn grown_by(&self, commands: &[Command]) -> usize {
        let absent = |user: &Name| self.roster.get(user).is_none();
        let comes: HashSet<_> = commands.iter().filter(|c| c.adds() && absent(&c.user)).map(|c| &c.user).collect();
        let goes = commands.iter().filter(|c| c.removes() && !absent(&c.user)).count();
        comes.len().saturating_sub(goes)
    }

    fn act(&mut self, Command { user, verb }: &Command, now: Moment, outcome: &mut Outcome) {
        match verb {
            Verb::SignIn { meta, ttl } => {
                let hold = Hold::SignIn(ttl.map(|ttl| now.tick + ttl));
                self.keep(user, hold, meta.as_ref(), now, outcome);
            }
            Verb::Join { hold, meta } => {
                self.replace(user, hold, outcome);
                self.keep(user, Hold::Connection(hold.clone()), meta.as_ref(), now, outcome);
            }
            Verb::SetMeta(meta) | Verb::Update(_, meta) => self.update(user, meta, now, outcome),
            Verb::SignOut(reason) => self.sign_out(user, *reason, now, outcome),
            Verb::Leave(connection) => {
                self.end(user, Which::Connection(*connection), Reason::Closed, now, outcome);
            }
            Verb::Lose(connection) => self.lose(user, *connection, now),
            Verb::LeaveClient(client) => self.leave_client(user, *client, now, outcome),
        }
    }

    /// Holds `user` by `hold`, the first of which makes them a member.
    fn keep(&mut self, user: &Name, hold: Hold, meta: Option<&Meta>, now: Moment, outcome: &mut Outcome) {
        let (which, ends) = (hold.which(), hold.ends());
        if let Some(holds) = self.roster.holds_mut(user) {
            let old = holds.put(hold).and_then(|old| old.ends());
            self.reschedule(user, which, old, ends);
            if let Some(meta) = meta {
                self.update(user, meta, now, outcome);
            }
            return;
        }
        self.reschedule(user, which, None, ends);
        let member = Member { user: user.clone(), meta: meta.cloned().unwrap_or_default(), joined: now.second };
        self.roster.put(member.clone(), Holds::of(hold));
        outcome.added += 1;
        self.publish(Change::Add(member), now, outcome);
    }

    /// Takes away the older hold of the client that `hold` is for. Its own connection stays as it is.
    fn replace(&mut self, user: &Name, hold: &ConnectionHold, outcome: &mut Outcome) {
        let old = hold.client.and_then(|client| self.roster.holds(user)?.of_client(client).cloned());
        let Some(old) = old.filter(|old| old.connection != hold.connection) else {
            return;
        };
        self.release(user, Which::Connection(old.connection));
        if old.ends.is_none() {
            outcome.ended.push(Ended { connection: old.connection, why: Why::Replaced, event: None });
        }
    }

    fn update(&mut self, user: &Name, meta: &Meta, now: Moment, outcome: &mut Outcome) {
        if self.roster.get(user).is_some_and(|member| member.meta != *meta) {
            self.roster.set_meta(user, meta.clone());
            self.publish(Change::Update(user.clone(), meta.clone()), now, outcome);
        }
    }

    fn sign_out(&mut self, user: &Name, reason: Reason, now: Moment, outcome: &mut Outcome) {
        let Some(holds) = self.roster.holds(user).cloned() else {
            return;
        };
        for hold in holds.iter() {
            self.reschedule(user, hold.which(), hold.ends(), None);
        }
        let event = self.del(user, reason, now, outcome);
        let why = if reason == Reason::Kicked { Why::Kicked } else { Why::Left };
        for hold in holds.iter() {
            if let Hold::Connection(ConnectionHold { connection, client, ends, .. }) = hold {
                if ends.is_none() {
                    outcome.ended.push(Ended { connection: *connection, why, event: Some(event.clone()) });
                }
                if let Some(client) = client {
                    self.barred.get_or_insert_default().add(user, *client, now.tick, reason);
                }
            }
        }
    }

    /// Lets a connection's hold live on for the grace.
    fn lose(&mut self, user: &Name, connection: Uuid, now: Moment) {
        let which = Which::Connection(connection);
        let Some(mut hold) = self.hold(user, connection).filter(|hold| hold.ends.is_none()).cloned() else {
            return;
        };
        hold.ends = Some(now.tick + self.bounds.grace);
        self.reschedule(user, which, None, hold.ends);
        if let Some(holds) = self.roster.holds_mut(user) {
            holds.put(Hold::Connection(hold));
        }
    }

    fn leave_client(&mut self, user: &Name, client: Uuid, now: Moment, outcome: &mut Outcome) {
        let hold = self.roster.holds(user).and_then(|holds| holds.of_client(client)).cloned();
        let Some(ConnectionHold { connection, ends, .. }) = hold else {
            return;
        };
        let event = self.end(user, Which::Connection(connection), Reason::Closed, now, outcome);
        if ends.is_none() && event.is_some() {
            outcome.ended.push(Ended { connection, why: Why::Left, event });
        }
    }

    /// Ends one hold; the end of the last one is the member's, with its reason.
    fn end(
        &mut self,
        user: &Name,
        which: Which,
        reason: Reason,
        now: Moment,
        outcome: &mut Outcome,
    ) -> Option<Arc<Event>> {
        let unheld = self.release(user, which);
        unheld.then(|| self.del(user, reason, now, outcome))
    }

    /// Takes a hold away; true when it was the last. The member is still in the set then.
    fn release(&mut self, user: &Name, which: Which) -> bool {
        let Some(holds) = self.roster.holds_mut(user) else {
            return false;
        };
        let old = holds.take(which);
        let unheld = holds.is_empty();
        self.reschedule(user, which, old.and_then(|hold| hold.ends()), None);
        unheld
    }

    fn del(&mut self, user: &Name, reason: Reason, now: Moment, outcome: &mut Outcome) -> Arc<Event> {
        self.roster.remove(user);
        outcome.removed += 1;
        self.publish(Change::Del(user.clone(), reason), now, outcome)
    }

    /// Notes that a hold ends by itself at another time than it did.
    fn reschedule(&mut self, user: &Name, which: Which, old: Option<Tick>, new: Option<Tick>) {
        if let Some(old) = old {
            self.deadlines.remove(&(old, user.clone(), which));
        }
        if let Some(new) = new {
            self.deadlines.insert((new, user.clone(), which));
        }
    }

    /// Remembers what the set just became, in the same step for whoever reads.
    fn publish(&mut self, change: Change, now: Moment, outcome: &mut Outcome) -> Arc<Event> {
        self.head.offset += 1;
        let event = Arc::new(Event::new(&self.room, self.head, change));
        self.history.push(now.second, event.clone());
        outcome.events += 1;
        outcome.cursor = self.head;
        event
    }

    /// The hold that `connection` has of `user`.
    pub fn hold(&self, user: &str, connection: Uuid) -> Option<&ConnectionHold> {
        match self.roster.holds(user)?.get(Which::Connection(connection))? {
            Hold::Connection(hold) => Some(hold),
            Hold::SignIn(_) => None,
        }
    }

    /// The room's name.
    pub fn room(&self) -> &Name {
        &self.room
    }

    /// Where the room stands.
    pub fn head(&self) -> Cursor {
        self.head
    }

    /// The members.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The offset to go on after, if `cursor` is a place in this room's memory.
    pub fn place(&self, cursor: Cursor) -> Option<u64> {
        let here = cursor.epoch == self.head.epoch && self.history.after(cursor.offset).is_some();
        here.then_some(cursor.offset)
    }

    /// The events after `offset`, or `None` when some of them are forgotten.
    pub fn after(&self, offset: u64) -> Option<impl Iterator<Item = &Arc<Event>>> {
        self.history.after(offset)
    }

    /// The whole set as it is now. Takes microseconds also for a million members.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.room.clone(), self.head, self.roster.clone())
    }

    /// What changed after `offset`, or `None` when that is forgotten.
    pub fn changes(&self, offset: u64) -> Option<Changes> {
        let briefs = self.history.briefs_after(offset)?;
        Some(Changes::net(self.room.clone(), self.head, briefs, &self.roster))
    }

    /// Forgets events from before `second`, and whose time as only a watcher is over by `tick`.
    pub fn trim(&mut self, Moment { second, tick }: Moment) {
        self.history.trim(second);
        if let Some(barred) = &mut self.barred {
            barred.forget(tick);
        }
        self.barred.take_if(|barred| barred.is_empty());
    }

    /// Whether nothing would be lost with this room: no members, nothing to resume, nobody barred.
    pub fn is_idle(&self) -> bool {
        self.roster.is_empty() && self.history.is_empty() && self.barred.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::roster::Mark;

    fn presence(history: usize, members: usize) -> Presence {
        Presence::new(Name::lobby(), 7, Bounds { history, members, grace: 5 })
    }

    fn at(second: u64) -> Moment {
        Moment { second, tick: second }
    }

    fn sign_in(user: &str) -> Command {
        Command::sign_in(user.parse().unwrap(), None)
    }

    fn sign_out(user: &str) -> Command {
        Command::sign_out(user.parse().unwrap())
    }

    fn meta(n: u32) -> Meta {
        Meta::from_value(serde_json::json!({ "n": n })).unwrap()
    }

    #[test]
    fn only_real_changes_make_events() {
        let mut room = presence(10, 0);
        let mut made = |command: Command| {
            let before = room.head().offset;
            room.apply(&[command], at(0)).unwrap();
            room.head().offset - before
        };
        let set = |n| Command { user: "ann".parse().unwrap(), verb: Verb::SetMeta(meta(n)) };
        let with = |n| Command::sign_in("ann".parse().unwrap(), Some(meta(n)));
        assert_eq!(made(sign_out("ann")), 0);
        assert_eq!(made(sign_in("ann")), 1);
        assert_eq!(made(sign_in("ann")), 0);
        assert_eq!(made(set(1)), 1);
        assert_eq!(made(set(1)), 0);
        assert_eq!(made(with(1)), 0);
        assert_eq!(made(with(2)), 1);
        assert_eq!(made(sign_in("ann")), 0, "no meta keeps the old one");
        assert_eq!(made(sign_out("ann")), 1);
        assert_eq!(made(sign_out("ann")), 0);
    }

    #[test]
    fn a_batch_over_the_bound_changes_nothing() {
        let mut room = presence(10, 2);
        room.apply(&[sign_in("ann"), sign_in("bob")], at(0)).unwrap();
        let refusal = room.apply(&[sign_in("ann"), sign_in("cyd")], at(0)).unwrap_err();
        assert_eq!(refusal.code, Code::TooManyMembers);
        assert_eq!((room.head().offset, room.roster().len()), (2, 2));
        let outcome = room.apply(&[sign_out("ann"), sign_in("cyd")], at(0)).unwrap();
        assert_eq!((outcome.added, outcome.removed), (1, 1));
    }

    type Set = BTreeMap<Name, Meta>;

    fn set_of(roster: &Roster) -> Set {
        roster.iter_from(Mark::default()).map(|m| (m.user.clone(), m.meta.clone())).collect()
    }

    fn replay(set: &mut Set, event: &Event) {
        match &event.change {
            Change::Add(m) => assert!(set.insert(m.user.clone(), m.meta.clone()).is_none(), "add of a member"),
            Change::Update(user, meta) => assert!(set.insert(user.clone(), meta.clone()).is_some(), "update of nobody"),
            Change::Del(user, _) => assert!(set.remove(user).is_some(), "del of nobody"),
        }
    }

    fn random_command(rng: &mut fastrand::Rng) -> Command {
        let user = format!("u{}", rng.u8(..12)).parse().unwrap();
        let some = |rng: &mut fastrand::Rng| rng.bool().then(|| meta(rng.u32(..3)));
        match rng.u8(..5) {
            0 | 1 => Command::sign_in(user, some(rng)),
            2 => Command { user, verb: Verb::SetMeta(meta(rng.u32(..3))) },
            _ => Command::sign_out(user),
        }
    }

    /// A naive room: a map, and nothing else.
    fn model(set: &mut Set, Command { user, verb }: &Command) {
        match verb {
            Verb::SignIn { meta, .. } => {
                let old = set.entry(user.clone()).or_default();
                if let Some(meta) = meta {
                    *old = meta.clone();
                }
            }
            Verb::SetMeta(meta) => {
                if let Some(old) = set.get_mut(user) {
                    *old = meta.clone();
                }
            }
            Verb::SignOut(_) => drop(set.remove(user)),
            Verb::Join { .. } | Verb::Update(..) | Verb::Leave(_) | Verb::Lose(_) | Verb::LeaveClient(_) => {
                panic!("the test of holds has these")
            }
        }
    }

    /// Does to a set what `changes` says; and sees that it says no more than is needed.
    fn put(mut set: Set, changes: &Changes) -> Set {
        for (user, _) in changes.gone() {
            assert!(set.remove(user).is_some(), "gone, but was not there");
        }
        for put in changes.set() {
            let old = set.insert(put.member.user.clone(), put.member.meta.clone());
            assert_eq!(old.is_none(), put.new);
        }
        set
    }

    /// Seeded: the snapshot at k, with the events after k applied, is the snapshot at n, for every k
    /// that history still reaches; and the set is what a naive map says.
    #[test]
    fn a_snapshot_and_the_events_after_it_are_the_snapshot_now() {
        for seed in 0..2_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut room = presence(rng.usize(1..40), 0);
            let (mut expected, mut snapshots) = (Set::new(), Vec::new());
            for second in 0..rng.u64(1..120) {
                snapshots.push((room.head(), room.roster().clone()));
                let commands: Vec<_> = (0..rng.usize(1..4)).map(|_| random_command(&mut rng)).collect();
                if room.apply(&commands, at(second)).is_ok() {
                    commands.iter().for_each(|command| model(&mut expected, command));
                }
                assert_eq!(set_of(room.roster()), expected, "seed {seed}");
                let held = |user: &Name| room.roster().holds(user).is_some_and(|holds| holds.iter().next().is_some());
                assert!(room.roster().len() == expected.len() && expected.keys().all(held), "seed {seed}");
            }
            for (cursor, roster) in snapshots {
                if let Some(changes) = room.changes(cursor.offset) {
                    assert_eq!(put(set_of(&roster), &changes), expected, "seed {seed}, changes from {cursor}");
                }
                let Some(offset) = room.place(cursor) else { continue };
                let mut set = set_of(&roster);
                room.after(offset).unwrap().for_each(|event| replay(&mut set, event));
                assert_eq!(set, expected, "seed {seed}, from {cursor}");
            }
        }
    }
}
