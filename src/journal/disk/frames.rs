//! Reads a file of the journal, record by record.

use std::io::Read;

use crate::journal::error::OpenError;
use crate::journal::frame::{self, Found, HEADER, Header, Kind, NoHeader};
use crate::journal::log::Record;
use crate::journal::store::Store;

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// A file that is being read.
pub struct Frames {
    /// The file's name.
    pub name: String,
    /// The file's header.
    pub header: Header,
    /// The file's size when it was opened: what is written later is not read.
    pub size: u64,
    /// The place in the file of the next record.
    pub offset: u64,
    input: Box<dyn Read + Send>,
    /// What was read, and the place in it of the next record.
    bytes: Vec<u8>,
    at: usize,
}

/// What comes next in a file.
#[derive(Debug)]
pub enum Next<'a> {
    /// A whole record.
    Record(Record<'a>),
    /// The file's end.
    End,
    /// Bytes that are no record.
    Tear,
}

impl Frames {
    /// Opens a file. `None` if it was never used: its header was not written, or only zeros.
    ///
    /// # Errors
    ///
    /// It can't be read, or its header is damaged or a later version's.
    pub fn open(store: &dyn Store, name: &str, kind: Kind, sequence: u64) -> Result<Option<Frames>, OpenError> {
        let (size, input) = store.read(name).map_err(OpenError::io(format!("opening {name}")))?;
        let header = Header { kind, seed: 0, identity: Default::default(), sequence };
        let mut frames = Frames { name: name.to_owned(), header, size, offset: 0, input, bytes: Vec::new(), at: 0 };
        frames.fill(HEADER)?;
        match Header::decode(&frames.bytes) {
            Ok(header) if (header.kind, header.sequence) == (kind, sequence) => frames.header = header,
            Ok(_) => return Err(OpenError::damaged(name, 0, "it is another file under this name")),
            Err(NoHeader::Newer(version)) => return Err(OpenError::Newer { file: name.to_owned(), version }),
            Err(NoHeader::Damaged) if size <= HEADER as u64 => return Ok(None),
            Err(NoHeader::Damaged) => {
                let is_blank = frames.rest()?.iter().all(|byte| *byte == 0);
                return if is_blank { Ok(None) } else { Err(OpenError::damaged(name, 0, "its header is not whole")) };
            }
        }
        (frames.at, frames.offset) = (HEADER, HEADER as u64);
        Ok(Some(frames))
    }

    /// The next record, if it is whole.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn step(&mut self) -> Result<Next<'_>, OpenError> {
        let length = loop {
            let need = match frame::find(&self.bytes[self.at..], self.header.seed) {
                Found::Record(_, length) => break length,
                Found::Nothing => return Ok(Next::Tear),
                Found::Short(need) => need,
            };
            let left = self.size.saturating_sub(self.offset);
            if left < need as u64 || !self.fill(need)? {
                return Ok(if left == 0 { Next::End } else { Next::Tear });
            }
        };
        let record = &self.bytes[self.at..self.at + length];
        self.at += length;
        self.offset += length as u64;
        Ok(Next::Record(frame::record_of(record)))
    }

    /// Reads until `need` bytes are there; false if the file is shorter.
    fn fill(&mut self, need: usize) -> Result<bool, OpenError> {
        self.bytes.drain(..self.at);
        self.at = 0;
        let missing = need.saturating_sub(self.bytes.len()).max(CHUNK) as u64;
        let read = self.input.by_ref().take(missing).read_to_end(&mut self.bytes);
        read.map_err(OpenError::io(format!("reading {}", self.name)))?;
        Ok(self.bytes.len() >= need)
    }

    /// All bytes from the place of the next record on.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn rest(&mut self) -> Result<&[u8], OpenError> {
        let read = self.input.read_to_end(&mut self.bytes);
        read.map_err(OpenError::io(format!("reading {}", self.name)))?;
        Ok(&self.bytes[self.at..])
    }

    /// Whether a note from the place of the next record on says that the place was flushed: in a segment, `sequence` and
    /// `bytes`.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn says_flushed(&mut self, sequence: u64, bytes: u64) -> Result<bool, OpenError> {
        let seed = self.header.seed;
        let mut flushed = frame::flushes(self.rest()?, seed);
        Ok(flushed.any(|to| to > (sequence, bytes)))
    }
}
