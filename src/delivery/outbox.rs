//! Outboxes: the bytes to be written to one connection, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::delivery::batch::Batch;
use crate::delivery::count_reader::{CountBatch, CountReader, CountReaders};
use crate::delivery::reader::{Place, Reader};
use crate::delivery::step::CountTurn;
use crate::model::count::Prefix;
use crate::model::cursor::Offset;
use crate::rooms::key::RoomKey;
use crate::rooms::room::Room;
use crate::wire::dialect::Format;

/// The backlog of one socket: first messages, then the bytes of the readers. The events of a slow reader wait in its
/// room and not here.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Most connections read one room: the only reader is stored inline, where a hub finds it at once.
    readers: SmallVec<[Reader; 1]>,
    /// Boxed, so that most idle connections keep no memory for it.
    backlog: Option<Box<Backlog>>,
    /// The reader whose turn comes next: a busy room must not delay the other rooms of a slow connection.
    turn: u32,
    /// Whether the last message is queued.
    closing: bool,
}

#[derive(Debug, Default)]
struct Backlog {
    /// In order.
    messages: VecDeque<Message>,
    /// The memory that the answers among them take, in bytes.
    answers: usize,
    /// Here because few connections have any.
    counts: CountReaders,
}

#[derive(Debug)]
enum Message {
    /// The bytes that the socket did not take yet, to be finished before other bytes.
    Rest(Bytes),
    Bytes(Bytes),
    /// To be written when the room's reader has reached this offset.
    After(RoomKey, Offset, Bytes),
    /// Starts reading a room.
    Begin(Reader),
    /// Starts reading counts.
    BeginCounts(Box<CountReader>),
}

/// The end of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubscribed {
    /// The room was not read here.
    NotSubscribed,
    /// The room was read up to this place.
    At(Place),
}

impl Outbox {
    /// Queues a message, unless the last message is queued.
    pub fn send(&mut self, bytes: Bytes) {
        self.answer(Message::Bytes(bytes));
    }

    /// Queues a message that must not be written before the event at `offset`, if `room` is read here.
    pub fn send_after(&mut self, room: RoomKey, offset: Offset, bytes: Bytes) {
        self.answer(Message::After(room, offset, bytes));
    }

    /// Queues the last message. Nothing follows, not even a room that was about to be read.
    pub fn close(&mut self, bytes: Bytes) {
        if self.closing {
            return;
        }
        self.messages().retain(|message| !matches!(message, Message::Begin(_) | Message::BeginCounts(_)));
        self.answer(Message::Bytes(bytes));
        self.closing = true;
        self.readers = SmallVec::new();
        self.counts().clear();
    }

