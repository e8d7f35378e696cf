//! The last events of a room, in memory and bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::event::{Change, Event, Reason};
use crate::model::name::Name;

/// For each event remembered whole, so many older ones are remembered in brief: some 60 bytes
/// instead of 300. At the default, a reader may fall 16,000 events behind before it needs the set.
const BRIEF: usize = 16;

/// The last events of a room, each with the second it happened in. Offsets count up by one, so an
/// event's place in the queue is its offset less the floor's.
#[derive(Debug)]
pub struct History {
    events: VecDeque<(u64, Arc<Event>)>,
    /// What is left of the events before those: enough to say what changed, not to tell it again.
    briefs: VecDeque<Brief>,
    /// The offset of the last event that is not whole any more: where one can just still resume.
    floor: u64,
    bound: usize,
}

/// Whom an event was about, and what it did.
#[derive(Clone, Debug)]
pub struct Brief {
    /// Who.
    pub user: Name,
    /// What.
    pub kind: Kind,
}

/// What an event did, in brief.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The user became a member.
    Add,
    /// A member's `meta` changed.
    Update,
    /// The user is no member any more.
    Del(Reason),
}

impl Brief {
    fn of(change: &Change) -> Self {
        let (user, kind) = match change {
            Change::Add(member) => (&member.user, Kind::Add),
            Change::Update(user, _) => (user, Kind::Update),
            Change::Del(user, reason) => (user, Kind::Del(*reason)),
        };
        Brief { user: user.clone(), kind }
    }
}

impl History {
    /// An empty history after the event at `floor`, for at most `bound` events.
    pub fn new(floor: u64, bound: usize) -> Self {
        History { events: VecDeque::new(), briefs: VecDeque::new(), floor, bound }
    }

    /// Remembers the next event, which happened at `second`.
    pub fn push(&mut self, second: u64, event: Arc<Event>) {
        self.events.push_back((second, event));
        if self.events.len() > self.bound
            && let Some(event) = self.forget()
        {
            if self.briefs.len() >= self.bound.saturating_mul(BRIEF) {
                self.briefs.pop_front();
            }
            self.briefs.push_back(Brief::of(&event.change));
        }
    }

    /// Forgets what happened before `second`.
    pub fn trim(&mut self, second: u64) {
        while self.events.front().is_some_and(|(at, _)| *at < second) {
            self.forget();
            // All of them are older still.
            self.briefs = VecDeque::new();
        }
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
    }

    /// The events after `offset`, or `None` when some of them are forgotten or `offset` is yet to come.
    pub fn after(&self, offset: u64) -> Option<impl Iterator<Item = &Arc<Event>>> {
        let known = usize::try_from(offset.checked_sub(self.floor)?).ok()?;
        (known <= self.events.len()).then(|| self.events.range(known..).map(|(_, event)| event))
    }

    /// The events after `offset` in brief, or `None` when some are forgotten even so.
    pub fn briefs_after(&self, offset: u64) -> Option<impl Iterator<Item = Brief>> {
        let floor = self.floor - self.briefs.len() as u64;
        let known = usize::try_from(offset.checked_sub(floor)?).ok()?;
        let briefs = self.briefs.range(known.min(self.briefs.len())..).cloned();
        let events = self.after(offset.max(self.floor))?.map(|event| Brief::of(&event.change));
        Some(briefs.chain(events))
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn forget(&mut self) -> Option<Arc<Event>> {
        let (_, event) = self.events.pop_front()?;
        self.floor = event.cursor.offset;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Change, Cursor, Reason};
    use crate::model::name::Name;

    fn history(bound: usize, offsets: std::ops::RangeInclusive<u64>) -> History {
        let mut history = History::new(*offsets.start() - 1, bound);
        for offset in offsets {
            let change = Change::Del("ann".parse().unwrap(), Reason::SignedOut);
            history.push(offset, Arc::new(Event::new(&Name::lobby(), Cursor { epoch: 1, offset }, change)));
        }
        history
    }

    fn after(history: &History, offset: u64) -> Option<Vec<u64>> {
        history.after(offset).map(|events| events.map(|e| e.cursor.offset).collect())
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

    #[test]
    fn what_is_not_whole_any_more_is_still_known_in_brief() {
        let history = history(2, 1..=50);
        let briefs = |offset| history.briefs_after(offset).map(Iterator::count);
        assert_eq!((briefs(50), briefs(48), briefs(47), briefs(16)), (Some(0), Some(2), Some(3), Some(34)));
        assert_eq!((briefs(15), briefs(51)), (None, None), "2 whole and 32 in brief");
    }

    #[test]
    fn old_events_are_forgotten_by_age_too() {
        let mut history = history(10, 1..=5);
        history.trim(4);
        assert_eq!((after(&history, 2), after(&history, 3)), (None, Some(vec![4, 5])));
        history.trim(100);
        assert_eq!((after(&history, 5), history.is_empty()), (Some(vec![]), true));
    }
}
