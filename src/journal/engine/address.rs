//! Where the servers of a shared log are, and the name of the cluster.

use std::fmt;
use std::str::FromStr;

/// The most servers of one log: a longer list is a mistake.
const MAX_SERVERS: usize = 16;

/// The longest name of a cluster: a part of the names of streams and keys.
const MAX_NAME: usize = 32;

/// The engines with servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// NATS JetStream.
    Nats,
    /// Redis, or Valkey, which speaks the same protocol.
    Redis,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The servers of one log, such as `nats://a:4222,b:4222,c:4222`. Has no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The engine.
    pub kind: Kind,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// The user of a Redis server with several users.
    pub user: Option<String>,
    /// At least one; several of NATS only.
    pub servers: Vec<Server>,
    /// The number of a Redis database.
    pub database: u16,
}

/// Names one of several clusters that share the servers: a part of the names of streams and keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterName(String);

impl Kind {
    fn port(self) -> u16 {
        match self {
            Kind::Nats => 4222,
            Kind::Redis => 6379,
        }
    }
}

/// The engine that a scheme names, and whether the connection is encrypted.
fn scheme(name: &str) -> Result<(Kind, bool), String> {
    match name {
        "nats" => Ok((Kind::Nats, false)),
        "tls" => Ok((Kind::Nats, true)),
        "redis" | "valkey" => Ok((Kind::Redis, false)),
        "rediss" | "valkeys" => Ok((Kind::Redis, true)),
        _ => Err("an address begins with nats://, tls://, redis://, rediss://, valkey:// or valkeys://".to_owned()),
    }
}

impl FromStr for Addresses {
    type Err = String;

    /// Reads a list of addresses. Errors repeat no user and no password.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, _) = text.split_once("://").unwrap_or_default();
        let (kind, tls) = scheme(name)?;
        let mut all = Addresses { kind, tls, user: None, servers: Vec::new(), database: 0 };
        for item in text.split(',') {
            let rest = match item.split_once("://") {
                Some((other, _)) if scheme(other) != Ok((kind, tls)) => {
                    return Err("all addresses of a log have the same scheme".to_owned());
                }
                Some((_, rest)) => rest,
                None => item,
            };
            all.add(rest)?;
        }
        match (kind, all.servers.len()) {
            (Kind::Redis, 2..) => Err("Redis has one address: that of the server that takes writes".to_owned()),
            (_, MAX_SERVERS..) => Err(format!("a log has fewer than {MAX_SERVERS} addresses")),
            (Kind::Nats | Kind::Redis, _) => Ok(all),
        }
    }
}

impl Addresses {
    /// Adds the server of an address without scheme.
    fn add(&mut self, text: &str) -> Result<(), String> {
        let text = match (text.rsplit_once('@'), self.kind) {
            (None, _) => text,
            (Some((user, rest)), Kind::Redis) if !user.contains(':') => {
                self.user = Some(user.to_owned()).filter(|user| !user.is_empty());
                rest
            }
            (Some(_), Kind::Redis) => {
                return Err("an address with a password is seen by all users of the machine: use a file".to_owned());
            }
            (Some(_), Kind::Nats) => {
                return Err("an address with a user or a token is seen by all users of the machine: use a \
                            credentials file"
                    .to_owned());
            }
        };
        let (text, path) = text.split_once('/').unwrap_or((text, ""));
        match (path, self.kind) {
            ("", _) => {}
            (path, Kind::Redis) => {
                self.database = path.parse().map_err(|_| "the path of a Redis address is the number of a database")?;
            }
            (_, Kind::Nats) => return Err("an address of NATS has no path".to_owned()),
        }
        let server = server(text, self.kind)?;
        if !self.servers.contains(&server) {
            self.servers.push(server);
        }
        Ok(())
    }

    /// The scheme that is written first.
    pub fn scheme(&self) -> &'static str {
        match (self.kind, self.tls) {
            (Kind::Nats, false) => "nats",
            (Kind::Nats, true) => "tls",
            (Kind::Redis, false) => "redis",
            (Kind::Redis, true) => "rediss",
        }
    }
}

/// Reads `host`, `host:port`, `[::1]` or `[::1]:port`.
fn server(text: &str, kind: Kind) -> Result<Server, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, rest.strip_prefix(':')),
        Some(_) => return Err("between [ and ] stands an IPv6 address".to_owned()),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(is_name) {
        return Err("an address names a host, such as nats.example:4222".to_owned());
    }
    let port = port.map_or(Ok(kind.port()), str::parse).ok().filter(|port| *port > 0);
    Ok(Server { host: host.to_owned(), port: port.ok_or("a port is a number from 1 to 65535")? })
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        for (place, server) in self.servers.iter().enumerate() {
            write!(f, "{}{server}", if place > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl Default for ClusterName {
    fn default() -> Self {
        ClusterName("presently".to_owned())
    }
}

impl FromStr for ClusterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        match (1..=MAX_NAME).contains(&text.len()) && text.chars().all(is_fine) {
            true => Ok(ClusterName(text.to_owned())),
            false => Err(format!("a name has 1 to {MAX_NAME} letters of ASCII, digits, - and _")),
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Addresses, String> {
        text.parse()
    }

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("nats://a:4222,b:4222,c:4222", "nats://a:4222,b:4222,c:4222"),
            ("nats://a,nats://b:1,a", "nats://a:4222,b:1"),
            ("tls://nats.example", "tls://nats.example:4222"),
            ("nats://[::1]:5,[fd00::2]", "nats://[::1]:5,[fd00::2]:4222"),
            ("redis://r", "redis://r:6379"),
            ("valkey://r:1", "redis://r:1"),
            ("rediss://r", "rediss://r:6379"),
            ("valkeys://r", "rediss://r:6379"),
        ] {
            assert_eq!(read(text).unwrap().to_string(), written, "{text}");
        }
        let redis = read("redis://presently@r:6380/3").unwrap();
        assert_eq!((redis.user.as_deref(), redis.database, redis.servers[0].port), (Some("presently"), 3, 6380));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "a:4222",
            "http://a",
            "nats://",
            "nats://a,",
            "nats://a,tls://b",
            "nats://a/x",
            "nats://a:0",
            "nats://a:70000",
            "nats://a:x",
            "nats://[::1",
            "nats://[a]",
            "nats://a b",
            "nats://a?tls=no",
            "redis://a,b",
            "redis://a/x",
            "redis://a/70000",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let many = (0..17).map(|n| format!("nats://a{n}")).collect::<Vec<_>>().join(",");
        assert!(read(&many).is_err());
    }

    #[test]
    fn secrets_in_addresses_are_refused_and_not_repeated() {
        for text in
            ["nats://secret@a", "nats://u:secret@a", "tls://a,u:secret@b", "redis://:secret@a", "redis://u:secret@a"]
        {
            let error = read(text).unwrap_err();
            assert!(error.contains("file") && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn names_of_clusters_fit_into_names_of_streams() {
        for name in ["presently", "a", "Shop_2-eu"] {
            assert_eq!(name.parse::<ClusterName>().unwrap().to_string(), name);
        }
        for name in ["", "a.b", "a b", "ä", "a*", "a:b", &"a".repeat(33)] {
            assert!(name.parse::<ClusterName>().is_err(), "{name}");
        }
    }
}
