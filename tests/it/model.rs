//! The model against a naive reference: after any steps in any order, both have the same members and holds, and have
//! made the same events.
//!
//! A failure prints a seed and the shortest history that still fails; `PRESENTLY_SEED` repeats a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use presently::model::command::{Action, Command, SignIn};
use presently::model::cursor::{Cursor, Epoch, Offset, Position};
use presently::model::denylist::Denylist;
use presently::model::event::{Change, DelReason};
use presently::model::history::Bound;
use presently::model::hold::{ConnectionHold, HoldId, Holds, Maker, Transport};
use presently::model::id::{ClientId, ConnectionId};
use presently::model::info::Info;
use presently::model::meta::Meta;
use presently::model::moment::{Moment, Tick, Timestamp};
use presently::model::name::{HoldName, Name};
use presently::model::outcome::{EndCause, Outcome};
use presently::model::presence::{Bounds, Presence};
use presently::model::refusal::{Code, Refusal};
use presently::model::roster::{Mark, Member};
use presently::model::statement::{Rank, Statement};
use serde_json::value::RawValue;
use uuid::Uuid;

const HISTORIES: u64 = 20_000;
const GRACE: Duration = Duration::from_millis(5);
const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Clone, Debug)]
enum Step {
    Do(Name, Action),
    /// Time passes, and holds end.
    Pass(Duration),
}

/// A visible effect of a step.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Add(Name, Meta, Info),
    Update(Name, Meta, Info),
    Del(Name, DelReason),
    /// The notice to an open connection that its hold was ended by others; true with the member's `del`.
    Ended(ConnectionId, EndCause, bool),
    Refused(Code),
}

#[derive(Clone, Debug, Default)]
struct Held {
    meta: Meta,
    info: Info,
    /// The client and the deadline of each hold.
    holds: BTreeMap<HoldId, (Option<ClientId>, Option<Tick>)>,
    /// All that was said and still counts, in the order in which it was said: through a hold, or for the member.
    said: Vec<(Option<HoldId>, Statement)>,
    /// The tokens that made sign-ins.
    makers: BTreeMap<HoldId, (Name, u64)>,
}

impl Held {
    /// What the hold `id` says.
    fn says(&self, id: &HoldId) -> Option<&Statement> {
        self.said.iter().find(|(by, _)| by.as_ref() == Some(id)).map(|(_, statement)| statement)
    }

    /// Says something through a hold, or for the member.
    fn say(&mut self, by: Option<&HoldId>, statement: &Statement) {
        self.said.retain(|(other, said)| match other {
            Some(other) => Some(other) != by,
            None => by.is_some() && said.rank > statement.rank,
        });
        self.said.push((by.cloned(), statement.clone()));
    }

    /// The highest rank wins, and there the last.
    fn shown(&self) -> Meta {
        let highest = self.said.iter().map(|(_, statement)| statement.rank).max();
        let last = self.said.iter().rev().find(|(_, statement)| Some(statement.rank) == highest);
        last.map(|(_, statement)| statement.meta.clone()).unwrap_or_default()
    }
}

/// The reference: a map, and a list of denied clients.
#[derive(Default)]
struct Naive {
    users: BTreeMap<Name, Held>,
    denied: Vec<(Name, ClientId, Tick, DelReason)>,
    now: Tick,
}

impl Naive {
    fn step(&mut self, step: &Step) -> Vec<Seen> {
        match step {
            Step::Pass(time) => self.pass(*time),
            Step::Do(user, action) => self.act(user, action),
        }
    }

    fn pass(&mut self, time: Duration) -> Vec<Seen> {
        self.now = self.now + time;
        let mut over = BTreeSet::new();
        for (user, held) in &self.users {
            let ends = held.holds.iter().filter_map(|(which, (_, ends))| Some((ends.as_ref()?, which)));
            let ends = ends.filter(|(ends, _)| **ends <= self.now);
            over.extend(ends.map(|(ends, which)| (*ends, user.clone(), which.clone())));
        }
        let reason = |which: &HoldId| match which {
            HoldId::SignIn(_) => DelReason::Expired,
            HoldId::Connection(_) => DelReason::Timeout,
        };
        over.into_iter()
            .flat_map(|(_, user, which)| self.end(&user, std::slice::from_ref(&which), reason(&which)))
            .collect()
    }

