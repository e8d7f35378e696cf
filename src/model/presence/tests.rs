use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::model::changes::Changes;
use crate::model::cursor::Epoch;
use crate::model::history::Bound;
use crate::model::hold::Transport;
use crate::model::meta::Meta;
use crate::model::moment::Timestamp;
use crate::model::name::HoldName;
use crate::model::roster::Mark;
use crate::model::statement::Rank;

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
    Command::sign_in(user.parse().unwrap())
}

fn sign_out(user: &str) -> Command {
    Command::sign_out(user.parse().unwrap())
}

fn meta(n: u32) -> Meta {
    Meta::read(&format!(r#"{{"n":{n}}}"#)).unwrap()
}

fn statement(n: u32) -> Statement {
    Statement { meta: meta(n), rank: Rank::default() }
}

fn saying(user: &str, n: u32, ttl: Option<Duration>) -> Command {
    let statement = Some(statement(n));
    Command::User(user.parse().unwrap(), Action::SignIn(SignIn { statement, ttl, ..SignIn::default() }))
}

#[test]
fn only_real_changes_make_events() {
    let mut room = presence(10, 0);
    let mut made = |command: Command| {
        let before = room.head().offset;
        room.apply(&[command], at(0)).unwrap();
        room.head().offset.0 - before.0
    };
    let set = |n| Command::User("ann".parse().unwrap(), Action::Set(Some(statement(n)), None));
    let with = |n| saying("ann", n, None);
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
        Change::Update(m) => assert!(set.insert(m.user.clone(), m.meta.clone()).is_some(), "update of nobody"),
        Change::Suspect(suspect) => panic!("nobody asks: {suspect:?}"),
        Change::Del(user, _) => assert!(set.remove(user).is_some(), "del of nobody"),
    }
}

fn random_command(rng: &mut fastrand::Rng) -> Command {
    let user = format!("u{}", rng.u8(..12));
    match rng.u8(..6) {
        0 => sign_in(&user),
        1 | 2 => saying(&user, rng.u32(..3), None),
        3 => Command::User(user.parse().unwrap(), Action::Set(Some(statement(rng.u32(..3))), None)),
        _ => sign_out(&user),
    }
}

/// A naive room: what the sign-in of each user said last, and what is shown.
fn model(set: &mut BTreeMap<Name, (Option<Meta>, Meta)>, command: &Command) {
    let Command::User(user, action) = command else { panic!("not among the random commands") };
    match action {
        Action::SignIn(SignIn { statement, .. }) => {
            let (said, shown) = set.entry(user.clone()).or_default();
            if let Some(Statement { meta, .. }) = statement
                && said.as_ref() != Some(meta)
            {
                (*said, *shown) = (Some(meta.clone()), meta.clone());
            }
        }
        Action::Set(Some(statement), _) => {
            if let Some((_, shown)) = set.get_mut(user) {
                *shown = statement.meta.clone();
            }
        }
        Action::SignOut(_) => drop(set.remove(user)),
        Action::Set(None, _) | Action::Release(_) | Action::Join(..) | Action::Update(..) => panic!("elsewhere"),
        Action::Leave(_) | Action::Kick(_) | Action::Revoke(..) => panic!("the test of holds has these"),
        Action::Lose(..) | Action::LeaveClient(_) | Action::Node(_) => panic!("the test of holds has these"),
    }
}

/// Applies `changes` to a set, and checks that no entry is superfluous.
fn put(mut set: Set, changes: &Changes) -> Set {
    for gone in changes.gone() {
        assert!(set.remove(&gone.user).is_some(), "gone, but was not there");
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
        let (mut naive, mut expected, mut snapshots) = (BTreeMap::new(), Set::new(), Vec::new());
        for second in 0..rng.u64(1..120) {
            snapshots.push((room.head(), room.roster().clone()));
            let commands: Vec<_> = (0..rng.usize(1..4)).map(|_| random_command(&mut rng)).collect();
            if room.apply(&commands, at(second)).is_ok() {
                commands.iter().for_each(|command| model(&mut naive, command));
            }
            expected = naive.iter().map(|(user, (_, shown))| (user.clone(), shown.clone())).collect();
            assert_eq!(set_of(room.roster()), expected, "seed {seed}");
            let held = |user: &Name| room.roster().holds(user).is_some_and(|holds| holds.iter().next().is_some());
            assert!(room.roster().len() == expected.len() && expected.keys().all(held), "seed {seed}");
        }
        for (cursor, roster) in snapshots {
            if let Some(changes) = room.gap(cursor.offset).map(|gap| gap.net(Taken::default())) {
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
    let ttl = Some(Duration::from_secs(9));
    let silent = |user: &str, name: Option<&str>| {
        let name = name.map(|name| HoldName::new("hold", name).unwrap());
        Command::User(user.parse().unwrap(), Action::SignIn(SignIn { name, ttl, ..SignIn::default() }))
    };
    let lease = |user, n: Option<u32>| n.map_or_else(|| silent(user, None), |n| saying(user, n, ttl));
    room.apply(&[lease("ann", Some(1)), sign_in("bob")], at(0)).unwrap();
    let renews = [lease("ann", None), lease("ann", Some(1)), sign_in("ann")];
    assert!(renews.iter().all(|command| room.renews(command)));
    let others =
        [lease("ann", Some(2)), silent("ann", Some("a")), lease("bob", None), lease("cyd", None), sign_out("ann")];
    assert!(others.iter().all(|command| !room.renews(command)));
}

/// A silent client could not return for as long as it was silent.
#[test]
fn the_grace_period_of_a_silent_client_began_with_the_silence() {
    let connection = ConnectionId(uuid::Uuid::nil());
    let hold = ConnectionHold {
        connection,
        client: None,
        transport: Transport::WebSocket,
        deadline: None,
        unclaimed: false,
        silent: false,
    };
    let ann = |action| Command::User("ann".parse().unwrap(), action);
    for (since, deadline) in [(None, 15), (Some(Tick(8)), 13), (Some(Tick(2)), 7)] {
        let mut room = presence(10, 0);
        room.apply(&[ann(Action::Join(hold, None, None))], at(1)).unwrap();
        room.apply(&[ann(Action::Lose(connection, since))], at(10)).unwrap();
        assert_eq!(room.next_deadline(), Some(Tick(deadline)), "{since:?}");
        room.apply(&[Command::Expire(10)], at(12)).unwrap();
        assert_eq!(room.roster().len(), usize::from(deadline > 12), "{since:?}");
    }
}

/// A crash loop must not keep a ghost: a hold that nobody claims has only what is left of its time at the next beginning.
#[test]
fn a_beginning_gives_each_connection_its_time_once() {
    let mut room = presence(10, 0);
    let hold = |n, client| ConnectionHold {
        connection: ConnectionId(Uuid::from_u128(n)),
        client: Some(ClientId(Uuid::from_u128(client))),
        transport: Transport::Sse,
        deadline: None,
        unclaimed: false,
        silent: false,
    };
    let joins = |room: &mut Presence, user: &str, hold, now| {
        room.apply(&[Command::User(user.parse().unwrap(), Action::Join(hold, None, None))], at(now)).unwrap();
    };
    let begins = |room: &mut Presence, now| room.apply(&[Command::Begin(Duration::from_millis(9))], at(now)).unwrap();
    room.apply(&[sign_in("cyd")], at(0)).unwrap();
    joins(&mut room, "ann", hold(1, 10), 0);
    joins(&mut room, "bob", hold(2, 20), 0);
    let head = room.head();
    assert_eq!((begins(&mut room, 100).events, room.next_deadline()), (0, Some(at(109).tick)));
    joins(&mut room, "bob", hold(3, 20), 105);
    begins(&mut room, 106);
    let deadline = |room: &Presence, user, n| room.hold(user, ConnectionId(Uuid::from_u128(n))).unwrap().deadline;
    assert_eq!((deadline(&room, "ann", 1), deadline(&room, "bob", 3)), (Some(at(109).tick), Some(at(115).tick)));
    assert_eq!(room.head(), head, "nobody sees a beginning");
    let expired = room.apply(&[Command::Expire(10)], at(109)).unwrap();
    assert_eq!((expired.removed, expired.absences), (1, vec![]), "when ann was lost, nobody knows");
    room.apply(&[Command::Expire(10)], at(114)).unwrap();
    let left: Vec<_> = room.roster().iter_from(Mark::default()).map(|member| member.user.to_string()).collect();
    assert_eq!((left, room.takes(&[Command::Expire(10)], at(115).tick)), (vec!["bob".into(), "cyd".into()], 1));
}
