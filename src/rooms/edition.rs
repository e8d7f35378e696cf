//! Editions: a room's snapshot whose parts are framed once for all readers.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::model::cursor::Cursor;
use crate::model::snapshot::Snapshot;
use crate::rooms::netted::Withdraw;
use crate::runtime::memory::{Held, Kind, Memory};
use crate::wire::dialect::{FORMATS, Format};
use crate::wire::part::SnapshotMark;

/// What a snapshot takes for each member while the room's set changes: a copy of the member's entry.
const ENTRY: u64 = 24;

/// A snapshot shared by many readers, such as all readers that reconnect after a restart.
///
/// An edition lives as long as its slowest reader. When memory is short, the edition is withdrawn, and the readers begin anew
/// with a newer one, which they share.
#[derive(Debug)]
pub struct Edition {
    cursor: Cursor,
    is_fresh: bool,
    /// Whether other readers may come; otherwise a part goes when the next one is read.
    shared: bool,
    /// `None` once withdrawn.
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    framed: [Mutex<Framed>; FORMATS],
    held: Mutex<Held>,
}

/// The parts in one format, up to the furthest reader.
#[derive(Debug)]
struct Framed {
    parts: Vec<Bytes>,
    next: Option<SnapshotMark>,
}

impl Edition {
    /// An edition of `snapshot`, without any framed part yet, for one reader or `shared` by several.
    pub fn new(snapshot: Snapshot, shared: bool, memory: &Arc<Memory>) -> Self {
        let blank = || Mutex::new(Framed { parts: Vec::new(), next: Some(SnapshotMark::default()) });
        let held = memory.hold(Kind::Snapshots, snapshot.roster.len() as u64 * ENTRY);
        Edition {
            cursor: snapshot.cursor,
            is_fresh: snapshot.taken.fresh_for.is_some(),
            shared,
            snapshot: Mutex::new(Some(Arc::new(snapshot))),
            framed: std::array::from_fn(|_| blank()),
            held: Mutex::new(held),
        }
    }

    /// The snapshot's cursor.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Whether the gateway had just started, so that members of before may be missing.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// The snapshot; `None` when the edition was withdrawn.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.lock().clone()
    }

    /// Part `number`, counted from 0, and true for the last part; `None` when the edition was withdrawn.
    pub fn part(&self, number: usize, format: Format) -> Option<(Bytes, bool)> {
        let mut framed = self.framed[format.index()].lock();
        let snapshot = self.snapshot()?;
        while let Some(from) = framed.next
            && framed.parts.len() <= number
        {
            let (bytes, next) = format.snapshot_part(&snapshot, from);
            self.held.lock().grow(bytes.len() as u64);
            framed.parts.push(bytes);
            framed.next = next;
        }
        if !self.shared
            && let Some(read) = number.checked_sub(1).and_then(|read| framed.parts.get_mut(read))
        {
            self.held.lock().shrink(std::mem::take(read).len() as u64);
        }
        let last = framed.next.is_none() && number + 1 >= framed.parts.len();
        Some((framed.parts.get(number)?.clone(), last))
    }
}

impl Withdraw for Edition {
    fn withdraw(&self) {
        drop(self.snapshot.lock().take());
        self.framed.iter().for_each(|framed| framed.lock().parts = Vec::new());
        self.held.lock().release();
    }
}
