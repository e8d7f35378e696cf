//! A line: what is to be written to one connection, in order.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::batch::Batch;
use crate::event::Cursor;
use crate::framing::Framing;
use crate::reader::Reader;
use crate::room::RoomKey;

/// What waits for one socket: first what was said, then what its readers read. A reader's events do
/// not wait here but in its room.
#[derive(Debug, Default)]
pub struct Line {
    /// What is said, in order. The first may be what the socket did not take of a frame, which is
    /// finished before anything else.
    said: VecDeque<Said>,
    readers: Vec<Reader>,
    /// Whose turn it is: a busy room must not keep the others of a slow connection waiting.
    turn: usize,
    /// How many bytes of `said` are answers.
    answers: usize,
    /// The last word is said.
    closing: bool,
}

#[derive(Debug)]
enum Said {
    Bytes(Bytes),
    /// Not before this room's reader has come so far.
    Behind(RoomKey, u64, Bytes),
    /// From here on a room is read.
    Begin(Reader),
}

impl Line {
    /// Says something more; the number of bytes that wait now.
    pub fn say(&mut self, bytes: Bytes) -> usize {
        self.answers += bytes.len();
        self.said.push_back(Said::Bytes(bytes));
        self.answers
    }

    /// Says something that must not come before the event at `offset`, if `room` is read here.
    pub fn say_behind(&mut self, room: RoomKey, offset: u64, bytes: Bytes) -> usize {
        self.answers += bytes.len();
        self.said.push_back(Said::Behind(room, offset, bytes));
        self.answers
    }

    /// Says the last word: nothing follows it, also no room that was about to be read.
    pub fn close(&mut self, bytes: Bytes) {
        self.said.retain(|said| !matches!(said, Said::Begin(_)));
        self.said.push_back(Said::Bytes(bytes));
        self.closing = true;
        self.readers = Vec::new();
    }

    /// Whether the last word is said.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Reads a room from here on.
    pub fn begin(&mut self, reader: Reader) {
        self.said.push_back(Said::Begin(reader));
    }

    /// Reads a room no more; `None` when it is not read, else where its reader stands, if it stands anywhere.
    pub fn stop(&mut self, room: RoomKey) -> Option<Option<Cursor>> {
        if let Some(at) = self.readers.iter().position(|reader| reader.room().key() == room) {
            return Some(self.readers.swap_remove(at).cursor());
        }
        let begins = |said: &Said| matches!(said, Said::Begin(reader) if reader.room().key() == room);
        let at = self.said.iter().position(begins)?;
        match self.said.remove(at)? {
            Said::Begin(reader) => Some(reader.cursor()),
            Said::Bytes(_) | Said::Behind(..) => Some(None),
        }
    }

    /// How many rooms are read, or are about to be.
    pub fn rooms(&self) -> usize {
        self.readers.len() + self.said.iter().filter(|said| matches!(said, Said::Begin(_))).count()
    }

    /// Whether `room`'s events are read, or are about to be.
    pub fn reads(&self, room: RoomKey) -> bool {
        let said = self.said.iter().filter_map(|said| match said {
            Said::Begin(reader) => Some(reader),
            Said::Bytes(_) | Said::Behind(..) => None,
        });
        self.readers.iter().chain(said).any(|reader| reader.room().key() == room && !reader.counts())
    }

    /// The bytes of a batch, if they are just what this line's reader of the room reads next.
    pub fn take(&mut self, batch: &Batch, framing: Framing) -> Option<Bytes> {
        let reader = self.readers.iter_mut().find(|reader| reader.room().key() == batch.room())?;
        // Without a look for more: what came meanwhile has news of its own.
        reader.take(batch).then(|| batch.bytes(framing))
    }

    /// Lets those readers that only count tell what they counted; true when one has to wait for a while.
    pub fn count(&mut self) -> bool {
        self.readers.iter_mut().filter_map(Reader::count).any(|waits| waits)
    }

    /// The bytes that come next, or `None` when there are none for now.
    pub fn next(&mut self, framing: Framing) -> Option<Bytes> {
        while let Some(said) = self.said.pop_front() {
            match said {
                Said::Bytes(bytes) => return Some(bytes),
                Said::Begin(reader) => {
                    self.readers.reserve_exact(1);
                    self.readers.push(reader);
                }
                Said::Behind(room, offset, bytes) => {
                    let Some(event) = self.read_up_to(room, offset, framing) else {
                        return Some(bytes);
                    };
                    self.said.push_front(Said::Behind(room, offset, bytes));
                    return Some(event);
                }
            }
        }
        // An idle connection keeps no memory for what does not wait.
        self.said = VecDeque::new();
        self.answers = 0;
        self.read(framing)
    }

    fn read(&mut self, framing: Framing) -> Option<Bytes> {
        for _ in 0..self.readers.len() {
            let turn = self.turn % self.readers.len();
            self.turn = turn + 1;
            if let Some(bytes) = self.readers[turn].next(framing) {
                return Some(bytes);
            }
        }
        None
    }

    /// What the reader of `room` reads before it has come to `offset`.
    fn read_up_to(&mut self, room: RoomKey, offset: u64, framing: Framing) -> Option<Bytes> {
        let reader = self.readers.iter_mut().find(|reader| reader.room().key() == room)?;
        if reader.reached(offset) { None } else { reader.next(framing) }
    }

    /// Puts back what the socket did not take: it comes first the next time.
    pub fn put_back(&mut self, bytes: Bytes) {
        self.said.push_front(Said::Bytes(bytes));
    }

    /// Forgets everything: nothing can be written any more.
    pub fn fail(&mut self) {
        *self = Line { closing: true, ..Line::default() };
    }
}
