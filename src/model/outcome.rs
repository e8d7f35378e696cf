//! Outcomes: the effects of commands on a room.

use std::sync::Arc;
use std::time::Duration;

use crate::model::cursor::Cursor;
use crate::model::event::{DelReason, Event};
use crate::model::id::{ClientId, ConnectionId};
use crate::model::name::Name;

/// The effect of some commands on a room.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Users who became members.
    pub added: usize,
    /// Users who are no longer members.
    pub removed: usize,
    /// Events made.
    pub events: usize,
    /// The room's place after the commands.
    pub cursor: Cursor,
    /// Open connections whose holds were ended by others.
    pub ended: Vec<EndedHold>,
    /// Users that these clients may not hold for a while, because they were signed out.
    pub denied: Vec<(Name, ClientId, DelReason)>,
    /// Holds of lost connections that their client took up again within the grace period.
    pub saved: usize,
    /// For each user who is no longer a member because a connection did not come back: the time since its loss.
    pub absences: Vec<Duration>,
}

impl Outcome {
    /// No effect on a room at `cursor`.
    pub fn none(cursor: Cursor) -> Self {
        Outcome {
            added: 0,
            removed: 0,
            events: 0,
            cursor,
            ended: Vec::new(),
            denied: Vec::new(),
            saved: 0,
            absences: Vec::new(),
        }
    }
}

/// An open connection's hold that was ended by others.
#[derive(Clone, Debug)]
pub struct EndedHold {
    /// The connection that made the hold.
    pub connection: ConnectionId,
    /// The cause.
    pub cause: EndCause,
    /// The member's `del`, if the hold was the last.
    pub event: Option<Arc<Event>>,
}

/// How others ended a connection's hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// A newer connection of the same client took the hold's place.
    Replaced,
    /// The user was signed out or kicked, or the client left over HTTP.
    Left,
}
