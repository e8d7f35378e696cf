//! What an engine is opened with.

use std::path::PathBuf;
use std::time::Duration;

use crate::journal::engine::address::{Addresses, ClusterName};
use crate::journal::engine::secret::Secret;

/// How a shared log is opened. Has secrets, and shows none.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers.
    pub addresses: Addresses,
    /// A part of the names of streams and keys.
    pub name: ClusterName,
    /// A file with certificates of more authorities, for TLS.
    pub authorities: Option<PathBuf>,
    /// What stands in a credentials file of NATS.
    pub credentials: Option<Secret>,
    /// The password of Redis.
    pub password: Option<Secret>,
    /// The copies that JetStream keeps of the log; otherwise 3 in a cluster and 1 on a single server.
    pub replicas: Option<u8>,
    /// The time of each request. Longer than a busy server takes, and shorter than what a client waits for an answer.
    pub within: Duration,
    /// The time for opening the log, in which a cluster that starts may elect its leader.
    pub patience: Duration,
}

impl Options {
    /// The options with their defaults.
    pub fn new(addresses: Addresses, name: ClusterName) -> Options {
        Options {
            addresses,
            name,
            authorities: None,
            credentials: None,
            password: None,
            replicas: None,
            within: Duration::from_secs(2),
            patience: Duration::from_secs(15),
        }
    }
}
