//! Ids: of connections, and of the clients that open them.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

/// Names one connection in logs and in lists of holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ConnectionId(pub Uuid);

/// Names a client across the connections it opens one after the other. The client makes it up (RFC 9562).
///
/// Never shown to others, so it has neither `Display` nor `Serialize`: anyone who knows it could take the client's
/// place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub Uuid);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
