use std::collections::BTreeMap;

use super::*;
use crate::model::changes::{Changes, Gap};
use crate::model::cursor::Epoch;
use crate::model::history::Bound;
use crate::model::moment::Timestamp;
use crate::model::roster::Mark;

fn presence(history: usize, members: usize) -> Presence {
    let start = Cursor { epoch: Epoch(7), ..Cursor::default() };
    Presence::new(
        Name::lobby(),
        start,
        Bounds { history: Bound { events: history, bytes: usize::MAX }, members, grace: Duration::from_millis(5) },
    )
}

fn at(second: u64) -> Moment {
    Moment { time: Timestamp(second), tick: Tick(second) }
}

fn sign_in(user: &str) -> Command {
    Command::sign_in(user.parse().unwrap(), None)
}

fn sign_out(user: &str) -> Command {
    Command::sign_out(user.parse().unwrap())
}

fn meta(n: u32) -> Meta {
    Meta::read(&format!(r#"{{"n":{n}}}"#)).unwrap()
}

#[test]
fn only_real_changes_make_events() {
    let mut room = presence(10, 0);
    let mut made = |command: Command| {
        let before = room.head().offset;
        room.apply(&[command], at(0)).unwrap();
        room.head().offset.0 - before.0
    };
    let set = |n| Command::User("ann".parse().unwrap(), Action::SetMeta(meta(n)));
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

/// A past bug: after a step by a day, nobody could resume, or rooms without members stayed for a day.
#[test]
fn a_step_of_the_wall_clock_neither_ends_the_history_nor_keeps_it() {
    const DAY: u64 = 86_400;
    let mut room = presence(10, 0);
    let moment = |day: u64, tick| Moment { time: Timestamp(day * DAY), tick: Tick(tick) };
    room.apply(&[sign_in("ann")], moment(5, 1_000)).unwrap();
    room.apply(&[sign_in("bob")], moment(6, 2_000)).unwrap();
    room.apply(&[sign_in("cyd")], moment(4, 3_000)).unwrap();
    let resumes = |room: &Presence, offset| room.after(Offset(offset)).is_some();
    room.apply(&[Command::Trim(Tick(1_000))], moment(9, 4_000)).unwrap();
    assert!(resumes(&room, 0), "the clock is days ahead");
    room.apply(&[Command::Trim(Tick(2_500))], moment(3, 4_000)).unwrap();
    assert_eq!((resumes(&room, 1), resumes(&room, 2)), (false, true), "the clock is days behind");
}

#[test]
fn a_batch_over_the_bound_changes_nothing() {
    let mut room = presence(10, 2);
    room.apply(&[sign_in("ann"), sign_in("bob")], at(0)).unwrap();
    let refusal = room.apply(&[sign_in("ann"), sign_in("cyd")], at(0)).unwrap_err();
    assert_eq!(refusal.code, Code::TooManyMembers);
    assert_eq!((room.head().offset.0, room.roster().len()), (2, 2));
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
        2 => Command::User(user, Action::SetMeta(meta(rng.u32(..3)))),
        _ => Command::sign_out(user),
    }
}

/// A naive room: a map.
fn model(set: &mut Set, command: &Command) {
    let Command::User(user, action) = command else { panic!("not among the random commands") };
    match action {
        Action::SignIn { meta, .. } => {
            let old = set.entry(user.clone()).or_default();
            if let Some(meta) = meta {
                *old = meta.clone();
            }
        }
        Action::SetMeta(meta) => {
            if let Some(old) = set.get_mut(user) {
                *old = meta.clone();
            }
        }
        Action::SignOut(_) => drop(set.remove(user)),
        Action::Join { .. } | Action::Update(..) | Action::Leave(_) | Action::Lose(_) | Action::LeaveClient(_) => {
            panic!("the test of holds has these")
        }
    }
}

/// Applies `changes` to a set, and checks that no entry is superfluous.
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

/// Seeded: the snapshot at k, with the events after k applied, is the snapshot at n, for every k within the history;
/// and the set equals a naive map.
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
            if let Some(changes) = room.gap(cursor.offset).map(Gap::net) {
                assert_eq!(put(set_of(&roster), &changes), expected, "seed {seed}, changes from {cursor}");
            }
            let Some(offset) = room.place(cursor) else { continue };
            let mut set = set_of(&roster);
            room.after(offset).unwrap().for_each(|event| replay(&mut set, event));
            assert_eq!(set, expected, "seed {seed}, from {cursor}");
        }
    }
}

#[test]
fn a_renewal_is_of_a_lease_and_changes_nothing_else() {
    let mut room = presence(10, 0);
    let lease = |user: &str, meta: Option<Meta>| {
        Command::User(user.parse().unwrap(), Action::SignIn { meta, ttl: Some(Duration::from_secs(9)) })
    };
    room.apply(&[lease("ann", Some(meta(1))), sign_in("bob")], at(0)).unwrap();
    let renews = [lease("ann", None), lease("ann", Some(meta(1))), sign_in("ann")];
    assert!(renews.iter().all(|command| room.renews(command)));
    let others = [lease("ann", Some(meta(2))), lease("bob", None), lease("cyd", None), sign_out("ann")];
    assert!(others.iter().all(|command| !room.renews(command)));
}
