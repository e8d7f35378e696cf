//! Why a member is present.

use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use crate::model::moment::Tick;

/// One of the holds that a user can have in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The one sign-in.
    SignIn,
    /// That of the connection with this id.
    Connection(Uuid),
}

/// One reason why a member is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Made over HTTP. It ends with a sign-out, or by itself when it is a lease.
    SignIn(Option<Tick>),
    /// Made by an open connection.
    Connection(ConnectionHold),
}

/// What an open connection, or one that was lost a moment ago, holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionHold {
    /// Whose it is.
    pub connection: Uuid,
    /// Who opens one such connection after the other. Never shown: who knows it could take the place of it.
    pub client: Option<Uuid>,
    /// How the connection is made.
    pub transport: Transport,
    /// When it ends, once the connection is lost.
    pub ends: Option<Tick>,
}

/// How a connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Server-sent events.
    Sse,
    /// WebSocket.
    WebSocket,
}

impl Hold {
    /// Which of its user's holds this is.
    pub fn which(&self) -> Which {
        match self {
            Hold::SignIn(_) => Which::SignIn,
            Hold::Connection(hold) => Which::Connection(hold.connection),
        }
    }

    /// When it ends by itself.
    pub fn ends(&self) -> Option<Tick> {
        match self {
            Hold::SignIn(ends) => *ends,
            Hold::Connection(hold) => hold.ends,
        }
    }
}

/// A sign-in that ends only with a sign-out.
const FOR_GOOD: Hold = Hold::SignIn(None);

/// The holds of one member, who stays while there is one. They stand beside the member and not in it,
/// since readers never see them.
///
/// A large room is mostly people who signed in for good, so that alone takes no memory of its own;
/// the others share theirs with the copies that snapshots keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holds(Kept);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    SignedIn,
    These(Arc<Vec<Hold>>),
}

impl Holds {
    /// A first hold.
    pub fn of(hold: Hold) -> Self {
        Holds(if hold == FOR_GOOD { Kept::SignedIn } else { Kept::These(Arc::new(vec![hold])) })
    }

    /// Adds a hold in the place of that which was the same before, and gives that back.
    pub fn put(&mut self, hold: Hold) -> Option<Hold> {
        let old = self.take(hold.which());
        self.edit(|holds| holds.push(hold));
        old
    }

    /// Takes a hold away.
    pub fn take(&mut self, which: Which) -> Option<Hold> {
        let at = self.iter().position(|hold| hold.which() == which)?;
        let mut taken = None;
        self.edit(|holds| taken = Some(holds.swap_remove(at)));
        taken
    }

    /// This hold, if it is there.
    pub fn get(&self, which: Which) -> Option<&Hold> {
        self.iter().find(|hold| hold.which() == which)
    }

    /// The connection's hold that belongs to `client`.
    pub fn of_client(&self, client: Uuid) -> Option<&ConnectionHold> {
        self.iter().find_map(|hold| match hold {
            Hold::Connection(hold) if hold.client == Some(client) => Some(hold),
            Hold::Connection(_) | Hold::SignIn(_) => None,
        })
    }

    /// Whether nothing holds the member any more.
    pub fn is_empty(&self) -> bool {
        self.iter().len() == 0
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Hold> {
        match &self.0 {
            Kept::SignedIn => const { &[FOR_GOOD] }.iter(),
            Kept::These(holds) => holds.iter(),
        }
    }

    fn edit(&mut self, change: impl FnOnce(&mut Vec<Hold>)) {
        if self.0 == Kept::SignedIn {
            self.0 = Kept::These(Arc::new(vec![FOR_GOOD]));
        }
        if let Kept::These(holds) = &mut self.0 {
            change(Arc::make_mut(holds));
            if holds[..] == [FOR_GOOD] {
                self.0 = Kept::SignedIn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(n: u128, client: Option<u128>) -> Hold {
        let (connection, client) = (Uuid::from_u128(n), client.map(Uuid::from_u128));
        Hold::Connection(ConnectionHold { connection, client, transport: Transport::Sse, ends: None })
    }

    #[test]
    fn a_sign_in_for_good_takes_a_pointer_and_no_more() {
        let mut holds = Holds::of(Hold::SignIn(Some(7)));
        assert_eq!(holds.put(Hold::SignIn(None)), Some(Hold::SignIn(Some(7))));
        assert_eq!((holds.0.clone(), size_of::<Holds>()), (Kept::SignedIn, 8));
        assert!(holds.put(connection(1, None)).is_none());
        assert_eq!(holds.iter().count(), 2);
        assert_eq!(holds.take(Which::Connection(Uuid::from_u128(1))), Some(connection(1, None)));
        assert_eq!(holds.0, Kept::SignedIn);
        assert!(holds.take(Which::SignIn).is_some() && holds.is_empty());
    }

    #[test]
    fn each_connection_holds_once_and_is_found_by_its_client() {
        let mut holds = Holds::of(connection(1, Some(10)));
        holds.put(connection(2, Some(20)));
        assert_eq!(holds.put(connection(2, Some(30))), Some(connection(2, Some(20))));
        let found = |client| holds.of_client(Uuid::from_u128(client)).map(|hold| hold.connection.as_u128());
        assert_eq!([found(10), found(20), found(30)], [Some(1), None, Some(2)]);
    }
}
