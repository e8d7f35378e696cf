//! Writes a file of parts, which counts as a whole or not at all: aside, flushed and renamed, and the directory flushed.

use std::io;
use std::sync::Arc;

use crate::journal::disk::names;
use crate::journal::frame::{self, Header, Note};
use crate::journal::log::{End, Record};
use crate::journal::store::{Appended, Store};
use crate::model::cursor::Position;
use crate::model::moment::Moment;

/// A long file is flushed each time after so many bytes: one flush of all of it would hold up the flushes of other files.
const FLUSH_AFTER: usize = 8 << 20;

/// A file of parts while it is written. Dropped before its end, it never was.
pub struct Whole {
    store: Arc<dyn Store>,
    file: Arc<dyn Appended>,
    header: Header,
    parts: u64,
    bytes: u64,
    unflushed: usize,
    /// The file's name, until the file is durable under its own.
    unfinished: Option<String>,
}

/// Creates a file with its header, and makes both durable.
///
/// # Errors
///
/// The system could not.
pub fn create(store: &dyn Store, name: &str, header: &Header) -> io::Result<Arc<dyn Appended>> {
    let file = store.create(name)?;
    file.append(&header.encode())?;
    file.sync()?;
    store.sync_names()?;
    Ok(file)
}

impl Whole {
    /// Begins the file that `header` names.
    ///
    /// # Errors
    ///
    /// There is no place for a file.
    pub fn begin(store: Arc<dyn Store>, header: Header) -> io::Result<Whole> {
        let name = names::unfinished(&names::name(header.kind, header.sequence));
        // One of an attempt that failed may be there.
        let _ = store.remove(&name);
        let created = create(&*store, &name, &header);
        if created.is_err() {
            let _ = store.remove(&name);
        }
        let (file, bytes) = (created?, frame::HEADER as u64);
        Ok(Whole { store, file, header, parts: 0, bytes, unflushed: 0, unfinished: Some(name) })
    }

    /// The file's number.
    pub fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// The file's bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a part.
    ///
    /// # Errors
    ///
    /// The system refused it.
    pub fn put(&mut self, part: &[u8]) -> io::Result<()> {
        self.parts += 1;
        let mut record = Vec::with_capacity(frame::HEAD + part.len());
        let position = Position(self.parts);
        frame::push(&Record { position, takes: 1, moment: Moment::default(), payload: part }, &mut record);
        self.append(record)
    }

    /// Says that these are all parts, and makes them durable.
    ///
    /// # Errors
    ///
    /// The system refused it.
    pub fn complete(&mut self, at: Position, end: End) -> io::Result<()> {
        let mut record = Vec::new();
        let complete = Note::Complete { parts: self.parts, at, last: end.last };
        complete.push(end.last, end.moment, &mut record);
        self.append(record)?;
        self.file.sync()
    }

    /// Gives the complete file its name.
    ///
    /// # Errors
    ///
    /// The system refused it.
    pub fn publish(&mut self) -> io::Result<()> {
        let name = names::name(self.header.kind, self.header.sequence);
        self.store.rename(&names::unfinished(&name), &name)?;
        self.unfinished = Some(name);
        self.store.sync_names()?;
        self.unfinished = None;
        Ok(())
    }

    fn append(&mut self, mut record: Vec<u8>) -> io::Result<()> {
        frame::seal(&mut record, self.header.seed);
        self.bytes += record.len() as u64;
        self.unflushed += record.len();
        self.file.append(&record)?;
        if self.unflushed >= FLUSH_AFTER {
            self.unflushed = 0;
            self.file.sync()?;
        }
        Ok(())
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(name) = self.unfinished.take() {
            let _ = self.store.remove(&name);
        }
    }
}
