//! Readers of counts: a place in the order of changed rooms, and the next bytes from there.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::model::count::{CountChange, Prefix};
use crate::model::name::Name;
use crate::rooms::counting::Counting;
use crate::rooms::tally::Serial;
use crate::wire::dialect::Format;
use crate::wire::part::{PART_BYTES, rooms_within};

/// Rooms that one part may have, if their names are short. Reading their counts takes a fraction of a millisecond.
const MAX_PART: usize = 768;

/// Changes that one step looks at: their messages are about as large as a part.
const MAX_STEP: usize = 512;

/// A reader of the counts of the rooms that a prefix selects: first all, then changes.
#[derive(Debug)]
pub struct CountReader {
    counting: Counting,
    prefix: Prefix,
    place: Place,
    /// Whether the first counts were read so soon after the gateway's start that members of before may be missing.
    early: bool,
}

#[derive(Debug)]
enum Place {
    /// Before the first part.
    Start,
    /// Amid the counts of all rooms. Boxed, since few readers are.
    Amid(Box<Amid>),
    /// Behind all changes up to this one.
    At(Serial),
}

/// The place of a reader that has had some parts of the counts of all rooms.
#[derive(Debug)]
struct Amid {
    /// The place from which changes follow.
    start: Serial,
    /// The number of the next part.
    part: usize,
    /// The last room so far.
    after: Name,
}

impl CountReader {
    /// A reader of the rooms that `prefix` selects.
    pub fn new(counting: Counting, prefix: Prefix) -> Self {
        CountReader { counting, prefix, place: Place::Start, early: false }
    }

    /// The prefix.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Begins anew, if the reader began early after the gateway's start.
    fn settle(&mut self) {
        if std::mem::take(&mut self.early) {
            self.place = Place::Start;
        }
    }

    /// The next bytes; `None` when the reader is up to date.
    pub fn next(&mut self, format: Format) -> Option<Bytes> {
        loop {
            let at = match &self.place {
                Place::Start => return Some(self.part(self.counting.start(), 0, None, format)),
                Place::Amid(amid) => {
                    let Amid { start, part, after } = &**amid;
                    return Some(self.part(*start, *part, Some(after.clone()), format));
                }
                Place::At(at) => *at,
            };
            let Some((changes, to)) = self.counting.after(at, &self.prefix, MAX_STEP) else {
                // Part 0 replaces all counts so far.
                self.place = Place::Start;
                continue;
            };
            if to == at {
                return None;
            }
            self.place = Place::At(to);
            if !changes.is_empty() {
                return Some(format.count_changes(changes.iter()));
            }
        }
    }

    fn part(&mut self, start: Serial, part: usize, after: Option<Name>, format: Format) -> Bytes {
        let mut rooms = self.counting.counts(&self.prefix, after.as_deref(), MAX_PART + 1);
        let there = rooms.len();
        rooms.truncate(rooms_within(&rooms, PART_BYTES).min(MAX_PART));
        let more = rooms.last().filter(|_| rooms.len() < there).map(|(room, _)| room.clone());
        let fresh_for = self.counting.fresh_for();
        self.early = fresh_for.is_some();
        let bytes = format.counts(&self.prefix, fresh_for, part, more.is_none(), &rooms);
        self.place = match more {
            Some(after) => Place::Amid(Box::new(Amid { start, part: part + 1, after })),
            None => Place::At(start),
        };
        bytes
    }
}

/// The readers of counts of one connection.
#[derive(Debug, Default)]
pub struct CountReaders {
    all: Vec<CountReader>,
    /// The reader whose turn comes next.
    turn: usize,
}

impl CountReaders {
    /// The number of readers.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The prefixes that are read.
    pub fn prefixes(&self) -> impl Iterator<Item = &Prefix> {
        self.all.iter().map(CountReader::prefix)
    }

    /// Whether there is no reader.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Removes all readers.
    pub fn clear(&mut self) {
        self.all = Vec::new();
    }

    /// Adds a reader.
    pub fn begin(&mut self, reader: CountReader) {
        self.all.reserve_exact(1);
        self.all.push(reader);
    }

    /// Lets the readers that began early after the gateway's start begin anew.
    pub fn settle(&mut self) {
        self.all.iter_mut().for_each(CountReader::settle);
    }

    /// Removes the reader of `prefix`; false when there is none.
    pub fn stop(&mut self, prefix: &Prefix) -> bool {
        let at = self.all.iter().position(|reader| reader.prefix == *prefix);
        at.map(|at| self.all.swap_remove(at)).is_some()
    }

    /// The next bytes of one of the readers; `None` when all are up to date.
    pub fn next(&mut self, format: Format) -> Option<Bytes> {
        (0..self.all.len()).find_map(|_| {
            self.turn = (self.turn + 1) % self.all.len();
            self.all[self.turn].next(format)
        })
    }

    /// The bytes of a batch, if all readers are at its beginning.
    pub fn take(&mut self, batch: &CountBatch, format: Format) -> Option<Bytes> {
        if self.all.iter().any(|reader| !matches!(reader.place, Place::At(at) if at == batch.from)) {
            return None;
        }
        self.all.iter_mut().for_each(|reader| reader.place = Place::At(batch.to));
        let bytes = |reader: &CountReader| batch.bytes(&reader.prefix, format);
        match &*self.all {
            [] => None,
            [only] => Some(bytes(only)),
            several => Some(several.iter().map(bytes).collect::<Vec<_>>().concat().into()),
        }
    }
}

/// Changes of counts from one place to another, framed once for all readers of a prefix.
#[derive(Debug)]
pub struct CountBatch<'a> {
    from: Serial,
    to: Serial,
    changes: &'a [(Serial, CountChange)],
    framed: Mutex<HashMap<(Prefix, usize), Bytes>>,
}

impl<'a> CountBatch<'a> {
    /// The `changes` of a round, which follow `from`, in batches of bounded size.
    pub fn several(mut from: Serial, changes: &'a [(Serial, CountChange)]) -> impl Iterator<Item = Self> {
        changes.chunks(MAX_STEP).map(move |changes| {
            let to = changes.last().map_or(from, |(serial, _)| *serial);
            CountBatch { from: std::mem::replace(&mut from, to), to, changes, framed: Mutex::default() }
        })
    }

    fn bytes(&self, prefix: &Prefix, format: Format) -> Bytes {
        let selected = || self.changes.iter().map(|(_, change)| change).filter(|change| prefix.selects(&change.room));
        let mut framed = self.framed.lock();
        let key = (prefix.clone(), format.index());
        framed.entry(key).or_insert_with(|| format.count_changes(selected())).clone()
    }
}
