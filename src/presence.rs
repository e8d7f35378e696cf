//! Who is in one room, why, and in which order it came about. Pure: no clock, no executor, no IO.

use std::collections::HashSet;
use std::sync::Arc;

use crate::changes::Changes;
use crate::command::Command;
use crate::event::{Change, Cursor, Event, Reason};
use crate::history::History;
use crate::hold::Hold;
use crate::meta::Meta;
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::roster::{Member, Roster};
use crate::snapshot::Snapshot;

/// How much one room may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events to remember.
    pub history: usize,
    /// Members at most; 0 is no bound.
    pub members: usize,
}

/// What came of some commands: how many users came and went, and the room's place afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Users who became members.
    pub added: usize,
    /// Users who are members no more.
    pub removed: usize,
    /// Whether any event was made.
    pub changed: bool,
    /// Where the room stands now, with all of it.
    pub cursor: Cursor,
}

/// One room: its set, what holds its members, and the last events that made it so.
#[derive(Debug)]
pub struct Presence {
    room: Name,
    head: Cursor,
    roster: Roster,
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
            history: History::new(0, bounds.history),
            bounds,
        }
    }

    /// Does all of `commands` at `second` (since 1970, UTC), in order, or refuses all of them.
    pub fn apply(&mut self, commands: &[Command], second: u64) -> Result<Outcome, Refusal> {
        self.permit(commands)?;
        let before = self.head.offset;
        let (mut added, mut removed) = (0, 0);
        for command in commands {
            let Some(change) = self.decide(command, second) else {
                continue;
            };
            match &change {
                Change::Add(_) => added += 1,
                Change::Del(..) => removed += 1,
                Change::Update(..) => {}
            }
            self.publish(change, second);
        }
        Ok(Outcome { added, removed, changed: self.head.offset > before, cursor: self.head })
    }

    /// Refuses commands that cannot all be done, before any of them is.
    fn permit(&self, commands: &[Command]) -> Result<(), Refusal> {
        if let [Command::SetMeta { user, .. }] = commands
            && self.roster.get(user).is_none()
        {
            let message = format!("{user} is not a member of {}", self.room);
            return Err(Refusal::new(Code::NotPresent, message));
        }
        let most = self.bounds.members;
        if most > 0 && self.grown_by(commands) > most.saturating_sub(self.roster.len()) {
            let message = format!("{} has {} of at most {most} members", self.room, self.roster.len());
            return Err(Refusal::new(Code::TooManyMembers, message));
        }
        Ok(())
    }

    /// By how many members the commands would grow the room.
    fn grown_by(&self, commands: &[Command]) -> usize {
        let absent = |user: &Name| self.roster.get(user).is_none();
        let comes: HashSet<_> = commands.iter().filter(|c| c.adds() && absent(c.user())).map(Command::user).collect();
        let goes = commands.iter().filter(|c| matches!(c, Command::SignOut { user } if !absent(user))).count();
        comes.len().saturating_sub(goes)
    }

    /// Notes what holds the user from now on, and says how the set changes, if it does.
    fn decide(&mut self, command: &Command, second: u64) -> Option<Change> {
        match command {
            Command::SignIn { user, meta } => {
                let Some(holds) = self.roster.holds(user) else {
                    let meta = meta.clone().unwrap_or_default();
                    return Some(Change::Add(Member { user: user.clone(), meta, joined: second }));
                };
                if !holds.has(Hold::SignIn) {
                    self.roster.hold(user, Hold::SignIn);
                }
                self.decide_meta(user, meta.as_ref()?)
            }
            Command::SetMeta { user, meta } => self.decide_meta(user, meta),
            Command::SignOut { user } => self.roster.get(user).map(|_| Change::Del(user.clone(), Reason::SignedOut)),
        }
    }

    fn decide_meta(&self, user: &Name, meta: &Meta) -> Option<Change> {
        let member = self.roster.get(user)?;
        (member.meta != *meta).then(|| Change::Update(user.clone(), meta.clone()))
    }

    /// Changes the set and remembers the event: one step, so that no reader sees one without the other.
    fn publish(&mut self, change: Change, second: u64) {
        match &change {
            Change::Add(member) => self.roster.put(member.clone(), Hold::SignIn),
            Change::Update(user, meta) => {
                let joined = self.roster.get(user).map_or(second, |member| member.joined);
                self.roster.put(Member { user: user.clone(), meta: meta.clone(), joined }, Hold::SignIn);
            }
            Change::Del(user, _) => {
                self.roster.remove(user);
            }
        }
        self.head.offset += 1;
        let event = Event::new(&self.room, self.head, change);
        self.history.push(second, Arc::new(event));
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

    /// Forgets events from before `second`.
    pub fn trim(&mut self, second: u64) {
        self.history.trim(second);
    }

    /// Whether nothing would be lost with this room: no members, nothing to resume.
    pub fn is_idle(&self) -> bool {
        self.roster.is_empty() && self.history.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::roster::Mark;

    fn presence(history: usize, members: usize) -> Presence {
        Presence::new(Name::lobby(), 7, Bounds { history, members })
    }

    fn sign_in(user: &str) -> Command {
        Command::SignIn { user: user.parse().unwrap(), meta: None }
    }

    fn sign_out(user: &str) -> Command {
        Command::SignOut { user: user.parse().unwrap() }
    }

    fn meta(n: u32) -> Meta {
        Meta::from_value(serde_json::json!({ "n": n })).unwrap()
    }

    #[test]
    fn only_real_changes_make_events() {
        let mut room = presence(10, 0);
        let mut made = |command: Command| {
            let before = room.head().offset;
            room.apply(&[command], 0).unwrap();
            room.head().offset - before
        };
        let set = |n| Command::SetMeta { user: "ann".parse().unwrap(), meta: meta(n) };
        let with = |n| Command::SignIn { user: "ann".parse().unwrap(), meta: Some(meta(n)) };
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
        room.apply(&[sign_in("ann"), sign_in("bob")], 0).unwrap();
        let refusal = room.apply(&[sign_in("ann"), sign_in("cyd")], 0).unwrap_err();
        assert_eq!(refusal.code, Code::TooManyMembers);
        assert_eq!((room.head().offset, room.roster().len()), (2, 2));
        let outcome = room.apply(&[sign_out("ann"), sign_in("cyd")], 0).unwrap();
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
            0 | 1 => Command::SignIn { user, meta: some(rng) },
            2 => Command::SetMeta { user, meta: meta(rng.u32(..3)) },
            _ => Command::SignOut { user },
        }
    }

    /// A naive room: a map, and nothing else.
    fn model(set: &mut Set, command: &Command) {
        match command {
            Command::SignIn { user, meta } => {
                let old = set.entry(user.clone()).or_default();
                if let Some(meta) = meta {
                    *old = meta.clone();
                }
            }
            Command::SetMeta { user, meta } => {
                if let Some(old) = set.get_mut(user) {
                    *old = meta.clone();
                }
            }
            Command::SignOut { user } => {
                set.remove(user);
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
                if room.apply(&commands, second).is_ok() {
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
