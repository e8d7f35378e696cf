//! Listening sockets: of IP addresses, and in the file system.

use std::fmt;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};

use crate::runtime::address::Address;
use crate::runtime::inherited::{Inherited, Passed};
use crate::runtime::takeover::{Entrance, Gift};

/// Connections that may wait to be accepted. With the usual 128, some of a thousand simultaneous clients would wait a
/// second or more for their next try.
const BACKLOG: u32 = 4_096;

/// The mode of a socket's file: for the gateway's user and group.
const MODE: u32 = 0o660;

/// Tries to find one free port for all addresses of a name or of both families.
const TRIES: usize = 16;

/// The listening sockets of one or more addresses.
#[derive(Debug, Default)]
pub struct Listeners {
    all: Vec<Listener>,
    /// The socket to ask first, so that a busy one does not starve the others.
    next: AtomicUsize,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

/// A socket's file, removed with the listener.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode, since another program may have put its own file there.
    id: Option<(u64, u64)>,
}

/// The reason why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", reason(.source, .address))]
pub struct ListenError {
    /// The address.
    pub address: String,
    /// The system's error.
    pub source: io::Error,
}

fn reason(error: &io::Error, address: &str) -> String {
    let is_file = address.starts_with("unix:");
    let of_files = [
        (io::ErrorKind::AddrInUse, "another process answers there"),
        (io::ErrorKind::PermissionDenied, "permission denied (see the rights of the folder)"),
        (io::ErrorKind::AlreadyExists, "the file is no socket, so it is not replaced"),
        (io::ErrorKind::NotFound, "there is no such folder"),
        (io::ErrorKind::InvalidInput, "the path of a socket has at most 107 bytes"),
    ];
    let of_ports = [
        (io::ErrorKind::AddrInUse, "the port is taken"),
        (io::ErrorKind::AddrNotAvailable, "this machine has no such address"),
        (io::ErrorKind::PermissionDenied, "permission denied (ports below 1024 need a privilege)"),
    ];
    let hints = if is_file { &of_files[..] } else { &of_ports[..] };
    let hint = hints.iter().find(|(kind, _)| *kind == error.kind());
    hint.map_or_else(|| error.to_string(), |(_, hint)| (*hint).to_owned())
}

impl Listeners {
    /// Listens on the `inherited` sockets, and on all of `addresses`.
    ///
    /// # Errors
    ///
    /// The first address that cannot be listened on.
    pub async fn bind(inherited: Inherited, addresses: &[Address]) -> Result<Self, ListenError> {
        let mut listeners = Listeners::default();
        let named = inherited.addresses();
        for (passed, address) in inherited.sockets().into_iter().zip(named) {
            let failed = |source| ListenError { address: address.to_string(), source };
            listeners.all.push(Listener::adopt(passed).map_err(failed)?);
        }
        for address in addresses {
            let failed = |source| ListenError { address: address.to_string(), source };
            match address {
                Address::Unix(path) if listeners.files().any(|taken| taken == path) => {}
                Address::Unix(path) => listeners.all.push(bind_file(path).map_err(failed)?),
                Address::Socket(_) | Address::Name(..) | Address::All(_) => {
                    let sockets = address.sockets().await.map_err(failed)?;
                    listeners.add(&sockets, addresses).map_err(failed)?;
                }
            }
        }
        Ok(listeners)
    }

    /// Listens on the `sockets` of one address, all with the same port.
    fn add(&mut self, sockets: &[SocketAddr], among: &[Address]) -> io::Result<()> {
        let is_free = sockets.iter().all(|address| address.port() == 0);
        for tried in 1.. {
            match self.try_all(sockets, among) {
                Ok(bound) => {
                    self.all.extend(bound);
                    return Ok(());
                }
                // The port that is free for the first address may be taken for another one.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_free && tried < TRIES => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn try_all(&self, sockets: &[SocketAddr], among: &[Address]) -> io::Result<Vec<Listener>> {
        let (mut bound, mut port, mut missing) = (Vec::new(), None, None);
        for mut address in sockets.iter().copied() {
            if self.addresses().any(|taken| taken == address) {
                // Given before, such as 127.0.0.1 and localhost.
                continue;
            }
            // A socket of [::] would else take the port for IPv4, too.
            let is_ipv4 =
                |other: &Address| matches!(other, Address::Socket(SocketAddr::V4(v4)) if v4.port() == address.port());
            let only_v6 = sockets.iter().any(SocketAddr::is_ipv4) || among.iter().any(is_ipv4);
            address.set_port(port.unwrap_or(address.port()));
            match bind_tcp(address, only_v6) {
                Ok(listener) => {
                    let address = listener.local_addr()?;
                    port = Some(address.port());
                    bound.push(Listener::Tcp(listener, address));
                }
                // A name may have addresses that this machine lacks, such as those of IPv6 where that is turned off.
                Err(error) if sockets.len() > 1 && is_lacking(&error) => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if bound.is_empty() => Err(error),
            Some(_) | None => Ok(bound),
        }
    }

    /// The IP addresses that are listened on.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().filter_map(|listener| match listener {
            Listener::Tcp(_, address) => Some(*address),
            Listener::Unix(..) => None,
        })
    }

