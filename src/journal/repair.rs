//! Makes a damaged journal one that can be opened, by cutting it at the first damage.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use crate::journal::disk::names::{self, Listing};
use crate::journal::disk::walk::{read_whole, walk};
use crate::journal::error::OpenError;
use crate::journal::frame::{self, HEADER, Header, Kind, Note};
use crate::journal::log::Read;
use crate::journal::store::Store;
use crate::journal::store::directory::Directory;

/// Judges what is read, from the beginning: a record that can't be decoded is damage, too.
pub type Judge = Box<dyn FnMut(Read<'_>) -> Result<(), String>>;

/// Cuts the journal in `directory` at its first damage. Everything after is lost, and kept in files named `*.lost`. Says
/// what was cut, a line each; nothing if all is well.
///
/// # Errors
///
/// A process uses the directory, a file is of a later version, or the system refused a step.
pub fn repair(directory: &Path, judge: &dyn Fn() -> Judge) -> Result<Vec<String>, OpenError> {
    let directory = Directory::open(directory).map_err(OpenError::io("opening the directory"))?;
    let wait = Duration::ZERO;
    let _lock = directory.lock(wait).map_err(OpenError::io("locking the directory"))?.ok_or(OpenError::InUse(wait))?;
    repair_store(&directory, judge)
}

/// As [`repair`], for any store.
///
/// # Errors
///
/// As [`repair`].
pub fn repair_store(store: &dyn Store, judge: &dyn Fn() -> Judge) -> Result<Vec<String>, OpenError> {
    let mut said = Vec::new();
    loop {
        let files = store.list().map_err(OpenError::io("reading the directory"))?;
        let listing = Listing::of(&files);
        if listing.is_unfinished {
            return Err(OpenError::Unfinished);
        }
        if listing.is_of_node() {
            return Err(OpenError::NothingToCut);
        }
        let (file, offset) = match walk(store, &listing, &mut *judge()) {
            Ok(_) => return Ok(said),
            Err(OpenError::Damaged { file, offset, what }) => {
                said.push(format!("{file} is damaged at byte {offset}: {what}"));
                (file, offset)
            }
            Err(OpenError::Foreign { file }) => {
                said.push(format!("{file} belongs to another journal"));
                (file, 0)
            }
            Err(error) => return Err(error),
        };
        let size = files.iter().find(|(name, _)| *name == file).map(|(_, size)| *size);
        let cut = Cut { store, listing: &listing, said: &mut said };
        cut.at(&file, offset, size).map_err(OpenError::io(format!("cutting {file}")))?;
        // Each round takes at least one file out of use, or a part of one.
        if said.len() > 3 * files.len() + 3 {
            return Err(OpenError::damaged(&file, offset, "it can't be repaired"));
        }
    }
}

struct Cut<'a> {
    store: &'a dyn Store,
    listing: &'a Listing,
    said: &'a mut Vec<String>,
}

impl Cut<'_> {
    fn at(mut self, file: &str, offset: u64, size: Option<u64>) -> std::io::Result<()> {
        let segment = self.listing.segments.iter().position(|sequence| names::segment(*sequence) == file);
        match (size, segment) {
            (Some(size), Some(index)) => {
                self.lose_segments(&self.listing.segments[index + 1..])?;
                self.cut_segment(file, offset, size)?;
            }
            (Some(_), None) => self.lose(file)?,
            (None, _) => self.lose_after(file)?,
        }
        self.store.sync_names()
    }

    /// A file is missing. A checkpoint may be without its segment: it gets an empty one. Otherwise nothing after the
    /// missing file counts.
    fn lose_after(&mut self, missing: &str) -> std::io::Result<()> {
        let sequence = missing.rsplit_once('-').and_then(|(_, number)| number.parse::<u64>().ok()).unwrap_or_default();
        let is_segment = missing == names::segment(sequence);
        let later: Vec<_> = self.listing.segments.iter().copied().filter(|later| *later >= sequence).collect();
        self.lose_segments(&later)?;
        if is_segment && self.listing.checkpoints.contains(&sequence) {
            self.put_empty_segment(sequence)?;
        }
        Ok(())
    }

    fn put_empty_segment(&mut self, sequence: u64) -> std::io::Result<()> {
        let checkpoint = read_whole(self.store, Kind::Checkpoint, sequence, &mut |_| Ok(()));
        let checkpoint = checkpoint.map_err(std::io::Error::other)?;
        let (identity, end) = (checkpoint.identity, checkpoint.end);
        let header = Header { kind: Kind::Segment, seed: fastrand::u32(..), identity, sequence };
        let begins = Note::Begins { at: checkpoint.at, after_gap: false, previous: 0, last: checkpoint.at, identity };
        let mut first = Vec::new();
        begins.push(end.last, end.moment, &mut first);
        frame::seal(&mut first, header.seed);
        let file = self.store.create(&names::segment(sequence))?;
        file.append(&[&header.encode()[..], &first].concat())?;
        file.sync()?;
        self.said.push(format!("all entries after {} are lost", names::checkpoint(sequence)));
        Ok(())
    }

    /// Keeps the whole segment aside, and cuts it.
    fn cut_segment(&mut self, file: &str, offset: u64, size: u64) -> std::io::Result<()> {
        if offset <= HEADER as u64 {
            return self.lose(file);
        }
        let mut bytes = Vec::new();
        self.store.read(file)?.1.read_to_end(&mut bytes)?;
        let lost = self.free(&names::lost(file))?;
        let copy = self.store.create(&lost)?;
        copy.append(&bytes)?;
        copy.sync()?;
        self.store.sync_names()?;
        self.store.cut(file, offset)?;
        self.said.push(format!("{file} is cut there: its last {} bytes are lost, and kept in {lost}", size - offset));
        Ok(())
    }

    fn lose_segments(&mut self, sequences: &[u64]) -> std::io::Result<()> {
        // From the end, so that an interrupted repair leaves no gap.
        sequences.iter().rev().try_for_each(|sequence| self.lose(&names::segment(*sequence)))
    }

    fn lose(&mut self, file: &str) -> std::io::Result<()> {
        let lost = self.free(&names::lost(file))?;
        self.store.rename(file, &lost)?;
        self.said.push(format!("{file} is lost, and kept as {lost}"));
        Ok(())
    }

    /// A name that no file has: an earlier repair may have kept one.
    fn free(&self, name: &str) -> std::io::Result<String> {
        let files = self.store.list()?;
        let is_free = |name: &String| !files.iter().any(|(other, _)| other == name);
        let others = (2..).map(|number: u32| format!("{name}.{number}"));
        Ok(std::iter::once(name.to_owned()).chain(others).find(is_free).unwrap_or_default())
    }
}
