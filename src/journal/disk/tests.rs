//! What a disk may lose, and what it may not.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::*;
use crate::journal::backup::backup_store;
use crate::journal::frame::{self, HEADER};
use crate::journal::log::Record;
use crate::journal::repair::{Judge, repair_store};
use crate::journal::store::pretended::Pretended;
use crate::model::moment::{Moment, Tick, Timestamp};

mod bad_days;
mod own;
mod power;
mod shared;

/// What a journal makes: the numbers of all its entries, in order. A snapshot begins with the position of the last entry
/// that it has, as each room does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Numbers {
    applied: u64,
    numbers: Vec<u64>,
}

impl Numbers {
    fn read(&mut self, read: Read<'_>) -> Result<(), String> {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        match read {
            Read::Part(part) => {
                let mut numbers = part.chunks(8).map(number);
                self.applied = numbers.next().unwrap();
                self.numbers.extend(numbers);
            }
            Read::Record(record) if record.position.0 > self.applied => {
                self.numbers.push(number(record.payload));
                self.applied = record.position.0;
            }
            Read::Record(_) => {}
        }
        Ok(())
    }

    /// Several parts, each with the position first.
    fn parts(&self) -> Vec<Vec<u8>> {
        let part = |numbers: &[u64]| {
            let all = [&[self.applied], numbers].concat();
            all.iter().flat_map(|number| number.to_le_bytes()).collect()
        };
        match self.numbers.is_empty() {
            true => vec![part(&[])],
            false => self.numbers.chunks(7).map(part).collect(),
        }
    }
}

/// A disk, what was given to it, and what it must not lose.
struct Life {
    store: Pretended,
    disk: Disk,
    identity: Identity,
    state: Numbers,
    next: u64,
    tick: u64,
    /// Numbers that were flushed.
    flushed: usize,
}

fn open(store: &Pretended) -> Result<(Opening, Numbers, End), OpenError> {
    let mut opening = Opening::new(Arc::new(store.clone()), None)?;
    opening.least_reserve = 100;
    let mut state = Numbers::default();
    let end = opening.read(&mut |read| state.read(read))?;
    Ok((opening, state, end))
}

impl Life {
    fn begin(store: &Pretended) -> Result<Life, OpenError> {
        let (opening, state, end) = open(store)?;
        let identity = opening.identity();
        let next = end.last.0 + 10;
        let flushed = state.numbers.len();
        let disk = opening.start(Position(next)).map_err(OpenError::io("starting"))?;
        assert_eq!(disk.identity(), identity);
        Ok(Life { store: store.clone(), disk, identity, state, next, tick: end.moment.tick.0, flushed })
    }

    fn moment(&self) -> Moment {
        Moment { tick: Tick(self.tick), time: Timestamp(1_700_000_000_000 + self.tick) }
    }

    /// Appends the next `count` numbers in one batch.
    fn append(&mut self, count: u64, takes: u32) -> io::Result<()> {
        let (from, mut batch) = (self.next, Vec::new());
        for _ in 0..count {
            self.tick += 1;
            let number = self.state.numbers.len() as u64;
            let (position, moment) = (Position(self.next), self.moment());
            frame::push(&Record { position, takes, moment, payload: &number.to_le_bytes() }, &mut batch);
            self.state.numbers.push(number);
            self.state.applied = self.next;
            self.next += u64::from(takes);
        }
        self.disk.append(Position(from), &mut batch).map(drop)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()?;
        self.flushed = self.state.numbers.len();
        Ok(())
    }

    /// Writes the note of the last flush.
    fn note(&mut self) -> io::Result<()> {
        self.append(0, 1)
    }

    fn turn(&mut self) -> io::Result<()> {
        self.disk.turn(false)?;
        self.append(0, 1)
    }

    /// A checkpoint, with entries that are made meanwhile before and after the state is captured.
    fn checkpoint(&mut self, during: u64) -> io::Result<()> {
        self.turn()?;
        let mut snapshot = self.disk.put_snapshot()?;
        self.append(during, 1)?;
        for part in self.state.parts() {
            snapshot.put(&part)?;
        }
        let last = Position(self.next - 1);
        self.append(during, 2)?;
        self.flush()?;
        snapshot.finish(End { last, moment: self.moment() })?;
        self.disk.tidy();
        Ok(())
    }
}

