//! The holds of one connection, behind the gate.

use std::sync::Arc;

use crate::delivery::connection::Connection;
use crate::model::info::Info;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::model::statement::Statement;
use crate::rooms::changed::{Changed, Kept};
use crate::rooms::connection_holds::ConnectionHolds;

/// The users that one connection holds. Made by [`super::Join::hold`]; a client may always change and end its own holds. Boxed,
/// because most connections hold nobody.
#[derive(Default)]
pub struct Holds(pub(super) Option<Box<ConnectionHolds>>);

impl Holds {
    /// Whether the connection has held somebody yet.
    pub fn is_used(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the connection has joined and not left since.
    pub(super) fn hold_somebody(&self) -> bool {
        self.0.as_ref().is_some_and(|holds| !holds.is_empty())
    }

    /// Notifies `connection` when others end a hold, also of the holds that were ended before.
    pub fn notify(&self, connection: &Arc<Connection>) {
        if let Some(holds) = &self.0 {
            holds.notify(connection);
        }
    }

    /// Says something through the hold of a user.
    ///
    /// # Errors
    ///
    /// `not_joined` if this connection does not hold `user` in `room`.
    pub fn update(&self, room: &Name, user: Name, statement: Statement) -> Result<Changed, Refusal> {
        self.0.as_ref().ok_or_else(|| not_joined(room, &user))?.update(room, user, statement)
    }

    /// Ends one hold at once.
    ///
    /// # Errors
    ///
    /// `not_joined` if this connection does not hold `user` in `room`.
    pub fn leave(&mut self, room: &Name, user: Name) -> Result<Changed, Refusal> {
        self.0.as_mut().ok_or_else(|| not_joined(room, &user))?.leave(room, user)
    }

    /// Ends all holds at once, because the client closed the connection cleanly.
    pub fn leave_all(&mut self) -> Kept {
        self.0.as_mut().map_or_else(Kept::done, |holds| holds.leave_all())
    }
}

impl Holds {
    /// Ends all holds at once, because the connection's token was revoked.
    pub fn kick_all(&mut self) {
        if let Some(holds) = &mut self.0 {
            holds.kick_all();
        }
    }

    /// The rooms and users of the holds.
    pub fn held(&self) -> Vec<(Name, Name)> {
        self.0.as_ref().map(|holds| holds.held().to_vec()).unwrap_or_default()
    }

    /// Sets the `info` of all held members.
    pub fn inform(&self, info: &Info) {
        if let Some(holds) = &self.0 {
            holds.inform(info);
        }
    }
}

fn not_joined(room: &Name, user: &Name) -> Refusal {
    Refusal::new(Code::NotJoined, format!("this connection does not hold {user} in {room}"))
}
