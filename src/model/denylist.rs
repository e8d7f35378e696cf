//! The denylist: clients that were signed out or kicked, and may only watch for a while.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::command::{Action, Command};
use crate::model::event::DelReason;
use crate::model::id::ClientId;
use crate::model::moment::Tick;
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::refusal::{Code, Refusal};

/// How long an entry lasts. The EventSource of a forgotten tab reconnects for as long as the tab is open; a person who
/// returns after an hour means to return.
const TERM: Duration = Duration::from_secs(3_600);

/// The most entries, in all rooms together: some 20 MB. The oldest are forgotten first.
pub const MAX_ENTRIES: usize = 100_000;

/// A client that may only watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The client.
    pub client: ClientId,
    /// The room.
    pub room: Name,
    /// The user that the client may not hold.
    pub user: Name,
    /// The end.
    pub deadline: Tick,
    /// The cause: signed out or kicked.
    pub reason: DelReason,
}

/// A client that may not hold a user in a room.
type Key = (ClientId, Name, Name);

/// Users and clients that may only watch, in all rooms. An EventSource reconnects by itself; without the denylist it would
/// undo each sign-out within seconds. An entry is no ban: a client may choose another id.
///
/// The list stands apart from the rooms, so that no room is kept for its sake.
#[derive(Debug, Default)]
pub struct Denylist {
    entries: BTreeMap<Key, (Tick, DelReason)>,
    /// The keys in the order of their deadlines. A key that was added again is here twice.
    deadlines: VecDeque<(Tick, Key)>,
}

impl Denylist {
    /// Judges `commands` for `room`.
    ///
    /// # Errors
    ///
    /// `signed_out` or `kicked` for a single join of a listed client. Only single commands join.
    pub fn check(&self, room: &Name, commands: &[Command], now: Tick) -> Result<(), Refusal> {
        let [Command::User(user, Action::Join(hold, ..))] = commands else {
            return Ok(());
        };
        let Some(reason) = hold.client.and_then(|client| self.reason(room, user, client, now)) else {
            return Ok(());
        };
        let (code, how) = match reason {
            DelReason::Kicked => (Code::Kicked, "kicked"),
            DelReason::SignedOut | DelReason::Closed | DelReason::Timeout => (Code::SignedOut, "signed out"),
            DelReason::Expired | DelReason::NodeLost => (Code::SignedOut, "signed out"),
        };
        let message = format!("{user} was {how}; this client only watches, for an hour or until its id is another");
        Err(Refusal::new(code, message).of("client"))
    }

    /// Adds the clients that `outcome` denies `room` from `now` on.
    pub fn record(&mut self, room: &Name, outcome: &Outcome, now: Tick) {
        for (user, client, reason) in &outcome.denied {
            self.add(room, user, *client, now, *reason);
        }
    }

    /// Denies `client` the room as `user` from `now` on.
    pub fn add(&mut self, room: &Name, user: &Name, client: ClientId, now: Tick, reason: DelReason) {
        self.forget(now);
        let (room, user, deadline) = (room.clone(), user.clone(), now + TERM);
        self.put(Denial { client, room, user, deadline, reason });
    }

    /// Puts a denial back that was kept, after those of earlier deadlines. One that lasts longer already stays as it is.
    pub fn put(&mut self, denial: Denial) {
        let Denial { client, room, user, deadline, reason } = denial;
        let key = (client, room, user);
        match self.entries.get_mut(&key) {
            Some((last, _)) if *last > deadline => {}
            Some((last, old)) if *last == deadline => *old = reason,
            Some(_) | None => {
                if self.deadlines.len() >= MAX_ENTRIES {
                    self.forget_first();
                }
                self.entries.insert(key.clone(), (deadline, reason));
                self.deadlines.push_back((deadline, key));
            }
        }
    }

    /// All denials, in the order of their deadlines.
    pub fn all(&self) -> impl Iterator<Item = Denial> {
        self.deadlines.iter().filter_map(|(deadline, key)| {
            let (_, reason) = *self.entries.get(key).filter(|(last, _)| last == deadline)?;
            let (client, room, user) = key.clone();
            Some(Denial { client, room, user, deadline: *deadline, reason })
        })
    }

    fn reason(&self, room: &Name, user: &Name, client: ClientId, now: Tick) -> Option<DelReason> {
        let key = (client, room.clone(), user.clone());
        self.entries.get(&key).filter(|(deadline, _)| *deadline > now).map(|(_, reason)| *reason)
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
        let (mut list, room, ann) = (Denylist::default(), Name::lobby(), "ann".parse().unwrap());
        let end = START + TERM;
        list.add(&room, &ann, CLIENT, START, DelReason::SignedOut);
        list.add(&room, &ann, CLIENT, Tick(1_000), DelReason::Kicked);
        assert_eq!(list.reason(&room, &ann, CLIENT, Tick(end.0 + 999)), Some(DelReason::Kicked));
        assert_eq!(list.reason(&room, &ann, CLIENT, Tick(end.0 + 1_000)), None);
        list.forget(end);
        assert!(list.reason(&room, &ann, CLIENT, end).is_some() && !list.is_empty());
        list.forget(Tick(end.0 + 1_000));
        assert!(list.is_empty() && list.entries.is_empty());
        assert_eq!(list.reason(&ann, &ann, CLIENT, START), None);
        assert_eq!(list.reason(&room, &"bob".parse().unwrap(), CLIENT, START), None);
    }

    #[test]
    fn a_list_that_is_put_back_is_the_same_and_a_longer_denial_stays() {
        let (mut list, room, ann) = (Denylist::default(), Name::lobby(), "ann".parse().unwrap());
        for now in [0, 5, 5, 9] {
            list.add(&room, &ann, CLIENT, Tick(now), DelReason::SignedOut);
            list.add(&room, &ann, ClientId(Uuid::from_u128(now.into())), Tick(now), DelReason::Kicked);
        }
        let mut again = Denylist::default();
        list.all().for_each(|denial| again.put(denial));
        assert_eq!((again.entries.clone(), again.all().count()), (list.entries.clone(), 4));
        let older = Denial { client: CLIENT, room, user: ann, deadline: START + TERM, reason: DelReason::Kicked };
        again.put(older);
        assert_eq!(again.entries, list.entries);
    }

    #[test]
    fn the_oldest_entries_are_forgotten_when_there_are_too_many() {
        let (mut list, room, ann) = (Denylist::default(), Name::lobby(), "ann".parse().unwrap());
        let client = |n: usize| ClientId(Uuid::from_u128(n as u128));
        (0..=MAX_ENTRIES).for_each(|n| list.add(&room, &ann, client(n), Tick(n as u64), DelReason::SignedOut));
        assert_eq!(list.deadlines.len(), MAX_ENTRIES);
        let known = |n| list.reason(&room, &ann, client(n), START).is_some();
        assert!(!known(0) && known(1) && known(MAX_ENTRIES));
    }
}
