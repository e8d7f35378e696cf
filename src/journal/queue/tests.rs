//! What an answer may rely on, on a disk that misbehaves.

use std::io::ErrorKind;
use std::time::Duration;
use std::time::Instant;

use super::*;
use crate::journal::disk::Opening;
use crate::journal::log::{End, Read};
use crate::journal::queue::options::SyncMode;
use crate::journal::store::pretended::Pretended;
use crate::model::moment::{Tick, Timestamp};

const LONG: Duration = Duration::from_secs(60);

/// A room that folds what was appended under its lock, and a thread that writes snapshots of it.
struct Room {
    journal: Arc<Journal>,
    numbers: Arc<Mutex<Folded>>,
    owner: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Folded {
    applied: u64,
    numbers: Vec<u64>,
}

impl Folded {
    fn read(&mut self, read: Read<'_>) {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        match read {
            Read::Part(part) => {
                self.applied = number(&part[..8]);
                self.numbers.extend(part[8..].chunks(8).map(number));
            }
            Read::Record(record) if record.position.0 > self.applied => {
                self.applied = record.position.0;
                self.numbers.push(number(record.payload));
            }
            Read::Record(_) => {}
        }
    }

    fn part(&self) -> Vec<u8> {
        [self.applied].iter().chain(&self.numbers).flat_map(|number| number.to_le_bytes()).collect()
    }
}

fn moment() -> Moment {
    Moment { tick: Tick(5), time: Timestamp(6) }
}

fn options(sync: SyncMode) -> Options {
    Options { sync, queue: 1 << 20, retry: Duration::from_millis(1) }
}

const OFTEN: SyncMode = SyncMode::Every(Duration::from_millis(1));

fn read(store: &Pretended) -> (Opening, Folded, End) {
    let mut opening = Opening::with_little_reserve(store);
    let mut folded = Folded::default();
    let read = crate::journal::log::Source::read(&mut opening, &mut |read| {
        folded.read(read);
        Ok(())
    });
    let end = read.unwrap_or_else(|error| panic!("{error}"));
    (opening, folded, end)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "{what}");
        thread::yield_now();
    }
}

impl Room {
    fn start(store: &Pretended, options: Options) -> Room {
        let (opening, folded, end) = read(store);
        let journal = Journal::start(Box::new(opening), Position(end.last.0 + 1), options).unwrap();
        let (journal, numbers) = (Arc::new(journal), Arc::new(Mutex::new(folded)));
        let owner = thread::spawn({
            let (journal, numbers) = (journal.clone(), numbers.clone());
            move || own(&journal, &numbers)
        });
        Room { journal, numbers, owner: Some(owner) }
    }

    /// Appends `number`, as a room does.
    fn add(&self, number: u64, waits: bool) -> Ticket {
        let mut numbers = self.numbers.lock();
        let given = self.journal.append(1, waits, moment(), |out| out.extend(number.to_le_bytes()));
        numbers.numbers.push(number);
        numbers.applied = given.position.0;
        given.ticket
    }

    fn snapshot(&self) -> Result<(), NotDurable> {
        write_snapshot(&self.journal, &self.numbers)
    }

    fn well(&self) {
        wait_until("the journal recovers", || !self.journal.is_failing() && self.journal.admits().is_ok());
    }

    fn close(mut self) -> Result<(), NotDurable> {
        let closed = self.journal.close();
        if let Some(owner) = self.owner.take() {
            owner.join().unwrap();
        }
        closed
    }
}

fn write_snapshot(journal: &Journal, numbers: &Mutex<Folded>) -> Result<(), NotDurable> {
    let mut snapshot = journal.snapshot()?;
    let part = numbers.lock().part();
    snapshot.put(&part)?;
    snapshot.finish(moment())
}

fn own(journal: &Journal, numbers: &Mutex<Folded>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let wait = Duration::from_millis(5);
    while journal.admits() != Err(Refused::Stopping) {
        if runtime.block_on(async { tokio::time::timeout(wait, journal.snapshot_wanted()).await }).is_ok() {
            let _ = write_snapshot(journal, numbers);
        }
    }
}

