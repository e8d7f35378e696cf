//! Entries: the facts in the journal. The same entries in the same order make the same state.

use std::sync::Arc;
use std::time::Duration;

use crate::access::pass::{Pass, UnixTime};
use crate::access::passbook::SecretId;
use crate::access::revocations::Revoked;
use crate::model::command::Command;
use crate::model::cursor::Position;
use crate::model::moment::{Moment, Tick};
use crate::model::name::Name;

/// Where and when an entry was appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The first position that the entry takes.
    pub position: Position,
    /// When it was appended.
    pub moment: Moment,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A process begins: the connections of the earlier one are lost. Their holds last `hold_for` from now on, or until the end
    /// that an earlier begin gave them, if nobody claimed them since.
    Begin {
        /// Names the process.
        incarnation: u128,
        /// How long the holds last.
        hold_for: Duration,
    },
    /// The rules in force from here on.
    Rules(Rules),
    /// Commands that a room accepted, applied in one step.
    Change {
        /// The room.
        room: Name,
        /// The commands.
        commands: Vec<Command>,
    },
    /// Only the time.
    Mark,
    /// Tokens were revoked.
    Revoked {
        /// The token or subject.
        revoked: Revoked,
        /// The tokens that were issued until this time.
        before: UnixTime,
        /// The time of the revocation.
        at: UnixTime,
    },
    /// A cookie was made.
    Cookie {
        /// The cookie's id.
        id: SecretId,
        /// What the cookie gives.
        pass: Arc<Pass>,
        /// The cookie's end.
        end: Tick,
    },
    /// A cookie was ended.
    CookieEnded {
        /// The cookie's id.
        id: SecretId,
    },
    /// A clean end of the process.
    End,
}

/// The rules by which changes are accepted and applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Members of a room at most; 0 is no bound.
    pub members: usize,
    /// How long the hold of a lost connection lasts.
    pub grace: Duration,
    /// Named sign-ins of a member at most.
    pub max_named: usize,
}
