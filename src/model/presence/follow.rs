//! A room that shows what a shared log makes of the same room elsewhere in this process.

use crate::model::cursor::Cursor;
use crate::model::deadlines::Deadlines;
use crate::model::history::History;
use crate::model::moment::Tick;
use crate::model::presence::Presence;

impl Presence {
    /// A copy of `of` with the same members, which both share, in which all events happened at `now`.
    pub fn copy_of(of: &Presence, now: Tick) -> Self {
        let (room, roster, history) = (of.room.clone(), of.roster.clone(), of.history.at(now));
        let Presence { head, next, applied, bounds, .. } = *of;
        // Who owns the log ends what ends by time.
        Presence { room, head, next, applied, roster, deadlines: Deadlines::default(), history, bounds }
    }

    /// Goes on to the state of `of`, whose last `events` events are new here.
    pub fn follow(&mut self, of: &Presence, events: usize, now: Tick) {
        match self.head.epoch == of.head.epoch && self.history.follow(&of.history, events, now) {
            true => self.take(of),
            // More events than a history has.
            false => self.leap(of),
        }
    }

    /// Goes on to the state of `of` in one step: readers get the way there netted, or the set.
    pub fn leap(&mut self, of: &Presence) {
        if self.head.epoch != of.head.epoch || !self.history.leap(&of.history, self.head.offset) {
            self.history = History::new(of.head.offset, self.bounds.history);
        }
        self.take(of);
    }

    fn take(&mut self, of: &Presence) {
        (self.head, self.next, self.applied) = (of.head, of.next, of.applied);
        self.roster = of.roster.clone();
        self.bounds = of.bounds;
    }

    /// Begins another order of events at `place`, behind all earlier ones: no earlier cursor is one of this room any more, and readers
    /// begin anew.
    pub fn renew(&mut self, place: Cursor) {
        self.head = place;
        self.history = History::new(place.offset, self.bounds.history);
    }

    /// Forgets all events, which others have taken over.
    pub fn forget_all(&mut self) {
        self.history = History::new(self.head.offset, self.bounds.history);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::model::command::Command;
    use crate::model::cursor::{Epoch, Offset, Position};
    use crate::model::event::Change;
    use crate::model::history::Bound;
    use crate::model::moment::{Moment, Timestamp};
    use crate::model::name::Name;
    use crate::model::presence::Bounds;
    use crate::model::roster::{Mark, Roster};

    fn names(roster: &Roster) -> BTreeSet<Name> {
        roster.iter_from(Mark::default()).map(|member| member.user.clone()).collect()
    }

    fn moment(tick: u64) -> Moment {
        Moment { time: Timestamp(tick), tick: Tick(tick) }
    }

    /// A room and one that shows it, and what readers at each place have.
    struct Pair {
        of: Presence,
        shown: Presence,
        next: u64,
        readers: Vec<(Offset, BTreeSet<Name>)>,
    }

    impl Pair {
        fn new(bound: usize) -> Pair {
            let bounds =
                Bounds { history: Bound { events: bound, bytes: usize::MAX }, members: 0, grace: Duration::ZERO };
            let start = Cursor { epoch: Epoch(1), offset: Offset(9) };
            let of = Presence::new(Name::lobby(), start, bounds);
            let shown = Presence::copy_of(&of, Tick(0));
            Pair { of, shown, next: 10, readers: Vec::new() }
        }

        /// Applies some commands, and returns the number of events.
        fn change(&mut self, rng: &mut fastrand::Rng) -> usize {
            let mut events = 0;
            for _ in 0..rng.usize(..8) {
                let user: Name = rng.u8(..12).to_string().parse().unwrap();
                let command = if rng.bool() { Command::sign_in(user) } else { Command::sign_out(user) };
                let outcome = self.of.fold(&[command], Position(self.next), moment(self.next));
                self.next += rng.u64(1..4) + outcome.events as u64;
                events += outcome.events;
            }
            events
        }

        /// Each reader goes on from its place to the present set, if it can: by events, or else netted.
        fn check(&mut self, seed: u64) -> [usize; 3] {
            assert_eq!((self.shown.head(), names(self.shown.roster())), (self.of.head(), names(self.of.roster())));
            let mut ways = [0; 3];
            for (place, set) in &self.readers {
                if let Some(events) = self.shown.after(*place) {
                    ways[0] += 1;
                    let mut set = set.clone();
                    for event in events {
                        match &event.change {
                            Change::Add(member) => assert!(set.insert(member.user.clone()), "seed {seed}"),
                            Change::Del(user, _) => assert!(set.remove(user), "seed {seed}"),
                            Change::Update(_) | Change::Suspect(_) => {}
                        }
                    }
                    assert_eq!(set, names(self.of.roster()), "seed {seed}: events after {place:?}");
                } else if let Some(gap) = self.shown.gap(*place) {
                    ways[1] += 1;
                    let changes = gap.net(crate::model::moment::Taken { at: Timestamp(0), fresh_for: None });
                    let mut set = set.clone();
                    changes.gone().iter().for_each(|gone| assert!(set.remove(&gone.user), "seed {seed}"));
                    set.extend(changes.set().iter().map(|put| put.member.user.clone()));
                    assert_eq!(set, names(self.of.roster()), "seed {seed}: netted after {place:?}");
                } else {
                    ways[2] += 1;
                }
            }
            self.readers.push((self.shown.head().offset, names(self.shown.roster())));
            ways
        }
    }

    /// Seeded: a room that follows another, at once or in leaps, leads readers to the same set; all three ways come up.
    #[test]
    fn a_room_that_follows_another_leads_its_readers_to_the_same_set() {
        let mut all = [0; 3];
        for seed in 0..100 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut pair = Pair::new(rng.usize(1..20));
            let mut missed = false;
            for _ in 0..40 {
                let events = pair.change(&mut rng);
                if rng.u8(..4) == 0 {
                    missed = true;
                    continue;
                }
                match std::mem::take(&mut missed) {
                    true => pair.shown.leap(&pair.of),
                    false => pair.shown.follow(&pair.of, events, Tick(pair.next)),
                }
                if rng.bool() {
                    pair.of.forget_all();
                }
                let ways = pair.check(seed);
                all.iter_mut().zip(ways).for_each(|(all, ways)| *all += ways);
            }
        }
        assert!(all.iter().all(|ways| *ways > 100), "{all:?}");
    }

    #[test]
    fn another_order_of_events_resumes_nowhere() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut pair = Pair::new(10);
        let events = pair.change(&mut rng);
        pair.shown.follow(&pair.of, events, Tick(1));
        let before = pair.shown.head();
        pair.of.renew(Cursor { epoch: Epoch(2), offset: Offset(pair.next) });
        pair.shown.follow(&pair.of, 0, Tick(2));
        assert_eq!((pair.shown.head(), pair.shown.place(before)), (pair.of.head(), None));
        assert!(pair.shown.after(before.offset).is_none() && pair.shown.gap(before.offset).is_none());
    }
}
