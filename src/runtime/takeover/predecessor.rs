//! The new process's side: the gateway from which it takes over.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockRef};
use tokio::net::UnixStream;

use super::wire::Wire;
use super::{Described, Ended, Entrance, PROTOCOL, Word, place, reason};
use crate::model::id::ConnectionId;
use crate::runtime::inherited::{Inherited, Passed};

/// How long the running gateway may take to let go of the journal: longer than a slow disk takes for a flush.
const GIVE_WITHIN: Duration = Duration::from_secs(30);

/// How long it may take for a word.
const WORD_WITHIN: Duration = Duration::from_secs(5);

/// The gateway from which this process takes over.
#[derive(Debug)]
pub struct Predecessor(Wire);

/// The listening sockets of the gateway from which this process takes over.
#[derive(Debug, Default)]
pub struct Estate {
    /// Those for everybody.
    pub public: Inherited,
    /// Those for operators.
    pub operators: Inherited,
}

impl Estate {
    /// Adds the sockets of `other`, but for addresses that are here already.
    pub fn add(&mut self, other: Estate) {
        for (own, others) in [(&mut self.public, other.public), (&mut self.operators, other.operators)] {
            let known = own.addresses();
            let new = others.sockets().into_iter().filter(|passed| !known.contains(&passed.address()));
            new.for_each(|passed| own.push(passed));
        }
    }
}

impl Predecessor {
    /// Asks the gateway that keeps its journal in `folder`; `None` if none runs there.
    ///
    /// # Errors
    ///
    /// A sentence: another user's process is there, or the gateway does not answer.
    pub async fn ask(folder: &Path) -> Result<Option<Self>, String> {
        let failed = |error| {
            let reason = reason(&error);
            format!("--takeover: the gateway of {} cannot be asked: {reason}", folder.display())
        };
        let stream = match UnixStream::connect(place(folder)).await {
            Ok(stream) => stream,
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind()) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let mut wire = Wire::new(stream).map_err(failed)?;
        wire.say(&Word::Take { protocol: PROTOCOL }, &[], WORD_WITHIN).await.map_err(failed)?;
        Ok(Some(Predecessor(wire)))
    }

    /// Waits until the running gateway has let go of the journal, and takes its listening sockets.
    ///
    /// # Errors
    ///
    /// A sentence: why the gateway refuses, or that it gives nothing.
    pub async fn sockets(&mut self) -> Result<Estate, String> {
        match self.0.hear(GIVE_WITHIN).await {
            Ok((Word::Give { sockets }, files)) if sockets.len() == files.len() => {
                let mut estate = Estate::default();
                for (described, file) in sockets.into_iter().zip(files) {
                    let passed = passed(file, described).map_err(|error| format!("--takeover: a socket: {error}"))?;
                    match described.entrance {
                        Entrance::Public => estate.public.push(passed),
                        Entrance::Operators => estate.operators.push(passed),
                    }
                }
                Ok(estate)
            }
            Ok((Word::No { why }, _)) => Err(format!("--takeover: {why}")),
            Ok(_) => Err("--takeover: the running gateway says something else than was asked".to_owned()),
            Err(error) => Err(format!("--takeover: the running gateway gives nothing: {error}")),
        }
    }

    /// Tells the old gateway that this one serves.
    ///
    /// # Errors
    ///
    /// The old gateway is gone.
    pub async fn serve(&mut self) -> io::Result<()> {
        self.0.say(&Word::Serving, &[], WORD_WITHIN).await
    }

    /// The next hold that a client of the old gateway has ended there; `None` once the old gateway has ended.
    pub async fn ended(&mut self) -> Option<Ended> {
        loop {
            match self.0.next().await {
                Ok((Word::Ended { room, user, connection }, _)) => {
                    // Names that this version refuses were never its members.
                    if let (Ok(room), Ok(user)) = (room.parse(), user.parse()) {
                        return Some(Ended { room, user, connection: ConnectionId(connection) });
                    }
                }
                Ok((Word::Take { .. } | Word::No { .. } | Word::Give { .. } | Word::Serving, _)) => {}
                Err(_) => return None,
            }
        }
    }
}

fn passed(file: std::os::fd::OwnedFd, described: Described) -> io::Result<Passed> {
    match SockRef::from(&file).domain()? {
        Domain::UNIX => Passed::unix(UnixListener::from(file), described.owns_file),
        _ => Passed::tcp(TcpListener::from(file)),
    }
}