    /// The files of sockets that are listened on.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.all.iter().filter_map(|listener| match listener {
            Listener::Tcp(..) => None,
            Listener::Unix(_, file) => Some(&file.path),
        })
    }

    /// Where clients reach the gateway: `http://127.0.0.1:4000`, `unix:/run/presently.sock`.
    pub fn places(&self) -> impl Iterator<Item = impl fmt::Display> {
        self.all.iter().map(|listener| match listener {
            Listener::Tcp(_, address) => format!("http://{address}"),
            Listener::Unix(_, file) => format!("unix:{}", file.path.display()),
        })
    }

    /// Copies of the sockets, for another process.
    ///
    /// # Errors
    ///
    /// There may be no more open files.
    pub fn gifts(&self, entrance: Entrance) -> io::Result<Vec<Gift>> {
        let gift = |listener: &Listener| {
            let (socket, owns_file) = match listener {
                Listener::Tcp(listener, _) => (listener.as_fd(), false),
                Listener::Unix(listener, file) => (listener.as_fd(), file.id.is_some()),
            };
            Ok(Gift { socket: socket.try_clone_to_owned()?, entrance, owns_file })
        };
        self.all.iter().map(gift).collect()
    }

    /// Closes the sockets here. Another process has copies, and the files are its own.
    pub fn leave(mut self) {
        for listener in &mut self.all {
            if let Listener::Unix(_, file) = listener {
                file.id = None;
            }
        }
    }

    /// The next connection, and the address of its other end: loopback for a socket in the file system.
    ///
    /// # Errors
    ///
    /// The system's error of accepting. Further connections can be accepted.
    pub async fn accept(&self) -> io::Result<(TcpStream, IpAddr)> {
        let first = self.next.fetch_add(1, Relaxed);
        poll_fn(|cx| {
            for n in 0..self.all.len() {
                let listener = &self.all[first.wrapping_add(n) % self.all.len()];
                if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Listener {
    /// Goes on with a socket that may block, and has another process's settings.
    fn adopt(passed: Passed) -> io::Result<Self> {
        match passed {
            Passed::Tcp(listener, address) => {
                let socket = SockRef::from(&listener);
                socket.set_nonblocking(true)?;
                socket.set_tcp_nodelay(true)?;
                socket.listen(BACKLOG.cast_signed())?;
                Ok(Listener::Tcp(TcpListener::from_std(listener)?, address))
            }
            Passed::Unix { listener, path, owns_file } => {
                let socket = SockRef::from(&listener);
                socket.set_nonblocking(true)?;
                socket.listen(BACKLOG.cast_signed())?;
                let id = owns_file.then(|| identity(&path)).flatten();
                Ok(Listener::Unix(UnixListener::from_std(listener)?, SocketFile { path, id }))
            }
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, IpAddr)>> {
        match self {
            Listener::Tcp(listener, _) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Ok((stream, peer.ip())))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                // A type of its own for such streams would cost each connection 8 bytes. Beyond accepting and connecting,
                // a TcpStream asks the system only for what all stream sockets can do.
                let socket = OwnedFd::from(stream.into_std()?);
                let stream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
                Poll::Ready(Ok((stream, IpAddr::V4(Ipv4Addr::LOCALHOST))))
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.id.is_some() && self.id == identity(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Whether the machine lacks the address or its family.
fn is_lacking(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn bind_tcp(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if only_v6 && address.is_ipv6() {
        SockRef::from(&socket).set_only_v6(true)?;
    }
    // A restarted gateway can listen at once, while connections of the last process still linger.
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit this option. Without it, a frame can wait for the acknowledgement of the frame before.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Makes a socket in the file system. Replaces a socket on which nobody answers, left behind by a killed process.
fn bind_file(path: &Path) -> io::Result<Listener> {
    if let Ok(file) = fs::symlink_metadata(path) {
        if !file.file_type().is_socket() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // Answered, or too busy to answer.
            Ok(_) | Err(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile { path: path.to_owned(), id: identity(path) };
    // Before anybody can connect.
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG.cast_signed())?;
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(OwnedFd::from(socket)))?;
    Ok(Listener::Unix(listener, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As configurations of other servers are written.
    #[tokio::test]
    async fn all_addresses_of_each_family_may_be_named_apart() {
        let listeners = loop {
            let free = std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
            let named = [format!("0.0.0.0:{free}"), format!("[::]:{free}"), format!("[::]:{free}")];
            match Listeners::bind(Inherited::default(), &named.map(|text| text.parse().unwrap())).await {
                // Somebody else was faster.
                Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => {}
                bound => break bound.unwrap(),
            }
        };
        assert_eq!(listeners.places().count(), 2, "an address named twice is one");
    }

    #[tokio::test]
    async fn a_busy_socket_does_not_starve_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.sock");
        let addresses = ["127.0.0.1:0".parse().unwrap(), Address::Unix(path.clone())];
        let listeners = Listeners::bind(Inherited::default(), &addresses).await.unwrap();
        let address = listeners.addresses().next().unwrap();
        let busy: Vec<_> = (0..8).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let quiet = UnixStream::connect(&path).unwrap();
        let mut accepted = Vec::new();
        for _ in 0..3 {
            accepted.push(listeners.accept().await.unwrap().0.local_addr().is_ok());
        }
        assert!(accepted.contains(&false), "the socket in the file system has no IP address");
        drop((busy, quiet));
    }
}
