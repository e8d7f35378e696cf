//! The journal as rooms see it: a place in the order, at once, and a ticket for the answer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::journal::position::Position;
use crate::journal::ticket::{Given, Refused, Ticket};
use crate::model::moment::Moment;

/// The order of all entries, and what keeps them.
#[derive(Debug)]
pub struct Journal(Kept);

#[derive(Debug)]
enum Kept {
    Nothing(AtomicU64),
}

impl Journal {
    /// Keeps nothing, and gives back at once. The first entry has the position `first`.
    pub fn memory(first: Position) -> Journal {
        Journal(Kept::Nothing(AtomicU64::new(first.0)))
    }

    /// Whether a change may be made now.
    ///
    /// # Errors
    ///
    /// The change could not be kept, or another process has the journal.
    pub fn admits(&self) -> Result<(), Refused> {
        match &self.0 {
            Kept::Nothing(_) => Ok(()),
        }
    }

    /// Appends an entry that takes `takes` positions (at least one), written by `encode` if the journal keeps entries. Never
    /// waits for the disk and never fails: the ticket tells. Without `waits`, the ticket is of no use.
    pub fn append(&self, takes: u64, waits: bool, moment: Moment, encode: impl FnOnce(&mut Vec<u8>)) -> Given {
        let _ = (waits, moment, encode);
        match &self.0 {
            Kept::Nothing(next) => {
                let position = Position(next.fetch_add(takes.max(1), Relaxed));
                Given { position, ticket: Ticket::done() }
            }
        }
    }

    /// Whether entries can't be written at the moment.
    pub fn is_failing(&self) -> bool {
        match &self.0 {
            Kept::Nothing(_) => false,
        }
    }
}
