//! What the permit to list the rooms allows.

use std::sync::Arc;

use super::{Gate, Holds};
use crate::access::pass::Pass;
use crate::access::pattern::Pattern;
use crate::access::rights::Selection;
use crate::http::payer::{Payer, page_cost};
use crate::http::query::MAX_PAGE;
use crate::model::count::Prefix;
use crate::model::name::Name;
use crate::model::refusal::Refusal;
use crate::rooms::counting::Counting;
use crate::rooms::listing::{Listing, Total};
use crate::runtime::memory::Level;
use crate::runtime::rates::Work;

/// A permit to list rooms, and to read their counts.
pub struct List<'a> {
    pub(super) gate: Gate,
    pub(super) payer: Payer<'a>,
    pub(super) pass: Arc<Pass>,
    /// The rooms that the caller may count.
    pub(super) counted: Selection,
}

impl List<'_> {
    /// At most `limit` of the rooms that `prefix` selects, after the name `after`, in byte order, with their numbers of
    /// members.
    ///
    /// # Errors
    ///
    /// `too_fast` past the rate of snapshots.
    pub fn rooms(&self, prefix: &Prefix, after: Option<&str>, limit: usize) -> Result<Vec<(Name, usize)>, Refusal> {
        self.pay(limit)?;
        let (rooms, mut list) = (self.gate.0.rooms(), Vec::new());
        for pattern in self.counted.within(prefix) {
            match pattern {
                Pattern::Prefix(prefix) => list.extend(rooms.list(&prefix, after, limit - list.len())),
                Pattern::Exact(room) if after.is_none_or(|after| &*room > after) => list.extend(rooms.one(room)),
                Pattern::Exact(_) => {}
            }
            if list.len() >= limit {
                break;
            }
        }
        Ok(list)
    }

    /// At most `limit` of the rooms of `listing` that `prefix` selects, the largest first, as [`Listing::largest`].
    pub fn largest(
        &self,
        listing: &Listing,
        prefix: &Prefix,
        after: Option<(usize, &str)>,
        limit: usize,
    ) -> Vec<(Name, usize)> {
        listing.largest(prefix, after, limit, |room| self.counted.selects(room))
    }

    /// The total of the rooms of `listing` that `prefix` selects.
    pub fn total(&self, listing: &Listing, prefix: &Prefix) -> Total {
        let totals = self.counted.within(prefix).map(|pattern| match pattern {
            Pattern::Prefix(prefix) => listing.total(&prefix),
            Pattern::Exact(room) => listing.one(&room),
        });
        totals.fold(Total::default(), Total::and)
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

    /// The numbers of members of `rooms`, in their order; 0 for an absent room, `None` for a room that the caller may not count.
    ///
    /// # Errors
    ///
    /// `too_fast` past the rate of snapshots.
    pub fn counts(&self, rooms: Vec<Name>) -> Result<Vec<(Name, Option<usize>)>, Refusal> {
        self.payer.pay(self.gate.rates(), Work::Snapshots, page_cost(rooms.len()))?;
        let count = |room: Name| {
            let read = |room| self.gate.0.rooms().read(room, |presence| presence.roster().len());
            let count = self.counted.selects(&room).then(|| read(&room));
            (room, count)
        };
        Ok(rooms.into_iter().map(count).collect())
    }

    /// Demands that the caller may count all rooms that `prefix` selects.
    ///
    /// # Errors
    ///
    /// `token_missing` or `not_allowed`.
    pub fn demand(&self, prefix: &Prefix) -> Result<(), Refusal> {
        let lacks = || self.pass.lacks(&format!("count in all rooms that begin with {:?}", &**prefix));
        if self.counted.covers(prefix) { Ok(()) } else { Err(lacks()) }
    }

    /// Adds a reader of the counts of the rooms that `prefix` selects. The connection has `holds`.
    ///
    /// # Errors
    ///
    /// `token_missing` or `not_allowed` unless the caller may count all of these rooms. `too_much_memory`, but not to a
    /// connection that holds somebody. `too_fast` past the rate of snapshots.
    pub fn follow_counts(&self, prefix: &Prefix, holds: &Holds) -> Result<Counting, Refusal> {
        self.demand(prefix)?;
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
