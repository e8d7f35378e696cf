//! The open connections that hold members, to be told when others end their holds.

use std::fmt;
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use uuid::Uuid;

use crate::model::presence::Ended;
use crate::rooms::room::RoomKey;

/// Someone whose holds others may end: an open connection.
pub trait Holder: Send + Sync {
    /// Tells of a hold that ended in `room`.
    fn ended(self: Arc<Self>, room: RoomKey, ended: &Ended);
}

/// The open connections that hold members, by their ids.
#[derive(Default)]
pub struct Holders(DashMap<Uuid, Who>);

enum Who {
    /// Not a connection yet: its hold came first. What happens to it meanwhile is told then.
    Coming(Vec<(RoomKey, Ended)>),
    Here(Weak<dyn Holder>),
}

impl Holders {
    /// Expects the connection `id` to hold somebody soon.
    pub fn expect(&self, id: Uuid) {
        self.0.entry(id).or_insert(Who::Coming(Vec::new()));
    }

    /// The connection is here: what happened to its holds until now it is told at once.
    pub fn arrived(&self, id: Uuid, holder: &Arc<impl Holder + 'static>) {
        let weak = Arc::downgrade(holder);
        if let Some(Who::Coming(missed)) = self.0.insert(id, Who::Here(weak)) {
            missed.iter().for_each(|(room, ended)| holder.clone().ended(*room, ended));
        }
    }

    /// The connection holds nobody any more.
    pub fn forget(&self, id: Uuid) {
        self.0.remove(&id);
    }

    /// Tells whoever had the hold that ended in `room`.
    pub fn tell(&self, room: RoomKey, ended: &Ended) {
        let holder = match self.0.get_mut(&ended.connection).as_deref_mut() {
            Some(Who::Here(holder)) => holder.upgrade(),
            Some(Who::Coming(missed)) => {
                missed.push((room, ended.clone()));
                None
            }
            None => None,
        };
        if let Some(holder) = holder {
            holder.ended(room, ended);
        }
    }
}

impl fmt::Debug for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holders({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::model::name::Name;
    use crate::model::presence::{Bounds, Presence, Why};
    use crate::rooms::room::Room;

    #[derive(Default)]
    struct Told(Mutex<Vec<Why>>);

    impl Holder for Told {
        fn ended(self: Arc<Self>, _: RoomKey, ended: &Ended) {
            self.0.lock().push(ended.why);
        }
    }

    /// An SSE client's hold comes before its connection: a newer one may replace it in between.
    #[test]
    fn what_happens_before_a_connection_is_here_is_told_when_it_is() {
        let bounds = Bounds { history: 1, members: 0, grace: 0 };
        let room = Room::new(Presence::new(Name::lobby(), 1, bounds), Arc::default()).key();
        let (holders, told) = (Holders::default(), Arc::new(Told::default()));
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let ended = |connection, why| Ended { connection, why, event: None };
        holders.tell(room, &ended(id, Why::Kicked));
        holders.expect(id);
        holders.tell(room, &ended(id, Why::Replaced));
        holders.tell(room, &ended(other, Why::Kicked));
        assert!(told.0.lock().is_empty());
        holders.arrived(id, &told);
        holders.tell(room, &ended(id, Why::Left));
        holders.forget(id);
        holders.tell(room, &ended(id, Why::Kicked));
        assert_eq!(*told.0.lock(), [Why::Replaced, Why::Left]);
    }
}
