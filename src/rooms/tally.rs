//! The tally: the rooms with a changed count, in one order for all readers of counts.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::model::count::{CountChange, Prefix};
use crate::model::name::Name;

/// The place of a change in the order. Never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial(u64);

/// The rooms in the order of their last changes of count, each room once, while somebody reads counts.
///
/// A reader of counts is a place in this order, so the memory of a reader does not depend on the number of rooms, and a slow
/// reader skips intermediate counts. Changes become readable in rounds. A change that waits for its round takes later
/// changes of the same room in, so each reader gets a room at most once per round.
#[derive(Debug)]
pub struct Tally {
    /// Changed only under the lock of `order`. Writers of rooms read the number without that lock, under their room's lock:
    /// a reader begins before it reads the room under the same lock.
    readers: AtomicUsize,
    order: Mutex<Order>,
    rounds: watch::Sender<Arc<Round>>,
    /// The most changes in the order.
    most: usize,
}

/// The changes that became readable together.
#[derive(Debug, Default)]
pub struct Round {
    /// The place of a reader that may take the round.
    pub from: Serial,
    /// In order.
    pub changes: Vec<(Serial, CountChange)>,
}

#[derive(Debug, Default)]
struct Order {
    changes: BTreeMap<Serial, CountChange>,
    last: Serial,
    /// The last readable change.
    released: Serial,
    /// The last forgotten change: a reader before it misses something, and begins anew.
    forgotten: Serial,
}

impl Tally {
    /// An order of at most `most` changes.
    pub fn new(most: usize) -> Self {
        Tally { readers: AtomicUsize::new(0), order: Mutex::default(), rounds: watch::Sender::default(), most }
    }

    /// Whether anybody reads counts. Otherwise changes need not be noted.
    pub fn is_read(&self) -> bool {
        self.readers.load(Relaxed) > 0
    }

    /// The number of readers.
    pub fn readers(&self) -> usize {
        self.readers.load(Relaxed)
    }

    /// Notes a new count of `room`, whose last change is at `at`, and moves `at` to the present one. Called under the room's
    /// lock.
    pub fn note(&self, at: &mut Serial, room: &Name, count: Option<usize>) {
        let mut order = self.order.lock();
        *at = order.note(*at, room, count);
        order.forget(self.most);
    }

    /// Makes all changes so far readable. Called at the rate at which readers may get a room's counts.
    pub fn release(&self) {
        let round = if self.is_read() { self.order.lock().release() } else { Round::default() };
        self.rounds.send_if_modified(|last| {
            let is_news = !round.changes.is_empty();
            // An empty round only frees the one before.
            if is_news || !last.changes.is_empty() {
                *last = Arc::new(round);
            }
            is_news
        });
    }

    /// Subscribes to the rounds. A subscriber may miss rounds: readers find all changes in the order.
    pub fn rounds(&self) -> watch::Receiver<Arc<Round>> {
        self.rounds.subscribe()
    }

    /// Adds a reader.
    pub fn enter(&self) {
        let mut order = self.order.lock();
        if self.readers.fetch_add(1, Relaxed) == 0 {
            order.clear();
        }
    }

    /// Removes a reader.
    pub fn leave(&self) {
        let mut order = self.order.lock();
        if self.readers.fetch_sub(1, Relaxed) == 1 {
            order.clear();
        }
    }

    /// The place of a reader that is about to read the counts of all rooms.
    pub fn start(&self) -> Serial {
        self.order.lock().start()
    }

    /// The readable changes after `place` of the rooms that `prefix` selects, and the place behind. At most `most` changes
    /// are looked at. `None` when some changes after `place` are forgotten.
    pub fn after(&self, place: Serial, prefix: &Prefix, most: usize) -> Option<(Vec<CountChange>, Serial)> {
        let order = self.order.lock();
        if place < order.forgotten {
            return None;
        }
        let (mut found, mut end) = (Vec::new(), place);
        for (serial, change) in order.readable(place).take(most) {
            end = *serial;
            if prefix.selects(&change.room) {
                found.push(change.clone());
            }
        }
        Some((found, end))
    }
}

impl Order {
    fn note(&mut self, at: Serial, room: &Name, count: Option<usize>) -> Serial {
        if at > self.released
            && let Some(waiting) = self.changes.get_mut(&at)
        {
            waiting.count = count;
            return at;
        }
        self.changes.remove(&at);
        self.last.0 += 1;
        self.changes.insert(self.last, CountChange { room: room.clone(), count });
        self.last
    }

