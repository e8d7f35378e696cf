//! Incarnations: the lives of nodes.

use std::fmt;

use uuid::Uuid;

use crate::journal::bytes::{Input, Keep, Unreadable};
use crate::journal::cluster::digest::{mix, of};
use crate::model::id::ConnectionId;
use crate::model::name::Name;

/// One life of a node: drawn when it begins, so that nothing of an earlier life is taken for its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub Uuid);

impl Incarnation {
    /// The connection whose hold stands for all connections of a user to this node.
    pub fn hold(self) -> ConnectionId {
        ConnectionId(self.0)
    }

    /// How much of a claim this incarnation has to what a lost node owned of a user: the highest is the heir. The claims of all
    /// others stay the same when one more is lost.
    pub fn claim(self, room: &Name, user: &Name) -> u64 {
        let (high, low) = self.0.as_u64_pair();
        [high, low, of(user.as_bytes())].into_iter().fold(of(room.as_bytes()), mix)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Keep for Incarnation {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        Keep::take(from).map(Incarnation)
    }
}
