//! Why a journal can't be opened.

use std::io;
use std::time::Duration;

/// A journal that can't be opened. Each sentence names the place; the caller names the directory and `--data`.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused a step.
    #[error("{0} failed: {1}")]
    Io(String, #[source] io::Error),
    /// A file is not as it was written, or is missing.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file's name in the directory.
        file: String,
        /// The place of the damage.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A later version of the program wrote the file.
    #[error(
        "{file} has version {version} of the format, and this program reads up to version {}",
        super::frame::VERSION
    )]
    Newer {
        /// The file's name in the directory.
        file: String,
        /// The version that the file says.
        version: u32,
    },
    /// The file belongs to another journal.
    #[error("{file} belongs to another journal than the files before it")]
    Foreign {
        /// The file's name in the directory.
        file: String,
    },
    /// Another process has the journal.
    #[error("another process uses it, for {0:?} already")]
    InUse(Duration),
    /// A backup that was not written to its end.
    #[error("it is a backup that was not finished")]
    Unfinished,
}
