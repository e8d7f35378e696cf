use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::*;
use crate::model::command::{Action, SignIn};
use crate::model::history::Bound;
use crate::model::hold::Transport;
use crate::model::id::ConnectionId;
use crate::model::info::Info;
use crate::model::moment::Tick;
use crate::model::presence::Bounds;
use crate::model::refusal::Code;
use crate::model::statement::Statement;
use crate::rooms::connection_holds::ConnectionHolds;
use crate::runtime::memory::tests::MadeUp;

const BOUNDS: Bounds = Bounds { history: Bound { events: 10, bytes: usize::MAX }, members: 0, grace: Duration::ZERO };
const NOW: Duration = Duration::ZERO;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn sign_in(rooms: &Rooms, room: &str, user: &str) -> Result<Outcome, Refusal> {
    rooms.change(&name(room), &[Command::sign_in(name(user))]).map(|changed| changed.outcome)
}

fn sign_out(rooms: &Rooms, room: &str, user: &str) -> Outcome {
    rooms.change(&name(room), &[Command::sign_out(name(user))]).unwrap().outcome
}

#[test]
fn rooms_are_bounded_and_an_idle_room_makes_space() {
    let rooms = Rooms::within(2, BOUNDS);
    sign_in(&rooms, "a", "ann").unwrap();
    sign_in(&rooms, "b", "ann").unwrap();
    assert_eq!(sign_in(&rooms, "c", "ann").unwrap_err().code, Code::TooManyRooms);
    sign_in(&rooms, "a", "bob").unwrap();
    sign_out(&rooms, "nobody-named-it", "ann");
    sign_out(&rooms, "b", "ann");
    rooms.directory.remove_idle(|room| room.retire_if_idle(Tick(u64::MAX)));
    assert_eq!(rooms.list(&Prefix::all(), None, 10), [(name("a"), 2)]);
    assert_eq!(rooms.directory.in_memory(), 1, "the refused room and the idle room are gone");
    sign_in(&rooms, "c", "ann").unwrap();
}

#[test]
fn before_the_end_holds_end_neither_by_time_nor_with_their_connection() {
    let rooms = Arc::new(Rooms::within(1, BOUNDS));
    let [lost, left] = [1, 2].map(|n| {
        let id = ConnectionId(uuid::Uuid::from_u128(n));
        let mut holds = ConnectionHolds::new(rooms.clone(), id, Transport::Sse, 1);
        holds.join(name("a"), name(&format!("user {n}")), None, None, None).unwrap();
        holds
    });
    let lease = SignIn { ttl: Some(NOW), ..SignIn::default() };
    rooms.change(&name("a"), &[Command::User(name("lee"), Action::SignIn(lease))]).unwrap();
    rooms.keep_holds();
    drop(lost);
    { left }.leave_all();
    assert!(!rooms.expire());
    let users = rooms.read(&name("a"), |presence| {
        let hold = presence.hold(&name("user 1"), ConnectionId(uuid::Uuid::from_u128(1))).unwrap();
        assert_eq!(hold.deadline, None, "the next gateway judges");
        presence.roster().len()
    });
    assert_eq!(users, 2, "who leaves has left");
}

#[test]
fn after_a_handover_changes_are_refused_and_the_ends_of_holds_are_told() {
    let rooms = Arc::new(Rooms::within(1, BOUNDS));
    let id = ConnectionId(uuid::Uuid::from_u128(1));
    let mut holds = ConnectionHolds::new(rooms.clone(), id, Transport::Sse, 3);
    ["ann", "bob", "cyd"].iter().for_each(|user| drop(holds.join(name("a"), name(user), None, None, None).unwrap()));
    let head = rooms.read(&name("a"), |presence| presence.head());
    let mut ends = rooms.hand_over();
    assert_eq!(sign_in(&rooms, "a", "eve").unwrap_err().code, Code::Stopping);
    assert_eq!(holds.leave(&name("a"), name("ann")).unwrap().outcome.cursor, head, "nothing is published");
    assert_eq!(holds.leave(&name("a"), name("ann")).unwrap_err().code, Code::Stopping, "each hold ends once");
    holds.leave_all();
    let mut told = || ends.try_recv().ok().map(|ended| (ended.room, ended.user, ended.connection));
    assert_eq!(told(), Some((name("a"), name("ann"), id)));
    assert_eq!([told(), told()], ["bob", "cyd"].map(|user| Some((name("a"), name(user), id))));
    drop(holds);
    assert_eq!(told(), None);
    assert_eq!(rooms.read(&name("a"), |presence| presence.head()), head);
}

