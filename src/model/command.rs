//! Commands: everything that changes a room.
//!
//! Time changes a room by commands too ([`Command::Expire`], [`Command::Trim`]), and a lack of memory ([`Command::Shorten`]), so a list of commands with their
//! moments determines the room.

use std::sync::Arc;
use std::time::Duration;

use crate::model::event::DelReason;
use crate::model::hold::{ConnectionHold, Lease, Maker};
use crate::model::id::{ClientId, ConnectionId};
use crate::model::info::Info;
use crate::model::moment::Tick;
use crate::model::name::{HoldName, Name};
use crate::model::statement::{Said, Statement};

/// A request to change a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Changes the holds or the `meta` of one user.
    User(Name, Action),
    /// Ends the holds whose deadline has passed, the earliest first, at most this many.
    Expire(usize),
    /// A process begins: each connection's hold is lost, and lasts for this long, unless nobody has claimed the hold since an
    /// earlier beginning.
    Begin(Duration),
    /// Forgets the events from before this time, and expired denylist entries.
    Trim(Tick),
    /// Forgets the oldest history until all of it takes at most this many bytes, but no event after this time.
    Shorten(usize, Tick),
}

/// A change to one user. Without a statement, a hold says what it said before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes or renews a sign-in.
    SignIn(SignIn),
    /// Ends all holds of the user: the reason is `SignedOut` or `Kicked`.
    SignOut(DelReason),
    /// Ends the sign-in of this name, if there is one.
    Release(HoldName),
    /// Says something for a member without a hold, sets the member's `info`, or both.
    Set(Option<Statement>, Option<Info>),
    /// Makes a connection's hold, and sets the member's `info` if one is given. Replaces an older hold of the same client.
    Join(ConnectionHold, Option<Statement>, Option<Info>),
    /// Says something through the hold of this connection.
    Update(ConnectionId, Statement),
    /// Ends a connection's hold at once.
    Leave(ConnectionId),
    /// The same for the reason `Kicked`, since the connection's token was revoked.
    Kick(ConnectionId),
    /// Ends the sign-ins that were made with tokens of this subject, issued until this time.
    Revoke(Name, u64),
    /// Starts the grace period of a lost connection's hold; of a silent client's, at the time since which it is silent.
    Lose(ConnectionId, Option<Tick>),
    /// Ends a client's hold at once, on whichever connection of the client.
    LeaveClient(ClientId),
    /// Of a shared log only.
    Node(NodeAction),
}

/// What a node of a cluster says of its own holds, or of those of a lost node. Each does nothing for a hold that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAction {
    /// Ends the hold of a node.
    End(ConnectionId, DelReason),
    /// Lets the hold of a node say what was said earlier, at the place of that.
    Recall(ConnectionId, Option<Arc<Said>>),
    /// Ends a lease whose term is over, unless the lease was renewed or given to another owner since.
    Lapse(Option<HoldName>, Arc<Lease>),
    /// Notes that the node of a hold is silent, or no longer.
    Silence(ConnectionId, bool),
    /// Gives a lease to another owner.
    Inherit(Option<HoldName>, Arc<Lease>),
}

/// A sign-in to be made or renewed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignIn {
    /// The name among the member's sign-ins.
    pub name: Option<HoldName>,
    /// What the sign-in says.
    pub statement: Option<Statement>,
    /// The member's new `info`; without one, the member keeps the present one.
    pub info: Option<Info>,
    /// The term of a lease, from now on; `None` signs in until sign-out.
    pub ttl: Option<Duration>,
    /// The token that makes the sign-in, if it is one.
    pub maker: Option<Arc<Maker>>,
}

impl Command {
    /// Signs `user` in until sign-out.
    pub fn sign_in(user: Name) -> Self {
        Command::User(user, Action::SignIn(SignIn::default()))
    }

    /// Signs `user` out.
    pub fn sign_out(user: Name) -> Self {
        Command::User(user, Action::SignOut(DelReason::SignedOut))
    }

    /// Whether somebody asks for the command, and can ask again: losses, leaves and ends by time go on while nothing else may.
    pub fn may_wait(&self) -> bool {
        match self {
            Command::User(_, action) => match action {
                Action::SignIn(_) | Action::SignOut(_) | Action::Release(_) | Action::Set(..) => true,
                Action::Join(..) | Action::Update(..) => true,
                Action::Leave(_) | Action::LeaveClient(_) | Action::Lose(..) => false,
                Action::Kick(_) | Action::Revoke(..) | Action::Node(_) => false,
            },
            Command::Expire(_) | Command::Begin(_) | Command::Trim(_) | Command::Shorten(..) => false,
        }
    }

    /// Whether somebody waits for an answer.
    pub fn is_asked(&self) -> bool {
        match self {
            Command::User(_, Action::Lose(..) | Action::Kick(_) | Action::Node(_)) => false,
            Command::User(..) => true,
            Command::Expire(_) | Command::Begin(_) | Command::Trim(_) | Command::Shorten(..) => false,
        }
    }

    /// The user whom the command can make a member.
    pub fn adds(&self) -> Option<&Name> {
        match self {
            Command::User(user, Action::SignIn(_) | Action::Join(..)) => Some(user),
            Command::User(..) | Command::Expire(_) | Command::Begin(_) | Command::Trim(_) | Command::Shorten(..) => {
                None
            }
        }
    }

    /// The user whom the command removes in any case.
    pub fn removes(&self) -> Option<&Name> {
        match self {
            Command::User(user, Action::SignOut(_)) => Some(user),
            Command::User(..) | Command::Expire(_) | Command::Begin(_) | Command::Trim(_) | Command::Shorten(..) => {
                None
            }
        }
    }
}
