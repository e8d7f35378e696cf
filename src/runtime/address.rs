//! Addresses to listen on, as operators write them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::model::origin::Host;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// One address: `127.0.0.1:4000`, `[::1]:4000`.
    Socket(SocketAddr),
    /// All addresses of a name: `localhost:4000`.
    Name(String, u16),
    /// All addresses of this machine, of both families: `:4000`.
    All(u16),
    /// A socket in the file system: `unix:/run/presently.sock`.
    Unix(PathBuf),
}

impl Address {
    /// The IP addresses of the address; none of a path.
    ///
    /// # Errors
    ///
    /// The name has no address, or the system could not find out.
    pub async fn sockets(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(match self {
            Address::Socket(address) => vec![*address],
            Address::Name(name, port) => tokio::net::lookup_host((name.as_str(), *port)).await?.collect(),
            Address::All(port) => vec![(Ipv4Addr::UNSPECIFIED, *port).into(), (Ipv6Addr::UNSPECIFIED, *port).into()],
            Address::Unix(_) => Vec::new(),
        })
    }

    /// The addresses at which a program on this machine reaches a gateway that listens here: loopback for all addresses.
    ///
    /// # Errors
    ///
    /// As [`Address::sockets`].
    pub async fn reachable(&self) -> io::Result<Vec<SocketAddr>> {
        let mut sockets = self.sockets().await?;
        for address in sockets.iter_mut().filter(|address| address.ip().is_unspecified()) {
            address.set_ip(match address {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            });
        }
        Ok(sockets)
    }

    /// The host name, if the address has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Address::Name(name, _) => Some(name),
            Address::Socket(_) | Address::All(_) | Address::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Socket(address)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("the path is missing; write unix:PATH".to_owned())
            } else {
                Ok(Address::Unix(path.into()))
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Address::Socket(address));
        }
        let bad = || format!("{text:?} is no address; write 127.0.0.1:4000, localhost:4000, :4000 or unix:PATH");
        if text.parse::<u16>().is_ok() {
            return Err(format!("the address is missing; probably 127.0.0.1:{text}, or :{text} for all addresses"));
        }
        if text.starts_with('/') {
            return Err(format!("a path is written with unix: before it; probably unix:{text}"));
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(format!("the port is missing; probably [{text}]:4000"));
        }
        if let Some(port) = text.strip_prefix(':') {
            return port.parse().map(Address::All).map_err(|_| bad());
        }
        match text.parse::<Host>() {
            Ok(Host { name, port: Some(port) }) => Ok(Address::Name(name, port)),
            Ok(Host { name, port: None }) => Err(format!("the port is missing; probably {name}:4000")),
            Err(_) => Err(bad()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(address) => address.fmt(f),
            Address::Name(name, port) => write!(f, "{name}:{port}"),
            Address::All(port) => write!(f, ":{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for text in
            ["127.0.0.1:4000", "[::1]:0", "[fe80::1%2]:1", "localhost:4000", ":4000", "unix:/run/a b.sock", "unix:x"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("App.Example.:80".parse(), Ok(Address::Name("app.example".into(), 80)));
        assert_eq!(":0".parse(), Ok(Address::All(0)));
    }

    #[test]
    fn a_wrong_address_says_what_was_probably_meant() {
        for (text, said) in [
            ("4000", "probably 127.0.0.1:4000, or :4000 for all addresses"),
            ("localhost", "probably localhost:4000"),
            ("::1", "probably [::1]:4000"),
            ("/run/p.sock", "probably unix:/run/p.sock"),
            ("unix:", "write unix:PATH"),
            (":99999", "write 127.0.0.1:4000, localhost:4000, :4000 or unix:PATH"),
            ("a b:4000", "write 127.0.0.1:4000, localhost:4000, :4000 or unix:PATH"),
            ("", "write 127.0.0.1:4000, localhost:4000, :4000 or unix:PATH"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.ends_with(said), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn all_addresses_are_reached_on_loopback() {
        let reached = ":4000".parse::<Address>().unwrap().reachable().await.unwrap();
        assert_eq!(reached, ["127.0.0.1:4000".parse().unwrap(), "[::1]:4000".parse().unwrap()]);
    }
}
