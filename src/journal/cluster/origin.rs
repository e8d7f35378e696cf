//! Where a log comes from that was empty and is restored.

use uuid::Uuid;

use crate::journal::bytes::{Input, Keep, Unreadable};
use crate::journal::values::fields;

/// The state from which a log that was empty is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The log of that state.
    pub journal: Uuid,
    /// The number of its entries until then.
    pub entries: u64,
}

fields! {
    Origin { journal, entries }
}
