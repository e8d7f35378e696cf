//! Listening sockets made by another process: by the service manager (`LISTEN_FDS`, sd_listen_fds(3)), or by an older gateway.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use listenfd::ListenFd;
use socket2::SockRef;

use crate::runtime::address::Address;

/// The first file that a service manager passes.
const FIRST: usize = 3;

/// The listening sockets that this process inherits.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Passed>);

/// A listening socket made by another process.
#[derive(Debug)]
pub enum Passed {
    /// Of an IP address.
    Tcp(TcpListener, SocketAddr),
    /// In the file system.
    Unix {
        /// The socket.
        listener: UnixListener,
        /// Its file.
        path: PathBuf,
        /// Whether the file is removed at the end. Otherwise it belongs to the socket's maker.
        owns_file: bool,
    },
}

impl Inherited {
    /// The sockets of `LISTEN_FDS`, none without. Removes the variables, since children inherit no sockets; so only while
    /// there is one thread.
    ///
    /// # Errors
    ///
    /// A sentence about a file that is no listening socket.
    pub fn from_env() -> Result<Self, String> {
        let mut files = ListenFd::from_env();
        (0..files.len()).map(|n| take(&mut files, n)).collect::<Result<_, _>>().map(Inherited)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> Vec<Address> {
        self.0.iter().map(Passed::address).collect()
    }

    /// Adds a socket.
    pub fn push(&mut self, socket: Passed) {
        self.0.push(socket);
    }

    /// The sockets.
    pub fn sockets(self) -> Vec<Passed> {
        self.0
    }
}

fn take(files: &mut ListenFd, n: usize) -> Result<Passed, String> {
    let passed = match files.take_tcp_listener(n) {
        Ok(Some(listener)) => Passed::tcp(listener),
        Ok(None) | Err(_) => match files.take_unix_listener(n) {
            Ok(Some(listener)) => Passed::unix(listener, false),
            Ok(None) => Err(io::ErrorKind::NotFound.into()),
            Err(error) => Err(error),
        },
    };
    passed.map_err(|_| {
        let file = FIRST + n;
        format!("LISTEN_FDS: file {file} is no listening stream socket; see ListenStream= in systemd.socket(5)")
    })
}

impl Passed {
    /// The address that is listened on.
    pub fn address(&self) -> Address {
        match self {
            Passed::Tcp(_, address) => Address::Socket(*address),
            Passed::Unix { path, .. } => Address::Unix(path.clone()),
        }
    }

    /// # Errors
    ///
    /// The socket does not listen, or the system's error.
    pub fn tcp(listener: TcpListener) -> io::Result<Self> {
        listens(SockRef::from(&listener))?;
        let address = listener.local_addr()?;
        Ok(Passed::Tcp(listener, address))
    }

    /// # Errors
    ///
    /// The socket does not listen, or the system's error.
    pub fn unix(listener: UnixListener, owns_file: bool) -> io::Result<Self> {
        listens(SockRef::from(&listener))?;
        let path = listener.local_addr()?.as_pathname().map(PathBuf::from).unwrap_or_default();
        Ok(Passed::Unix { listener, path, owns_file })
    }
}

/// A connected socket, for instance, has the type of a listening one.
fn listens(socket: SockRef<'_>) -> io::Result<()> {
    if socket.is_listener()? { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