    fn act(&mut self, user: &Name, action: &Action) -> Vec<Seen> {
        let held = self.users.get(user);
        let joined = |id: &ConnectionId| held.is_some_and(|held| held.holds.contains_key(&HoldId::Connection(*id)));
        match action {
            Action::SignIn(SignIn { name, statement, info, ttl, maker }) => {
                let (id, ends) = (HoldId::SignIn(name.clone()), ttl.map(|ttl| self.now + ttl));
                let seen = self.keep(user, id.clone(), (None, ends), None, statement.as_ref(), info.as_ref());
                let makers = &mut self.users.get_mut(user).expect("a member").makers;
                makers.remove(&id);
                makers.extend(maker.iter().map(|maker| (id.clone(), (maker.sub.clone(), maker.issued))));
                seen
            }
            Action::Join(hold, statement, info) => self.join(user, hold, statement.as_ref(), info.as_ref()),
            Action::Set(..) if held.is_none() => vec![Seen::Refused(Code::NotPresent)],
            Action::Update(id, _) | Action::Leave(id) if !joined(id) => vec![Seen::Refused(Code::NotJoined)],
            Action::Set(statement, info) => self.change(user, |held| {
                statement.iter().for_each(|statement| held.say(None, statement));
                held.info = info.clone().unwrap_or(held.info.clone());
            }),
            Action::Update(id, statement) => {
                self.change(user, |held| held.say(Some(&HoldId::Connection(*id)), statement))
            }
            Action::Release(name) => self.end(user, &[HoldId::SignIn(Some(name.clone()))], DelReason::Closed),
            Action::Leave(id) => self.end(user, &[HoldId::Connection(*id)], DelReason::Closed),
            Action::Kick(id) if !joined(id) => Vec::new(),
            Action::Kick(id) => self.end(user, &[HoldId::Connection(*id)], DelReason::Kicked),
            Action::Revoke(sub, before) => {
                let made =
                    held.iter().flat_map(|held| &held.makers).filter(|(id, _)| held.unwrap().holds.contains_key(id));
                let made = made.filter(|(_, (by, issued))| by == sub && issued <= before).map(|(id, _)| id.clone());
                let made: Vec<_> = made.collect();
                if made.is_empty() { Vec::new() } else { self.end(user, &made, DelReason::Kicked) }
            }
            Action::Lose(id, since) => {
                let hold = self.users.get_mut(user).and_then(|held| held.holds.get_mut(&HoldId::Connection(*id)));
                if let Some((_, ends @ None)) = hold {
                    *ends = Some(since.unwrap_or(self.now) + GRACE);
                }
                Vec::new()
            }
            Action::LeaveClient(client) => {
                let Some((which, live)) = self.of_client(user, *client) else {
                    return Vec::new();
                };
                let mut seen = self.end(user, std::slice::from_ref(&which), DelReason::Closed);
                if let (HoldId::Connection(id), true, Some(Seen::Del(..))) = (which, live, seen.first()) {
                    seen.push(Seen::Ended(id, EndCause::Left, true));
                }
                seen
            }
            Action::SignOut(reason) => self.sign_out(user, *reason),
        }
    }

    fn of_client(&self, user: &Name, client: ClientId) -> Option<(HoldId, bool)> {
        let holds = &self.users.get(user)?.holds;
        let (which, (_, ends)) = holds.iter().find(|(_, (of, _))| *of == Some(client))?;
        Some((which.clone(), ends.is_none()))
    }

    fn join(
        &mut self,
        user: &Name,
        hold: &ConnectionHold,
        statement: Option<&Statement>,
        info: Option<&Info>,
    ) -> Vec<Seen> {
        let is_denied = |(who, client, until, _): &&(Name, ClientId, Tick, DelReason)| {
            who == user && Some(*client) == hold.client && *until > self.now
        };
        if let Some((.., reason)) = self.denied.iter().rev().find(is_denied) {
            return vec![Seen::Refused(if *reason == DelReason::Kicked { Code::Kicked } else { Code::SignedOut })];
        }
        let own = HoldId::Connection(hold.connection);
        let old = hold.client.and_then(|client| self.of_client(user, client)).filter(|(which, _)| *which != own);
        let replaced = old.as_ref().map(|(which, _)| which);
        let mut seen = self.keep(user, own, (hold.client, None), replaced, statement, info);
        if let Some((HoldId::Connection(id), true)) = old {
            seen.push(Seen::Ended(id, EndCause::Replaced, false));
        }
        seen
    }

