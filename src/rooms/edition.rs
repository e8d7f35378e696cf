//! Editions: a room's snapshot whose parts are framed once for all readers.

use bytes::Bytes;
use parking_lot::Mutex;

use crate::model::snapshot::Snapshot;
use crate::wire::dialect::{FORMATS, Format};
use crate::wire::part::SnapshotMark;

/// A snapshot shared by many readers, such as all readers that reconnect after a restart.
#[derive(Debug)]
pub struct Edition {
    snapshot: Snapshot,
    framed: [Mutex<Framed>; FORMATS],
}

/// The parts in one format, up to the furthest reader.
#[derive(Debug)]
struct Framed {
    parts: Vec<Bytes>,
    next: Option<SnapshotMark>,
}

impl Edition {
    /// An edition of `snapshot`, without any framed part yet.
    pub fn new(snapshot: Snapshot) -> Self {
        let blank = || Mutex::new(Framed { parts: Vec::new(), next: Some(SnapshotMark::default()) });
        Edition { snapshot, framed: std::array::from_fn(|_| blank()) }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Part `number`, counted from 0, and true for the last part.
    pub fn part(&self, number: usize, format: Format) -> (Bytes, bool) {
        let mut framed = self.framed[format.index()].lock();
        while let Some(from) = framed.next
            && framed.parts.len() <= number
        {
            let (bytes, next) = format.snapshot_part(&self.snapshot, from);
            framed.parts.push(bytes);
            framed.next = next;
        }
        let last = framed.next.is_none() && number + 1 >= framed.parts.len();
        (framed.parts.get(number).cloned().unwrap_or_default(), last)
    }
}
