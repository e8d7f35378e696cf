//! A line: what is to be written to one connection, in order.

use std::collections::VecDeque;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::delivery::batch::Batch;
use crate::model::event::Cursor;
use crate::wire::framing::Framing;
use crate::delivery::reader::Reader;
use crate::rooms::room::RoomKey;

/// What waits for one socket: first what was said, then what its readers read. A reader's events do
/// not wait here but in its room.
#[derive(Debug, Default)]
pub struct Line {
    /// Most connections read one room: their reader has its place here, where a hub finds it at once.
    readers: SmallVec<[Reader; 1]>,
    /// An idle connection keeps no memory for what does not wait.
    waiting: Option<Box<Waiting>>,
    /// Whose turn it is: a busy room must not keep the others of a slow connection waiting.
    turn: u32,
    /// The last word is said.
    closing: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// What is said, in order. The first may be what the socket did not take of a frame, which is
    /// finished before anything else.
    said: VecDeque<Said>,
    /// How many bytes of it are answers.
    answers: usize,
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
        self.answer(bytes.len(), Said::Bytes(bytes))
    }

    /// Says something that must not come before the event at `offset`, if `room` is read here.
    pub fn say_behind(&mut self, room: RoomKey, offset: u64, bytes: Bytes) -> usize {
        self.answer(bytes.len(), Said::Behind(room, offset, bytes))
    }

    /// Says the last word: nothing follows it, also no room that was about to be read.
    pub fn close(&mut self, bytes: Bytes) {
        let said = self.said();
        said.retain(|said| !matches!(said, Said::Begin(_)));
        said.push_back(Said::Bytes(bytes));
        self.closing = true;
        self.readers = SmallVec::new();
    }

    /// Whether the last word is said.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Reads a room from here on.
    pub fn begin(&mut self, reader: Reader) {
        self.said().push_back(Said::Begin(reader));
    }

    /// Reads a room no more; `None` when it is not read, else where its reader stands, if it stands anywhere.
    pub fn stop(&mut self, room: RoomKey) -> Option<Option<Cursor>> {
        if let Some(at) = self.readers.iter().position(|reader| reader.room().key() == room) {
            return Some(self.readers.swap_remove(at).cursor());
        }
        let begins = |said: &Said| matches!(said, Said::Begin(reader) if reader.room().key() == room);
        let said = &mut self.waiting.as_mut()?.said;
        let at = said.iter().position(begins)?;
        match said.remove(at)? {
            Said::Begin(reader) => Some(reader.cursor()),
            Said::Bytes(_) | Said::Behind(..) => Some(None),
        }
    }

    /// How many rooms are read, or are about to be.
    pub fn rooms(&self) -> usize {
        self.all().count()
    }

    /// Whether `room`'s events are read, or are about to be.
    pub fn reads(&self, room: RoomKey) -> bool {
        self.all().any(|reader| reader.room().key() == room && !reader.counts())
    }

    /// Whether a set is being read, or changes of it: much in one piece.
    pub fn is_amid_set(&self) -> bool {
        self.readers.iter().any(Reader::is_amid_set)
    }

    /// All readers, also those that are about to begin.
    fn all(&self) -> impl Iterator<Item = &Reader> {
        let begin = self.waiting.iter().flat_map(|waiting| &waiting.said).filter_map(|said| match said {
            Said::Begin(reader) => Some(reader),
            Said::Bytes(_) | Said::Behind(..) => None,
        });
        self.readers.iter().chain(begin)
    }

    fn said(&mut self) -> &mut VecDeque<Said> {
        &mut self.waiting.get_or_insert_default().said
    }

    fn answer(&mut self, bytes: usize, said: Said) -> usize {
        let waiting = self.waiting.get_or_insert_default();
        waiting.answers += bytes;
        waiting.said.push_back(said);
        waiting.answers
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
        while let Some(said) = self.waiting.as_mut().and_then(|waiting| waiting.said.pop_front()) {
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
                    self.said().push_front(Said::Behind(room, offset, bytes));
                    return Some(event);
                }
            }
        }
        self.waiting = None;
        self.read(framing)
    }

    fn read(&mut self, framing: Framing) -> Option<Bytes> {
        for _ in 0..self.readers.len() {
            let turn = self.turn as usize % self.readers.len();
            self.turn = turn as u32 + 1;
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
        self.said().push_front(Said::Bytes(bytes));
    }

    /// Forgets everything: nothing can be written any more.
    pub fn fail(&mut self) {
        *self = Line { closing: true, ..Line::default() };
    }
}
