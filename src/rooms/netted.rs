//! Netted changes on their way to a slow reader.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::changes::Changes;
use crate::model::cursor::Cursor;
use crate::runtime::memory::{Held, Kind, Memory};

/// What an entry of either list takes, in bytes.
const ENTRY: u64 = 24;

/// Something large that readers get in parts, and that is withdrawn when memory is short: the readers begin anew.
pub trait Withdraw: std::fmt::Debug + Send + Sync {
    /// Frees the memory while there are still readers.
    fn withdraw(&self);
}

/// The changes of one reader, who gets them in several parts.
#[derive(Debug)]
pub struct Netted {
    cursor: Cursor,
    /// `None` once withdrawn.
    changes: Mutex<Option<Arc<Changes>>>,
    held: Mutex<Held>,
}

impl Netted {
    /// Counts `changes` as memory.
    pub fn new(changes: Changes, memory: &Arc<Memory>) -> Self {
        let names: usize = changes.gone().iter().map(|gone| gone.user.len()).sum();
        let held = memory.hold(Kind::Snapshots, changes.len() as u64 * ENTRY + names as u64);
        Netted { cursor: changes.cursor(), changes: Mutex::new(Some(Arc::new(changes))), held: Mutex::new(held) }
    }

    /// The place that the changes lead to.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The changes; `None` when withdrawn.
    pub fn changes(&self) -> Option<Arc<Changes>> {
        self.changes.lock().clone()
    }
}

impl Withdraw for Netted {
    fn withdraw(&self) {
        drop(self.changes.lock().take());
        self.held.lock().release();
    }
}