    fn keep(
        &mut self,
        user: &Name,
        which: HoldId,
        hold: (Option<ClientId>, Option<Tick>),
        replaced: Option<&HoldId>,
        statement: Option<&Statement>,
        info: Option<&Info>,
    ) -> Vec<Seen> {
        let is_new = !self.users.contains_key(user);
        self.users.entry(user.clone()).or_default();
        let updates = self.change(user, |held| {
            held.holds.insert(which.clone(), hold);
            held.info = info.cloned().unwrap_or(held.info.clone());
            // The hold takes over the later of what it said itself and what the replaced hold said.
            if let Some(replaced) = replaced {
                held.holds.remove(replaced);
                let last = held
                    .said
                    .iter()
                    .rposition(|(by, _)| by.as_ref().is_some_and(|by| [&which, replaced].contains(&by)));
                if let Some(last) = last {
                    held.said[last].0 = Some(which.clone());
                    let mut at = 0;
                    held.said.retain(|(by, _)| {
                        at += 1;
                        at - 1 == last || by.as_ref().is_none_or(|by| ![&which, replaced].contains(&by))
                    });
                }
            }
            if let Some(statement) = statement
                && held.says(&which) != Some(statement)
            {
                held.say(Some(&which), statement);
            }
        });
        match (is_new, &self.users[user]) {
            (true, held) => vec![Seen::Add(user.clone(), held.meta.clone(), held.info.clone())],
            (false, _) => updates,
        }
    }

    fn change(&mut self, user: &Name, change: impl FnOnce(&mut Held)) -> Vec<Seen> {
        let held = self.users.get_mut(user).expect("a member");
        let before = (held.meta.clone(), held.info.clone());
        change(held);
        held.meta = held.shown();
        match before == (held.meta.clone(), held.info.clone()) {
            true => Vec::new(),
            false => vec![Seen::Update(user.clone(), held.meta.clone(), held.info.clone())],
        }
    }

    fn end(&mut self, user: &Name, which: &[HoldId], reason: DelReason) -> Vec<Seen> {
        let Some(held) = self.users.get(user) else {
            return Vec::new();
        };
        if held.holds.keys().any(|other| !which.contains(other)) {
            return self.change(user, |held| {
                held.holds.retain(|id, _| !which.contains(id));
                held.said.retain(|(by, _)| by.as_ref().is_none_or(|by| !which.contains(by)));
            });
        }
        self.users.remove(user);
        vec![Seen::Del(user.clone(), reason)]
    }

    fn sign_out(&mut self, user: &Name, reason: DelReason) -> Vec<Seen> {
        let Some(held) = self.users.remove(user) else {
            return Vec::new();
        };
        let mut seen = vec![Seen::Del(user.clone(), reason)];
        for (which, (client, ends)) in held.holds {
            if let (HoldId::Connection(id), None) = (which, ends) {
                seen.push(Seen::Ended(id, EndCause::Left, true));
            }
            self.denied.extend(client.map(|client| (user.clone(), client, self.now + HOUR, reason)));
        }
        seen
    }
}

fn at(now: Tick) -> Moment {
    Moment { time: Timestamp(now.0), tick: now }
}

/// The core: a room, and the denylist as rooms share it.
struct Core {
    room: Presence,
    denylist: Denylist,
}

/// Applies all of `commands` right behind the last event, or refuses all of them.
fn apply(room: &mut Presence, commands: &[Command], now: Moment) -> Result<Outcome, Refusal> {
    room.check(commands)?;
    Ok(room.fold(commands, Position(room.head().offset.next().0), now))
}

impl Core {
    fn apply(&mut self, commands: &[Command], now: Moment) -> Result<Outcome, Refusal> {
        self.denylist.check(self.room.room(), commands, now.tick)?;
        let outcome = apply(&mut self.room, commands, now)?;
        self.denylist.record(self.room.room(), &outcome, now.tick);
        Ok(outcome)
    }
}

impl Deref for Core {
    type Target = Presence;

    fn deref(&self) -> &Presence {
        &self.room
    }
}

fn room(history: usize) -> Core {
    let start = Cursor { epoch: Epoch(1), ..Cursor::default() };
    let room = Presence::new(
        Name::lobby(),
        start,
        Bounds { history: Bound { events: history, bytes: usize::MAX }, members: 0, grace: GRACE },
    );
    Core { room, denylist: Denylist::default() }
}

