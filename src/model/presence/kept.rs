//! A room that outlasts its process.

use crate::model::cursor::{Cursor, Offset, Position};
use crate::model::deadlines::Deadlines;
use crate::model::history::History;
use crate::model::moment::Tick;
use crate::model::name::Name;
use crate::model::presence::{Bounds, Presence};
use crate::model::roster::Roster;

impl Presence {
    /// A room that was kept: without events, so a reader resumes only at `last`, the place of the last one, which happened at
    /// `time` if that is known.
    pub fn kept(
        room: Name,
        (last, time): (Cursor, Option<Tick>),
        applied: Position,
        roster: Roster,
        bounds: Bounds,
    ) -> Self {
        let mut deadlines = Deadlines::default();
        deadlines.add_all(roster.deadlines().collect());
        let history = History::kept(last.offset, time, bounds.history);
        Presence { applied, roster, deadlines, history, ..Presence::new(room, last, bounds) }
    }

    /// Goes on from `place` after a crash, which may have undone events that readers got: no reader may be ahead of the room.
    pub fn restart(&mut self, place: Offset) {
        if place > self.head.offset {
            self.head.offset = place;
            self.history.restart(place);
        }
    }

    /// The place of the last event, before that of a restart, and its time if that is remembered.
    pub fn last_event(&self) -> (Offset, Option<Tick>) {
        self.history.last()
    }

    /// Starts the grace period of the connections of an earlier process.
    pub(super) fn begin(&mut self, deadline: Tick) {
        let (mut added, deadlines) = (Vec::new(), &mut self.deadlines);
        self.roster.edit_all(|user, holds| {
            holds.begin(deadline, |id, old, new| {
                if old.is_some() {
                    deadlines.change(user, &id, old, None);
                }
                added.push((new, user.clone(), id));
            });
        });
        self.deadlines.add_all(added);
    }
}
