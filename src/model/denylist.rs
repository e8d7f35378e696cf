//! The denylist of a room: clients that were signed out or kicked, and may only watch for a while.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::event::DelReason;
use crate::model::id::ClientId;
use crate::model::moment::Tick;
use crate::model::name::Name;

/// How long an entry lasts. The EventSource of a forgotten tab reconnects for as long as the tab is open; a person who
/// returns after an hour means to return.
const TERM: Duration = Duration::from_secs(3_600);

/// The most entries of one room. The oldest are forgotten first.
const MAX_ENTRIES: usize = 10_000;

/// Users and clients that may only watch. An EventSource reconnects by itself; without the denylist it would undo each
/// sign-out within seconds. An entry is no ban: a client may choose another id.
#[derive(Debug, Default)]
pub struct Denylist {
    entries: BTreeMap<(Name, ClientId), (Tick, DelReason)>,
    /// The keys in the order of their deadlines. A key that was added again is here twice.
    deadlines: VecDeque<(Tick, (Name, ClientId))>,
}

impl Denylist {
    /// Denies `client` to hold `user` from `now` on.
    pub fn add(&mut self, user: &Name, client: ClientId, now: Tick, reason: DelReason) {
        self.forget(now);
        if self.deadlines.len() >= MAX_ENTRIES {
            self.forget_first();
        }
        let (key, deadline) = ((user.clone(), client), now + TERM);
        self.entries.insert(key.clone(), (deadline, reason));
        self.deadlines.push_back((deadline, key));
    }

    /// The reason why `client` may not hold `user`; `None` without an entry.
    pub fn reason(&self, user: &Name, client: ClientId, now: Tick) -> Option<DelReason> {
        self.entries.get(&(user.clone(), client)).filter(|(deadline, _)| *deadline > now).map(|(_, reason)| *reason)
    }

    /// Forgets expired entries.
    pub fn forget(&mut self, now: Tick) {
        while self.deadlines.front().is_some_and(|(deadline, _)| *deadline <= now) {
            self.forget_first();
        }
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    fn forget_first(&mut self) {
        if let Some((deadline, key)) = self.deadlines.pop_front()
            && self.entries.get(&key).is_some_and(|(last, _)| *last == deadline)
        {
            self.entries.remove(&key);
        }
        if self.deadlines.is_empty() {
            *self = Denylist::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const CLIENT: ClientId = ClientId(Uuid::from_u128(7));
    const START: Tick = Tick(0);

    #[test]
    fn an_entry_lasts_an_hour_from_the_last_sign_out() {
        let (mut list, ann) = (Denylist::default(), Name::lobby());
        let end = START + TERM;
        list.add(&ann, CLIENT, START, DelReason::SignedOut);
        list.add(&ann, CLIENT, Tick(1_000), DelReason::Kicked);
        assert_eq!(list.reason(&ann, CLIENT, Tick(end.0 + 999)), Some(DelReason::Kicked));
        assert_eq!(list.reason(&ann, CLIENT, Tick(end.0 + 1_000)), None);
        list.forget(end);
        assert!(list.reason(&ann, CLIENT, end).is_some() && !list.is_empty());
        list.forget(Tick(end.0 + 1_000));
        assert!(list.is_empty() && list.entries.is_empty());
        assert_eq!(list.reason(&"bob".parse().unwrap(), CLIENT, START), None);
    }

    #[test]
    fn the_oldest_entries_are_forgotten_when_there_are_too_many() {
        let (mut list, ann) = (Denylist::default(), Name::lobby());
        let client = |n: usize| ClientId(Uuid::from_u128(n as u128));
        (0..=MAX_ENTRIES).for_each(|n| list.add(&ann, client(n), Tick(n as u64), DelReason::SignedOut));
        assert_eq!(list.deadlines.len(), MAX_ENTRIES);
        let known = |n| list.reason(&ann, client(n), START).is_some();
        assert!(!known(0) && known(1) && known(MAX_ENTRIES));
    }
}
