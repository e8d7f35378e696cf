//! Writes segments.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::journal::disk::checkpoints::Checkpoints;
use crate::journal::disk::names;
use crate::journal::frame::{self, HEADER, Header, Kind, Note};
use crate::journal::log::Appended;
use crate::journal::store;
use crate::model::cursor::Position;
use crate::model::identity::Identity;
use crate::model::moment::Moment;

/// The end of what was written so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Last {
    /// The last segment with records.
    pub sequence: u64,
    /// The last position in it, or before it.
    pub position: Position,
    /// The journal's name there.
    pub identity: Identity,
    /// The last moment.
    pub moment: Moment,
}

/// The segments that are written.
pub struct Segments {
    checkpoints: Arc<Checkpoints>,
    identity: Identity,
    /// The number of the next segment.
    next: AtomicU64,
    /// One flush at a time: two could note their ends in the wrong order.
    flushing: Mutex<()>,
    /// A segment is not removed while its checkpoint becomes durable.
    removing: Mutex<()>,
    written: Mutex<Written>,
}

struct Written {
    /// Where batches go. `None` after a failure, until the next turn.
    current: Option<Segment>,
    /// The segment before, until it was flushed to its end.
    before: Option<Segment>,
    ready: Option<Ready>,
    last: Last,
    /// The end of what counts, while the current segment does not.
    last_settled: Last,
    /// Segments of which nothing counts, to be removed.
    void: Vec<u64>,
    /// The position at which the current segment begins.
    at: Position,
    /// Whether the current segment counts: it continues the one before, or its checkpoint is durable.
    is_settled: bool,
    /// The flush to be noted.
    note: Option<Note>,
    /// All bytes of records so far, those when the current segment began, and those before the newest checkpoint.
    bytes: u64,
    bytes_before: u64,
    bytes_in_checkpoint: u64,
}

#[derive(Clone)]
struct Segment {
    file: Arc<dyn store::Appended>,
    sequence: u64,
    seed: u32,
    bytes: u64,
    /// Those of its bytes that were flushed.
    flushed: u64,
}

/// A segment that is durable and has no record.
struct Ready {
    segment: Segment,
    after_gap: bool,
}

/// A segment that is written, for a checkpoint that begins with it.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// The segment's number.
    pub sequence: u64,
    /// The entries before this position are in earlier segments.
    pub at: Position,
    /// The bytes of records before it.
    pub bytes_before: u64,
}

fn failed() -> io::Error {
    io::Error::other("an earlier write failed")
}

impl Segments {
    /// Goes on after `last`.
    pub fn new(checkpoints: Arc<Checkpoints>, identity: Identity, next: AtomicU64, last: Last, tail: u64) -> Self {
        let written = Written {
            current: None,
            before: None,
            ready: None,
            last,
            last_settled: last,
            void: Vec::new(),
            at: Position::default(),
            is_settled: true,
            note: None,
            bytes: tail,
            bytes_before: tail,
            bytes_in_checkpoint: 0,
        };
        Segments {
            checkpoints,
            identity,
            next,
            flushing: Mutex::new(()),
            removing: Mutex::new(()),
            written: Mutex::new(written),
        }
    }

    /// The journal's name.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// As [`crate::journal::log::Log::append`].
    ///
    /// # Errors
    ///
    /// The batch could not be written whole.
    pub fn append(&self, from: Position, batch: &mut Vec<u8>) -> io::Result<Appended> {
        let mut written = self.written.lock();
        let appended = written.append(self.identity, from, batch);
        if appended.is_err() {
            written.give_up();
        }
        if let Ok((_, bytes)) = appended {
            self.checkpoints.count(bytes);
        }
        appended.map(|(appended, _)| appended)
    }

    /// As [`crate::journal::log::Log::flush`].
    ///
    /// # Errors
    ///
    /// The system could not.
    pub fn flush(&self) -> io::Result<()> {
        let _one = self.flushing.lock();
        let (before, current) = {
            let written = self.written.lock();
            (written.before.clone(), written.current.clone().ok_or_else(failed)?)
        };
        // In order: what is in a segment may count only if the one before is whole.
        let flush = |segment: &Segment| if segment.flushed < segment.bytes { segment.file.sync() } else { Ok(()) };
        let flushed = before.iter().try_for_each(flush).and_then(|()| flush(&current));
        let mut written = self.written.lock();
        match flushed {
            Ok(()) => written.flushed(&current),
            Err(_) => written.give_up(),
        }
        flushed
    }

    /// As [`crate::journal::log::Log::has_note`].
    pub fn has_note(&self) -> bool {
        let written = self.written.lock();
        written.ready.is_some() || (written.note.is_some() && written.is_settled)
    }

    /// As [`crate::journal::log::Log::turn`].
    ///
    /// # Errors
    ///
    /// The new segment could not be made durable.
    pub fn turn(&self, after_gap: bool) -> io::Result<()> {
        let is_before_flushed = self.written.lock().before.is_none();
        if after_gap {
            self.written.lock().give_up();
        } else if !is_before_flushed {
            self.flush()?;
        }
        self.remove_void();
        let segment = match self.create() {
            Err(error) if store::is_full(&error) && self.checkpoints.give_up_reserve() => self.create()?,
            created => created?,
        };
        let mut written = self.written.lock();
        written.ready = Some(Ready { segment, after_gap });
        Ok(())
    }

    /// Attempts that failed must not fill the disk.
    fn remove_void(&self) {
        let _not_meanwhile = self.removing.lock();
        let void = std::mem::take(&mut self.written.lock().void);
        let files = if void.is_empty() { Vec::new() } else { self.checkpoints.store().list().unwrap_or_default() };
        let has_checkpoint = |sequence| files.iter().any(|(name, _)| *name == names::checkpoint(sequence));
        for sequence in void.into_iter().filter(|sequence| !has_checkpoint(*sequence)) {
            // One that stays counts for nothing all the same.
            let _ = self.checkpoints.store().remove(&names::segment(sequence));
        }
    }