fn after_power_cut(store: &Pretended, seed: u64) -> Folded {
    read(&store.after_power_cut(&mut fastrand::Rng::with_seed(seed))).1
}

#[test]
fn a_journal_in_memory_gives_back_at_once() {
    let journal = Journal::memory(Position(1));
    let encode = |_: &mut Vec<u8>| panic!("nothing is kept");
    let positions: Vec<_> = [1, 3, 0, 1].map(|takes| journal.append(takes, true, moment(), encode)).into();
    assert!(positions.iter().all(|given| given.ticket.is_done()));
    assert_eq!(positions.iter().map(|given| given.position.0).collect::<Vec<_>>(), [1, 2, 5, 6]);
    assert_eq!((journal.last(), journal.admits(), journal.is_failing()), (Position(6), Ok(()), false));
    assert!(journal.snapshot().is_err() && journal.close().is_ok());
}

#[test]
fn answers_come_in_any_order_of_threads_and_positions_are_never_given_twice() {
    for sync in [OFTEN, SyncMode::Always] {
        let store = Pretended::default();
        let room = Room::start(&store, options(sync));
        let next = AtomicU64::new(0);
        thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    (0..200).for_each(|_| assert_eq!(room.add(next.fetch_add(1, Relaxed), true).wait(), Ok(())))
                });
            }
            threads.spawn(|| (0..10).for_each(|_| _ = room.snapshot()));
        });
        let folded = room.numbers.lock().clone();
        room.close().unwrap();
        assert_eq!(folded.numbers.len(), 800);
        assert_eq!(read(&store).1, folded, "in the order of the room");
    }
}

#[test]
fn a_flush_that_hangs_holds_up_no_answer() {
    let store = Pretended::default();
    let room = Room::start(&store, options(OFTEN));
    store.hang(true);
    // The first is flushed at once; those after it find the flush hanging, and so does a new part of the log.
    let snapshot = thread::spawn({
        let journal = room.journal.clone();
        move || journal.snapshot().is_ok()
    });
    (0..1_000).for_each(|number| assert_eq!(room.add(number, true).wait(), Ok(())));
    assert!(room.journal.admits().is_ok());
    store.hang(false);
    assert!(snapshot.join().unwrap());
    room.close().unwrap();
    assert_eq!(read(&store).1.numbers.len(), 1_000);
}

#[test]
fn with_always_an_answer_takes_at_most_two_flushes_and_many_share_one() {
    let store = Pretended::default();
    let room = Room::start(&store, options(SyncMode::Always));
    let before = store.used();
    store.hang(true);
    let first = room.add(0, true);
    wait_until("the first is being flushed", || store.used() > before);
    let others: Vec<_> = (1..50).map(|number| room.add(number, true)).collect();
    let all = |tickets: Vec<Ticket>| {
        let waiting = thread::spawn(|| tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
        wait_until("one flush is enough", || waiting.is_finished());
        waiting.join().unwrap()
    };
    store.let_one_go_on();
    assert!(all(vec![first]));
    assert!(others.iter().all(|ticket| !ticket.is_done()));
    store.let_one_go_on();
    assert!(all(others));
    store.hang(false);
    room.close().unwrap();
}

#[test]
fn with_always_nothing_that_was_answered_is_lost_in_a_power_cut() {
    for cut in 0..120 {
        let store = Pretended::default();
        let room = Room::start(&store, options(SyncMode::Always));
        store.power_ends_at(store.operations() + cut);
        let answered = Mutex::new(Vec::new());
        let next = AtomicU64::new(0);
        thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    for _ in 0..15 {
                        let number = next.fetch_add(1, Relaxed);
                        if room.journal.admits().is_ok() && room.add(number, true).wait().is_ok() {
                            answered.lock().push(number);
                        }
                    }
                });
            }
            threads.spawn(|| _ = room.snapshot());
        });
        let folded = room.numbers.lock().clone();
        let _ = room.close();
        for seed in 0..5 {
            let found = after_power_cut(&store, seed).numbers;
            assert!(folded.numbers.starts_with(&found), "cut {cut}: in order, without a gap");
            assert!(answered.lock().iter().all(|number| found.contains(number)), "cut {cut}");
        }
    }
}

