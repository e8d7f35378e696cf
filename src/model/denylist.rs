//! Clients that were signed out, and may not undo it by coming back.

use std::collections::{BTreeMap, VecDeque};

use uuid::Uuid;

use crate::model::event::Reason;
use crate::model::moment::Tick;
use crate::model::name::Name;

/// How long: an EventSource of a forgotten tab reconnects for as long as the tab is open, but who
/// comes back after an hour has come back.
const TERM: Tick = 3_600_000;

/// The most that are remembered, of one room: those signed out longest ago are forgotten first.
const MOST: usize = 10_000;

/// Who may only watch for a while, in one room. An EventSource reconnects by itself; without this it
/// would undo each sign-out within seconds. It is no ban: a client may choose another id.
#[derive(Debug, Default)]
pub struct Barred {
    why: BTreeMap<(Name, Uuid), (Tick, Reason)>,
    /// The same in the order in which they end; who was barred again stands here twice.
    ends: VecDeque<(Tick, (Name, Uuid))>,
}

impl Barred {
    /// Bars `client` from holding `user`, from `now` on.
    pub fn add(&mut self, user: &Name, client: Uuid, now: Tick, reason: Reason) {
        self.forget(now);
        if self.ends.len() >= MOST {
            self.forget_first();
        }
        let (key, ends) = ((user.clone(), client), now + TERM);
        self.why.insert(key.clone(), (ends, reason));
        self.ends.push_back((ends, key));
    }

    /// Why `client` may not hold `user`, if it may not.
    pub fn why(&self, user: &Name, client: Uuid, now: Tick) -> Option<Reason> {
        self.why.get(&(user.clone(), client)).filter(|(ends, _)| *ends > now).map(|(_, reason)| *reason)
    }

    /// Forgets those whose time is over.
    pub fn forget(&mut self, now: Tick) {
        while self.ends.front().is_some_and(|(ends, _)| *ends <= now) {
            self.forget_first();
        }
    }

    /// Whether nobody is barred.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn forget_first(&mut self) {
        if let Some((ends, key)) = self.ends.pop_front()
            && self.why.get(&key).is_some_and(|(last, _)| *last == ends)
        {
            self.why.remove(&key);
        }
        if self.ends.is_empty() {
            *self = Barred::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Uuid = Uuid::from_u128(7);

    #[test]
    fn who_was_signed_out_is_barred_for_an_hour_from_the_last_time() {
        let (mut barred, ann) = (Barred::default(), Name::lobby());
        barred.add(&ann, CLIENT, 0, Reason::SignedOut);
        barred.add(&ann, CLIENT, 1_000, Reason::Kicked);
        assert_eq!(barred.why(&ann, CLIENT, TERM + 999), Some(Reason::Kicked));
        assert_eq!(barred.why(&ann, CLIENT, TERM + 1_000), None);
        barred.forget(TERM);
        assert!(barred.why(&ann, CLIENT, TERM).is_some() && !barred.is_empty());
        barred.forget(TERM + 1_000);
        assert!(barred.is_empty() && barred.why.is_empty());
        assert_eq!(barred.why(&"bob".parse().unwrap(), CLIENT, 0), None);
    }

    #[test]
    fn the_first_are_forgotten_when_there_are_too_many() {
        let (mut barred, ann) = (Barred::default(), Name::lobby());
        (0..=MOST as u128).for_each(|n| barred.add(&ann, Uuid::from_u128(n), n as Tick, Reason::SignedOut));
        assert_eq!(barred.ends.len(), MOST);
        let known = |n| barred.why(&ann, Uuid::from_u128(n), 0).is_some();
        assert!(!known(0) && known(1) && known(MOST as u128));
    }
}
