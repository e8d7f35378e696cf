//! Files of one directory, as the journal uses them. All calls block.

use std::io;
use std::sync::Arc;

pub mod directory;

#[cfg(test)]
pub mod pretended;

/// Files of one directory, by name.
pub trait Store: Send + Sync {
    /// The names of all files, and their sizes.
    ///
    /// # Errors
    ///
    /// The directory can't be read.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Creates a file, to be appended to. There must be none of the name.
    ///
    /// # Errors
    ///
    /// The system refused it.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Appended>>;

    /// A file's size now, and its bytes from the beginning.
    ///
    /// # Errors
    ///
    /// There is no such file, or it can't be read.
    fn read(&self, name: &str) -> io::Result<(u64, Box<dyn io::Read + Send>)>;

    /// Cuts a file to its first `bytes`, durably.
    ///
    /// # Errors
    ///
    /// The system refused it.
    fn cut(&self, name: &str, bytes: u64) -> io::Result<()>;

    /// The bytes that there is space for, at the moment and as far as the system knows.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    fn free(&self) -> io::Result<u64>;

    /// Gives a file another name, in one step; a file of that name is gone.
    ///
    /// # Errors
    ///
    /// The system refused it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// The system refused it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable: those created, renamed and removed before.
    ///
    /// # Errors
    ///
    /// The names may be lost.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file that only grows.
pub trait Appended: Send + Sync {
    /// Hands bytes to the system.
    ///
    /// # Errors
    ///
    /// Some of the bytes may be in the file.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file's bytes durable, its name not.
    ///
    /// # Errors
    ///
    /// The bytes since the last call may be lost, and later calls may say otherwise.
    fn sync(&self) -> io::Result<()>;
}

/// Whether `error` says that there is no space left.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
