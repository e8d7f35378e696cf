//! The takeover: a new process gets the listening sockets of the running one, over a socket in the folder of the journal.
//!
//! Both processes have the same user, and say frames of JSON in turn: the new one asks ([`Word::Take`]), the running one gives
//! its sockets ([`Word::Give`]) once it has let go of the journal, the new one serves ([`Word::Serving`]), and from then on the
//! old one tells which holds its clients end ([`Word::Ended`]), until it closes the socket at its end.

pub mod predecessor;
pub mod successor;
mod wire;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::id::ConnectionId;
use crate::model::name::Name;

/// The version of what is said. A process that says another one is refused.
const PROTOCOL: u32 = 1;

/// What is said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
enum Word {
    /// The new process wants to take over.
    Take { protocol: u32 },
    /// The running process refuses, or cannot.
    No { why: String },
    /// The sockets, in the order of the files that come along. The journal is free.
    Give { sockets: Vec<Described> },
    /// The new process serves.
    Serving,
    /// A client of the old process has ended a hold.
    Ended { room: String, user: String, connection: Uuid },
}

/// A listening socket beside its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Described {
    entrance: Entrance,
    /// Whether the socket's file is removed at the gateway's end.
    owns_file: bool,
}

/// Whose connections come in at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entrance {
    /// Everybody's.
    Public,
    /// Those of operators.
    Operators,
}

/// A listening socket that is given away.
#[derive(Debug)]
pub struct Gift {
    /// The socket.
    pub socket: OwnedFd,
    /// Whose connections come in there.
    pub entrance: Entrance,
    /// Whether the socket's file is removed at the gateway's end.
    pub owns_file: bool,
}

/// A hold that a client of the old process has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The room.
    pub room: Name,
    /// The member.
    pub user: Name,
    /// The connection that held the member.
    pub connection: ConnectionId,
}

/// Why the socket in the folder cannot be used.
pub fn reason(error: &io::Error) -> String {
    match error.kind() == io::ErrorKind::InvalidInput {
        true => "the path of a socket has at most 107 bytes".to_owned(),
        false => error.to_string(),
    }
}

/// The socket's place in the folder of the journal.
fn place(folder: &Path) -> PathBuf {
    folder.join("takeover.sock")
}

#[cfg(test)]
mod tests;
