//! A directory of the system.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::journal::store::{Appended, Store};

/// The file whose lock says that a process uses the directory.
pub const LOCK: &str = "lock";

/// The time between two attempts to get the lock.
const AGAIN: Duration = Duration::from_millis(20);

/// A directory, whose files only its user may read: ids of clients are in them.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Open for as long as names are to be flushed: a directory that was replaced is not this one.
    names: File,
}

/// A directory's lock, released when dropped, also by the end of the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Directory {
    /// Opens the directory `path`.
    ///
    /// # Errors
    ///
    /// There is none, or it can't be read.
    pub fn open(path: &Path) -> io::Result<Directory> {
        if !fs::metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Directory { path: path.to_owned(), names: File::open(path)? })
    }

    /// Opens the directory `path`, and creates it, for its user only, if there is none.
    ///
    /// # Errors
    ///
    /// It can't be created or read.
    pub fn create(path: &Path) -> io::Result<Directory> {
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            if let Some(parent) = fs::canonicalize(path)?.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        Directory::open(path)
    }

    /// Takes the directory's lock, and waits for at most `wait` until another process releases it. `None` if none did.
    ///
    /// # Errors
    ///
    /// The lock's file can't be written.
    pub fn lock(&self, wait: Duration) -> io::Result<Option<Lock>> {
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
        let file = options.open(self.path.join(LOCK))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Lock { _file: file })),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if start.elapsed() >= wait => return Ok(None),
                Err(TryLockError::WouldBlock) => thread::sleep(AGAIN),
            }
        }
    }

    /// Whether a process has the lock.
    pub fn is_in_use(&self) -> bool {
        let file = File::open(self.path.join(LOCK));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

impl Store for Directory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(file) if file.is_file() => {
                    names.push((entry.file_name().to_string_lossy().into_owned(), file.len()))
                }
                Ok(_) => {}
                // Removed since it was listed, by the process that writes here.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Appended>> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn read(&self, name: &str) -> io::Result<(u64, Box<dyn Read + Send>)> {
        let file = File::open(self.path.join(name))?;
        let size = file.metadata()?.len();
        Ok((size, Box::new(file.take(size))))
    }

    fn cut(&self, name: &str, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path.join(name))?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn free(&self) -> io::Result<u64> {
        let space = rustix::fs::fstatvfs(&self.names)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.names.sync_all()
    }
}

impl Appended for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

#[cfg(test)]
mod tests;
