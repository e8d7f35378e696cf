//! The last events of a room, in memory and bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::cursor::Offset;
use crate::model::event::{Change, DelReason, Event};
use crate::model::moment::{Tick, Timestamp};
use crate::model::name::Name;

/// Briefs kept for each whole event: a brief takes some 70 bytes, an event some 300. At the default, a reader may fall
/// 16,000 events behind before it needs a snapshot.
const BRIEFS_PER_EVENT: usize = 16;

/// The newest events, searched one by one before a binary search among the others.
const NEAR: usize = 8;

/// The last events of a room, each with the time at which it happened. Ages are measured on the gateway's own clock: a step
/// of the wall clock must neither end the history nor keep it for ever.
#[derive(Clone, Debug)]
pub struct History {
    events: VecDeque<(Tick, Arc<Event>)>,
    /// Earlier events in brief: enough to net changes, too little to repeat the events.
    briefs: VecDeque<(Offset, Brief)>,
    /// The last event before `events`: a reader from here on gets the events themselves.
    events_floor: Offset,
    /// The last event before `briefs`.
    briefs_floor: Offset,
    /// When the last event before `events` happened.
    forgotten: Option<Timestamp>,
    /// Where the room began again after a crash: no event, but a place like that of the event before.
    restart: Offset,
    /// Until the events of this time are forgotten, the place of the last one is remembered, also without events.
    remembered: Option<Tick>,
    bound: Bound,
    /// The memory that all of it takes, about.
    bytes: usize,
}

/// Bounds of a history.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Whole events at most.
    pub events: usize,
    /// Memory at most, in bytes, unless the last event alone takes more.
    pub bytes: usize,
}

/// An event in brief: the user, the kind of change and the time.
#[derive(Clone, Debug)]
pub struct Brief {
    /// The user.
    pub user: Name,
    /// The kind of change.
    pub kind: Kind,
    /// When it happened.
    pub at: Timestamp,
}

/// The kind of change that an event made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The user became a member.
    Add,
    /// A member's `meta` or `info` changed.
    Update,
    /// Only readers who ask for suspects saw a change.
    Suspect,
    /// The user is no longer a member.
    Del(DelReason),
}

impl Brief {
    fn of(event: &Event) -> Self {
        let kind = match &event.change {
            Change::Add(_) => Kind::Add,
            Change::Update(_) => Kind::Update,
            Change::Suspect(suspect) => {
                if suspect.changed {
                    Kind::Update
                } else {
                    Kind::Suspect
                }
            }
            Change::Del(_, reason) => Kind::Del(*reason),
        };
        Brief { user: event.change.user().clone(), kind, at: event.at }
    }

    /// The memory that the brief takes, with the name as if nothing else had it.
    fn bytes(&self) -> usize {
        size_of::<(Offset, Brief)>() + 2 * size_of::<usize>() + self.user.len()
    }
}

impl History {
    /// An empty history after the event at `floor`, within `bound`.
    pub fn new(floor: Offset, bound: Bound) -> Self {
        let (events, briefs) = (VecDeque::new(), VecDeque::new());
        History {
            events,
            briefs,
            events_floor: floor,
            briefs_floor: floor,
            forgotten: None,
            restart: floor,
            remembered: None,
            bound,
            bytes: 0,
        }
    }

    /// A history that was kept: without events, but with the place of the last one, which happened at `time`, if that is known.
    pub fn kept(last: Offset, time: Option<Tick>, bound: Bound) -> Self {
        History { remembered: time, ..History::new(last, bound) }
    }

    /// From here on, `place` is one where readers stand behind the last event: a crash may have undone events in between.
    pub fn restart(&mut self, place: Offset) {
        self.restart = place;
    }

    /// The place of the last event, and its time if that is remembered.
    pub fn last(&self) -> (Offset, Option<Tick>) {
        match self.events.back() {
            Some((time, event)) => (event.cursor.offset, Some(*time)),
            None => (self.events_floor, self.remembered),
        }
    }

    /// Appends the next event, which happened at `time`. Shortens the oldest to a brief when there are too many.
    pub fn push(&mut self, time: Tick, event: Arc<Event>) {
        self.bytes += event.bytes();
        self.events.push_back((time, event));
        if self.events.len() > self.bound.events {
            self.abridge();
        }
        self.keep_bounds();
    }

    /// Shortens the oldest event to a brief; false without events.
    fn abridge(&mut self) -> bool {
        let Some(event) = self.forget() else { return false };
        self.push_brief(event.cursor.offset, Brief::of(&event));
        true
    }

    fn push_brief(&mut self, offset: Offset, brief: Brief) {
        if self.briefs.len() >= self.bound.events.saturating_mul(BRIEFS_PER_EVENT) {
            self.forget_brief();
        }
        self.bytes += brief.bytes();
        self.briefs.push_back((offset, brief));
    }

