//! What the permit to list the rooms allows.

use std::sync::Arc;

use super::{Holds, List};
use crate::http::payer::page_cost;
use crate::http::query::MAX_PAGE;
use crate::model::count::Prefix;
use crate::model::name::Name;
use crate::model::refusal::Refusal;
use crate::rooms::counting::Counting;
use crate::rooms::listing::Listing;
use crate::runtime::memory::Level;
use crate::runtime::rates::Work;

impl List<'_> {
    /// At most `limit` of the rooms that `prefix` selects, after the name `after`, in byte order, with their numbers of
    /// members.
    ///
    /// # Errors
    ///
    /// `too_fast` past the rate of snapshots.
    pub fn rooms(&self, prefix: &Prefix, after: Option<&str>, limit: usize) -> Result<Vec<(Name, usize)>, Refusal> {
        self.pay(limit)?;
        Ok(self.gate.0.rooms().list(prefix, after, limit))
    }

    /// All rooms with their numbers of members, as of at most a second ago. At most `shown` of them are to be shown.
    ///
    /// # Errors
    ///
    /// `too_fast` past the rate of snapshots.
    pub fn listing(&self, shown: usize) -> Result<impl Future<Output = Arc<Listing>> + use<>, Refusal> {
        self.pay(shown)?;
        let rooms = self.gate.0.rooms().clone();
        Ok(async move { rooms.listing().await })
    }

    /// The numbers of members of `rooms`, in their order; 0 for an absent room.
    ///
    /// # Errors
    ///
    /// `too_fast` past the rate of snapshots.
    pub fn counts(&self, rooms: Vec<Name>) -> Result<Vec<(Name, usize)>, Refusal> {
        self.payer.pay(self.gate.rates(), Work::Snapshots, page_cost(rooms.len()))?;
        let count = |room: Name| {
            let count = self.gate.0.rooms().read(&room, |presence| presence.roster().len());
            (room, count)
        };
        Ok(rooms.into_iter().map(count).collect())
    }

    /// Adds a reader of the counts of the rooms that `prefix` selects. The connection has `holds`.
    ///
    /// # Errors
    ///
    /// `too_much_memory`, but not to a connection that holds somebody. `too_fast` past the rate of snapshots.
    pub fn follow_counts(&self, prefix: &Prefix, holds: &Holds) -> Result<Counting, Refusal> {
        if !holds.hold_somebody() {
            self.gate.memory().refuses_at(Level::Refuse)?;
        }
        if self.payer.pays() {
            let selected = self.gate.0.rooms().count_selected(prefix, MAX_PAGE);
            self.payer.pay(self.gate.rates(), Work::Snapshots, page_cost(selected))?;
        }
        Ok(self.gate.0.rooms().count_all())
    }

    /// Pays for a page of at most `shown` rooms.
    fn pay(&self, shown: usize) -> Result<(), Refusal> {
        let rooms = self.gate.0.rooms().count();
        self.payer.pay(self.gate.rates(), Work::Snapshots, page_cost(shown.min(rooms)))
    }
}