    /// Whether the last message is queued.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// The memory that the queued answers take, in bytes.
    pub fn answers(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.answers)
    }

    /// Starts reading a room after the queued messages.
    pub fn begin(&mut self, reader: Reader) {
        if !self.closing {
            self.messages().push_back(Message::Begin(reader));
        }
    }

    /// Stops reading a room.
    pub fn stop(&mut self, room: RoomKey) -> Unsubscribed {
        if let Some(at) = self.readers.iter().position(|reader| reader.room().key() == room) {
            return Unsubscribed::At(self.readers.swap_remove(at).place());
        }
        let Some(backlog) = &mut self.backlog else {
            return Unsubscribed::NotSubscribed;
        };
        let begins = |message: &Message| matches!(message, Message::Begin(reader) if reader.room().key() == room);
        let at = backlog.messages.iter().position(begins);
        match at.and_then(|at| backlog.messages.remove(at)) {
            Some(Message::Begin(reader)) => Unsubscribed::At(reader.place()),
            Some(Message::Rest(_) | Message::Bytes(_) | Message::After(..) | Message::BeginCounts(_)) | None => {
                Unsubscribed::NotSubscribed
            }
        }
    }

    /// Starts reading counts after the queued messages.
    pub fn begin_counts(&mut self, reader: CountReader) {
        if !self.closing {
            self.messages().push_back(Message::BeginCounts(Box::new(reader)));
        }
    }

    /// Stops reading the counts of `prefix`; false when they are not read here.
    pub fn stop_counts(&mut self, prefix: &Prefix) -> bool {
        let begins = |message: &Message| matches!(message, Message::BeginCounts(reader) if reader.prefix() == prefix);
        let Some(backlog) = &mut self.backlog else {
            return false;
        };
        match backlog.messages.iter().position(begins) {
            Some(at) => backlog.messages.remove(at).is_some(),
            None => backlog.counts.stop(prefix),
        }
    }

    /// The number of prefixes whose counts are read, or are about to be.
    pub fn count_readers(&self) -> usize {
        let begins = |message: &&Message| matches!(message, Message::BeginCounts(_));
        let readers = |backlog: &Backlog| backlog.messages.iter().filter(begins).count() + backlog.counts.len();
        self.backlog.as_deref().map_or(0, readers)
    }

    /// The number of rooms that are read, or are about to be.
    pub fn rooms(&self) -> usize {
        self.all().count()
    }

    /// The rooms that are read, or are about to be, each with whether only its number of members is.
    pub fn watched(&self) -> Vec<(Arc<Room>, bool)> {
        self.all().map(|reader| (reader.room().clone(), reader.counts())).collect()
    }

    /// The prefixes whose counts are read, or are about to be.
    pub fn prefixes(&self) -> Vec<Prefix> {
        let begins = |message: &Message| match message {
            Message::BeginCounts(reader) => Some(reader.prefix().clone()),
            Message::Rest(_) | Message::Bytes(_) | Message::After(..) | Message::Begin(_) => None,
        };
        let all = |backlog: &Backlog| {
            let begin = backlog.messages.iter().filter_map(begins);
            begin.chain(backlog.counts.prefixes().cloned()).collect()
        };
        self.backlog.as_deref().map(all).unwrap_or_default()
    }

    /// Whether the events of `room` are read, or are about to be.
    pub fn reads(&self, room: RoomKey) -> bool {
        self.all().any(|reader| reader.room().key() == room && !reader.counts())
    }

    /// Whether a snapshot or changes are being written: many bytes in one piece.
    pub fn is_amid_set(&self) -> bool {
        self.readers.iter().any(Reader::is_amid_set)
    }

    /// All readers, including readers that are about to begin.
    fn all(&self) -> impl Iterator<Item = &Reader> {
        let messages = self.backlog.iter().flat_map(|backlog| &backlog.messages);
        let begin = messages.filter_map(|message| match message {
            Message::Begin(reader) => Some(reader),
            Message::Rest(_) | Message::Bytes(_) | Message::After(..) | Message::BeginCounts(_) => None,
        });
        self.readers.iter().chain(begin)
    }

    fn messages(&mut self) -> &mut VecDeque<Message> {
        &mut self.backlog.get_or_insert_default().messages
    }

    fn counts(&mut self) -> &mut CountReaders {
        &mut self.backlog.get_or_insert_default().counts
    }

    fn answer(&mut self, message: Message) {
        if !self.closing {
            let backlog = self.backlog.get_or_insert_default();
            backlog.answers += message.answers();
            backlog.messages.push_back(message);
        }
    }

    /// The bytes of a batch, if the room's reader is at its beginning.
    pub fn take(&mut self, batch: &Batch, format: Format) -> Option<Bytes> {
        let reader = self.readers.iter_mut().find(|reader| reader.room().key() == batch.room())?;
        // Without a search for more events, which are announced on their own.
        reader.take(batch).then(|| batch.bytes(format))
    }

    /// The bytes of a batch of counts, if all readers of counts are at its beginning.
    pub fn take_counts(&mut self, batch: &CountBatch<'_>, format: Format) -> Option<Bytes> {
        self.backlog.as_mut()?.counts.take(batch, format)
    }

    /// Makes each counting reader ready to write a number; true when a reader's last number is too recent.
    pub fn count(&mut self) -> bool {
        let turns = self.readers.iter_mut().map(Reader::count);
        turns.fold(false, |waits, turn| waits | (turn == CountTurn::TooEarly))
    }

    /// Lets the readers that began early after the gateway's start begin anew.
    pub fn settle(&mut self) {
        self.readers.iter_mut().for_each(Reader::settle);
        if let Some(backlog) = &mut self.backlog {
            backlog.counts.settle();
        }
    }

    /// The next bytes; `None` when the outbox is empty for now.
    pub fn next(&mut self, format: Format) -> Option<Bytes> {
        while let Some(message) = self.backlog.as_mut().and_then(|backlog| backlog.pop()) {
            match message {
                Message::Rest(bytes) | Message::Bytes(bytes) => return Some(bytes),
                Message::Begin(reader) => {
                    self.readers.reserve_exact(1);
                    self.readers.push(reader);
                }
                Message::BeginCounts(reader) => self.counts().begin(*reader),
                Message::After(room, offset, bytes) => {
                    let Some(event) = self.read_up_to(room, offset, format) else {
                        return Some(bytes);
                    };
                    self.push_front(Message::After(room, offset, bytes));
                    return Some(event);
                }
            }
        }
        self.backlog.take_if(|backlog| backlog.counts.is_empty());
        self.read(format)
    }

    fn read(&mut self, format: Format) -> Option<Bytes> {
        let readers = self.readers.len();
        // The readers of counts have a turn together.
        let turns = readers + usize::from(self.backlog.is_some());
        for _ in 0..turns {
            let turn = self.turn as usize % turns;
            self.turn = turn as u32 + 1;
            let bytes = match self.readers.get_mut(turn) {
                Some(reader) => reader.next(format),
                None => self.counts().next(format),
            };
            if bytes.is_some() {
                return bytes;
            }
        }
        None
    }

    /// The next bytes of the reader of `room`, unless it has reached `offset`.
    fn read_up_to(&mut self, room: RoomKey, offset: Offset, format: Format) -> Option<Bytes> {
        let reader = self.readers.iter_mut().find(|reader| reader.room().key() == room)?;
        if reader.reached(offset) { None } else { reader.next(format) }
    }

    /// Puts back the bytes that the socket did not take, as the next bytes.
    pub fn put_back(&mut self, bytes: Bytes) {
        self.push_front(Message::Rest(bytes));
    }

    fn push_front(&mut self, message: Message) {
        let backlog = self.backlog.get_or_insert_default();
        backlog.answers += message.answers();
        backlog.messages.push_front(message);
    }

    /// Forgets everything, since the connection can no longer be written to.
    pub fn fail(&mut self) {
        *self = Outbox { closing: true, ..Outbox::default() };
    }
}

impl Backlog {
    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.answers -= message.answers();
        Some(message)
    }
}

impl Message {
    /// The memory that counts as a waiting answer. The message itself counts too: it is larger than a short answer.
    fn answers(&self) -> usize {
        match self {
            Message::Bytes(bytes) | Message::After(.., bytes) => size_of::<Message>() + bytes.len(),
            // May belong to a room's events, and is never more than the message that is being written.
            Message::Rest(_) => 0,
            // Bounded by the number of rooms and prefixes that one connection may read.
            Message::Begin(_) | Message::BeginCounts(_) => 0,
        }
    }
}