#[test]
fn watching_makes_no_room_exist_and_leaves_nothing_behind() {
    let rooms = Rooms::within(1, BOUNDS);
    let watched: Vec<_> = (0..100).map(|n| rooms.follow(&name(&format!("watched-{n}")))).collect();
    let again = rooms.follow(&name("watched-7"));
    let start = again.room().read(|presence| presence.head());
    assert_eq!((rooms.count(), rooms.list(&Prefix::all(), None, 10)), (0, vec![]));
    sign_in(&rooms, "watched-7", "ann").unwrap();
    assert!(again.room().read(|presence| presence.after(start.offset).is_some()), "the watcher's cursor holds");
    assert_eq!(sign_in(&rooms, "watched-8", "ann").unwrap_err().code, Code::TooManyRooms);
    drop((watched, again));
    rooms.tick();
    assert_eq!((rooms.count(), rooms.directory.in_memory()), (1, 1), "only the room with a member is left");
}

#[test]
fn a_watched_room_stops_existing_and_begins_again_in_the_same_epoch() {
    let rooms = Rooms::within(1, BOUNDS);
    let following = rooms.follow(&name("a"));
    let first = sign_in(&rooms, "a", "ann").unwrap().cursor;
    sign_out(&rooms, "a", "ann");
    rooms.directory.remove_idle(|room| room.retire_if_idle(Tick(u64::MAX)));
    assert_eq!((rooms.count(), rooms.directory.in_memory()), (0, 1));
    assert_eq!(sign_in(&rooms, "a", "ann").unwrap().cursor.epoch, first.epoch);
    assert_eq!(rooms.count(), 1);
    drop(following);
    rooms.tick();
    assert_eq!(rooms.list(&Prefix::all(), None, 10), [(name("a"), 1)]);
}

#[test]
fn watchers_writers_and_the_sweeper_leave_nothing_behind() {
    let rooms = Rooms::within(10, BOUNDS);
    std::thread::scope(|threads| {
        threads.spawn(|| (0..2_000).for_each(|_| rooms.sweep(NOW)));
        for watcher in 0..2 {
            let rooms = &rooms;
            threads.spawn(move || {
                for n in 0..2_000 {
                    let following = rooms.follow(&name(&format!("{}", n % 3)));
                    if watcher == 0 {
                        sign_in(rooms, &format!("{}", n % 3), "ann").unwrap();
                        sign_out(rooms, &format!("{}", n % 3), "ann");
                    }
                    drop(following);
                }
            });
        }
    });
    rooms.tick();
    rooms.directory.remove_idle(|room| room.retire_if_idle(Tick(u64::MAX)));
    assert_eq!((rooms.count(), rooms.directory.in_memory()), (0, 0));
}

#[test]
fn a_room_that_is_created_again_goes_on_behind_all_old_cursors() {
    let rooms = Rooms::within(10, BOUNDS);
    let first = sign_in(&rooms, "a", "ann").unwrap().cursor;
    sign_out(&rooms, "a", "ann");
    // A sweep keeps the history of the current millisecond, so the room is retired with a later time.
    rooms.directory.remove_idle(|room| room.retire_if_idle(Tick(u64::MAX)));
    assert!(rooms.list(&Prefix::all(), None, 10).is_empty());
    let second = sign_in(&rooms, "a", "ann").unwrap().cursor;
    assert!(first.epoch == second.epoch && first.offset < second.offset);
    assert!(rooms.read(&name("a"), |presence| presence.place(first)).is_none());
}