impl Life {
    /// A failure, in which entries are dropped, and a checkpoint that has them.
    fn begin_anew(&mut self, dropped: u64) -> io::Result<()> {
        for _ in 0..dropped {
            self.state.numbers.push(self.state.numbers.len() as u64);
            self.state.applied = self.next;
            self.next += 1;
        }
        self.disk.turn(true)?;
        self.append(0, 1)?;
        let mut snapshot = self.disk.put_snapshot()?;
        self.append(1, 1)?;
        for part in self.state.parts() {
            snapshot.put(&part)?;
        }
        let last = Position(self.next - 1);
        self.disk.flush()?;
        // Nothing may say yet that the new segment counts.
        self.note()?;
        snapshot.finish(End { last, moment: self.moment() })?;
        self.disk.tidy();
        self.flushed = self.state.numbers.len();
        Ok(())
    }
}

fn in_order(numbers: &[u64]) -> bool {
    numbers.iter().enumerate().all(|(index, number)| index as u64 == *number)
}

/// A small journal of 27 numbers, in two checkpoints and several segments, all of it flushed and noted.
fn small() -> (BTreeMap<String, Vec<u8>>, Numbers) {
    let store = Pretended::default();
    let mut life = Life::begin(&store).unwrap();
    life.append(3, 2).unwrap();
    life.checkpoint(2).unwrap();
    life.append(2, 1).unwrap();
    life.turn().unwrap();
    life.append(3, 1).unwrap();
    life.checkpoint(1).unwrap();
    life.append(4, 3).unwrap();
    life.flush().unwrap();
    life.turn().unwrap();
    for _ in 0..3 {
        life.append(3, 1).unwrap();
        life.flush().unwrap();
        life.note().unwrap();
    }
    assert_eq!(life.state.numbers.len(), 27);
    let mut files = store.files();
    files.remove(names::RESERVE);
    (files, life.state)
}

#[test]
fn what_is_written_is_read_again_in_another_life() {
    let store = Pretended::default();
    let mut identity = None;
    for life in 0..4 {
        let mut here = Life::begin(&store).unwrap();
        assert_eq!(here.state.numbers.len() as u64, life * 17);
        assert_eq!(*identity.get_or_insert(here.identity), here.identity);
        here.append(5, 2).unwrap();
        here.checkpoint(3).unwrap();
        here.append(6, 1).unwrap();
        here.flush().unwrap();
    }
    let (opening, state, end) = open(&store).unwrap();
    assert!(in_order(&state.numbers) && !opening.is_fresh());
    assert_eq!((state.numbers.len(), end.moment.tick), (68, Tick(68)));
    assert!(Opening::new(Arc::new(Pretended::default()), None).unwrap().is_fresh());
}

#[test]
fn the_last_position_counts_all_that_the_last_entry_takes() {
    let store = Pretended::default();
    let mut life = Life::begin(&store).unwrap();
    life.append(1, 40).unwrap();
    assert_eq!(open(&store).unwrap().2.last, Position(life.next - 1));
}

#[test]
fn after_a_failed_flush_the_file_is_never_used_again() {
    let store = Pretended::default();
    let mut life = Life::begin(&store).unwrap();
    life.append(1, 1).unwrap();
    store.refuse(0, 1, io::ErrorKind::Other);
    assert!(life.flush().is_err());
    assert!(life.append(1, 1).is_err() && life.flush().is_err() && life.disk.put_snapshot().is_err());
    assert_eq!(store.wrong(), Vec::<String>::new());
    life.begin_anew(1).unwrap();
    life.append(1, 1).unwrap();
    life.flush().unwrap();
    assert_eq!(open(&store).unwrap().1, life.state);
}

#[test]
fn after_a_failed_write_nothing_follows_the_bytes_that_were_written() {
    let store = Pretended::default();
    let mut life = Life::begin(&store).unwrap();
    life.append(3, 1).unwrap();
    store.refuse(0, 1, io::ErrorKind::StorageFull);
    assert!(life.append(1, 1).is_err() && life.append(1, 1).is_err());
    assert!(in_order(&open(&Pretended::of(&store.files())).unwrap().1.numbers));
    life.begin_anew(0).unwrap();
    assert_eq!(open(&store).unwrap().1, life.state);
}

