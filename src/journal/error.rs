//! Why a journal can't be opened.

use std::io;
use std::path::Path;
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
    #[error("another process uses the directory{}", waited(*.0))]
    InUse(Duration),
    /// A backup that was not written to its end.
    #[error("the directory is a backup that was not finished")]
    Unfinished,
    /// The directory of a node of a cluster, where a gateway is to be alone.
    #[error("the directory is that of a gateway with --cluster, and has no journal")]
    OfNode,
    /// The directory of a gateway that is alone, where a node of a cluster is to be.
    #[error("the directory has the journal of a gateway without --cluster")]
    OfJournal,
    /// The directory of a node of a cluster is not repaired.
    #[error("the directory is that of a gateway with --cluster, and has no journal to cut")]
    NothingToCut,
}

impl OpenError {
    /// One sentence for an operator: `option` names the directory's place among the options, such as `--data`.
    pub fn sentence(&self, option: &str, directory: &Path) -> String {
        let directory = directory.display();
        let remedy = match self {
            OpenError::Damaged { .. } | OpenError::Foreign { .. } => {
                format!("; presently inspect {directory} shows what is there, and presently repair {directory} cuts it")
            }
            OpenError::Newer { .. } => "; a later version of presently wrote it".to_owned(),
            OpenError::Unfinished => "; make it again with presently backup".to_owned(),
            OpenError::OfNode => "; start with --cluster, or choose another directory".to_owned(),
            OpenError::OfJournal => "; with --cluster, choose another directory".to_owned(),
            OpenError::NothingToCut => {
                "; a start leaves a damaged snapshot aside, and uses the one before or the servers of --cluster"
                    .to_owned()
            }
            OpenError::Io(..) | OpenError::InUse(_) => String::new(),
        };
        format!("{option} {directory}: {self}{remedy}")
    }

    pub(super) fn damaged(file: &str, offset: u64, what: &str) -> OpenError {
        OpenError::Damaged { file: file.to_owned(), offset, what: what.to_owned() }
    }

    /// Makes an error of the system's, for `map_err`: `doing` names the step.
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
        move |error| OpenError::Io(doing.into(), error)
    }
}

fn waited(time: Duration) -> String {
    if time.is_zero() { String::new() } else { format!(", and did not end within {} s", time.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_the_option_the_file_and_the_remedy() {
        let sentence = |error: OpenError| error.sentence("--data", Path::new("/d"));
        assert_eq!(
            sentence(OpenError::damaged("segment-0000000002", 64, "no")),
            "--data /d: segment-0000000002 is damaged at byte 64: no; presently inspect /d shows what is there, and presently repair \
             /d cuts it"
        );
        assert_eq!(
            sentence(OpenError::InUse(Duration::from_secs(30))),
            "--data /d: another process uses the directory, and did not end within 30 s"
        );
        assert_eq!(sentence(OpenError::InUse(Duration::ZERO)), "--data /d: another process uses the directory");
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(sentence(OpenError::Io("writing".to_owned(), full)), "--data /d: writing failed: no storage space");
    }
}
