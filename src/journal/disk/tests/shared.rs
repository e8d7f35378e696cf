//! The disk in the conformance test of all logs.
//!
//! What does not fit: the caller gives the positions, one process has the log, entries are read when the log is opened and not
//! while it is written, a snapshot is of all before it and trims the log by itself. So the adapter counts the positions, keeps what is
//! there in memory for its readers, and knows no trim.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::unconstrained;

use super::*;
use crate::journal::engine::appends::Appending;
use crate::journal::engine::memory::Memory;
use crate::journal::engine::reader::Reader;
use crate::journal::engine::seam::{self, Answer, Engine, Extent, LogId, MOST_BYTES, Trouble};

#[path = "../../../../tests/it/engines/conformance.rs"]
mod conformance;

use conformance::{Place, conforms};

/// A log on a disk, and its entries in memory.
struct OnDisk {
    /// Absent after the end of its process.
    disk: Mutex<Option<Arc<dyn Log>>>,
    memory: Memory,
    path: PathBuf,
}

/// Reads a directory: the newest snapshot, the entries after it, and where these end.
fn read(source: &mut Opening) -> (Vec<Bytes>, Vec<(u64, Bytes)>, u64) {
    let (mut parts, mut entries) = (Vec::new(), Vec::new());
    let end = source.read(&mut |read| {
        match read {
            Read::Part(part) => parts.push(Bytes::copy_from_slice(part)),
            Read::Record(record) => entries.push((record.position.0, Bytes::copy_from_slice(record.payload))),
        }
        Ok(())
    });
    (parts, entries, end.unwrap().last.0)
}

/// What memory answers, which is there at once.
fn now<T>(answer: impl Future<Output = Result<T, Trouble>>) -> T {
    unconstrained(answer).now_or_never().unwrap().unwrap()
}

impl OnDisk {
    fn open(path: &Path) -> OnDisk {
        let mut opening = super::super::open(path, Duration::ZERO).unwrap();
        let (_, entries, last) = read(&mut opening);
        let identity = opening.identity();
        let memory = Memory::named(LogId { drawn: identity.journal.as_u128(), made: identity.generation });
        let first = entries.first().map_or(last + 1, |(first, _)| *first);
        let before = std::iter::repeat_n(Bytes::new(), usize::try_from(first - 1).unwrap());
        for entry in before.chain(entries.into_iter().map(|(_, entry)| entry)) {
            now(memory.append(entry));
        }
        now(memory.trim(first));
        let disk = Box::new(opening).begin(Position(last + 1)).unwrap();
        OnDisk { disk: Mutex::new(Some(disk)), memory, path: path.to_owned() }
    }

    fn last(&self) -> u64 {
        now(self.memory.extent()).last
    }
}

fn trouble(error: io::Error) -> Trouble {
    Trouble::Unknown(error.to_string())
}

impl fmt::Debug for OnDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnDisk")
    }
}

impl Engine for OnDisk {
    fn identity(&self) -> LogId {
        self.memory.identity()
    }

    fn most_bytes(&self) -> usize {
        MOST_BYTES
    }

    fn append(&self, batch: Bytes) -> Appending {
        let disk = self.disk.lock();
        let Some(disk) = disk.as_ref() else {
            return Appending::answered(Err(Trouble::Unknown("the process ended".to_owned())));
        };
        if batch.len() > MOST_BYTES {
            return self.memory.append(batch);
        }
        let (position, mut record) = (Position(self.last() + 1), Vec::new());
        frame::push(&Record { position, takes: 1, moment: Moment::default(), payload: &batch }, &mut record);
        match disk.append(position, &mut record).and_then(|_| disk.flush()) {
            Ok(()) => self.memory.append(batch),
            Err(error) => Appending::answered(Err(trouble(error))),
        }
    }

    fn read(&self, after: u64) -> Reader {
        self.memory.read(after)
    }

    fn extent(&self) -> Answer<'_, Extent> {
        self.memory.extent()
    }

    fn put_snapshot(&self, at: u64) -> Answer<'_, Box<dyn seam::Writing>> {
        assert_eq!(at, self.last(), "a snapshot is of all before it");
        let disk = self.disk.lock().clone().unwrap();
        Box::pin(async move {
            disk.turn(false).and_then(|()| disk.append(Position(at + 1), &mut Vec::new())).map_err(trouble)?;
            let mut writing = disk.put_snapshot().map_err(trouble)?;
            writing.put(&at.to_le_bytes()).map_err(trouble)?;
            Ok(Box::new(Unfinished { at, writing }) as Box<dyn seam::Writing>)
        })
    }

    fn snapshot(&self) -> Answer<'_, Option<seam::Snapshot>> {
        let directory = Directory::open(&self.path).unwrap();
        let (parts, _, _) = read(&mut Opening::new(Arc::new(directory), None).unwrap());
        let Some((at, parts)) = parts.split_first() else { return Box::pin(async { Ok(None) }) };
        let (sender, coming) = mpsc::channel(parts.len().max(1));
        parts.iter().for_each(|part| sender.try_send(Ok(part.clone())).unwrap());
        let at = u64::from_le_bytes(at[..].try_into().unwrap());
        let snapshot = seam::Snapshot::new(at, parts.len() as u64, coming);
        Box::pin(async { Ok(Some(snapshot)) })
    }

    fn trim(&self, _before: u64) -> Answer<'_, ()> {
        Box::pin(async { Err(Trouble::Unknown("no trim".to_owned())) })
    }
}

struct Unfinished {
    at: u64,
    writing: Box<dyn Snapshot>,
}

impl seam::Writing for Unfinished {
    fn put(&mut self, part: Bytes) -> Answer<'_, ()> {
        let (bytes, most) = (part.len(), MOST_BYTES);
        let put = match bytes > most {
            true => Err(Trouble::TooLarge { bytes, most }),
            false => self.writing.put(&part).map_err(trouble),
        };
        Box::pin(async { put })
    }

    fn finish(self: Box<Self>) -> Answer<'static, ()> {
        let finished = self.writing.finish(End { last: Position(self.at), moment: Moment::default() });
        Box::pin(async { finished.map_err(trouble) })
    }
}

/// A directory, and the log of the process that has it.
struct Disks {
    folder: TempDir,
    open: Option<Arc<OnDisk>>,
}

impl Disks {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn copy(&self, from: &str, to: &str) {
        let (from, to) = (self.path(from), self.path(to));
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(&from).unwrap().map(|file| file.unwrap()) {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

impl Place for Disks {
    const SHARED: bool = false;
    const NETWORK: bool = false;

    async fn open(&mut self) -> Arc<dyn Engine> {
        let path = self.path("log");
        self.open.get_or_insert_with(|| Arc::new(OnDisk::open(&path))).clone()
    }

    async fn kill(&mut self) {
        if let Some(open) = self.open.take() {
            open.disk.lock().take();
        }
    }

    async fn restart(&mut self) {}

    async fn back_up(&mut self) {
        self.copy("log", "copy");
    }

    async fn restore(&mut self) {
        fs::remove_dir_all(self.path("log")).unwrap();
        self.copy("copy", "log");
    }

    async fn remove(&mut self) {
        self.kill().await;
        fs::remove_dir_all(self.path("log")).unwrap();
    }
}

#[tokio::test]
async fn a_log_on_a_disk_conforms() {
    let seed = std::env::var("PRESENTLY_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    conforms(&mut Disks { folder: tempfile::tempdir().unwrap(), open: None }, seed).await;
}
