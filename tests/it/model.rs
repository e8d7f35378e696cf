//! The core against a reference that is as simple as can be: whatever happens in whichever order, both have the same
//! members, held by the same holds, and tell of it by the same events.
//!
//! A failure prints its seed and the shortest history that still fails; `PRESENTLY_SEED` runs that seed alone.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use presently::model::command::{Command, Verb};
use presently::model::event::{Change, Reason};
use presently::model::hold::{ConnectionHold, Transport, Which};
use presently::model::meta::Meta;
use presently::model::moment::{Moment, Tick};
use presently::model::name::Name;
use presently::model::presence::{Bounds, Presence, Why};
use presently::model::refusal::Code;
use presently::model::roster::Mark;
use uuid::Uuid;

const HISTORIES: u64 = 100_000;
const GRACE: Tick = 5;
const HOUR: Tick = 3_600_000;

#[derive(Clone, Debug)]
enum Step {
    Do(Command),
    /// Time passes, so that holds end.
    Pass(Tick),
}

/// What can be seen to happen, in order.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Add(Name),
    Update(Name),
    Del(Name, Reason),
    /// An open connection is told that others ended its hold, and whether with the member's `del`.
    Ended(Uuid, Why, bool),
    Refused(Code),
}

#[derive(Clone, Debug, Default)]
struct Held {
    meta: Meta,
    /// Each with its client, and when it ends.
    holds: BTreeMap<Which, (Option<Uuid>, Option<Tick>)>,
}

/// The reference.
#[derive(Default)]
struct Naive {
    users: BTreeMap<Name, Held>,
    barred: Vec<(Name, Uuid, Tick, Reason)>,
    now: Tick,
}

impl Naive {
    fn step(&mut self, step: &Step) -> Vec<Seen> {
        match step {
            Step::Pass(ticks) => self.pass(*ticks),
            Step::Do(command) => self.act(&command.user, &command.verb),
        }
    }

    fn pass(&mut self, ticks: Tick) -> Vec<Seen> {
        self.now += ticks;
        let mut over = BTreeSet::new();
        for (user, held) in &self.users {
            let ends = held.holds.iter().filter_map(|(which, (_, ends))| Some((ends.as_ref()?, which)));
            over.extend(ends.filter(|(ends, _)| **ends <= self.now).map(|(ends, which)| (*ends, user.clone(), *which)));
        }
        let reason = |which| if which == Which::SignIn { Reason::Expired } else { Reason::Timeout };
        over.into_iter().flat_map(|(_, user, which)| self.end(&user, which, reason(which))).collect()
    }

    fn act(&mut self, user: &Name, verb: &Verb) -> Vec<Seen> {
        let held = self.users.get(user);
        let joined = |id: &Uuid| held.is_some_and(|held| held.holds.contains_key(&Which::Connection(*id)));
        match verb {
            Verb::SignIn { meta, ttl } => {
                let ends = ttl.map(|ttl| self.now + ttl);
                self.keep(user, Which::SignIn, None, ends, meta.as_ref())
            }
            Verb::Join { hold, meta } => self.join(user, hold, meta.as_ref()),
            Verb::SetMeta(_) if held.is_none() => vec![Seen::Refused(Code::NotPresent)],
            Verb::Update(id, _) | Verb::Leave(id) if !joined(id) => vec![Seen::Refused(Code::NotJoined)],
            Verb::SetMeta(meta) | Verb::Update(_, meta) => self.update(user, meta),
            Verb::Leave(id) => self.end(user, Which::Connection(*id), Reason::Closed),
            Verb::Lose(id) => {
                let hold = self.users.get_mut(user).and_then(|held| held.holds.get_mut(&Which::Connection(*id)));
                if let Some((_, ends @ None)) = hold {
                    *ends = Some(self.now + GRACE);
                }
                Vec::new()
            }
            Verb::LeaveClient(client) => {
                let Some((which, live)) = self.of_client(user, *client) else {
                    return Vec::new();
                };
                let mut seen = self.end(user, which, Reason::Closed);
                if let (Which::Connection(id), true, false) = (which, live, seen.is_empty()) {
                    seen.push(Seen::Ended(id, Why::Left, true));
                }
                seen
            }
            Verb::SignOut(reason) => self.sign_out(user, *reason),
        }
    }

