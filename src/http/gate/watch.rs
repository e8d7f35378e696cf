//! What the permits to read and follow a room allow.

use std::sync::Arc;

use super::{Gate, Holds};
use crate::http::payer::{Payer, page_cost};
use crate::model::cursor::Cursor;
use crate::model::event::Event;
use crate::model::id::ClientId;
use crate::model::moment::Timestamp;
use crate::model::name::Name;
use crate::model::presence::Presence;
use crate::model::refusal::Refusal;
use crate::model::snapshot::Snapshot;
use crate::rooms::changed::Kept;
use crate::rooms::room::Following;
use crate::runtime::memory::Level;
use crate::runtime::rates::Work;

/// A permit to read and follow one room.
pub struct Watch<'a> {
    pub(super) gate: Gate,
    pub(super) payer: Payer<'a>,
    pub(super) room: &'a Name,
}

impl Watch<'_> {
    /// Reads the room at one moment; an absent room reads as empty.
    pub fn read<T>(&self, read: impl FnOnce(&Presence) -> T) -> T {
        self.gate.0.rooms().read(self.room, read)
    }

    /// The room's present set, of which at most `shown` members are to be shown.
    ///
    /// # Errors
    ///
    /// `too_fast` past the rate of snapshots.
    pub fn snapshot(&self, shown: usize) -> Result<Snapshot, Refusal> {
        let taken = self.gate.taken();
        let snapshot = self.read(|presence| presence.snapshot(taken));
        self.payer.pay(self.gate.rates(), Work::Snapshots, page_cost(shown.min(snapshot.roster.len())))?;
        Ok(snapshot)
    }

    /// The room's last `most` events, the newest first, and the room's place. No event after the given time is missing.
    ///
    /// # Errors
    ///
    /// `too_fast` past the rate of snapshots.
    pub fn last_events(&self, most: usize) -> Result<Recent, Refusal> {
        let read = |presence: &Presence| (presence.head(), presence.roster().len(), presence.last_events(most));
        let (head, count, (events, before)) = self.read(read);
        self.payer.pay(self.gate.rates(), Work::Snapshots, page_cost(events.len()))?;
        let (now, uptime) = (self.gate.now().time, self.gate.0.uptime());
        // A room that nobody remembers may have had events before, but none within this time.
        let known = now.before(self.gate.config().history_for.min(uptime));
        Ok(Recent { head, at: now, count, events, from: before.map_or(known, |before| before.max(known)) })
    }

    /// Adds a reader to the room, who resumes after `since`. Watching makes no room exist. The connection has `holds`, and
    /// is about to hold `user` for `client`: a reader who comes back is never too fast.
    ///
    /// # Errors
    ///
    /// `too_much_memory`, but not to a connection of somebody who is present. `too_fast` past the rate of snapshots,
    /// unless the reader needs none.
    pub fn follow(
        &self,
        since: Option<Cursor>,
        user: Option<&Name>,
        client: Option<ClientId>,
        holds: &Holds,
    ) -> Result<Following, Refusal> {
        let is_present = |user: &Name| self.read(|presence| presence.roster().get(user).is_some());
        if !holds.hold_somebody() && !user.is_some_and(is_present) {
            self.gate.memory().refuses_at(Level::Refuse)?;
        }
        let resumes = || since.is_some_and(|since| self.read(|presence| presence.place(since).is_some()));
        let holder = user.zip(client);
        let returns = || holder.is_some_and(|(user, client)| self.gate.returns(self.room, user, client, None));
        if self.payer.pays() && !resumes() && !returns() {
            self.payer.pay(self.gate.rates(), Work::Snapshots, 1)?;
        }
        Ok(self.gate.0.rooms().follow(self.room))
    }

    /// Ready when the room has the event at `since`, a cursor that another node of the cluster may have given, or after a second.
    pub fn reached(&self, since: Option<Cursor>) -> Kept {
        self.gate.0.rooms().reached(self.room, since)
    }
}

/// The last events of a room.
pub struct Recent {
    /// The room's place.
    pub head: Cursor,
    /// The time now, by the same clock as the events' times.
    pub at: Timestamp,
    /// The number of members there.
    pub count: usize,
    /// The newest first.
    pub events: Vec<Arc<Event>>,
    /// No event after this time is missing.
    pub from: Timestamp,
}

/// A permit to read and follow the number of members of one room.
pub struct Count<'a>(pub(super) Watch<'a>);

impl Count<'_> {
    /// The number of members, and the room's cursor.
    pub fn read(&self) -> (usize, Cursor) {
        self.0.read(|presence| (presence.roster().len(), presence.head()))
    }

    /// Adds a reader of the number, as [`Watch::follow`].
    ///
    /// # Errors
    ///
    /// As [`Watch::follow`].
    pub fn follow(&self, user: Option<&Name>, client: Option<ClientId>, holds: &Holds) -> Result<Following, Refusal> {
        self.0.follow(None, user, client, holds)
    }
}
