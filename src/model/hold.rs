//! Holds: the reasons why a member is present.

use std::sync::Arc;

use serde::Serialize;

use crate::model::id::{ClientId, ConnectionId};
use crate::model::moment::Tick;

/// Identifies one hold among those of a user in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldId {
    /// The sign-in: a user has at most one in a room.
    SignIn,
    /// The hold of this connection.
    Connection(ConnectionId),
}

/// One reason why a member is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Made over HTTP. Ends with a sign-out; a lease also ends at its deadline.
    SignIn(Option<Tick>),
    /// Made by a connection.
    Connection(ConnectionHold),
}

/// The hold of a connection that is open, or was lost within the grace period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionHold {
    /// The connection.
    pub connection: ConnectionId,
    /// The client that opened the connection, if the client named itself.
    pub client: Option<ClientId>,
    /// The connection's transport.
    pub transport: Transport,
    /// The end of the grace period, once the connection is lost.
    pub deadline: Option<Tick>,
}

/// A connection's transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Server-sent events.
    Sse,
    /// WebSocket.
    WebSocket,
}

impl Hold {
    /// The id, unique among the user's holds in the room.
    pub fn id(&self) -> HoldId {
        match self {
            Hold::SignIn(_) => HoldId::SignIn,
            Hold::Connection(hold) => HoldId::Connection(hold.connection),
        }
    }

    /// The deadline; `None` for a hold that does not end by itself.
    pub fn deadline(&self) -> Option<Tick> {
        match self {
            Hold::SignIn(deadline) => *deadline,
            Hold::Connection(hold) => hold.deadline,
        }
    }
}

/// A sign-in without a deadline.
const PERMANENT: Hold = Hold::SignIn(None);

/// The holds of one member, who stays while a hold is left. Holds are stored beside the member and not in it, since
/// readers never see them.
///
/// Most members of a large room have one permanent sign-in, so that case takes no memory of its own. All other holds
/// are shared with the copies that snapshots keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holds(Stored);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stored {
    PermanentSignIn,
    List(Arc<Vec<Hold>>),
}

impl Holds {
    /// A member's first hold.
    pub fn of(hold: Hold) -> Self {
        Holds(if hold == PERMANENT { Stored::PermanentSignIn } else { Stored::List(Arc::new(vec![hold])) })
    }

    /// Adds a hold. Replaces and returns the hold with the same id.
    pub fn put(&mut self, hold: Hold) -> Option<Hold> {
        let old = self.take(hold.id());
        self.edit(|holds| holds.push(hold));
        old
    }

    /// Removes and returns a hold.
    pub fn take(&mut self, id: HoldId) -> Option<Hold> {
        let at = self.iter().position(|hold| hold.id() == id)?;
        let mut taken = None;
        self.edit(|holds| taken = Some(holds.swap_remove(at)));
        taken
    }

    /// The hold with this id.
    pub fn get(&self, id: HoldId) -> Option<&Hold> {
        self.iter().find(|hold| hold.id() == id)
    }

    /// The connection hold of this client.
    pub fn of_client(&self, client: ClientId) -> Option<&ConnectionHold> {
        self.iter().find_map(|hold| match hold {
            Hold::Connection(hold) if hold.client == Some(client) => Some(hold),
            Hold::Connection(_) | Hold::SignIn(_) => None,
        })
    }

    /// Whether no hold is left.
    pub fn is_empty(&self) -> bool {
        self.iter().len() == 0
    }

    /// All holds.
    pub fn iter(&self) -> std::slice::Iter<'_, Hold> {
        match &self.0 {
            Stored::PermanentSignIn => const { &[PERMANENT] }.iter(),
            Stored::List(holds) => holds.iter(),
        }
    }

    fn edit(&mut self, change: impl FnOnce(&mut Vec<Hold>)) {
        if self.0 == Stored::PermanentSignIn {
            self.0 = Stored::List(Arc::new(vec![PERMANENT]));
        }
        if let Stored::List(holds) = &mut self.0 {
            change(Arc::make_mut(holds));
            if holds[..] == [PERMANENT] {
                self.0 = Stored::PermanentSignIn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> ConnectionId {
        ConnectionId(Uuid::from_u128(n))
    }

    fn connection(n: u128, client: Option<u128>) -> Hold {
        let (connection, client) = (id(n), client.map(|client| ClientId(Uuid::from_u128(client))));
        Hold::Connection(ConnectionHold { connection, client, transport: Transport::Sse, deadline: None })
    }

    #[test]
    fn a_permanent_sign_in_takes_one_pointer() {
        let mut holds = Holds::of(Hold::SignIn(Some(Tick(7))));
        assert_eq!(holds.put(Hold::SignIn(None)), Some(Hold::SignIn(Some(Tick(7)))));
        assert_eq!((holds.0.clone(), size_of::<Holds>()), (Stored::PermanentSignIn, 8));
        assert!(holds.put(connection(1, None)).is_none());
        assert_eq!(holds.iter().count(), 2);
        assert_eq!(holds.take(HoldId::Connection(id(1))), Some(connection(1, None)));
        assert_eq!(holds.0, Stored::PermanentSignIn);
        assert!(holds.take(HoldId::SignIn).is_some() && holds.is_empty());
    }

    #[test]
    fn each_connection_holds_once_and_is_found_by_its_client() {
        let mut holds = Holds::of(connection(1, Some(10)));
        holds.put(connection(2, Some(20)));
        assert_eq!(holds.put(connection(2, Some(30))), Some(connection(2, Some(20))));
        let found = |client| holds.of_client(ClientId(Uuid::from_u128(client))).map(|hold| hold.connection.0.as_u128());
        assert_eq!([found(10), found(20), found(30)], [Some(1), None, Some(2)]);
    }
}
