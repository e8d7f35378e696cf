//! Batches: a run of one room's events, framed once for all readers that stand at its beginning.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::model::cursor::Offset;
use crate::model::event::Event;
use crate::rooms::key::RoomKey;
use crate::wire::dialect::{FORMATS, Format};

/// The events of one room from one offset to another.
#[derive(Debug)]
pub struct Batch {
    room: RoomKey,
    from: Offset,
    to: Offset,
    events: Vec<Arc<Event>>,
    framed: [OnceLock<Bytes>; FORMATS],
}

impl Batch {
    /// The `events` that follow `from` in `room`.
    pub fn new(room: RoomKey, from: Offset, events: Vec<Arc<Event>>) -> Self {
        let to = events.last().map_or(from, |event| event.cursor.offset);
        Batch { room, from, to, events, framed: Default::default() }
    }

    /// The room.
    pub fn room(&self) -> RoomKey {
        self.room
    }

    /// The place of a reader that may take the batch.
    pub fn from(&self) -> Offset {
        self.from
    }

    /// The reader's place behind the batch.
    pub fn to(&self) -> Offset {
        self.to
    }

    /// The number of events.
    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// All events joined: shared memory for all readers of a format.
    pub fn bytes(&self, format: Format) -> Bytes {
        let frame = || format.events(self.events.iter().map(|event| &**event));
        self.framed[format.index()].get_or_init(frame).clone()
    }
}
