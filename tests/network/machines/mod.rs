//! Machines in network namespaces: gateways of one cluster, the servers of their log, and the proxy before them, with members,
//! watchers and a backend as their clients. `tests/long/network` uses them, too.

pub mod backend;
pub mod cluster;
pub mod crowd;
pub mod gateway;
pub mod host;
pub mod line;
pub mod member;
#[path = "../../it/harness/mirror.rs"]
pub mod mirror;
pub mod nats;
pub mod program;
pub mod proxy;
pub mod relay;
pub mod switch;
pub mod verdict;
pub mod watcher;

use std::time::Duration;

/// Longer than any step of a test.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// The room of all members and watchers.
pub const ROOM: &str = "den";

/// Waits for what must come.
pub async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, waiting).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Lets others work between two looks at something.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
