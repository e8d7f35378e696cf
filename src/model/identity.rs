//! The identity of a journal, by which its cursors are told from those of others.

use aws_lc_rs::digest::{Context, SHA256};
use uuid::Uuid;

use crate::model::cursor::Epoch;
use crate::model::name::Name;

/// Names one journal. A gateway that keeps nothing is a journal of its own at each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when the journal begins.
    pub journal: Uuid,
    /// Counts how often the journal was taken up from a copy, or after a loss.
    pub generation: u64,
}

impl Identity {
    /// The epoch of a room's cursors: the same after a restart. 48 bits are ten characters of each cursor, and no two rooms
    /// alike in practice; two rooms with one epoch would still have no offset in common.
    pub fn epoch(&self, room: &Name) -> Epoch {
        let mut digest = Context::new(&SHA256);
        digest.update(self.journal.as_bytes());
        digest.update(&self.generation.to_be_bytes());
        digest.update(room.as_bytes());
        let first = digest.finish().as_ref().first_chunk().copied().unwrap_or_default();
        Epoch(u64::from_be_bytes(first) >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_journals_and_generations_have_epochs_of_their_own() {
        let identity = |journal, generation| Identity { journal: Uuid::from_u128(journal), generation };
        let epoch = |identity: Identity, room: &str| identity.epoch(&room.parse().unwrap());
        let first = epoch(identity(1, 0), "a");
        assert_eq!(first, epoch(identity(1, 0), "a"));
        for other in [epoch(identity(1, 0), "b"), epoch(identity(1, 1), "a"), epoch(identity(2, 0), "a")] {
            assert_ne!(first, other);
        }
        assert!(first.0 < 1 << 48);
    }
}
