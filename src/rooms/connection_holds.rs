//! What one connection holds, for as long as it is open.

use std::sync::Arc;

use uuid::Uuid;

use crate::model::command::{Command, Verb};
use crate::model::hold::{ConnectionHold, Transport};
use crate::rooms::hold_registry::Holder;
use crate::model::meta::Meta;
use crate::model::name::Name;
use crate::model::presence::Outcome;
use crate::model::refusal::{Code, Refusal};
use crate::rooms::Rooms;

/// The members that one connection holds. When this is dropped, also by a panic, the connection counts
/// as lost, so nobody stays behind whom nothing holds.
#[derive(Debug)]
pub struct Holding {
    rooms: Arc<Rooms>,
    connection: Uuid,
    transport: Transport,
    most: usize,
    held: Vec<(Name, Name)>,
}

impl Holding {
    /// Holds of `connection`, none yet and at most `most`.
    pub fn new(rooms: Arc<Rooms>, connection: Uuid, transport: Transport, most: usize) -> Self {
        rooms.holders().expect(connection);
        Holding { rooms, connection, transport, most, held: Vec::new() }
    }

    /// Says where the connection is to be found when others end its holds.
    pub fn arrived(&self, holder: &Arc<impl Holder + 'static>) {
        self.rooms.holders().arrived(self.connection, holder);
    }

    /// Holds `user` in `room`, in the place of an older hold of `client`.
    pub fn join(
        &mut self,
        room: Name,
        user: Name,
        meta: Option<Meta>,
        client: Option<Uuid>,
    ) -> Result<Outcome, Refusal> {
        let held = (room, user);
        let known = self.held.contains(&held);
        if !known && self.held.len() >= self.most {
            self.forget_ended();
        }
        if !known && self.held.len() >= self.most {
            let message = format!("this connection holds {} users, and no more than that may be", self.most);
            return Err(Refusal::new(Code::TooManyJoined, message));
        }
        let hold = ConnectionHold { connection: self.connection, client, transport: self.transport, ends: None };
        let command = Command { user: held.1.clone(), verb: Verb::Join { hold, meta } };
        if known {
            return self.rooms.change(&held.0, &[command]);
        }
        // Noted first: whatever happens then, it will be given up.
        self.held.reserve_exact(1);
        self.held.push(held.clone());
        let joined = self.rooms.change(&held.0, &[command]);
        if joined.is_err() {
            self.held.pop();
        }
        joined
    }

    /// Forgets the holds that others have ended. Looked for only at the bound, since it asks a room for each.
    fn forget_ended(&mut self) {
        let (rooms, connection) = (&self.rooms, self.connection);
        self.held.retain(|(room, user)| rooms.look(room, |presence| presence.hold(user, connection).is_some()));
    }

    /// Says something else of a user who is held.
    pub fn update(&self, room: &Name, user: Name, meta: Meta) -> Result<Outcome, Refusal> {
        self.rooms.change(room, &[Command { user, verb: Verb::Update(self.connection, meta) }])
    }

    /// Ends one hold at once.
    pub fn leave(&mut self, room: &Name, user: Name) -> Result<Outcome, Refusal> {
        self.held.retain(|(in_room, held)| (in_room, held) != (room, &user));
        self.rooms.change(room, &[Command { user, verb: Verb::Leave(self.connection) }])
    }

    /// Ends all holds: at once when the connection was closed cleanly, else they last for the grace.
    pub fn end(&mut self, clean: bool) {
        for (room, user) in std::mem::take(&mut self.held) {
            let verb = if clean { Verb::Leave(self.connection) } else { Verb::Lose(self.connection) };
            // Refused only when somebody else has ended the hold already.
            let _ = self.rooms.change(&room, &[Command { user, verb }]);
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.end(false);
        self.rooms.holders().forget(self.connection);
    }
}
