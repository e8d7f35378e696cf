//! The hold registry: the open connections that hold members, to be notified when others end their holds.

use std::fmt;
use std::sync::{Arc, Weak};

use dashmap::DashMap;

use crate::model::id::ConnectionId;
use crate::model::moment::Tick;
use crate::model::outcome::EndedHold;
use crate::rooms::key::RoomKey;

/// An open connection, to be notified.
pub trait HoldListener: Send + Sync {
    /// Others ended a hold of the connection in `room`.
    fn hold_ended(self: Arc<Self>, room: RoomKey, ended: &EndedHold);

    /// Since when the client is silent, of a connection that is lost for this reason.
    fn silent_since(&self) -> Option<Tick>;
}

/// The open connections that hold members, by id.
#[derive(Default)]
pub struct HoldRegistry(DashMap<ConnectionId, Entry>);

enum Entry {
    /// The hold exists before the connection: the holds ended in the meantime.
    Expected(Vec<(RoomKey, EndedHold)>),
    Open(Weak<dyn HoldListener>),
}

impl HoldRegistry {
    /// Announces the connection `id`, which holds before it is open.
    pub fn expect(&self, id: ConnectionId) {
        self.0.entry(id).or_insert(Entry::Expected(Vec::new()));
    }

    /// Adds the connection `id`, and notifies `listener` of the holds ended in the meantime.
    pub fn open(&self, id: ConnectionId, listener: &Arc<impl HoldListener + 'static>) {
        let weak = Arc::downgrade(listener);
        if let Some(Entry::Expected(missed)) = self.0.insert(id, Entry::Open(weak)) {
            missed.iter().for_each(|(room, ended)| listener.clone().hold_ended(*room, ended));
        }
    }

    /// Removes the connection `id`.
    pub fn remove(&self, id: ConnectionId) {
        self.0.remove(&id);
    }

    /// Since when the client of the connection `id` is silent, if the connection is lost for this reason.
    pub fn silent_since(&self, id: ConnectionId) -> Option<Tick> {
        let listener = match self.0.get(&id).as_deref() {
            Some(Entry::Open(listener)) => listener.upgrade(),
            Some(Entry::Expected(_)) | None => None,
        };
        listener?.silent_since()
    }

    /// Notifies the connection whose hold was ended in `room`.
    pub fn notify(&self, room: RoomKey, ended: &EndedHold) {
        let listener = match self.0.get_mut(&ended.connection).as_deref_mut() {
            Some(Entry::Open(listener)) => listener.upgrade(),
            Some(Entry::Expected(missed)) => {
                missed.push((room, ended.clone()));
                None
            }
            None => None,
        };
        if let Some(listener) = listener {
            listener.hold_ended(room, ended);
        }
    }
}

impl fmt::Debug for HoldRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HoldRegistry({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use uuid::Uuid;

    use super::*;
    use crate::model::outcome::EndCause;

    #[derive(Default)]
    struct Causes(Mutex<Vec<EndCause>>);

    impl HoldListener for Causes {
        fn hold_ended(self: Arc<Self>, _: RoomKey, ended: &EndedHold) {
            self.0.lock().push(ended.cause);
        }

        fn silent_since(&self) -> Option<Tick> {
            None
        }
    }

    /// An SSE client's hold exists before the connection is open: a newer connection may replace the hold in between.
    #[test]
    fn a_connection_is_notified_of_holds_ended_before_it_was_open() {
        let room = RoomKey::of(&0);
        let (registry, causes) = (HoldRegistry::default(), Arc::new(Causes::default()));
        let [id, other] = [1, 2].map(|n| ConnectionId(Uuid::from_u128(n)));
        let ended = |connection, cause| EndedHold { connection, cause, event: None };
        registry.notify(room, &ended(id, EndCause::Left));
        registry.expect(id);
        registry.notify(room, &ended(id, EndCause::Replaced));
        registry.notify(room, &ended(other, EndCause::Left));
        assert!(causes.0.lock().is_empty());
        registry.open(id, &causes);
        registry.notify(room, &ended(id, EndCause::Left));
        registry.remove(id);
        registry.notify(room, &ended(id, EndCause::Left));
        assert_eq!(*causes.0.lock(), [EndCause::Replaced, EndCause::Left]);
    }
}
