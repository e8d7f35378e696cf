//! Rooms as checkpoints of the journal have them, and as they are put back.

use std::iter::once_with;

use crate::journal::checkpoint::Piece;
use crate::model::denylist::Denylist;
use crate::model::presence::Presence;
use crate::rooms::Rooms;

impl Rooms {
    /// Captures all rooms, one after the other and each under its own lock, and then the clients that may only watch.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> {
        let capture = |name| {
            // Before the search: a room that is made behind it has later entries.
            let until = self.directory.registers().journal.last().next();
            match self.directory.find(&name) {
                Some(room) => room.read(|presence| Piece::from(presence)),
                None => Piece::Absent { room: name, until },
            }
        };
        let denials = || Piece::Denials(self.directory.registers().denials());
        self.names().into_iter().map(capture).chain(once_with(denials))
    }

    /// Puts back what was kept.
    pub fn restore(&self, rooms: impl Iterator<Item = Presence>, denylist: Denylist) {
        rooms.filter(|room| !room.is_idle()).for_each(|room| self.directory.restore(room));
        self.directory.registers().restore_denylist(denylist);
    }
}