#[test]
fn writers_and_the_sweeper_lose_nothing_between_them() {
    let rooms = Rooms::within(10, BOUNDS);
    std::thread::scope(|threads| {
        threads.spawn(|| (0..2_000).for_each(|_| rooms.sweep(NOW)));
        for writer in 0..2 {
            let rooms = &rooms;
            threads.spawn(move || {
                for n in 0..2_000 {
                    let user = format!("{writer}-{n}");
                    sign_in(rooms, "a", &user).unwrap();
                    assert!(rooms.read(&name("a"), |p| p.roster().get(&user).is_some()));
                    sign_out(rooms, "a", &user);
                }
            });
        }
    });
    assert_eq!(rooms.read(&name("a"), |p| p.roster().len()), 0);
}

/// Bytes in the sockets are read first: a lease's renewal may be among them.
#[test]
fn no_deadline_is_enforced_just_after_the_process_was_stopped() {
    let clock = Arc::new(Clock::starting(Tick(0), Instant::now() - Duration::from_secs(60)));
    let memory = Memory::new(u64::MAX, Box::new(MadeUp::default()));
    let registers = registers::Registers::new(
        10,
        Arc::new(memory),
        clock.clone(),
        Rooms::no_journal(),
        Arc::default(),
        Duration::ZERO,
    );
    let rooms = Rooms::new(Directory::new(registers, BOUNDS, crate::model::identity::Identity::default()));
    let lease = SignIn { ttl: Some(Duration::from_millis(1)), ..SignIn::default() };
    let lease = Command::User(name("ann"), Action::SignIn(lease));
    rooms.change(&name("a"), &[lease]).unwrap();
    let ends = rooms.read(&name("a"), |presence| presence.next_deadline()).unwrap();
    clock.beat();
    while clock.tick() < ends {
        std::thread::yield_now();
    }
    assert!(!rooms.expire(), "the deadline has passed, but a renewal may be in a socket");
    while !clock.enforces_deadlines() {
        clock.beat();
    }
    assert!(rooms.expire() && rooms.read(&name("a"), |presence| presence.roster().is_empty()));
}

#[test]
fn rooms_are_listed_in_order_and_in_pages() {
    let rooms = Rooms::within(100, BOUNDS);
    for room in ["d", "a", "c", "b"] {
        sign_in(&rooms, room, "ann").unwrap();
    }
    let names = |after, limit| -> Vec<String> {
        rooms.list(&Prefix::all(), after, limit).into_iter().map(|(name, _)| name.to_string()).collect()
    };
    assert_eq!(names(None, 3), ["a", "b", "c"]);
    assert_eq!(names(Some("c"), 3), ["d"]);
    assert_eq!(names(Some("bb"), 1), ["c"]);
}

