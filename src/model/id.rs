//! Ids: of connections, and of the clients that open them.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

/// Names one connection in logs and in lists of holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ConnectionId(pub Uuid);

/// Names a client across successive connections: a UUID (RFC 9562) made by the client.
///
/// Never shown to others, and therefore without `Display` and `Serialize`: anyone with the id could take the client's
/// place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub Uuid);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