    /// Makes the checkpoint that begins with the segment `sequence` durable by `publish`. The segment may not count any more, but
    /// it must be there.
    ///
    /// # Errors
    ///
    /// The segment was removed after a failure; those of `publish`.
    pub fn publish(&self, sequence: u64, publish: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let _not_meanwhile = self.removing.lock();
        let files = self.checkpoints.store().list()?;
        match files.iter().any(|(name, _)| *name == names::segment(sequence)) {
            true => publish(),
            false => Err(failed()),
        }
    }

    /// Creates a segment, and makes it and its name durable.
    fn create(&self) -> io::Result<Segment> {
        let (sequence, seed) = (self.next.fetch_add(1, Relaxed), fastrand::u32(..));
        let name = names::segment(sequence);
        let header = Header { kind: Kind::Segment, seed, identity: self.identity, sequence };
        let created = self.checkpoints.create(&name, &header);
        if created.is_err() {
            // If it stays, it counts for nothing: no record is in it.
            let _ = self.checkpoints.store().remove(&name);
        }
        Ok(Segment { file: created?, sequence, seed, bytes: HEADER as u64, flushed: HEADER as u64 })
    }

    /// The segment that is written.
    ///
    /// # Errors
    ///
    /// There is none after a failure.
    pub fn begun(&self) -> io::Result<Begun> {
        let written = self.written.lock();
        let current = written.current.as_ref().ok_or_else(failed)?;
        Ok(Begun { sequence: current.sequence, at: written.at, bytes_before: written.bytes_before })
    }

    /// The checkpoint that begins with the segment `begun` is durable.
    pub fn settle(&self, begun: Begun) {
        let mut written = self.written.lock();
        written.bytes_in_checkpoint = begun.bytes_before;
        let is_current = written.current.as_ref().is_some_and(|current| current.sequence == begun.sequence);
        if is_current && !written.is_settled {
            written.is_settled = true;
            written.note = Some(Note::Flushed { sequence: begun.sequence, bytes: 0 });
        }
    }

    /// The bytes in the segment that is written, and of all records after the newest checkpoint.
    pub fn sizes(&self) -> (u64, u64) {
        let written = self.written.lock();
        let tail = written.bytes - written.bytes_in_checkpoint;
        (written.current.as_ref().map_or(0, |current| current.bytes), tail)
    }
}

impl Written {
    /// Nothing more is written to the files that are open, and they are never flushed again.
    fn give_up(&mut self) {
        let unused = self.ready.take().map(|ready| ready.segment);
        let unsettled = self.current.take().filter(|_| !self.is_settled);
        if unsettled.is_some() {
            self.last = self.last_settled;
        }
        self.void.extend(unused.iter().chain(&unsettled).map(|segment| segment.sequence));
        (self.before, self.note) = (None, None);
    }

    fn append(&mut self, identity: Identity, from: Position, batch: &mut Vec<u8>) -> io::Result<(Appended, u64)> {
        let (mut turned, mut bytes) = (false, 0);
        if let Some(ready) = self.ready.take() {
            bytes += self.switch(ready, identity, from)?;
            turned = true;
        }
        if self.is_settled
            && let Some(note) = self.note.take()
        {
            note.push(self.last.position, self.last.moment, batch);
        }
        let current = self.current.as_mut().ok_or_else(failed)?;
        let sealed = frame::seal(batch, current.seed);
        if !batch.is_empty() {
            current.file.append(batch)?;
        }
        current.bytes += batch.len() as u64;
        self.bytes += batch.len() as u64;
        bytes += batch.len() as u64;
        if let Some(last) = sealed.last {
            (self.last.position, self.last.moment) = (last, sealed.moment);
        }
        Ok((Appended { entries: sealed.entries, turned }, bytes))
    }

    /// Begins a segment, with the record that says what it continues.
    fn switch(&mut self, ready: Ready, identity: Identity, from: Position) -> io::Result<u64> {
        let Ready { mut segment, after_gap } = ready;
        let (at, last) = (from, self.last);
        let begins =
            Note::Begins { at, after_gap, previous: last.sequence, last: last.position, identity: last.identity };
        let mut first = Vec::new();
        begins.push(last.position, last.moment, &mut first);
        frame::seal(&mut first, segment.seed);
        segment.file.append(&first)?;
        segment.bytes += first.len() as u64;
        self.last_settled = self.last;
        (self.last.sequence, self.last.identity) = (segment.sequence, identity);
        (self.at, self.is_settled) = (at, !after_gap);
        self.before = self.current.replace(segment).filter(|before| before.flushed < before.bytes);
        self.bytes_before = self.bytes;
        self.bytes += first.len() as u64;
        Ok(first.len() as u64)
    }

    /// A flush reached the end that `until` had. Meanwhile, more may have been written, also to the next segment.
    fn flushed(&mut self, until: &Segment) {
        let Some(current) = self.current.as_mut() else { return };
        let had_before = self.before.as_ref().is_some_and(|before| before.sequence < until.sequence);
        self.before =
            self.before.take().filter(|before| before.sequence == until.sequence && before.bytes > until.bytes);
        for segment in self.before.iter_mut().chain([current]).filter(|segment| segment.sequence == until.sequence) {
            segment.flushed = segment.flushed.max(until.bytes);
        }
        if had_before || until.flushed < until.bytes {
            self.note = Some(Note::Flushed { sequence: until.sequence, bytes: until.bytes });
        }
    }
}
