//! One edition of a room's snapshot: each part framed once for all readers who get it.

use bytes::Bytes;
use parking_lot::Mutex;

use crate::model::event::Cursor;
use crate::wire::framing::{FRAMINGS, Frame, Framing};
use crate::model::snapshot::{Next, Snapshot};

/// A snapshot that many readers share, such as all those who come back after a restart.
#[derive(Debug)]
pub struct Edition {
    snapshot: Snapshot,
    printed: [Mutex<Printed>; FRAMINGS],
}

/// The parts in one framing, as far as somebody asked for them.
#[derive(Debug)]
struct Printed {
    parts: Vec<Bytes>,
    next: Option<Next>,
}

impl Edition {
    /// An edition of `snapshot`, of which nothing is framed yet.
    pub fn new(snapshot: Snapshot) -> Self {
        let blank = || Mutex::new(Printed { parts: Vec::new(), next: Some(Next::default()) });
        Edition { snapshot, printed: std::array::from_fn(|_| blank()) }
    }

    /// Where it was taken.
    pub fn cursor(&self) -> Cursor {
        self.snapshot.cursor()
    }

    /// Part `number`, and whether it is the last.
    pub fn part(&self, number: usize, framing: Framing) -> (Bytes, bool) {
        let mut printed = self.printed[framing.index()].lock();
        while let Some(next) = printed.next
            && printed.parts.len() <= number
        {
            let (bytes, next) = frame(&self.snapshot, next, framing);
            printed.parts.push(bytes);
            printed.next = next;
        }
        let last = printed.next.is_none() && number + 1 >= printed.parts.len();
        (printed.parts.get(number).cloned().unwrap_or_default(), last)
    }
}

/// Frames one part. Only the last has a cursor to resume from: a stream cut between parts starts over.
pub fn frame(snapshot: &Snapshot, next: Next, framing: Framing) -> (Bytes, Option<Next>) {
    let part = snapshot.part(next);
    let cursor = part.next.is_none().then_some(snapshot.cursor());
    let bytes = framing.frame([Frame::Object(&part.json, cursor, "snapshot")].into_iter());
    (bytes, part.next)
}
