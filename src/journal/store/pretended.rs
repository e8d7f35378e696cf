//! A store in memory, for tests: it can lose power, refuse operations, and take its time.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::{Condvar, Mutex};

use crate::journal::store::{Appended, Store};

/// After a power cut, a sector that was not flushed may be there, or be zeros.
const SECTOR: usize = 32;

/// A store in memory. Clones share it.
#[derive(Clone, Default)]
pub struct Pretended(Arc<Machine>);

#[derive(Default)]
struct Machine {
    disk: Mutex<Disk>,
    /// The flushes that may go on, unless all may.
    gate: Mutex<Option<u64>>,
    opened: Condvar,
}

#[derive(Clone, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    /// The names that were flushed, and the changes since.
    durable: BTreeMap<String, usize>,
    changes: Vec<Change>,
    operations: u64,
    power_ends_at: Option<u64>,
    refuses: Option<Refuses>,
    /// All that a full disk has space for.
    space: Option<usize>,
    flush_takes: Duration,
    /// Calls that a file must never get: flushes after a failed one. A write may have been under way.
    wrong: Vec<String>,
}

#[derive(Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// A flush failed: the system takes its pages for clean, and later flushes say that all is well.
    failed: bool,
}

#[derive(Clone)]
enum Change {
    Add(String, usize),
    Rename(String, String),
    Remove(String),
}

/// Operations that fail.
#[derive(Clone, Copy)]
struct Refuses {
    from: u64,
    to: u64,
    kind: io::ErrorKind,
}

struct File {
    machine: Arc<Machine>,
    inode: usize,
}

