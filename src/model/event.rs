//! Events: the changes of a room's set, each at its place in the room's order.

use std::sync::{Arc, OnceLock};

use serde::Serialize;

use crate::model::cursor::Cursor;
use crate::model::meta::Meta;
use crate::model::name::Name;
use crate::model::roster::Member;

/// The reason of a `del`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DelReason {
    /// Signed out over HTTP.
    SignedOut,
    /// Left by a message, or closed the connection cleanly.
    Closed,
    /// The connection was lost, and the grace period ran out.
    Timeout,
    /// The lease ran out.
    Expired,
    /// Kicked over HTTP.
    Kicked,
}

/// The change of the set by an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The user became a member.
    Add(Arc<Member>),
    /// The member's `meta` changed.
    Update(Name, Meta),
    /// The user is no longer a member.
    Del(Name, DelReason),
}

impl Change {
    /// The user.
    pub fn user(&self) -> &Name {
        match self {
            Change::Add(member) => &member.user,
            Change::Update(user, _) | Change::Del(user, _) => user,
        }
    }
}

/// What an event takes beside its fields: the place in the history, the member, and the fixed text of its JSON.
const OVERHEAD: usize = 192;

/// One event of a room, shared by all its readers.
#[derive(Debug)]
pub struct Event {
    /// The room.
    pub room: Name,
    /// The event's place: a reader that has seen the event stands here.
    pub cursor: Cursor,
    /// The change of the set.
    pub change: Change,
    encoded: OnceLock<Box<str>>,
}

impl Event {
    /// The event of `room` at `cursor`.
    pub fn new(room: Name, cursor: Cursor, change: Change) -> Self {
        Event { room, cursor, change, encoded: OnceLock::new() }
    }

    /// The memory that the event takes, about: with its JSON, and with the name and the `meta` as if nothing else had them.
    pub fn bytes(&self) -> usize {
        let (user, meta) = match &self.change {
            Change::Add(member) => (&member.user, member.meta.as_str().len()),
            Change::Update(user, meta) => (user, meta.as_str().len()),
            Change::Del(user, _) => (user, 0),
        };
        OVERHEAD + size_of::<Event>() + self.room.len() + 2 * (user.len() + meta)
    }

    /// The event's own JSON, made by `encode` for the first reader and shared with all others.
    pub fn encoded(&self, encode: impl FnOnce(&Event) -> String) -> &str {
        self.encoded.get_or_init(|| encode(self).into())
    }
}
