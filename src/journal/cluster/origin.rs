//! Where a log comes from that was empty and is restored.

use uuid::Uuid;

use crate::journal::bytes::{Input, Keep, Unreadable};
use crate::journal::values::fields;

/// The state from which a log that was empty is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The log of that state; nil where that is not told, as by version 0.1.
    pub journal: Uuid,
    /// The number of its entries until then.
    pub entries: u64,
}

impl Origin {
    /// After so many entries of a log that is not named.
    pub fn unnamed(entries: u64) -> Origin {
        Origin { journal: Uuid::nil(), entries }
    }

    /// Whether the log is named. Version 0.1 can't read what says so.
    pub fn is_named(self) -> bool {
        !self.journal.is_nil()
    }

    /// Whether two states are of the same log, as far as is told.
    pub fn is_of(self, other: Origin) -> bool {
        self.journal == other.journal || !self.is_named() || !other.is_named()
    }
}

fields! {
    Origin { journal, entries }
}