    fn keep_bounds(&mut self) {
        while self.bytes > self.bound.bytes && self.events.len() + self.briefs.len() > 1 {
            self.forget_oldest();
        }
    }

    /// Appends the last `count` events of `of`, which happened at `time`; false, and nothing is done, where `of` has forgotten some.
    pub fn follow(&mut self, of: &History, count: usize, time: Tick) -> bool {
        let Some(from) = of.events.len().checked_sub(count) else { return false };
        of.events.range(from..).for_each(|(_, event)| self.push(time, event.clone()));
        true
    }

    /// Appends in brief what `of` knows after `offset`, this history's last place, so that readers behind `of` get the changes netted;
    /// false, and nothing is done, where `of` has forgotten some.
    pub fn leap(&mut self, of: &History, offset: Offset) -> bool {
        let Some(missed) = of.briefs_after(offset) else { return false };
        let from = of.briefs.partition_point(|(at, _)| *at <= offset);
        let briefs = of.briefs.range(from..).map(|(at, _)| *at);
        let events = of.events.iter().map(|(_, event)| event.cursor.offset).filter(|at| *at > offset);
        let missed: Vec<_> = briefs.chain(events).zip(missed).collect();
        while self.abridge() {}
        for (at, brief) in missed {
            (self.events_floor, self.forgotten) = (at, Some(brief.at));
            self.push_brief(at, brief);
        }
        self.keep_bounds();
        true
    }

    /// The same history, in which all happened at `time`.
    pub fn at(&self, time: Tick) -> Self {
        let events = self.events.iter().map(|(_, event)| (time, event.clone())).collect();
        History { events, remembered: self.remembered.map(|_| time), ..self.clone() }
    }

    /// Forgets the oldest events until all others take at most `bytes`. Events after `until` stay.
    pub fn shorten(&mut self, bytes: usize, until: Tick) {
        let is_old = |(at, _): &(Tick, Arc<Event>)| *at <= until;
        while self.bytes > bytes && (!self.briefs.is_empty() || self.events.front().is_some_and(is_old)) {
            self.forget_oldest();
        }
        self.briefs.shrink_to_fit();
        self.events.shrink_to_fit();
    }

    /// The memory that the history takes, in bytes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets the events from before `time`.
    pub fn trim(&mut self, time: Tick) {
        while self.events.front().is_some_and(|(at, _)| *at < time) {
            self.forget();
            // All briefs are older than that event.
            self.bytes -= self.briefs.iter().map(|(_, brief)| brief.bytes()).sum::<usize>();
            self.briefs = VecDeque::new();
            self.briefs_floor = self.events_floor;
        }
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        self.remembered.take_if(|at| *at < time);
    }

    /// The events after `offset`; `None` when some of them are forgotten, or when `offset` is no place in this history: yet
    /// to come, or of an event that a crash undid.
    pub fn after(&self, offset: Offset) -> Option<impl Iterator<Item = &Arc<Event>>> {
        let from = self.place_after(offset)?;
        Some(self.events.range(from..).map(|(_, event)| event))
    }

    /// The number of events after `offset`, where these are known.
    pub fn count_after(&self, offset: Offset) -> Option<usize> {
        Some(self.events.len() - self.place_after(offset)?)
    }

    /// The index of the first event after `offset`. Offsets may skip, so the place needs a search. Most readers are a few
    /// events behind the newest.
    fn place_after(&self, offset: Offset) -> Option<usize> {
        let is_newer = |(_, event): &&(Tick, Arc<Event>)| event.cursor.offset > offset;
        let newer = self.events.iter().rev().take(NEAR).take_while(is_newer).count();
        let from = match newer < NEAR {
            true => self.events.len() - newer,
            false => self.events.partition_point(|(_, event)| event.cursor.offset <= offset),
        };
        let before = from.checked_sub(1).map_or(self.events_floor, |last| self.events[last].1.cursor.offset);
        self.is_place(offset, before).then_some(from)
    }

    /// Whether readers stand at `offset`, when the last event until there is the one at `before`.
    fn is_place(&self, offset: Offset, before: Offset) -> bool {
        before == offset || (offset == self.restart && before < offset)
    }