/// One, two or many operations fail, from each operation on.
fn refuse_each(kind: ErrorKind, sync: SyncMode) {
    for (after, count) in (0..36).flat_map(|after| [(after, 1), (after, 7)]) {
        let store = Pretended::default();
        let room = Room::start(&store, options(sync));
        (0..3).for_each(|number| assert_eq!(room.add(number, true).wait(), Ok(())));
        let _ = room.snapshot();
        store.refuse(after, count, kind);
        let mut answered = Vec::new();
        for number in 3..40 {
            let admitted = room.journal.admits().is_ok();
            // A change that is refused is not made, but others are that nobody asked for.
            if room.add(number, admitted).wait().is_ok() && admitted {
                answered.push(number);
            }
            if number % 10 == 0 {
                let _ = room.snapshot();
            }
        }
        let folded = room.numbers.lock().clone();
        let found = after_power_cut(&store, after + count).numbers;
        assert!(folded.numbers.starts_with(&found), "{kind} {after} {count}: {found:?}");
        store.heal();
        room.well();
        assert_eq!(room.add(40, true).wait(), Ok(()), "{kind} {after} {count}");
        let folded = room.numbers.lock().clone();
        assert_eq!(read(&Pretended::of(&store.files())).1, folded, "{kind} {after} {count}: after a kill");
        room.close().unwrap();
        assert_eq!(after_power_cut(&store, after), folded, "{kind} {after} {count}: after a power cut");
        assert_eq!(store.wrong(), Vec::<String>::new(), "{kind} {after} {count}");
        assert!(folded.numbers.len() == 41 && answered.iter().all(|number| folded.numbers.contains(number)));
    }
}

#[test]
fn a_disk_that_fails_and_is_well_again_has_all_that_was_made_meanwhile() {
    refuse_each(ErrorKind::Other, OFTEN);
    refuse_each(ErrorKind::Other, SyncMode::Always);
}

#[test]
fn a_file_system_that_becomes_read_only_is_survived_too() {
    refuse_each(ErrorKind::ReadOnlyFilesystem, OFTEN);
}

#[test]
fn while_writing_fails_changes_are_refused_and_a_kill_loses_only_what_was_not_answered() {
    let store = Pretended::default();
    let room = Room::start(&store, options(OFTEN));
    let answered = (0..5).filter(|number| room.add(*number, true).wait().is_ok()).count();
    store.refuse(0, u64::MAX, ErrorKind::Other);
    wait_until("writing fails", || room.add(9, true).wait().is_err());
    assert_eq!(room.journal.admits(), Err(Refused::NotDurable));
    assert!(room.journal.is_failing() && room.journal.numbers().failing_for.is_some());
    assert!(room.add(10, true).wait().is_err() && room.add(11, false).wait().is_ok());
    let found = read(&Pretended::of(&store.files())).1.numbers;
    assert!(found.starts_with(&[0, 1, 2, 3, 4]) && answered == 5, "{found:?}");
    assert!(room.close().is_err());
}

#[test]
fn nothing_is_admitted_before_the_checkpoint_is_durable() {
    let store = Pretended::default();
    let (opening, ..) = read(&store);
    let journal = Journal::start(Box::new(opening), Position(1), options(OFTEN)).unwrap();
    let append = |number: u64, waits| journal.append(1, waits, moment(), |out| out.extend(number.to_le_bytes())).ticket;
    assert_eq!(append(0, true).wait(), Ok(()));
    store.refuse(0, 3, ErrorKind::Other);
    wait_until("writing fails", || append(1, true).wait().is_err());
    let mut snapshot = None;
    wait_until("a new part begins", || {
        snapshot = journal.snapshot().ok();
        snapshot.is_some()
    });
    let mut snapshot = snapshot.unwrap();
    assert_eq!((journal.admits(), journal.is_failing()), (Err(Refused::NotDurable), true));
    assert_eq!(append(2, true).wait(), Err(NotDurable), "although it is written");
    assert!(journal.last() >= snapshot.at());
    snapshot.put(&(snapshot.at().0 - 1).to_le_bytes()).unwrap();
    assert_eq!(journal.admits(), Err(Refused::NotDurable));
    snapshot.finish(moment()).unwrap();
    assert_eq!((journal.admits(), journal.is_failing()), (Ok(()), false));
    assert_eq!(append(3, true).wait(), Ok(()));
    journal.close().unwrap();
    let found = read(&store).1.numbers;
    assert!(found.ends_with(&[2, 3]) && !found.contains(&0), "what was dropped is in the checkpoint only: {found:?}");
}

