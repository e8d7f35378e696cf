//! The gateway under load: its URL, its address, and sockets to it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use warp::http::Uri;

use crate::bench::trouble::Trouble;

/// Connections from one address to one port: there are some 28,000 ports to come from.
const PER_ADDRESS: usize = 20_000;

/// The receive buffer of a reader that is to become slow, so that little of what waits for it is out
/// of the gateway's hands. The kernel doubles it.
const NARROW: u32 = 4_096;

/// Where a gateway answers: plain `http`, a host and a port, and no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    host: String,
    port: u16,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "write http://HOST:PORT";
        let uri: Uri = text.parse().map_err(|_| format!("this is no URL; {wanted}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("only plain http is spoken here; {wanted}"));
        }
        if uri.path() != "/" || uri.query().is_some() || text.contains(['@', '#']) {
            return Err(format!("only the gateway's address is wanted; {wanted}"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(format!("the host is missing; {wanted}"))?;
        let port = match uri.authority().map(|authority| &authority.as_str()[host.len()..]) {
            None | Some("") => 80,
            Some(port) => {
                let port = port.trim_start_matches(':').parse().ok().filter(|port| *port > 0);
                port.ok_or(format!("the port is not one of 1 to 65535; {wanted}"))?
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

/// A gateway that was found.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its URL.
    pub url: Url,
    /// Its address.
    pub address: SocketAddr,
}

impl Target {
    /// Looks the URL's host up.
    pub async fn find(url: Url) -> Result<Self, Trouble> {
        let host = url.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let found = lookup_host((host, url.port)).await;
        let first = found.map_err(|error| Trouble::gateway(format!("cannot find {url}: {error}")))?.next();
        let address = first.ok_or_else(|| Trouble::gateway(format!("{url} has no address")))?;
        Ok(Target { url, address })
    }

    /// What stands in `Host`.
    pub fn host(&self) -> String {
        format!("{}:{}", self.url.host, self.url.port)
    }

    /// Whether the gateway runs on this machine.
    pub fn is_local(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// How many connections can be made to it from here.
    pub fn most(&self) -> usize {
        let sources = if self.is_local() && self.address.is_ipv4() { 254 } else { 1 };
        sources * PER_ADDRESS
    }

    /// Opens connection number `index`.
    pub async fn connect(&self, index: usize, narrow: bool) -> io::Result<TcpStream> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if narrow {
            socket.set_recv_buffer_size(NARROW)?;
        }
        let further = index / PER_ADDRESS;
        if further > 0 && self.is_local() {
            let source = Ipv4Addr::new(127, 0, u8::try_from(further).unwrap_or(u8::MAX), 1);
            socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        // Cut rather than closed: thousands of ports would otherwise stay taken for a minute.
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
    fn other_urls_are_refused_with_what_to_write() {
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