    /// The events, the newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter().rev().map(|(_, event)| event)
    }

    /// When the last event happened that is forgotten, as a whole event; `None` when all are known.
    pub fn forgotten(&self) -> Option<Timestamp> {
        self.forgotten
    }

    /// The events after `offset` in brief; `None` when some of them are forgotten even in brief.
    pub fn briefs_after(&self, offset: Offset) -> Option<impl Iterator<Item = Brief>> {
        let from = self.briefs.partition_point(|(at, _)| *at <= offset);
        let before = from.checked_sub(1).map_or(self.briefs_floor, |last| self.briefs[last].0);
        if !self.is_place(offset, before) && offset < self.events_floor {
            return None;
        }
        let events = self.after(offset.max(self.events_floor))?;
        let briefs = self.briefs.range(from..).map(|(_, brief)| brief.clone());
        Some(briefs.chain(events.map(|event| Brief::of(event))))
    }

    /// Whether no event is known, and no place of a last one.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.remembered.is_none()
    }

    fn forget(&mut self) -> Option<Arc<Event>> {
        let (_, event) = self.events.pop_front()?;
        self.events_floor = event.cursor.offset;
        self.forgotten = Some(event.at);
        self.bytes -= event.bytes();
        Some(event)
    }

    fn forget_brief(&mut self) -> Option<()> {
        let (offset, brief) = self.briefs.pop_front()?;
        self.briefs_floor = offset;
        self.bytes -= brief.bytes();
        Some(())
    }

    /// Forgets the oldest brief, or without briefs the oldest event.
    fn forget_oldest(&mut self) {
        if self.forget_brief().is_none() {
            self.forget();
            self.briefs_floor = self.events_floor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cursor::{Cursor, Epoch};

    fn history(bound: usize, offsets: std::ops::RangeInclusive<u64>) -> History {
        let bound = Bound { events: bound, bytes: usize::MAX };
        let mut history = History::new(Offset(*offsets.start() - 1), bound);
        for offset in offsets {
            let change = Change::Del("ann".parse().unwrap(), DelReason::SignedOut);
            let cursor = Cursor { epoch: Epoch(1), offset: Offset(offset) };
            history.push(Tick(offset), Arc::new(Event::new(Name::lobby(), cursor, Timestamp::default(), change)));
        }
        history
    }

    fn after(history: &History, offset: u64) -> Option<Vec<u64>> {
        history.after(Offset(offset)).map(|events| events.map(|e| e.cursor.offset.0).collect())
    }

    #[test]
    fn resuming_gives_all_events_after_a_place_or_none() {
        let history = history(3, 11..=15);
        assert_eq!(after(&history, 11), None, "12 is forgotten");
        assert_eq!(after(&history, 12), Some(vec![13, 14, 15]));
        assert_eq!(after(&history, 14), Some(vec![15]));
        assert_eq!(after(&history, 15), Some(vec![]));
        assert_eq!(after(&history, 16), None, "16 is yet to come");
        assert_eq!(after(&history, 0), None);
    }

    /// A crash may undo events that readers got: their places are none, and the room goes on behind all of them.
    #[test]
    fn a_restart_is_a_place_like_that_of_the_event_before() {
        let mut history = history(3, 11..=15);
        history.restart(Offset(20));
        assert_eq!((after(&history, 15), after(&history, 20)), (Some(vec![]), Some(vec![])));
        assert_eq!((after(&history, 17), after(&history, 21)), (None, None), "of events that were undone, if of any");
        assert_eq!(history.last(), (Offset(15), Some(Tick(15))));
        let push = |history: &mut History, offset| {
            let cursor = Cursor { epoch: Epoch(1), offset: Offset(offset) };
            let change = Change::Del("ann".parse().unwrap(), DelReason::SignedOut);
            history.push(Tick(offset), Arc::new(Event::new(Name::lobby(), cursor, Timestamp::default(), change)));
        };
        push(&mut history, 25);
        assert_eq!((after(&history, 15), after(&history, 20)), (Some(vec![25]), Some(vec![25])));
        assert_eq!(after(&history, 17), None);
        (26..=30).for_each(|offset| push(&mut history, offset));
        assert_eq!(
            (after(&history, 15), after(&history, 20), after(&history, 27)),
            (None, None, Some(vec![28, 29, 30]))
        );
        let briefs = |offset| history.briefs_after(Offset(offset)).map(Iterator::count);
        assert_eq!(
            (briefs(14), briefs(15), briefs(17), briefs(20), briefs(25)),
            (Some(7), Some(6), None, Some(6), Some(5))
        );
    }

    #[test]
    fn the_place_of_a_last_event_is_remembered_for_its_time() {
        let mut history = History::kept(Offset(7), Some(Tick(5)), Bound { events: 3, bytes: usize::MAX });
        assert_eq!((after(&history, 7), after(&history, 6), history.is_empty()), (Some(vec![]), None, false));
        history.trim(Tick(5));
        assert!(!history.is_empty() && history.last() == (Offset(7), Some(Tick(5))));
        history.trim(Tick(6));
        assert!(history.is_empty() && history.last() == (Offset(7), None));
        assert!(History::kept(Offset(7), None, Bound { events: 3, bytes: usize::MAX }).is_empty());
    }

    #[test]
    fn events_over_the_bound_are_still_known_in_brief() {
        let history = history(2, 1..=50);
        let briefs = |offset| history.briefs_after(Offset(offset)).map(Iterator::count);
        assert_eq!((briefs(50), briefs(48), briefs(47), briefs(16)), (Some(0), Some(2), Some(3), Some(34)));
        assert_eq!((briefs(15), briefs(51)), (None, None), "2 whole and 32 in brief");
    }

    /// Seeded, against a list: offsets skip, as those of a shared log do, and readers are near the end and far from it.
    #[test]
    fn places_are_found_also_where_offsets_skip() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let bound = rng.usize(1..30);
            let unbounded = Bound { events: bound, bytes: usize::MAX };
            let (mut history, mut all, mut head) = (History::new(Offset(0), unbounded), Vec::new(), 0);
            for _ in 0..rng.usize(1..60) {
                head += rng.u64(1..5);
                all.push(head);
                let change = Change::Del("ann".parse().unwrap(), DelReason::SignedOut);
                let cursor = Cursor { epoch: Epoch(1), offset: Offset(head) };
                history.push(Tick(head), Arc::new(Event::new(Name::lobby(), cursor, Timestamp::default(), change)));
            }
            let kept = all.len().saturating_sub(bound);
            let floor = kept.checked_sub(1).map_or(0, |last_forgotten| all[last_forgotten]);
            for offset in 0..=head + 1 {
                let newer: Vec<u64> = all.iter().copied().filter(|at| *at > offset).collect();
                // An offset that is skipped is of an event that a crash undid, and no place.
                let is_place = offset == floor || (offset > floor && all.contains(&offset));
                let expected = is_place.then_some(newer.clone());
                assert_eq!(after(&history, offset), expected, "seed {seed}, offset {offset}");
                let briefs = history.briefs_after(Offset(offset)).map(Iterator::count);
                let is_place = offset == 0 || all.contains(&offset);
                let known = newer.len() <= bound * (1 + BRIEFS_PER_EVENT);
                assert!(
                    !(is_place && known) || briefs == Some(newer.len()),
                    "seed {seed}, offset {offset}: {briefs:?}"
                );
                assert!(is_place || briefs.is_none(), "seed {seed}, offset {offset}: {briefs:?}");
            }
        }
    }

    #[test]
    fn bytes_are_bounded_and_the_oldest_go_first() {
        let mut all = history(10, 1..=50);
        let each = (history(10, 1..=2).bytes()) / 2;
        assert_eq!(history(10, 1..=10).bytes(), 10 * each);
        let briefs = all.bytes() - 10 * each;
        assert!(briefs > 0 && all.briefs_after(Offset(0)).is_some(), "all 50 are known");
        all.shorten(10 * each + briefs / 2, Tick(50));
        assert_eq!((all.briefs_after(Offset(19)).is_none(), all.briefs_after(Offset(20)).is_some()), (true, true));
        all.shorten(4 * each, Tick(50));
        assert_eq!((after(&all, 45), after(&all, 46)), (None, Some(vec![47, 48, 49, 50])));
        assert!(all.briefs_after(Offset(45)).is_none() && all.briefs_after(Offset(46)).is_some());
        all.shorten(0, Tick(48));
        assert_eq!((after(&all, 47), after(&all, 48)), (None, Some(vec![49, 50])), "later events stay");
        all.shorten(0, Tick(50));
        assert_eq!((after(&all, 50), all.is_empty(), all.bytes()), (Some(vec![]), true, 0));
        let mut bounded = history(10, 1..=1);
        bounded.bound.bytes = 3 * each;
        for offset in 2..=20 {
            let change = Change::Del("ann".parse().unwrap(), DelReason::SignedOut);
            let cursor = Cursor { epoch: Epoch(1), offset: Offset(offset) };
            bounded.push(Tick(offset), Arc::new(Event::new(Name::lobby(), cursor, Timestamp::default(), change)));
            assert!(bounded.bytes() <= 3 * each);
        }
        assert_eq!(after(&bounded, 17), Some(vec![18, 19, 20]));
        bounded.trim(Tick(100));
        assert_eq!(bounded.bytes(), 0);
    }

    #[test]
    fn old_events_are_forgotten_by_age_too() {
        let mut history = history(10, 1..=5);
        history.trim(Tick(4));
        assert_eq!((after(&history, 2), after(&history, 3)), (None, Some(vec![4, 5])));
        history.trim(Tick(100));
        assert_eq!((after(&history, 5), history.is_empty()), (Some(vec![]), true));
    }
}
