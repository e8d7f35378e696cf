//! A run of one room's events, framed once for all readers that stand at its beginning.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::model::event::Event;
use crate::wire::framing::{FRAMINGS, Frame, Framing};
use crate::rooms::room::RoomKey;

/// Events after one offset up to another.
#[derive(Debug)]
pub struct Batch {
    room: RoomKey,
    from: u64,
    to: u64,
    events: Vec<Arc<Event>>,
    framed: [OnceLock<Bytes>; FRAMINGS],
}

impl Batch {
    /// The events that follow `from` in a room.
    pub fn new(room: RoomKey, from: u64, events: Vec<Arc<Event>>) -> Self {
        let to = events.last().map_or(from, |event| event.cursor.offset);
        Batch { room, from, to, events, framed: Default::default() }
    }

    /// Whose events they are.
    pub fn room(&self) -> RoomKey {
        self.room
    }

    /// Where a reader stands that may take it.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// Where it stands then.
    pub fn to(&self) -> u64 {
        self.to
    }

    /// How many events they are.
    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// All events joined; the same memory for everyone who asks.
    pub fn bytes(&self, framing: Framing) -> Bytes {
        let frame = || framing.frame(self.events.iter().map(|event| Frame::Event(event)));
        self.framed[framing.index()].get_or_init(frame).clone()
    }
}