#[test]
fn for_want_of_memory_the_largest_histories_go_and_newcomers_are_refused_but_nobody_who_is_present() {
    let resident = MadeUp::default();
    let unbounded = Bounds { history: Bound { events: 10_000, bytes: usize::MAX }, ..BOUNDS };
    let memory = Memory::new(1_000_000_000, Box::new(resident.clone()));
    let rooms = Rooms::with_memory(10, unbounded, memory);
    let known = |room: &str| rooms.read(&name(room), |presence| presence.history_bytes());
    sign_in(&rooms, "small", "ann").unwrap();
    for n in 0..2_000 {
        sign_in(&rooms, "large", &n.to_string()).unwrap();
    }
    (0..100).for_each(|n| drop(sign_out(&rooms, "large", &n.to_string())));
    let (small, large) = (known("small"), known("large"));
    assert_eq!(rooms.memory().held(Kind::Histories), (small + large) as u64);
    assert!(!rooms.relieve(NOW));

    resident.0.store(700_000_000 + large as u64 / 4, Relaxed);
    while rooms.relieve(NOW) {
        resident.0.store(700_000_000, Relaxed);
    }
    assert!(known("large") < large * 3 / 4 && known("large") > 0 && known("small") == small);

    resident.0.store(900_000_000, Relaxed);
    while rooms.relieve(NOW) {}
    assert_eq!((rooms.memory().held(Kind::Histories), rooms.count()), (0, 2), "the members stay");
    assert_eq!(sign_in(&rooms, "small", "bob").unwrap_err().code, Code::TooMuchMemory);
    assert_eq!(sign_in(&rooms, "new", "ann").unwrap_err().code, Code::TooMuchMemory);
    assert_eq!(rooms.directory.in_memory(), 2, "a refused room leaves nothing behind");
    sign_in(&rooms, "small", "ann").unwrap();
    let says = |text| {
        let meta = crate::model::meta::Meta::read(text).unwrap();
        let statement = Statement { meta, ..Statement::default() };
        rooms.change(&name("small"), &[Command::User(name("ann"), Action::Set(Some(statement), None))])
    };
    says(r#"{"status":"away"}"#).unwrap();

    resident.0.store(1_000_000_000, Relaxed);
    rooms.relieve(NOW);
    assert_eq!(says(r#"{"status":"far away"}"#).unwrap_err().code, Code::TooMuchMemory);
    let info = serde_json::value::RawValue::from_string(r#"{"role":"host"}"#.into()).unwrap();
    let informs = Action::Set(None, Some(Info::try_from(&*info).unwrap()));
    let informed = rooms.change(&name("small"), &[Command::User(name("ann"), informs)]);
    assert_eq!(informed.unwrap_err().code, Code::TooMuchMemory);
    says(r#"{"status":"here"}"#).unwrap();
    sign_out(&rooms, "small", "ann");
    while rooms.relieve(NOW) {}
    assert_eq!(rooms.count(), 1, "an empty room goes with its history");

    resident.0.store(0, Relaxed);
    rooms.relieve(NOW);
    sign_in(&rooms, "new", "ann").unwrap();
}

#[test]
fn for_want_of_memory_no_reader_who_is_a_moment_behind_loses_events_until_newcomers_are_refused() {
    let resident = MadeUp::default();
    let memory = Memory::new(1_000_000_000, Box::new(resident.clone()));
    let hour = Duration::from_secs(3_600);
    let clock = Arc::new(Clock::starting(Tick(0) + 2 * hour, Instant::now()));
    let registers =
        registers::Registers::new(100, Arc::new(memory), clock, Rooms::no_journal(), Arc::default(), Duration::ZERO);
    let directory = Directory::new(registers, BOUNDS, crate::model::identity::Identity::default());
    let rooms = Rooms::new(directory);
    let start = sign_in(&rooms, "busy", "ann").unwrap().cursor;
    let is_known = || rooms.read(&name("busy"), |presence| presence.after(start.offset).is_some());
    (0..50).for_each(|n| drop(sign_in(&rooms, &n.to_string(), "ann").unwrap()));
    sign_in(&rooms, "busy", "bob").unwrap();
    resident.0.store(899_000_000, Relaxed);
    while rooms.relieve(hour) {}
    assert!(is_known());
    sign_in(&rooms, "busy", "cyd").unwrap();
    while rooms.relieve(hour) {}
    assert!(is_known());
    while rooms.relieve(NOW) {}
    assert!(!is_known(), "older events go");
    assert_eq!(rooms.memory().held(Kind::Histories), 0);
    resident.0.store(0, Relaxed);
    rooms.relieve(NOW);
    sign_in(&rooms, "busy", "dan").unwrap();
    resident.0.store(900_000_000, Relaxed);
    while rooms.relieve(hour) {}
    assert_eq!(rooms.memory().held(Kind::Histories), 0);
}
