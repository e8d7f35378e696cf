//! Events: the changes of a room's set, each at its place in the room's order.

use std::sync::{Arc, OnceLock};

use serde::Serialize;

use crate::model::cursor::Cursor;
use crate::model::moment::Timestamp;
use crate::model::name::Name;
use crate::model::roster::{Member, Suspect};

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
    /// Held through a node of a cluster that was lost.
    NodeLost,
}

/// The change of the set by an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The user became a member.
    Add(Arc<Member>),
    /// The member's `meta` or `info` changed.
    Update(Arc<Member>),
    /// The member is suspect, or no longer is; the member's `meta` or `info` may have changed at once.
    Suspect(Suspect),
    /// The user is no longer a member.
    Del(Name, DelReason),
}

impl Change {
    /// The member as shown to readers who do not ask for suspects; `None` if they see no change, or the member is gone.
    pub fn shown(&self) -> Option<&Arc<Member>> {
        match self {
            Change::Add(member) | Change::Update(member) => Some(member),
            Change::Suspect(Suspect { member, changed, .. }) => changed.then_some(member),
            Change::Del(..) => None,
        }
    }

    /// Whether readers who do not ask for suspects see a change.
    pub fn is_seen(&self) -> bool {
        match self {
            Change::Add(_) | Change::Update(_) | Change::Del(..) => true,
            Change::Suspect(suspect) => suspect.changed,
        }
    }

    /// The user whom the change is about.
    pub fn user(&self) -> &Name {
        match self {
            Change::Add(member) | Change::Update(member) => &member.user,
            Change::Suspect(suspect) => &suspect.member.user,
            Change::Del(user, _) => user,
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
    /// When it happened, for people: the order is that of the cursors.
    pub at: Timestamp,
    /// The change of the set.
    pub change: Change,
    encoded: OnceLock<Box<str>>,
}

impl Event {
    /// The event of `room` at `cursor`, which happened at `at`.
    pub fn new(room: Name, cursor: Cursor, at: Timestamp, change: Change) -> Self {
        Event { room, cursor, at, change, encoded: OnceLock::new() }
    }

    /// The memory that the event takes, about: with its JSON, and with the member as if nothing else had it.
    pub fn bytes(&self) -> usize {
        let said = match &self.change {
            Change::Add(member) | Change::Update(member) => member.meta.as_str().len() + member.info.len(),
            Change::Suspect(Suspect { member, .. }) => member.meta.as_str().len() + member.info.len(),
            Change::Del(..) => 0,
        };
        OVERHEAD + size_of::<Event>() + self.room.len() + 2 * (self.change.user().len() + said)
    }

    /// The event's own JSON, made by `encode` for the first reader and shared with all others.
    pub fn encoded(&self, encode: impl FnOnce(&Event) -> String) -> &str {
        self.encoded.get_or_init(|| encode(self).into())
    }
}
