//! The holds of one connection, which end with the connection.

use std::sync::Arc;

use crate::model::command::{Action, Command};
use crate::model::event::DelReason;
use crate::model::hold::{ConnectionHold, Transport};
use crate::model::id::{ClientId, ConnectionId};
use crate::model::info::Info;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::model::statement::Statement;
use crate::rooms::Rooms;
use crate::rooms::changed::{Changed, Kept};
use crate::rooms::cluster::Cluster;
use crate::rooms::hold_registry::HoldListener;

/// The members that one connection holds. A drop, also by a panic, counts as the loss of the connection, so that no
/// hold stays without a connection.
#[derive(Debug)]
pub struct ConnectionHolds {
    rooms: Arc<Rooms>,
    connection: ConnectionId,
    transport: Transport,
    most: usize,
    /// Rooms and users.
    held: Vec<(Name, Name)>,
}

impl ConnectionHolds {
    /// No holds of `connection` yet, and at most `most`.
    pub fn new(rooms: Arc<Rooms>, connection: ConnectionId, transport: Transport, most: usize) -> Self {
        rooms.hold_registry().expect(connection);
        ConnectionHolds { rooms, connection, transport, most, held: Vec::new() }
    }

    /// Whether the connection holds nobody.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Names the listener to notify when others end a hold.
    pub fn notify(&self, listener: &Arc<impl HoldListener + 'static>) {
        self.rooms.hold_registry().open(self.connection, listener);
    }

    /// Holds `user` in `room`, and sets the member's `info` if one is given. Replaces an older hold of `client`.
    ///
    /// # Errors
    ///
    /// `too_many_joined` at this connection's bound, or the room's refusal.
    pub fn join(
        &mut self,
        room: Name,
        user: Name,
        statement: Option<Statement>,
        info: Option<Info>,
        client: Option<ClientId>,
    ) -> Result<Changed, Refusal> {
        let held = (room, user);
        let known = self.held.contains(&held);
        if !known && self.held.len() >= self.most {
            self.forget_ended();
        }
        if !known && self.held.len() >= self.most {
            let message = format!("this connection holds {} users, the maximum", self.most);
            return Err(Refusal::new(Code::TooManyJoined, message));
        }
        let (connection, transport) = (self.connection, self.transport);
        let hold = ConnectionHold { connection, client, transport, deadline: None, unclaimed: false, silent: false };
        let join = |rooms: &Arc<Rooms>| match rooms.cluster() {
            Some(cluster) => rooms.join_in(cluster, held.clone(), hold, (statement, info)),
            None => rooms.change(&held.0, &[Command::User(held.1.clone(), Action::Join(hold, statement, info))]),
        };
        if known {
            return join(&self.rooms);
        }
        // Listed first, so that the hold ends even after a panic.
        self.held.reserve_exact(1);
        self.held.push(held.clone());
        let joined = join(&self.rooms);
        if joined.is_err() {
            self.held.pop();
        }
        joined
    }

    /// Forgets the holds that others ended. Called only at the bound, since each hold costs a read of a room.
    fn forget_ended(&mut self) {
        let (rooms, connection) = (&self.rooms, self.connection);
        self.held.retain(|held| match rooms.cluster() {
            Some(cluster) => cluster.holds(held, connection),
            None => rooms.read(&held.0, |presence| presence.hold(&held.1, connection).is_some()),
        });
    }

    /// Says something through the hold of a user.
    ///
    /// # Errors
    ///
    /// `not_joined` if this connection does not hold `user` in `room`.
    pub fn update(&self, room: &Name, user: Name, statement: Statement) -> Result<Changed, Refusal> {
        match self.rooms.cluster() {
            Some(cluster) => self.rooms.say_in(cluster, (room.clone(), user), self.connection, statement),
            None => self.rooms.change(room, &[Command::User(user, Action::Update(self.connection, statement))]),
        }
    }

    /// Ends one hold at once.
    ///
    /// # Errors
    ///
    /// `not_joined` if this connection does not hold `user` in `room`.
    pub fn leave(&mut self, room: &Name, user: Name) -> Result<Changed, Refusal> {
        let before = self.held.len();
        self.held.retain(|(in_room, held)| (in_room, held) != (room, &user));
        let held = self.held.len() < before;
        if let Some(cluster) = self.rooms.cluster() {
            return self.rooms.leave_in(cluster, (room.clone(), user), self.connection, DelReason::Closed);
        }
        self.rooms.change(room, &[Command::User(user.clone(), Action::Leave(self.connection))]).or_else(|refusal| {
            let told = held && self.rooms.are_handed_over();
            if told { Ok(self.rooms.end_elsewhere(room, user, self.connection)) } else { Err(refusal) }
        })
    }

    /// Ends all holds at once, since the client closed the connection cleanly.
    pub fn leave_all(&mut self) -> Kept {
        self.end_all(&Action::Leave(self.connection))
    }

    /// Ends all holds at once, since the connection's token was revoked.
    pub fn kick_all(&mut self) {
        self.end_all(&Action::Kick(self.connection));
    }

    /// The rooms and users that the connection holds, unless others ended a hold.
    pub fn held(&self) -> &[(Name, Name)] {
        &self.held
    }

    /// Sets the `info` of all held members.
    pub fn inform(&self, info: &Info) {
        for (room, user) in &self.held {
            if let Some(cluster) = self.rooms.cluster() {
                cluster.inform(&(room.clone(), user.clone()), info);
                continue;
            }
            // Refused only if others have ended the hold, and the user is gone.
            let _ = self.rooms.change(room, &[Command::User(user.clone(), Action::Set(None, Some(info.clone())))]);
        }
    }

    /// The ticket is of the last change, and good only if all are written.
    fn end_all(&mut self, action: &Action) -> Kept {
        if let Some(cluster) = self.rooms.cluster() {
            let held = std::mem::take(&mut self.held);
            return self.end_all_in(held, cluster, action);
        }
        let mut kept = Kept::done();
        for (room, user) in std::mem::take(&mut self.held) {
            match self.rooms.change(&room, &[Command::User(user.clone(), action.clone())]) {
                Ok(changed) => kept = changed.kept,
                Err(_) if self.rooms.are_handed_over() && matches!(action, Action::Leave(_)) => {
                    self.rooms.end_elsewhere(&room, user, self.connection);
                }
                // The hold was already ended by others.
                Err(_) => {}
            }
        }
        kept
    }

    fn end_all_in(&self, held: Vec<(Name, Name)>, cluster: &Cluster, action: &Action) -> Kept {
        let mut all = Vec::new();
        for held in &held {
            if let Action::Lose(_, since) = action {
                let silent = since.map(|since| self.rooms.now().since(since)).unwrap_or_default();
                cluster.lose(held, self.connection, silent);
                continue;
            }
            let why = if matches!(action, Action::Kick(_)) { DelReason::Kicked } else { DelReason::Closed };
            // Refused if others have ended the hold already.
            all.extend(self.rooms.leave_in(cluster, held.clone(), self.connection, why).map(|changed| changed.kept));
        }
        Kept::all(all)
    }
}

impl Drop for ConnectionHolds {
    fn drop(&mut self) {
        if !self.rooms.keeps_holds() {
            // Each hold lasts for the grace period.
            let since = self.rooms.hold_registry().silent_since(self.connection);
            self.end_all(&Action::Lose(self.connection, since));
        }
        self.rooms.hold_registry().remove(self.connection);
    }
}
