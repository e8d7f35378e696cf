//! What a change did, and what its answer waits for.

use crate::journal::ticket::Ticket;
use crate::model::outcome::Outcome;

/// The effect of commands on a room, and what an answer about it waits for.
#[derive(Debug)]
pub struct Changed {
    /// The effect.
    pub outcome: Outcome,
    /// Ready when the commands are written to the journal.
    pub kept: Ticket,
}