#[test]
fn on_a_full_disk_the_reserve_makes_room_for_the_checkpoint() {
    let store = Pretended::default();
    let room = Room::start(&store, options(OFTEN));
    (0..20).for_each(|number| assert_eq!(room.add(number, true).wait(), Ok(())));
    room.snapshot().unwrap();
    (20..40).for_each(|number| assert_eq!(room.add(number, true).wait(), Ok(())));
    let reserve = store.files()[crate::journal::disk::names::RESERVE].len();
    assert!(reserve > 100);
    store.space(store.used() + 50);
    // A note of the journal's own may be the first to find the disk full.
    wait_until("the disk is full", || room.add(7, true).wait().is_err() || room.journal.numbers().failures > 0);
    room.well();
    assert!(room.journal.numbers().failures >= 1);
    assert_eq!(room.add(8, true).wait(), Ok(()), "still on the full disk");
    let folded = room.numbers.lock().clone();
    assert_eq!(read(&Pretended::of(&store.files())).1, folded);
    let _ = room.close();
}

#[test]
fn a_full_queue_refuses_changes_and_at_twice_its_bound_writing_fails() {
    let store = Pretended::default();
    let room = Room::start(&store, Options { queue: 1_000, ..options(SyncMode::Always) });
    store.hang(true);
    let first = room.add(0, true);
    wait_until("the queue is full", || {
        room.add(1, false);
        room.journal.admits() == Err(Refused::NotDurable)
    });
    assert!(!room.journal.is_failing());
    assert!(room.journal.numbers().queued_bytes > 1_000);
    wait_until("the queue is full twice over", || {
        room.add(2, false);
        room.journal.is_failing()
    });
    assert!(room.journal.numbers().queued_bytes < 2_200);
    store.hang(false);
    // The first may have reached the disk, but nobody may rely on it.
    assert_eq!(first.wait(), Err(NotDurable));
    room.well();
    let folded = room.numbers.lock().clone();
    room.close().unwrap();
    assert_eq!(read(&store).1, folded);
}

#[test]
fn a_journal_that_was_handed_over_says_so_and_keeps_what_came_before() {
    let store = Pretended::default();
    let room = Room::start(&store, options(OFTEN));
    let tickets: Vec<_> = (0..50).map(|number| room.add(number, true)).collect();
    room.journal.stop();
    assert_eq!(room.journal.admits(), Err(Refused::Stopping));
    let last = room.add(50, true);
    room.journal.close().unwrap();
    assert!(tickets.into_iter().chain([last]).all(|ticket| ticket.wait().is_ok()));
    assert_eq!(room.add(51, true).wait(), Err(NotDurable), "too late");
    assert_eq!(after_power_cut(&store, 1).numbers, (0..51).collect::<Vec<_>>());
    room.close().unwrap();
}

#[test]
fn a_snapshot_that_is_dropped_never_was_and_does_not_stop_the_next() {
    let store = Pretended::default();
    let room = Room::start(&store, options(OFTEN));
    assert_eq!(room.add(0, true).wait(), Ok(()));
    let mut snapshot = room.journal.snapshot().unwrap();
    assert!(room.journal.snapshot().is_err(), "one at a time");
    snapshot.put(b"part").unwrap();
    drop(snapshot);
    room.snapshot().unwrap();
    assert_eq!(room.journal.numbers().checkpoints, 1);
    room.close().unwrap();
    assert_eq!(read(&store).1.numbers, [0]);
}
