mod live;
mod reference;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use uuid::Uuid;

use self::live::{Checkpoint, Live};
use self::reference::Reference;
use super::restore::Restore;
use super::*;
use crate::access::pass::UnixTime;
use crate::access::passbook::SecretId;
use crate::journal::checkpoint::{Parts, Piece};
use crate::journal::codec;
use crate::model::moment::{Moment, Timestamp};
use crate::naive;

const IDENTITY: Identity = Identity { journal: Uuid::from_u128(17), generation: 0 };
const MEMORY: Memory = Memory { history: Bound { events: 20, bytes: usize::MAX }, bytes: 30_000 };
const AMPLE: Memory = Memory { history: Bound { events: usize::MAX, bytes: usize::MAX }, bytes: usize::MAX };

fn at(now: Tick) -> Moment {
    Moment { time: Timestamp(now.0), tick: now }
}

fn seconds(now: Tick) -> UnixTime {
    now.0 / 1_000
}

fn decoded((stamp, bytes): &(Stamp, Vec<u8>)) -> (Stamp, Entry) {
    (*stamp, codec::decode(bytes).expect("an entry"))
}

fn fold(mut fold: Fold, journal: &[(Stamp, Vec<u8>)]) -> Fold {
    journal.iter().map(decoded).for_each(|(stamp, entry)| fold.fold(stamp, entry));
    fold
}

fn restored(parts: &[Vec<u8>]) -> Fold {
    let mut restore = Restore::new(IDENTITY, AMPLE);
    parts.iter().for_each(|part| restore.part(part).unwrap());
    restore.done().unwrap()
}

/// The texts are long: a failure shows where they differ.
fn assert_same(one: &str, other: &str, what: &str) {
    let from = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count().saturating_sub(60);
    let part = |text: &str| text.bytes().skip(from).take(240).collect::<Vec<_>>().escape_ascii().to_string();
    assert_eq!(part(one), part(other), "{what}");
}

/// A reader who resumes gets all events that happened since: those that a restored room has are the last of all.
fn assert_resumes(restored: &State, whole: &State, what: &str) {
    for (name, room) in &restored.rooms {
        let events = |room: &Presence| {
            let (newest, _) = room.last_events(usize::MAX);
            newest.iter().map(|event| (event.cursor, event.at, event.change.clone())).collect::<Vec<_>>()
        };
        let (some, mut all) = (events(room), events(&whole.rooms[name]));
        all.truncate(some.len());
        assert_eq!(some, all, "{what}, the newest events of {name} first");
    }
}

/// Each prefix of a journal makes what the reference makes of it.
fn compare(journal: &[(Stamp, Vec<u8>)], mut compares: impl FnMut(usize) -> bool, what: &str) {
    let (mut fold, mut reference) = (Fold::new(IDENTITY, MEMORY), Reference::default());
    for (n, (stamp, entry)) in journal.iter().map(decoded).enumerate() {
        reference.fold(stamp, &entry);
        fold.fold(stamp, entry.clone());
        assert!(fold.histories <= MEMORY.bytes, "{what}, entry {n}");
        if compares(n) {
            assert_eq!(fold.state.content(), reference.content(), "{what}, entry {n}: {entry:?}");
        }
    }
}

#[test]
fn a_journal_cut_after_any_entry_makes_what_the_reference_makes() {
    for seed in 0..10 {
        let mut live = Live::begin(seed);
        while live.journal.len() < 1_000 {
            live.step();
        }
        compare(&live.journal, |_| true, &format!("seed {seed}"));
        let all = fold(Fold::new(IDENTITY, MEMORY), &live.journal);
        assert_eq!(all.state.rules, live.rules);
        for (name, room) in &live.rooms {
            let folded = &all.state.rooms[name];
            assert_eq!(naive::shown(folded), naive::shown(room), "seed {seed}: what is live is what is kept");
            assert!(room.roster().is_empty() || (folded.head(), folded.applied()) == (room.head(), room.applied()));
        }
    }
}

#[test]
fn a_long_journal_cut_anywhere_makes_what_the_reference_makes() {
    let mut live = Live::begin(17);
    while live.journal.len() < 100_000 {
        live.step();
    }
    let mut rng = Rng::with_seed(17);
    let cuts: HashSet<_> = (0..1_000).map(|_| rng.usize(..live.journal.len())).collect();
    compare(&live.journal, |n| cuts.contains(&n), "100,000 entries");
}

/// Rooms change and come and go between the beginning of a checkpoint and its end, and each is captured at another time.
#[test]
fn a_checkpoint_and_the_entries_since_make_what_all_entries_make() {
    let mut restores = 0;
    for seed in 0..40 {
        let mut live = Live::begin(seed);
        while live.journal.len() < 1_000 {
            live.step();
            if live.capture.is_none() && live.rng.u8(..40) == 0 {
                let steps = live.rng.usize(..25);
                live.begin_capture(steps);
            }
        }
        for (n, Checkpoint { entries, parts }) in live.checkpoints.iter().enumerate() {
            // Right at the end of the checkpoint, and some time later.
            for cut in [entries.end, live.rng.usize(entries.end..=live.journal.len())] {
                let restored = fold(restored(parts), &live.journal[entries.start..cut]);
                let whole = fold(Fold::new(IDENTITY, AMPLE), &live.journal[..cut]);
                let what = format!("seed {seed}, checkpoint {n} of {entries:?}, entry {cut}");
                assert_same(&restored.state.everything(), &whole.state.everything(), &what);
                assert_resumes(&restored.state, &whole.state, &what);
                assert!(restored.state.last.position >= whole.state.last.position, "{what}: no position is used twice");
                restores += 1;
            }
        }
    }
    assert!(restores > 150, "{restores}");
}

#[test]
fn a_state_is_read_as_it_is_written() {
    for seed in 0..20 {
        let mut live = Live::begin(seed);
        (0..500).for_each(|_| live.step());
        let parts = live.snapshot();
        let state = restored(&parts).into_state();
        for (name, room) in &live.rooms {
            let kept = &state.rooms[name];
            assert_eq!((kept.head(), kept.applied()), (room.head(), room.applied()), "seed {seed}");
            assert!(kept.place(room.head()).is_some(), "a reader at the head goes on");
            let (last, time) = room.last_event();
            assert!(kept.place(Cursor { offset: last, ..room.head() }).is_some(), "as one at the last event does");
            assert_eq!((kept.last_event(), kept.is_idle()), ((last, time), room.is_idle() && time.is_none()));
        }
        let again = Fold { state, ..Fold::new(IDENTITY, MEMORY) };
        let (rooms, cookies) = (again.state.rooms.values(), again.state.cookies.all());
        let mut pieces: Vec<_> = rooms.map(|room| Piece::from(&**room)).collect();
        pieces.sort_by_key(|piece| format!("{piece:?}"));
        let revoked = again.state.revocations.all();
        let header = live.header();
        let cookies: Vec<_> = cookies.map(|(id, pass, end)| (id, pass.clone(), end)).collect();
        pieces.push(Piece::Cookies { until: header.at, all: cookies });
        let revoked = revoked.map(|(revoked, before, until)| (revoked.clone(), before, until)).collect();
        pieces.push(Piece::Revocations { until: header.at, all: revoked });
        pieces.push(Piece::Denials(again.state.denylist.all().collect()));
        let second: Vec<_> = Parts::of(header, pieces).collect();
        assert_eq!(second.concat().len(), parts.concat().len(), "seed {seed}");
        assert_same(&restored(&second).state.everything(), &again.state.everything(), &format!("seed {seed}"));
    }
}
