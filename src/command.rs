//! What someone asks of a room.

use crate::meta::Meta;
use crate::name::Name;

/// A wish to change a room's set. What comes of it are events, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Hold `user` until they are signed out. Without `meta`, a member keeps theirs.
    SignIn {
        /// Who.
        user: Name,
        /// What to say of them from now on.
        meta: Option<Meta>,
    },
    /// End every hold of `user`.
    SignOut {
        /// Who.
        user: Name,
    },
    /// Change a member's `meta` without holding them.
    SetMeta {
        /// Who.
        user: Name,
        /// What to say of them from now on.
        meta: Meta,
    },
}

impl Command {
    /// Whom it is about.
    pub fn user(&self) -> &Name {
        match self {
            Command::SignIn { user, .. } | Command::SignOut { user } | Command::SetMeta { user, .. } => user,
        }
    }

    /// Whether it can make somebody a member.
    pub fn adds(&self) -> bool {
        match self {
            Command::SignIn { .. } => true,
            Command::SignOut { .. } | Command::SetMeta { .. } => false,
        }
    }
}
