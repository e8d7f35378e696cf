//! The model against a naive reference: after any steps in any order, both have the same members and holds, and have
//! made the same events.
//!
//! A failure prints a seed and the shortest history that still fails; `PRESENTLY_SEED` repeats a seed.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use presently::model::command::{Action, Command, SignIn};
use presently::model::cursor::{Cursor, Epoch, Offset, Position};
use presently::model::denylist::Denylist;
use presently::model::event::{Change, DelReason};
use presently::model::history::Bound;
use presently::model::hold::{ConnectionHold, Maker, Transport};
use presently::model::id::{ClientId, ConnectionId};
use presently::model::info::Info;
use presently::model::meta::Meta;
use presently::model::moment::{Moment, Tick, Timestamp};
use presently::model::name::{HoldName, Name};
use presently::model::outcome::Outcome;
use presently::model::presence::{Bounds, Presence};
use presently::model::refusal::Refusal;
use presently::model::statement::{Rank, Statement};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::harness::naive::{Naive, Seen, shown};

const HISTORIES: u64 = 20_000;
const GRACE: Duration = Duration::from_millis(5);
const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Clone, Debug)]
enum Step {
    Do(Name, Action),
    /// Time passes, and holds end.
    Pass(Duration),
    /// A process begins, and the connections of the earlier one are lost.
    Begin(Duration),
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
        Step::Begin(hold_for) => {
            let outcome = core.apply(&[Command::Begin(*hold_for)], at(*now)).expect("never refused");
            assert_eq!((outcome.events, outcome.ended.len()), (0, 0));
        }
        Step::Do(user, action) => match core.apply(&[Command::User(user.clone(), action.clone())], at(*now)) {
            Ok(outcome) => ended = outcome.ended,
            Err(refusal) => seen.push(Seen::Refused(refusal.code)),
        },
    }
    seen.extend(core.after(from).expect("a history long enough").map(|event| match &event.change {
        Change::Add(member) => Seen::Add(member.user.clone(), member.meta.clone(), member.info.clone()),
        Change::Update(member) => Seen::Update(member.user.clone(), member.meta.clone(), member.info.clone()),
        Change::Suspect(suspect) => panic!("no node is silent: {suspect:?}"),
        Change::Del(user, reason) => Seen::Del(user.clone(), *reason),
    }));
    ended.sort_by_key(|ended| ended.connection);
    seen.extend(ended.into_iter().map(|ended| Seen::Ended(ended.connection, ended.cause, ended.event.is_some())));
    seen
}

fn naive_step(naive: &mut Naive, step: &Step) -> Vec<Seen> {
    match step {
        Step::Do(user, action) => naive.act(user, action),
        Step::Pass(time) => naive.pass(*time),
        Step::Begin(hold_for) => {
            naive.begin(*hold_for);
            Vec::new()
        }
    }
}

/// Plays a history to both; the error is the first difference.
fn play(history: &[Step]) -> Result<(), String> {
    let (mut naive, mut now) = (Naive { grace: GRACE, ..Naive::default() }, Tick(0));
    let mut core = room(1_000);
    for (n, step) in history.iter().enumerate() {
        let (expected, seen) = (naive_step(&mut naive, step), core_step(&mut core, &mut now, step));
        if seen != expected {
            return Err(format!("step {n}: {seen:?} instead of {expected:?}"));
        }
        let (held, expected) = (shown(&core), naive.shown());
        if held != expected {
            return Err(format!("after step {n}: {held:?} instead of {expected:?}"));
        }
        let next = naive.next_deadline();
        if core.next_deadline() != next {
            return Err(format!("after step {n}: next {:?} instead of {next:?}", core.next_deadline()));
        }
    }
    Ok(())
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
                silent: false,
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
        15 if rng.u8(..4) == 0 => return Step::Begin(Duration::from_millis(rng.u64(1..8))),
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
    let members = shown(core);
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
                Step::Begin(hold_for) => Command::Begin(hold_for),
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