/// The visible effects of a step in the model.
fn core_step(core: &mut Core, now: &mut Tick, step: &Step) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut ended = Vec::new();
    let from = core.head().offset;
    match step {
        Step::Pass(time) => {
            *now = *now + *time;
            // Two at a time, as a large room ends many.
            while core.next_deadline().is_some_and(|ends| ends <= *now) {
                let outcome = core.apply(&[Command::Expire(2)], at(*now)).expect("never refused");
                assert!(outcome.ended.is_empty());
            }
        }
        Step::Do(user, action) => match core.apply(&[Command::User(user.clone(), action.clone())], at(*now)) {
            Ok(outcome) => ended = outcome.ended,
            Err(refusal) => seen.push(Seen::Refused(refusal.code)),
        },
    }
    seen.extend(core.after(from).expect("a history long enough").map(|event| match &event.change {
        Change::Add(member) => Seen::Add(member.user.clone(), member.meta.clone(), member.info.clone()),
        Change::Update(member) => Seen::Update(member.user.clone(), member.meta.clone(), member.info.clone()),
        Change::Del(user, reason) => Seen::Del(user.clone(), *reason),
    }));
    ended.sort_by_key(|ended| ended.connection);
    seen.extend(ended.into_iter().map(|ended| Seen::Ended(ended.connection, ended.cause, ended.event.is_some())));
    seen
}

/// Plays a history to both; the error is the first difference.
fn play(history: &[Step]) -> Result<(), String> {
    let (mut naive, mut now) = (Naive::default(), Tick(0));
    let mut core = room(1_000);
    for (n, step) in history.iter().enumerate() {
        let (expected, seen) = (naive.step(step), core_step(&mut core, &mut now, step));
        if seen != expected {
            return Err(format!("step {n}: {seen:?} instead of {expected:?}"));
        }
        let held: BTreeMap<_, _> = core.roster().iter_from(Mark::default()).map(|m| shown(&core, m)).collect();
        let expected: BTreeMap<_, _> =
            naive.users.iter().map(|(user, held)| (user.clone(), expected_of(held))).collect();
        if held != expected {
            return Err(format!("after step {n}: {held:?} instead of {expected:?}"));
        }
        let next = naive.users.values().flat_map(|held| held.holds.values().filter_map(|(_, ends)| *ends)).min();
        if core.next_deadline() != next {
            return Err(format!("after step {n}: next {:?} instead of {next:?}", core.next_deadline()));
        }
    }
    Ok(())
}

type Shown = (Meta, Info, BTreeMap<HoldId, (Option<Tick>, Option<Statement>)>, Option<Statement>);

fn shown(core: &Presence, member: &Member) -> (Name, Shown) {
    let holds: Holds = core.roster().holds(&member.user).expect("a member is held");
    let of_each = holds.iter().map(|hold| {
        let said = hold.said.as_ref().map(|said| said.statement.clone());
        (hold.kind.id(), (hold.kind.deadline(), said))
    });
    let of_member = holds.of_member().map(|said| said.statement.clone());
    (member.user.clone(), (member.meta.clone(), member.info.clone(), of_each.collect(), of_member))
}

fn expected_of(held: &Held) -> Shown {
    let of_each = held.holds.iter().map(|(which, (_, ends))| (which.clone(), (*ends, held.says(which).cloned())));
    let of_member = held.said.iter().find(|(by, _)| by.is_none()).map(|(_, statement)| statement.clone());
    (held.meta.clone(), held.info.clone(), of_each.collect(), of_member)
}

fn random_history(rng: &mut Rng) -> Vec<Step> {
    (0..rng.usize(1..30)).map(|_| random_step(rng)).collect()
}

