//! Copies a journal while a process writes it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::journal::disk::names::{self, Listing};
use crate::journal::disk::walk::{Walked, read_whole, walk};
use crate::journal::error::OpenError;
use crate::journal::frame::Kind;
use crate::journal::store::directory::Directory;
use crate::journal::store::{Appended, Store};

/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;

/// How often the copy begins anew, when the process that writes removes files meanwhile.
const ATTEMPTS: usize = 5;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Entries after the checkpoint.
    pub entries: u64,
    /// It is the snapshot of a node of a cluster.
    pub of_node: bool,
}

/// Copies the journal in `directory`: the newest checkpoint, and the segments after it up to the last whole record. The
/// `target` must be empty, or not be there. A gateway that is started with it goes on under a new name, so that no cursor of
/// the original resumes there. Of a node of a cluster, the newest snapshot that is whole.
///
/// # Errors
///
/// The journal is damaged, the target is not empty, or the system refused a step.
pub fn backup(directory: &Path, target: &Path) -> Result<Copied, OpenError> {
    let from = Directory::open(directory).map_err(OpenError::io("opening the directory"))?;
    let to = Directory::create(target).map_err(OpenError::io("opening the target"))?;
    let is_empty = fs::read_dir(target).map_err(OpenError::io("reading the target"))?.next().is_none();
    if !is_empty {
        let error = io::Error::from(io::ErrorKind::DirectoryNotEmpty);
        return Err(OpenError::Io("writing to the target".to_owned(), error));
    }
    backup_store(&from, &to)
}

/// As [`backup`], for any stores.
///
/// # Errors
///
/// As [`backup`].
pub fn backup_store(from: &dyn Store, to: &dyn Store) -> Result<Copied, OpenError> {
    let writing = || OpenError::io("writing to the target");
    // Until all is there, nobody may start with it.
    mark(to, names::UNFINISHED).map_err(writing())?;
    for attempt in 1.. {
        match copy(from, to) {
            Err(OpenError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {
                clear(to).map_err(writing())?;
            }
            Err(error) => return Err(error),
            Ok(copied) => {
                let marked = match copied.of_node {
                    // Of the same log as the original, and no backup of it.
                    true => to.remove(names::UNFINISHED),
                    false => to.rename(names::UNFINISHED, names::BACKUP),
                };
                marked.and_then(|()| to.sync_names()).map_err(writing())?;
                return Ok(copied);
            }
        }
    }
    Err(OpenError::Unfinished)
}

fn mark(to: &dyn Store, name: &str) -> io::Result<()> {
    to.create(name)?.sync()?;
    to.sync_names()
}

fn clear(to: &dyn Store) -> io::Result<()> {
    let files = to.list()?;
    files.iter().filter(|(name, _)| name != names::UNFINISHED).try_for_each(|(name, _)| to.remove(name))
}

fn copy(from: &dyn Store, to: &dyn Store) -> Result<Copied, OpenError> {
    let files = from.list().map_err(OpenError::io("reading the directory"))?;
    let listing = Listing::of(&files);
    if listing.is_unfinished {
        return Err(OpenError::Unfinished);
    }
    if listing.is_of_node() {
        return copy_newest(from, to, &listing);
    }
    let walked: Walked = walk(from, &listing, &mut |_| Ok(()))?;
    let checkpoint = walked.checkpoint.map(|checkpoint| (Kind::Checkpoint, checkpoint.sequence, checkpoint.bytes));
    let segments = walked.segments.iter().map(|(sequence, bytes)| (Kind::Segment, *sequence, *bytes));
    let mut copied = Copied { entries: walked.entries, ..Copied::default() };
    for (kind, sequence, bytes) in checkpoint.into_iter().chain(segments) {
        let name = names::name(kind, sequence);
        let file = to.create(&name).map_err(OpenError::io(format!("creating {name} in the target")))?;
        copy_file(from, &name, bytes, &file)?;
        copied.files += 1;
        copied.bytes += bytes;
    }
    to.sync_names().map_err(OpenError::io("writing to the target"))?;
    check(to, copied)
}

/// Copies a node's newest snapshot that is whole.
fn copy_newest(from: &dyn Store, to: &dyn Store, listing: &Listing) -> Result<Copied, OpenError> {
    let kind = Kind::Snapshot;
    let read = |store: &dyn Store, sequence| read_whole(store, kind, sequence, &mut |_| Ok(()));
    let mut last = Err(OpenError::Io("copying".to_owned(), io::ErrorKind::NotFound.into()));
    for sequence in &listing.snapshots {
        match read(from, *sequence) {
            Ok(whole) => {
                let name = names::name(kind, *sequence);
                let file = to.create(&name).map_err(OpenError::io(format!("creating {name} in the target")))?;
                copy_file(from, &name, whole.bytes, &file)?;
                to.sync_names().map_err(OpenError::io("writing to the target"))?;
                read(to, *sequence)?;
                return Ok(Copied { files: 1, bytes: whole.bytes, entries: 0, of_node: true });
            }
            Err(error) => last = Err(error),
        }
    }
    last
}

/// The copy must be what was read: the process that writes may have removed a file and written another of its name.
fn check(to: &dyn Store, copied: Copied) -> Result<Copied, OpenError> {
    let listing = Listing::of(&to.list().map_err(OpenError::io("reading the target"))?);
    let walked = walk(to, &listing, &mut |_| Ok(()))?;
    match walked.entries == copied.entries && walked.tear.is_none() {
        true => Ok(copied),
        false => Err(OpenError::Io("copying".to_owned(), io::ErrorKind::NotFound.into())),
    }
}

fn copy_file(from: &dyn Store, name: &str, bytes: u64, to: &Arc<dyn Appended>) -> Result<(), OpenError> {
    let (_, mut input) = from.read(name).map_err(OpenError::io(format!("opening {name}")))?;
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let most = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let read = input.read(&mut chunk[..most]).map_err(OpenError::io(format!("reading {name}")))?;
        if read == 0 {
            let error = io::Error::from(io::ErrorKind::NotFound);
            return Err(OpenError::Io(format!("reading {name}"), error));
        }
        to.append(&chunk[..read]).map_err(OpenError::io(format!("writing {name} to the target")))?;
        left -= read as u64;
    }
    to.sync().map_err(OpenError::io(format!("writing {name} to the target")))
}
