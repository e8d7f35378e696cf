//! Writes a checkpoint: aside, flushed and renamed, and the directory flushed.

use std::io;
use std::sync::Arc;

use crate::journal::disk::checkpoints::Checkpoints;
use crate::journal::disk::names;
use crate::journal::disk::segments::{Begun, Segments};
use crate::journal::frame::{self, Header, Kind, Note};
use crate::journal::log::{End, Record, Snapshot};
use crate::journal::store::{self, Appended};
use crate::model::cursor::Position;
use crate::model::moment::Moment;

/// A long checkpoint is flushed each time after so many bytes: one flush of all of it would hold up the segments' flushes.
const FLUSH_AFTER: usize = 8 << 20;

/// A checkpoint while it is written.
pub struct Writing {
    segments: Arc<Segments>,
    checkpoints: Arc<Checkpoints>,
    file: Arc<dyn Appended>,
    header: Header,
    begun: Begun,
    parts: u64,
    bytes: u64,
    unflushed: usize,
    /// The file's name, until the checkpoint is durable.
    unfinished: Option<String>,
}

impl Writing {
    /// Begins the checkpoint of all before the segment that is written.
    ///
    /// # Errors
    ///
    /// There is no such segment after a failure, or no place for a file.
    pub fn new(segments: Arc<Segments>, checkpoints: Arc<Checkpoints>) -> io::Result<Writing> {
        let begun = segments.begun()?;
        let sequence = begun.sequence;
        let name = names::unfinished(sequence);
        let identity = segments.identity();
        let header = Header { kind: Kind::Checkpoint, seed: fastrand::u32(..), identity, sequence };
        // One of an attempt that failed may be there.
        let _ = checkpoints.store().remove(&name);
        let created = checkpoints.create(&name, &header).inspect_err(|error| full(&checkpoints, error));
        if created.is_err() {
            let _ = checkpoints.store().remove(&name);
        }
        let bytes = frame::HEADER as u64;
        let (file, unfinished) = (created?, Some(name));
        Ok(Writing { segments, checkpoints, file, header, begun, parts: 0, bytes, unflushed: 0, unfinished })
    }

    fn append(&mut self, mut record: Vec<u8>) -> io::Result<()> {
        frame::seal(&mut record, self.header.seed);
        self.bytes += record.len() as u64;
        self.unflushed += record.len();
        let mut appended = self.file.append(&record);
        if appended.is_ok() && self.unflushed >= FLUSH_AFTER {
            self.unflushed = 0;
            appended = self.file.sync();
        }
        appended.inspect_err(|error| full(&self.checkpoints, error))
    }

    fn publish(&mut self) -> io::Result<()> {
        self.file.sync()?;
        let (sequence, store, unfinished) = (self.header.sequence, self.checkpoints.store(), &mut self.unfinished);
        self.segments.publish(sequence, || {
            store.rename(&names::unfinished(sequence), &names::checkpoint(sequence))?;
            *unfinished = Some(names::checkpoint(sequence));
            store.sync_names()?;
            *unfinished = None;
            Ok(())
        })
    }
}

/// The next attempt needs space.
fn full(checkpoints: &Checkpoints, error: &io::Error) {
    if store::is_full(error) {
        checkpoints.give_up_reserve();
    }
}

impl Snapshot for Writing {
    fn at(&self) -> Position {
        self.begun.at
    }

    fn put(&mut self, part: &[u8]) -> io::Result<()> {
        self.parts += 1;
        let mut record = Vec::with_capacity(frame::HEAD + part.len());
        let position = Position(self.parts);
        frame::push(&Record { position, takes: 1, moment: Moment::default(), payload: part }, &mut record);
        self.append(record)
    }

    fn finish(mut self: Box<Self>, end: End) -> io::Result<()> {
        let mut record = Vec::new();
        let complete = Note::Complete { parts: self.parts, at: self.begun.at, last: end.last };
        complete.push(end.last, end.moment, &mut record);
        self.append(record)?;
        self.publish().inspect_err(|error| full(&self.checkpoints, error))?;
        self.segments.settle(self.begun);
        self.checkpoints.finished(self.header.sequence, self.bytes);
        Ok(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Its segment may be removed, and must not be missed.
        if let Some(name) = self.unfinished.take() {
            let _ = self.checkpoints.store().remove(&name);
        }
    }
}
