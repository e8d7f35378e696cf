//! The listening socket, and one small task for each accepted connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::gateway::Gateway;
use crate::http::{Door, is_trusted};
use crate::model::refusal::Refusal;
use crate::runtime::handover::{self, Limits};
use crate::runtime::head_timer::HeadLimits;
use crate::runtime::repeats::Repeats;

/// Connections that may wait to be accepted. With the usual 128, some of a thousand simultaneous clients would wait a
/// second or more for their next try.
const BACKLOG: u32 = 4_096;

/// The pause after an error of accepting, such as at the limit of open files. Without a pause, the loop would only burn
/// the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The reason why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", reason(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The users of `--user` break a bound.
    #[error("cannot sign in the users given at start: {}", .0.message)]
    Users(Refusal),
}

fn reason(error: &io::Error) -> String {
    let hints = [
        (io::ErrorKind::AddrInUse, "the port is taken; choose another with --listen"),
        (io::ErrorKind::AddrNotAvailable, "this machine has no such address; see --listen"),
        (io::ErrorKind::PermissionDenied, "permission denied; ports below 1024 need a privilege"),
    ];
    let hint = hints.into_iter().find(|(kind, _)| *kind == error.kind());
    hint.map_or_else(|| error.to_string(), |(_, hint)| hint.to_owned())
}

/// A listening gateway.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    gateway: Arc<Gateway>,
}

impl Server {
    /// Listens on the configured address. [`Server::run`] then serves.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the users of `--user` are refused.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let address = config.listen;
        let listener = listen(address).map_err(|source| StartError::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let gateway = Gateway::start(config).map_err(StartError::Users)?;
        Ok(Server { listener, address, gateway })
    }

    /// The address that the gateway listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` resolves, then ends all streams and requests within 5 s.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        info!(version = env!("CARGO_PKG_VERSION"), "listening on http://{}", self.address);
        tokio::select! {
            () = self.accept() => {}
            () = stop => {}
        }
        drop(self.listener);
        info!("stopping");
        self.gateway.stop().await;
        info!("stopped");
    }

    async fn accept(&self) {
        let limits = limits(self.gateway.config());
        let door = Arc::new(Door::new(self.gateway.clone()));
        let failures = Repeats::new();
        loop {
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    // Closed without an answer: an EventSource gives up after an error status, but reconnects after a close.
                    let trusted = is_trusted(peer.ip(), &self.gateway.config().trusted_proxies);
                    // A proxy's streams are counted by the addresses that it reports.
                    let address = (!trusted).then(|| peer.ip().to_canonical());
                    let Some(admission) = self.gateway.admit(address) else {
                        continue;
                    };
                    // The system ends the connection of a client that acknowledges no bytes for so long.
                    #[cfg(target_os = "linux")]
                    let _ = SockRef::from(&socket).set_tcp_user_timeout(Some(self.gateway.config().send_within));
                    let (door, gateway) = (door.clone(), self.gateway.clone());
                    self.gateway.tasks().spawn(async move {
                        let answer = |request, slot| {
                            let door = door.clone();
                            async move { door.answer(request, slot, peer.ip()).await }
                        };
                        let served = handover::serve(socket, admission, limits, gateway.tasks().stop(), answer).await;
                        if let Err(error) = served {
                            debug!(%error, "connection ended");
                        }
                    });
                }
                // The client was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if let Some(times) = failures.again() {
                        warn!(%error, times, "cannot accept connections");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn limits(config: &Config) -> Limits {
    let head = HeadLimits { within: config.request_within, idle: config.idle_within };
    Limits { max_head: config.max_head as usize, head }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted gateway can listen at once, while connections of the last process still linger.
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit this option. Without it, a frame can wait for the acknowledgement of the frame before.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