    fn of_client(&self, user: &Name, client: Uuid) -> Option<(Which, bool)> {
        let holds = &self.users.get(user)?.holds;
        let (which, (_, ends)) = holds.iter().find(|(_, (of, _))| *of == Some(client))?;
        Some((*which, ends.is_none()))
    }

    fn join(&mut self, user: &Name, hold: &ConnectionHold, meta: Option<&Meta>) -> Vec<Seen> {
        let is_barred = |(who, client, until, _): &&(Name, Uuid, Tick, Reason)| {
            who == user && Some(*client) == hold.client && *until > self.now
        };
        if let Some((.., reason)) = self.barred.iter().rev().find(is_barred) {
            return vec![Seen::Refused(if *reason == Reason::Kicked { Code::Kicked } else { Code::SignedOut })];
        }
        let own = Which::Connection(hold.connection);
        let old = hold.client.and_then(|client| self.of_client(user, client)).filter(|(which, _)| *which != own);
        let mut seen = self.keep(user, own, hold.client, None, meta);
        if let Some((which, live)) = old {
            self.users.get_mut(user).expect("kept").holds.remove(&which);
            if let (Which::Connection(id), true) = (which, live) {
                seen.push(Seen::Ended(id, Why::Replaced, false));
            }
        }
        seen
    }

    fn keep(
        &mut self,
        user: &Name,
        which: Which,
        client: Option<Uuid>,
        ends: Option<Tick>,
        meta: Option<&Meta>,
    ) -> Vec<Seen> {
        let is_new = !self.users.contains_key(user);
        self.users.entry(user.clone()).or_default().holds.insert(which, (client, ends));
        let updates = meta.map(|meta| self.update(user, meta)).unwrap_or_default();
        if is_new { vec![Seen::Add(user.clone())] } else { updates }
    }

