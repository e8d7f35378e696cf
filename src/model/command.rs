//! Commands: everything that changes a room.
//!
//! Time changes a room by commands too ([`Command::Expire`], [`Command::Trim`]), and a lack of memory ([`Command::Shorten`]), so a list of commands with their
//! moments determines the room.

use std::time::Duration;

use crate::model::event::DelReason;
use crate::model::hold::ConnectionHold;
use crate::model::id::{ClientId, ConnectionId};
use crate::model::meta::Meta;
use crate::model::moment::Tick;
use crate::model::name::Name;

/// A request to change a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Changes the holds or the `meta` of one user.
    User(Name, Action),
    /// Ends the holds whose deadline has passed, the earliest first, at most this many.
    Expire(usize),
    /// Forgets the events from before this time, and expired denylist entries.
    Trim(Tick),
    /// Forgets the oldest history until all of it takes at most this many bytes, but no event after this time.
    Shorten(usize, Tick),
}

/// A change to one user. Without `meta`, a member keeps the present one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes or renews the user's sign-in.
    SignIn {
        /// The member's new `meta`.
        meta: Option<Meta>,
        /// The term of a lease, from now on; `None` signs in until sign-out.
        ttl: Option<Duration>,
    },
    /// Ends all holds of the user: the reason is `SignedOut` or `Kicked`.
    SignOut(DelReason),
    /// Changes a member's `meta` without a hold.
    SetMeta(Meta),
    /// Makes a connection's hold. Replaces an older hold of the same client.
    Join {
        /// The hold.
        hold: ConnectionHold,
        /// The member's new `meta`.
        meta: Option<Meta>,
    },
    /// Changes the `meta` of a member that this connection holds.
    Update(ConnectionId, Meta),
    /// Ends a connection's hold at once.
    Leave(ConnectionId),
    /// Starts the grace period of a lost connection's hold.
    Lose(ConnectionId),
    /// Ends a client's hold at once, on whichever connection of the client.
    LeaveClient(ClientId),
}

impl Command {
    /// Signs `user` in until sign-out.
    pub fn sign_in(user: Name, meta: Option<Meta>) -> Self {
        Command::User(user, Action::SignIn { meta, ttl: None })
    }

    /// Signs `user` out.
    pub fn sign_out(user: Name) -> Self {
        Command::User(user, Action::SignOut(DelReason::SignedOut))
    }

    /// The user whom the command can make a member.
    pub fn adds(&self) -> Option<&Name> {
        match self {
            Command::User(user, Action::SignIn { .. } | Action::Join { .. }) => Some(user),
            Command::User(..) | Command::Expire(_) | Command::Trim(_) | Command::Shorten(..) => None,
        }
    }

    /// The user whom the command removes in any case.
    pub fn removes(&self) -> Option<&Name> {
        match self {
            Command::User(user, Action::SignOut(_)) => Some(user),
            Command::User(..) | Command::Expire(_) | Command::Trim(_) | Command::Shorten(..) => None,
        }
    }
}