    fn forget(&mut self, most: usize) {
        while self.changes.len() > most
            && let Some((first, _)) = self.changes.pop_first()
        {
            self.forgotten = first;
        }
    }

    fn release(&mut self) -> Round {
        let from = self.start();
        self.released = self.last;
        Round { from, changes: self.readable(from).map(|(serial, change)| (*serial, change.clone())).collect() }
    }

    fn start(&self) -> Serial {
        self.released.max(self.forgotten)
    }

    fn readable(&self, place: Serial) -> impl Iterator<Item = (&Serial, &CountChange)> {
        self.changes.range((Excluded(place), Included(self.released.max(place))))
    }

    /// Forgets all changes, since nobody reads counts. A place from before misses something.
    fn clear(&mut self) {
        self.changes.clear();
        self.last.0 += 1;
        (self.released, self.forgotten) = (self.last, self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn read(tally: &Tally, place: &mut Serial) -> Vec<(String, Option<usize>)> {
        let (changes, end) = tally.after(*place, &Prefix::all(), 100).expect("nothing is forgotten");
        *place = end;
        changes.into_iter().map(|change| (change.room.to_string(), change.count)).collect()
    }

    #[test]
    fn a_room_stands_in_the_order_once_with_its_last_count() {
        let tally = Tally::new(10);
        tally.enter();
        let (mut early, [mut a, mut b]) = (tally.start(), [Serial::default(); 2]);
        (1..=3).for_each(|count| tally.note(&mut a, &name("a"), Some(count)));
        tally.note(&mut b, &name("b"), Some(1));
        assert_eq!(read(&tally, &mut early), [], "not before the round");
        tally.release();
        let mut late = early;
        assert_eq!(read(&tally, &mut early), [("a".into(), Some(3)), ("b".into(), Some(1))]);
        tally.note(&mut a, &name("a"), None);
        assert_eq!(read(&tally, &mut early), [], "the next round has it");
        assert_eq!(read(&tally, &mut late), [("b".into(), Some(1))]);
        tally.release();
        assert_eq!(
            (read(&tally, &mut early), read(&tally, &mut late)),
            (vec![("a".into(), None)], vec![("a".into(), None)])
        );
    }

    #[test]
    fn a_round_has_what_changed_since_the_round_before() {
        let tally = Tally::new(10);
        tally.enter();
        let (place, mut a) = (tally.start(), Serial::default());
        let mut rounds = tally.rounds();
        tally.release();
        assert!(!rounds.has_changed().unwrap(), "an empty round wakes nobody");
        tally.note(&mut a, &name("a"), Some(1));
        tally.release();
        let round = rounds.borrow_and_update().clone();
        assert_eq!((round.from, round.changes.len()), (place, 1));
        tally.release();
        assert!(!rounds.has_changed().unwrap() && rounds.borrow().changes.is_empty(), "the round is freed");
    }

    #[test]
    fn a_reader_behind_forgotten_changes_begins_anew_also_in_a_round() {
        let tally = Tally::new(3);
        tally.enter();
        let place = tally.start();
        for n in 0..4 {
            tally.note(&mut Serial::default(), &name(&n.to_string()), Some(1));
        }
        tally.release();
        assert_eq!(tally.after(place, &Prefix::all(), 100), None);
        assert_ne!(tally.rounds().borrow().from, place, "the round lacks a change");
        let mut start = tally.start();
        assert_eq!(read(&tally, &mut start), [], "the counts are read after the start");
    }

    #[test]
    fn without_readers_nothing_is_kept_and_old_places_begin_anew() {
        let tally = Tally::new(3);
        tally.enter();
        let place = tally.start();
        tally.note(&mut Serial::default(), &name("a"), Some(1));
        tally.leave();
        assert!(!tally.is_read() && tally.order.lock().changes.is_empty());
        tally.enter();
        assert!(tally.start() > place);
        assert_eq!(tally.after(place, &Prefix::all(), 100), None);
    }

    #[test]
    fn a_step_looks_at_a_bounded_number_of_changes() {
        let tally = Tally::new(100);
        tally.enter();
        let mut place = tally.start();
        for n in 0..50 {
            tally.note(&mut Serial::default(), &name(&format!("{}-{n}", n % 2)), Some(n));
        }
        tally.release();
        let odd = Prefix::new("prefix", "1-").unwrap();
        let mut found = Vec::new();
        while let Some((changes, end)) = tally.after(place, &odd, 7).filter(|(_, end)| *end > place) {
            assert!(changes.len() <= 4);
            found.extend(changes.into_iter().filter_map(|change| change.count));
            place = end;
        }
        assert!(found.into_iter().eq((1..50).step_by(2)));
    }
}
