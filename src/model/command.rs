//! What someone asks of a room.

use uuid::Uuid;

use crate::model::event::Reason;
use crate::model::hold::ConnectionHold;
use crate::model::meta::Meta;
use crate::model::moment::Tick;
use crate::model::name::Name;

/// A wish to change a room's set. What comes of it are events, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Whom it is about.
    pub user: Name,
    /// What to do.
    pub verb: Verb,
}

/// What to do with a user. Without `meta`, a member keeps theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Hold them until they are signed out, or for `ttl` from now on.
    SignIn {
        /// What to say of them from now on.
        meta: Option<Meta>,
        /// How long, in the clock's milliseconds.
        ttl: Option<Tick>,
    },
    /// End every hold of theirs, for this reason: signed out or kicked.
    SignOut(Reason),
    /// Change a member's `meta` without holding them.
    SetMeta(Meta),
    /// Hold them for as long as a connection is open, in the place of an older hold of its client.
    Join {
        /// Whose hold it is.
        hold: ConnectionHold,
        /// What to say of them from now on.
        meta: Option<Meta>,
    },
    /// Change their `meta`, by a connection that holds them.
    Update(Uuid, Meta),
    /// End a connection's hold at once.
    Leave(Uuid),
    /// A connection is lost: its hold stays for the grace.
    Lose(Uuid),
    /// End a client's hold at once, whichever connection has it.
    LeaveClient(Uuid),
}

impl Command {
    /// Signs `user` in until they are signed out.
    pub fn sign_in(user: Name, meta: Option<Meta>) -> Self {
        Command { user, verb: Verb::SignIn { meta, ttl: None } }
    }

    /// Signs `user` out.
    pub fn sign_out(user: Name) -> Self {
        Command { user, verb: Verb::SignOut(Reason::SignedOut) }
    }

    /// Whether it can make somebody a member.
    pub fn adds(&self) -> bool {
        match &self.verb {
            Verb::SignIn { .. } | Verb::Join { .. } => true,
            Verb::SignOut(_) | Verb::SetMeta(_) | Verb::Update(..) => false,
            Verb::Leave(_) | Verb::Lose(_) | Verb::LeaveClient(_) => false,
        }
    }

    /// Whether it takes a member away for certain.
    pub fn removes(&self) -> bool {
        matches!(self.verb, Verb::SignOut(_))
    }
}