    fn update(&mut self, user: &Name, meta: &Meta) -> Vec<Seen> {
        match self.users.get_mut(user) {
            Some(held) if held.meta != *meta => {
                held.meta = meta.clone();
                vec![Seen::Update(user.clone())]
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn end(&mut self, user: &Name, which: Which, reason: Reason) -> Vec<Seen> {
        let Some(held) = self.users.get_mut(user) else {
            return Vec::new();
        };
        held.holds.remove(&which);
        if !held.holds.is_empty() {
            return Vec::new();
        }
        self.users.remove(user);
        vec![Seen::Del(user.clone(), reason)]
    }

    fn sign_out(&mut self, user: &Name, reason: Reason) -> Vec<Seen> {
        let Some(held) = self.users.remove(user) else {
            return Vec::new();
        };
        let mut seen = vec![Seen::Del(user.clone(), reason)];
        let why = if reason == Reason::Kicked { Why::Kicked } else { Why::Left };
        for (which, (client, ends)) in held.holds {
            if let (Which::Connection(id), None) = (which, ends) {
                seen.push(Seen::Ended(id, why, true));
            }
            self.barred.extend(client.map(|client| (user.clone(), client, self.now + HOUR, reason)));
        }
        seen
    }
}

/// What the core shows of a step.
fn core_step(core: &mut Presence, now: &mut Tick, step: &Step) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut ended = Vec::new();
    let from = core.head().offset;
    match step {
        Step::Pass(ticks) => {
            *now += ticks;
            // By twos, as a large room ends its many.
            while core.next_deadline().is_some_and(|ends| ends <= *now) {
                assert!(core.expire(Moment { second: 0, tick: *now }, 2).ended.is_empty());
            }
        }
        Step::Do(command) => match core.apply(std::slice::from_ref(command), Moment { second: 0, tick: *now }) {
            Ok(outcome) => ended = outcome.ended,
            Err(refusal) => seen.push(Seen::Refused(refusal.code)),
        },
    }
    seen.extend(core.after(from).expect("a history long enough").map(|event| match &event.change {
        Change::Add(member) => Seen::Add(member.user.clone()),
        Change::Update(user, _) => Seen::Update(user.clone()),
        Change::Del(user, reason) => Seen::Del(user.clone(), *reason),
    }));
    ended.sort_by_key(|ended| ended.connection);
    seen.extend(ended.into_iter().map(|ended| Seen::Ended(ended.connection, ended.why, ended.event.is_some())));
    seen
}

/// Plays a history to both; what differs, if anything does.
fn play(history: &[Step]) -> Result<(), String> {
    let (mut naive, mut now) = (Naive::default(), 0);
    let mut core = Presence::new(Name::lobby(), 1, Bounds { history: 1_000, members: 0, grace: GRACE });
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

type Shown = (Meta, BTreeMap<Which, Option<Tick>>);

fn shown(core: &Presence, member: &presently::model::roster::Member) -> (Name, Shown) {
    let holds = core.roster().holds(&member.user).expect("a member is held");
    (member.user.clone(), (member.meta.clone(), holds.iter().map(|hold| (hold.which(), hold.ends())).collect()))
}

fn expected_of(held: &Held) -> Shown {
    (held.meta.clone(), held.holds.iter().map(|(which, (_, ends))| (*which, *ends)).collect())
}

fn random_history(rng: &mut Rng) -> Vec<Step> {
    (0..rng.usize(1..30)).map(|_| random_step(rng)).collect()
}

fn random_step(rng: &mut Rng) -> Step {
    let user: Name = ["ann", "bob", "cyd"][rng.usize(..3)].parse().expect("a name");
    let connection = Uuid::from_u128(rng.u128(1..5));
    let client = |rng: &mut Rng| Uuid::from_u128(rng.u128(10..13));
    let meta = |rng: &mut Rng| Meta::from_value(serde_json::json!({ "n": rng.u8(..2) })).expect("an object");
    let some_meta = |rng: &mut Rng| rng.bool().then(|| meta(rng));
    let verb = match rng.u8(..14) {
        0 | 1 => Verb::SignIn { meta: some_meta(rng), ttl: rng.bool().then(|| rng.u64(1..12)) },
        2..=5 => {
            let client = (rng.u8(..3) > 0).then(|| client(rng));
            let hold = ConnectionHold { connection, client, transport: Transport::WebSocket, ends: None };
            Verb::Join { hold, meta: some_meta(rng) }
        }
        6 => Verb::Update(connection, meta(rng)),
        7 => Verb::SetMeta(meta(rng)),
        8 => Verb::Leave(connection),
        9 => Verb::Lose(connection),
        10 => Verb::LeaveClient(client(rng)),
        11 if rng.bool() => Verb::SignOut(if rng.bool() { Reason::Kicked } else { Reason::SignedOut }),
        _ => return Step::Pass(if rng.u8(..20) == 0 { HOUR } else { rng.u64(1..4) }),
    };
    Step::Do(Command { user, verb })
}

/// Leaves out what a failure does not need.
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
fn the_core_is_what_a_naive_room_is() {
    let given = std::env::var("PRESENTLY_SEED").ok().map(|seed| seed.parse().expect("PRESENTLY_SEED is a number"));
    for seed in given.map_or(0..HISTORIES, |seed: u64| seed..seed + 1) {
        let history = random_history(&mut Rng::with_seed(seed));
        if play(&history).is_err() {
            let least = shrunk(history, |shorter| play(shorter).is_err());
            panic!("to repeat: PRESENTLY_SEED={seed}\n{}\n{least:#?}", play(&least).expect_err("still fails"));
        }
    }
}

/// A failure is only worth its seed when it can be read.
#[test]
fn a_failing_history_shrinks_to_what_it_needs() {
    let history = random_history(&mut Rng::with_seed(1));
    let passed = |step: &Step| if let Step::Pass(ticks) = step { *ticks } else { 0 };
    let fails = |history: &[Step]| history.iter().map(passed).sum::<Tick>() >= 2;
    assert!(history.len() > 5 && fails(&history));
    let least = shrunk(history, fails);
    assert!(least.len() <= 2 && fails(&least), "{least:?}");
}
