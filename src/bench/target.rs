//! The gateway under load: its URL, its address, and TCP connections to it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use hyper::Uri;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::bench::error::BenchError;

/// Connections from one source address to one port: Linux gives a source address some 28,000 ports.
const PER_ADDRESS: usize = 20_000;

/// The receive buffer of a slow reader, in bytes, which the kernel doubles. It is small so that the
/// backlog of the reader stays in the gateway, where its memory is measured.
const SLOW_READER_BUFFER: u32 = 4_096;

/// The URL of a gateway: plain `http`, a host and a port, and no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    host: String,
    port: u16,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = "write http://HOST:PORT";
        let uri: Uri = text.parse().map_err(|_| format!("not a URL; {hint}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("bench speaks plain http only; {hint}"));
        }
        if uri.path() != "/" || uri.query().is_some() || text.contains(['@', '#']) {
            return Err(format!("the URL must end after the port; {hint}"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(format!("the host is missing; {hint}"))?;
        let port = match uri.authority().map(|authority| &authority.as_str()[host.len()..]) {
            None | Some("") => 80,
            Some(port) => {
                let port = port.trim_start_matches(':').parse().ok().filter(|port| *port > 0);
                port.ok_or(format!("the port is not one of 1 to 65535; {hint}"))?
            }
        };
        Ok(Url { host: host.to_owned(), port })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// A gateway whose address is known.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) address: SocketAddr,
}

impl Target {
    /// Resolves the host of `url`.
    ///
    /// # Errors
    ///
    /// [`BenchError::Gateway`] if the host has no address.
    pub(super) async fn resolve(url: Url) -> Result<Self, BenchError> {
        let host = url.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let found = lookup_host((host, url.port)).await;
        let first = found.map_err(|error| BenchError::gateway(format!("cannot resolve {url}: {error}")))?.next();
        let address = first.ok_or_else(|| BenchError::gateway(format!("{url} has no address")))?;
        Ok(Target { url, address })
    }

    /// The value of the `Host` header.
    pub(super) fn host(&self) -> String {
        format!("{}:{}", self.url.host, self.url.port)
    }

    /// Whether the gateway runs on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// The number of connections that this machine can have to the gateway.
    pub(super) fn max_connections(&self) -> usize {
        let sources = if self.is_local() && self.address.is_ipv4() { 254 } else { 1 };
        sources * PER_ADDRESS
    }

    /// Opens connection number `index`, for a slow reader with a small receive buffer.
    ///
    /// # Errors
    ///
    /// The error of the first socket call that fails.
    pub(super) async fn connect(&self, index: usize, slow: bool) -> io::Result<TcpStream> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if slow {
            socket.set_recv_buffer_size(SLOW_READER_BUFFER)?;
        }
        let source = index / PER_ADDRESS;
        if source > 0 && self.is_local() {
            let address = Ipv4Addr::new(127, 0, u8::try_from(source).unwrap_or(u8::MAX), 1);
            socket.bind(SocketAddr::new(IpAddr::V4(address), 0))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        // Closing resets the connection; otherwise thousands of ports would stay in TIME_WAIT for a minute.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host_and_a_port() {
        for (text, shown) in [
            ("http://127.0.0.1:4000", "http://127.0.0.1:4000"),
            ("http://localhost", "http://localhost:80"),
            ("http://[::1]:5/", "http://[::1]:5"),
        ] {
            assert_eq!(text.parse::<Url>().map(|url| url.to_string()), Ok(shown.to_owned()));
        }
    }

    #[test]
    fn other_urls_are_refused_with_a_hint() {
        for text in [
            "",
            "127.0.0.1:4000",
            "https://127.0.0.1",
            "ws://127.0.0.1",
            "http://",
            "http://a/b",
            "http://a/?b",
            "http://a:0",
            "http://a:99999",
            "http://a@b",
        ] {
            let refused = text.parse::<Url>().unwrap_err();
            assert!(refused.ends_with("write http://HOST:PORT"), "{text:?}: {refused}");
        }
    }
}