fn apply(names: &mut BTreeMap<String, usize>, change: &Change) {
    match change {
        Change::Add(name, inode) => drop(names.insert(name.clone(), *inode)),
        Change::Remove(name) => drop(names.remove(name)),
        Change::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

impl Pretended {
    /// The operations so far.
    pub fn operations(&self) -> u64 {
        self.0.disk.lock().operations
    }

    /// The power goes during operation `number`.
    pub fn power_ends_at(&self, number: u64) {
        self.0.disk.lock().power_ends_at = Some(number);
    }

    /// Operations fail from now on, so many of them.
    pub fn refuse(&self, after: u64, count: u64, kind: io::ErrorKind) {
        let mut disk = self.0.disk.lock();
        let from = disk.operations.saturating_add(after);
        disk.refuses = Some(Refuses { from, to: from.saturating_add(count), kind });
    }

    /// All is well again.
    pub fn heal(&self) {
        let mut disk = self.0.disk.lock();
        (disk.refuses, disk.space) = (None, None);
    }

    /// The disk has space for so many bytes.
    pub fn space(&self, bytes: usize) {
        self.0.disk.lock().space = Some(bytes);
    }

    /// The bytes of all files.
    pub fn used(&self) -> usize {
        self.0.disk.lock().used()
    }

    /// Each flush takes so long.
    pub fn flush_takes(&self, time: Duration) {
        self.0.disk.lock().flush_takes = time;
    }

    /// Flushes hang while `closed`.
    pub fn hang(&self, closed: bool) {
        *self.0.gate.lock() = closed.then_some(0);
        self.0.opened.notify_all();
    }

    /// One flush more may go on.
    pub fn let_one_go_on(&self) {
        if let Some(flushes) = &mut *self.0.gate.lock() {
            *flushes += 1;
        }
        self.0.opened.notify_all();
    }

    /// What should not have been asked of the store.
    pub fn wrong(&self) -> Vec<String> {
        self.0.disk.lock().wrong.clone()
    }

    /// The names and bytes of all files.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.0.disk.lock();
        disk.names.iter().map(|(name, inode)| (name.clone(), disk.inodes[*inode].bytes.clone())).collect()
    }

    /// A store with these files, all of them flushed.
    pub fn of(files: &BTreeMap<String, Vec<u8>>) -> Pretended {
        let pretended = Pretended::default();
        {
            let mut disk = pretended.0.disk.lock();
            for (name, bytes) in files {
                let inode = disk.inodes.len();
                disk.inodes.push(Inode { bytes: bytes.clone(), durable: bytes.clone(), failed: false });
                disk.names.insert(name.clone(), inode);
            }
            disk.durable = disk.names.clone();
        }
        pretended
    }

    /// The store as it is found when the power is back: of what was not flushed, some is there.
    pub fn after_power_cut(&self, rng: &mut Rng) -> Pretended {
        let disk = self.0.disk.lock();
        let mut names = disk.durable.clone();
        let kept = rng.usize(..=disk.changes.len());
        disk.changes[..kept].iter().for_each(|change| apply(&mut names, change));
        let mut files = BTreeMap::new();
        for (name, inode) in names {
            files.insert(name, disk.inodes[inode].after_power_cut(rng));
        }
        drop(disk);
        Pretended::of(&files)
    }
}

impl Inode {
    fn after_power_cut(&self, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let lost = self.bytes.get(self.durable.len()..).unwrap_or_default();
        let kept = match rng.u8(..4) {
            0 => 0,
            1 => lost.len(),
            _ => rng.usize(..=lost.len()),
        };
        bytes.extend(&lost[..kept]);
        if rng.bool() {
            bytes[self.durable.len()..]
                .chunks_mut(SECTOR)
                .filter(|_| rng.u8(..3) == 0)
                .for_each(|sector| sector.fill(0));
        }
        bytes
    }
}

impl Disk {
    fn used(&self) -> usize {
        self.names.values().map(|inode| self.inodes[*inode].bytes.len()).sum()
    }

    /// Counts an operation; fails if it is to.
    fn step(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        if self.power_ends_at.is_some_and(|at| number >= at) {
            return Err(io::Error::other("the power is off"));
        }
        match self.refuses {
            Some(Refuses { from, to, kind }) if (from..to).contains(&number) => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.step()?;
        apply(&mut self.names, &change);
        self.changes.push(change);
        Ok(())
    }
}

impl Store for Pretended {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let disk = self.0.disk.lock();
        Ok(disk.names.iter().map(|(name, inode)| (name.clone(), disk.inodes[*inode].bytes.len() as u64)).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Appended>> {
        let mut disk = self.0.disk.lock();
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = disk.inodes.len();
        disk.inodes.push(Inode::default());
        disk.change(Change::Add(name.to_owned(), inode))?;
        Ok(Arc::new(File { machine: self.0.clone(), inode }))
    }

    fn read(&self, name: &str) -> io::Result<(u64, Box<dyn Read + Send>)> {
        let disk = self.0.disk.lock();
        let inode = disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let bytes = disk.inodes[*inode].bytes.clone();
        Ok((bytes.len() as u64, Box::new(Cursor::new(bytes))))
    }

    fn cut(&self, name: &str, bytes: u64) -> io::Result<()> {
        let mut disk = self.0.disk.lock();
        disk.step()?;
        let inode = *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let inode = &mut disk.inodes[inode];
        inode.bytes.truncate(bytes as usize);
        inode.durable = inode.bytes.clone();
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let disk = self.0.disk.lock();
        Ok(disk.space.map_or(u64::MAX, |space| space.saturating_sub(disk.used()) as u64))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.0.disk.lock();
        if !disk.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change(Change::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.0.disk.lock();
        if !disk.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change(Change::Remove(name.to_owned()))
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut disk = self.0.disk.lock();
        disk.step()?;
        disk.durable = disk.names.clone();
        disk.changes.clear();
        Ok(())
    }
}

impl Appended for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.machine.disk.lock();
        let free = disk.space.map(|space| space.saturating_sub(disk.used()));
        let done = disk.step();
        // What fails may be done in part.
        let (kept, done) = match (done, free) {
            (Err(error), _) => (bytes.len() / 2, Err(error)),
            (Ok(()), Some(free)) if free < bytes.len() => (free, Err(io::ErrorKind::StorageFull.into())),
            (Ok(()), _) => (bytes.len(), Ok(())),
        };
        disk.inodes[self.inode].bytes.extend(&bytes[..kept]);
        done
    }

    fn sync(&self) -> io::Result<()> {
        // What is written during a flush may be left out by it.
        let (bytes, takes) = {
            let disk = self.machine.disk.lock();
            (disk.inodes[self.inode].bytes.clone(), disk.flush_takes)
        };
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        let mut gate = self.machine.gate.lock();
        while *gate == Some(0) {
            self.machine.opened.wait(&mut gate);
        }
        *gate = gate.map(|flushes| flushes - 1);
        drop(gate);
        let mut disk = self.machine.disk.lock();
        if disk.inodes[self.inode].failed {
            disk.wrong.push("a flush after a failed flush".to_owned());
            return Ok(());
        }
        let done = disk.step();
        let inode = &mut disk.inodes[self.inode];
        match done {
            Ok(()) if inode.durable.len() < bytes.len() => inode.durable = bytes,
            Ok(()) => {}
            Err(_) => inode.failed = true,
        }
        done
    }
}
