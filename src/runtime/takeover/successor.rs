//! The running gateway's side: processes that want to take over from it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::wire::Wire;
use super::{Described, Ended, Gift, PROTOCOL, Word, place};

/// How long a process that connects may take for its question, or for a word in between.
const WORD_WITHIN: Duration = Duration::from_secs(5);

/// The pause after an error of accepting.
const PAUSE: Duration = Duration::from_millis(100);

/// Where new processes ask. The file goes with it, unless a successor has put its own there.
#[derive(Debug)]
pub struct Succession {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode.
    id: Option<(u64, u64)>,
}

/// A process that wants to take over.
#[derive(Debug)]
pub struct Successor(Wire);

impl Succession {
    /// Listens in `folder`, which only the gateway's user may enter. A file that a killed gateway left behind is replaced: who
    /// holds the journal is the only one.
    ///
    /// # Errors
    ///
    /// The system's; a path of more than 107 bytes is `InvalidInput`.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = place(folder);
        if fs::symlink_metadata(&path).is_ok_and(|file| file.file_type().is_socket()) {
            fs::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Succession { listener, id: identity(&path), path })
    }

    /// The next process that asks.
    pub async fn asked(&self) -> Successor {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match Wire::new(stream) {
                    Ok(wire) => match Successor::greet(wire).await {
                        Ok(successor) => return successor,
                        Err(error) => debug!(%error, "no takeover"),
                    },
                    Err(error) => warn!(%error, "a takeover was refused"),
                },
                Err(error) => {
                    debug!(%error, "no takeover");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Succession {
    fn drop(&mut self) {
        if self.id.is_some() && self.id == identity(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Successor {
    async fn greet(mut wire: Wire) -> io::Result<Self> {
        match wire.hear(WORD_WITHIN).await?.0 {
            Word::Take { protocol: PROTOCOL } => Ok(Successor(wire)),
            Word::Take { protocol } => {
                let why = format!("the running gateway speaks version {PROTOCOL} of the takeover, and not {protocol}");
                wire.say(&Word::No { why: why.clone() }, &[], WORD_WITHIN).await?;
                Err(io::Error::new(io::ErrorKind::Unsupported, why))
            }
            Word::No { .. } | Word::Give { .. } | Word::Serving | Word::Ended { .. } => {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    /// Refuses, with a sentence for the other process's operator.
    pub async fn refuse(mut self, why: &str) {
        // Fails only when the other process is gone.
        let _ = self.0.say(&Word::No { why: why.to_owned() }, &[], WORD_WITHIN).await;
    }

    /// Gives the listening sockets. The journal must be free before.
    ///
    /// # Errors
    ///
    /// The other process is gone, or takes nothing.
    pub async fn give(&mut self, gifts: &[Gift]) -> io::Result<()> {
        let describe = |gift: &Gift| Described { entrance: gift.entrance, owns_file: gift.owns_file };
        let files: Vec<BorrowedFd<'_>> = gifts.iter().map(|gift| gift.socket.as_fd()).collect();
        self.0.say(&Word::Give { sockets: gifts.iter().map(describe).collect() }, &files, WORD_WITHIN).await
    }

    /// Waits until the other process serves.
    ///
    /// # Errors
    ///
    /// The other process has failed, or does not serve within `limit`.
    pub async fn serving(&mut self, limit: Duration) -> io::Result<()> {
        match self.0.hear(limit).await?.0 {
            Word::Serving => Ok(()),
            Word::Take { .. } | Word::No { .. } | Word::Give { .. } | Word::Ended { .. } => {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    /// Tells of a hold that a client has ended here.
    ///
    /// # Errors
    ///
    /// The other process is gone, or takes nothing.
    pub async fn tell(&mut self, ended: &Ended) -> io::Result<()> {
        let Ended { room, user, connection } = ended;
        let word = Word::Ended { room: room.to_string(), user: user.to_string(), connection: connection.0 };
        self.0.say(&word, &[], WORD_WITHIN).await
    }
}