/// Both happen in threads of their own: a failure while a checkpoint becomes durable, and the next attempt.
#[test]
fn a_checkpoint_whose_segment_was_removed_never_counts() {
    let store = Pretended::default();
    let mut life = Life::begin(&store).unwrap();
    life.append(3, 1).unwrap();
    life.flush().unwrap();
    life.disk.turn(true).unwrap();
    life.append(0, 1).unwrap();
    let mut snapshot = life.disk.put_snapshot().unwrap();
    life.state.parts().iter().for_each(|part| snapshot.put(part).unwrap());
    life.disk.turn(true).unwrap();
    assert!(snapshot.finish(End { last: Position(life.next - 1), moment: life.moment() }).is_err());
    assert_eq!(open(&Pretended::of(&store.files())).unwrap().1.numbers, [0, 1, 2]);
    life.begin_anew(0).unwrap();
    assert_eq!(open(&store).unwrap().1, life.state);
}

/// Otherwise the next record would find the disk full again.
#[test]
fn a_reserve_leaves_space_for_records() {
    let store = Pretended::default();
    let room_for = |bytes: usize| {
        store.space(store.used() + bytes);
        let filled = reserve::fill(&store, 100, 60);
        let has = store.files().get(names::RESERVE).map(Vec::len);
        store.remove(names::RESERVE).ok();
        (filled.is_ok(), has)
    };
    assert_eq!((room_for(184), room_for(185)), ((false, None), (true, Some(125))));
}

#[test]
fn attempts_to_begin_anew_leave_no_files() {
    let store = Pretended::default();
    let mut life = Life::begin(&store).unwrap();
    life.append(3, 1).unwrap();
    for _ in 0..5 {
        life.disk.turn(true).unwrap();
        life.append(1, 1).unwrap();
    }
    life.begin_anew(0).unwrap();
    assert_eq!(Listing::of(&store.list().unwrap()).segments.len(), 2);
    assert_eq!(open(&store).unwrap().1, life.state);
}

#[test]
fn two_checkpoints_are_kept_and_the_segments_from_the_older_one_on() {
    let store = Pretended::default();
    let mut life = Life::begin(&store).unwrap();
    for _ in 0..5 {
        life.append(3, 1).unwrap();
        life.checkpoint(1).unwrap();
    }
    let listing = Listing::of(&store.list().unwrap());
    assert_eq!((listing.checkpoints, listing.segments), (vec![6, 5], vec![5, 6]));
    assert_eq!(life.disk.sizes().kept, Listing::of(&store.list().unwrap()).bytes);
}

#[test]
fn a_backup_begins_a_life_of_its_own_each_time_it_is_started() {
    let (files, state) = small();
    let store = Pretended::of(&files);
    let original = open(&store).unwrap().0.identity();
    let target = Pretended::default();
    let copied = backup_store(&store, &target).unwrap();
    assert_eq!(copied.files, target.files().len() - 1, "and the mark");
    let copy = target.files();
    let mut seen = vec![original];
    for _ in 0..2 {
        let target = Pretended::of(&copy);
        let life = Life::begin(&target).unwrap();
        assert_eq!(life.state, state);
        assert!(!seen.iter().any(|identity| identity.journal == life.identity.journal));
        assert_eq!(life.identity.generation, original.generation + 1);
        seen.push(life.identity);
        let again = Life::begin(&target).unwrap();
        assert_eq!((again.identity, again.state), (life.identity, life.state), "the same from then on");
    }
}

#[test]
fn a_backup_that_was_not_finished_does_not_open() {
    let (files, _) = small();
    let store = Pretended::of(&files);
    for operation in 0.. {
        let target = Pretended::default();
        target.refuse(operation, u64::MAX, io::ErrorKind::StorageFull);
        if backup_store(&store, &target).is_ok() {
            assert!(operation > 5);
            break;
        }
        target.heal();
        match open(&target) {
            Err(OpenError::Unfinished) => {}
            Ok((opening, ..)) => assert!(opening.is_fresh() || opening.listing.is_backup),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_backup_of_a_journal_that_is_being_written_ends_with_a_whole_record() {
    let store = Pretended::default();
    let mut life = Life::begin(&store).unwrap();
    life.append(4, 1).unwrap();
    life.checkpoint(2).unwrap();
    life.append(9, 1).unwrap();
    let files = store.files();
    let (last, bytes) = files.iter().rfind(|(name, _)| name.starts_with("segment")).unwrap();
    for cut in HEADER + 1..bytes.len() {
        let mut files = files.clone();
        files.insert(last.clone(), bytes[..cut].to_vec());
        let target = Pretended::default();
        if backup_store(&Pretended::of(&files), &target).is_ok() {
            let (_, state, _) = open(&target).unwrap();
            assert!(in_order(&state.numbers) && state.numbers.len() >= 6);
        }
    }
}