fn random_step(rng: &mut Rng) -> Step {
    let user: Name = ["ann", "bob", "cyd"][rng.usize(..3)].parse().expect("a name");
    let connection = ConnectionId(Uuid::from_u128(rng.u128(1..5)));
    let client = |rng: &mut Rng| ClientId(Uuid::from_u128(rng.u128(10..13)));
    let name = |rng: &mut Rng| HoldName::new("hold", ["a", "b"][rng.usize(..2)]).expect("a name");
    let object = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
    let info = |rng: &mut Rng| {
        let text = ["{}", r#"{"role":"host"}"#][rng.usize(..2)];
        Info::try_from(&*object(text)).expect("an object")
    };
    let statement = |rng: &mut Rng| {
        let meta = Meta::read(["{}", r#"{"n":1}"#, r#"{"n":2}"#][rng.usize(..3)]).expect("an object");
        Statement { meta, rank: Rank::read(["0", "0", "0", "-1", "1"][rng.usize(..5)]).expect("a rank") }
    };
    let some_statement = |rng: &mut Rng| rng.bool().then(|| statement(rng));
    let action = match rng.u8(..17) {
        0 | 1 => Action::SignIn(SignIn {
            name: (rng.u8(..3) > 0).then(|| name(rng)),
            statement: some_statement(rng),
            info: (rng.u8(..4) == 0).then(|| info(rng)),
            ttl: rng.bool().then(|| Duration::from_millis(rng.u64(1..12))),
            maker: rng.bool().then(|| Arc::new(Maker { sub: user.clone(), issued: rng.u64(0..3) })),
        }),
        2..=5 => {
            let client = (rng.u8(..3) > 0).then(|| client(rng));
            let hold = ConnectionHold {
                connection,
                client,
                transport: Transport::WebSocket,
                deadline: None,
                unclaimed: false,
            };
            Action::Join(hold, some_statement(rng), (rng.u8(..4) == 0).then(|| info(rng)))
        }
        6 => Action::Update(connection, statement(rng)),
        7 => Action::Set(some_statement(rng), rng.bool().then(|| info(rng))),
        8 => Action::Leave(connection),
        9 => Action::Lose(connection, None),
        10 => Action::LeaveClient(client(rng)),
        11 => Action::Release(name(rng)),
        12 if rng.bool() => Action::Kick(connection),
        13 if rng.bool() => Action::Revoke(user.clone(), rng.u64(0..3)),
        14 if rng.bool() => Action::SignOut(if rng.bool() { DelReason::Kicked } else { DelReason::SignedOut }),
        _ => return Step::Pass(if rng.u8(..20) == 0 { HOUR } else { Duration::from_millis(rng.u64(1..4)) }),
    };
    Step::Do(user, action)
}

/// Removes the steps that are not needed for the failure.
fn shrunk(mut history: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut at = 0;
    while at < history.len() {
        let mut shorter = history.clone();
        shorter.remove(at);
        if fails(&shorter) {
            (history, at) = (shorter, 0);
        } else {
            at += 1;
        }
    }
    history
}

#[test]
fn the_model_equals_a_naive_room() {
    let given = std::env::var("PRESENTLY_SEED").ok().map(|seed| seed.parse().expect("PRESENTLY_SEED is a number"));
    for seed in given.map_or(0..HISTORIES, |seed: u64| seed..seed + 1) {
        let history = random_history(&mut Rng::with_seed(seed));
        if play(&history).is_err() {
            let least = shrunk(history, |shorter| play(shorter).is_err());
            panic!("to repeat: PRESENTLY_SEED={seed}\n{}\n{least:#?}", play(&least).expect_err("still fails"));
        }
    }
}

/// The whole visible state of a room, as text.
fn everything(core: &Presence) -> String {
    let members: Vec<_> =
        core.roster().iter_from(Mark::default()).map(|member| (member, shown(core, member))).collect();
    // From the earliest place within the history.
    let events = (0..=core.head().offset.0).find_map(|offset| Some(core.after(Offset(offset))?.collect::<Vec<_>>()));
    format!("{:?} {members:?} {:?} {events:?} {}", core.head(), core.next_deadline(), core.is_idle())
}

/// The base of a journal: time, too, changes a room by commands, so the same commands at the same moments make the same
/// room.
#[test]
fn the_same_commands_at_the_same_moments_make_the_same_room() {
    for seed in 0..2_000 {
        let mut rng = Rng::with_seed(seed);
        let (mut now, mut journal, mut first) = (Tick(0), Vec::new(), room(20));
        for step in (0..10).flat_map(|_| random_history(&mut rng)).collect::<Vec<_>>() {
            let command = match step {
                Step::Do(user, action) => Command::User(user, action),
                Step::Pass(time) => {
                    now = now + time;
                    match rng.u8(..8) {
                        0 | 1 => Command::Trim(now),
                        2 => Command::Shorten(rng.usize(..2_000), Tick(rng.u64(..=now.0))),
                        _ => Command::Expire(rng.usize(1..3)),
                    }
                }
            };
            let done = first.apply(std::slice::from_ref(&command), at(now)).map(|outcome| outcome.cursor);
            journal.push((command, at(now), done));
        }
        let mut second = room(20);
        for (command, moment, done) in journal {
            assert_eq!(second.apply(&[command], moment).map(|outcome| outcome.cursor), done, "seed {seed}");
        }
        assert_eq!(everything(&second), everything(&first), "seed {seed}");
    }
}

/// A failure is useful only if short enough to read.
#[test]
fn a_failing_history_shrinks_to_the_needed_steps() {
    let passed = |step: &Step| if let Step::Pass(time) = step { *time } else { Duration::ZERO };
    let fails = |history: &[Step]| history.iter().map(passed).sum::<Duration>() >= Duration::from_millis(2);
    let histories = (0..100).map(|seed| random_history(&mut Rng::with_seed(seed)));
    let history = { histories }.find(|history| history.len() > 5 && fails(history)).expect("one of a hundred");
    let least = shrunk(history, fails);
    assert!(least.len() <= 2 && fails(&least), "{least:?}");
}
