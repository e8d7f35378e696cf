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
