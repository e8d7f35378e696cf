//! What a server says of itself, and whether a log is safe there.

use std::collections::HashMap;

use crate::journal::engine::version::Version;

/// Older servers cannot trim a stream by its ids.
const LEAST: Version = Version(6, 2);

/// The answer to `INFO`.
#[derive(Clone, Debug, Default)]
pub struct Server(HashMap<String, String>);

impl Server {
    /// Reads lines of `name:value`.
    pub fn read(info: &str) -> Server {
        let pairs = info.lines().filter_map(|line| line.trim_end().split_once(':'));
        Server(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether the server takes no writes, and copies another one.
    pub fn is_replica(&self) -> bool {
        self.get("role") == "slave"
    }

    /// The servers that copy this one, without those that only begin to: these acknowledge nothing yet.
    pub fn replicas(&self) -> usize {
        let is_replica = |name: &str| name.strip_prefix("slave").is_some_and(|rest| rest.parse::<u32>().is_ok());
        self.0.iter().filter(|(name, value)| is_replica(name) && value.contains("state=online")).count()
    }

    /// Judges the server, and gives sentences of warning.
    ///
    /// # Errors
    ///
    /// A sentence: a log would not be safe there.
    pub fn judge(&self) -> Result<Vec<String>, String> {
        let version = self.get("redis_version");
        let mode = [self.get("redis_mode"), self.get("server_mode")].into_iter().find(|mode| !mode.is_empty());
        let policy = self.get("maxmemory_policy");
        match mode.unwrap_or("standalone") {
            _ if Version::read(version).is_none_or(|version| version < LEAST) => {
                Err(format!("the server has version {version}, and the log needs {LEAST} or newer"))
            }
            "cluster" => {
                Err("the server is part of a Redis Cluster, and the log needs one server of its own".to_owned())
            }
            "sentinel" => Err("this is a sentinel: give the address of the server that takes writes".to_owned()),
            _ if self.is_replica() => {
                Err("the server is a replica: give the address of the server that takes writes".to_owned())
            }
            _ if policy != "noeviction" => {
                Err(format!("with maxmemory-policy {policy} the server may throw the log away: set it to noeviction"))
            }
            _ => Ok(self.warnings()),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.get("aof_enabled") != "1" {
            warnings.push("Redis keeps no appendonly file: its restart forgets entries".to_owned());
        }
        if self.replicas() == 0 {
            warnings.push("Redis has no replica: its loss is the loss of the log".to_owned());
        }
        warnings
    }

    /// What a power cut forgets, where `appendfsync` is known.
    pub fn warns_of_power(&self, appendfsync: Option<&str>) -> Option<String> {
        let appendfsync = appendfsync.filter(|when| self.get("aof_enabled") == "1" && *when != "always")?;
        Some(format!("with appendfsync {appendfsync} a power cut of the Redis server forgets its last entries"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(changed: &str) -> Server {
        let mut server = Server::read(
            "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n\
             role:master\r\nconnected_slaves:1\r\nslave0:ip=::1,port=1,state=online,offset=1,lag=0\r\n",
        );
        server.0.extend(Server::read(changed).0);
        server
    }

    #[test]
    fn a_server_that_would_lose_a_log_is_refused_or_warned_of() {
        assert_eq!(server("").judge(), Ok(Vec::new()));
        assert_eq!(server("redis_version:6.2.0").judge(), Ok(Vec::new()));
        for (changed, word) in [
            ("redis_version:6.0.16", "6.2"),
            ("redis_version:", "6.2"),
            ("redis_mode:cluster", "Cluster"),
            ("redis_mode:sentinel", "sentinel"),
            ("redis_mode:\nserver_mode:cluster", "Cluster"),
            ("role:slave", "replica"),
            ("maxmemory_policy:allkeys-lru", "noeviction"),
            ("maxmemory_policy:volatile-ttl", "volatile-ttl"),
        ] {
            let refused = server(changed).judge().unwrap_err();
            assert!(refused.contains(word), "{changed}: {refused}");
        }
        assert!(server("aof_enabled:0").judge().unwrap()[0].contains("appendonly"));
        for changed in ["slave0:ip=::1,port=1,state=wait_bgsave,offset=0,lag=0", "slave0:"] {
            assert!(server(changed).judge().unwrap()[0].contains("no replica"), "{changed}");
        }
        assert_eq!(server("slave1:ip=::1,port=2,state=online,offset=1,lag=0").replicas(), 2);
        assert!(server("").warns_of_power(Some("everysec")).unwrap().contains("everysec"));
        assert_eq!(server("").warns_of_power(Some("always")), None);
        assert_eq!(server("aof_enabled:0").warns_of_power(Some("everysec")), None);
        assert_eq!(server("").warns_of_power(None), None);
    }
}
