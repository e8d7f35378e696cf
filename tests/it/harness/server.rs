//! A gateway inside the test's own process.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use presently::{Config, Server};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Client;

/// A gateway on a free port, stopped when dropped; [`TestServer::stop`] also waits for the end.
pub struct TestServer {
    /// The address of `--admin`.
    pub admin: Option<SocketAddr>,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        // Batches fill large rooms fast. Most tests are over before the time after the start is.
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (listen, fresh_for) = (vec![listen.into()], Some(Duration::ZERO));
        let mut config = Config { listen, fresh_for, max_batch: 10_000, ..Config::default() };
        change(&mut config);
        let server = Server::bind(config).await.expect("a free port");
        let (client, admin) = (Client::of(server.local_addr()), server.admin_addr());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { admin, client, stop: Some(stop), running }
    }

    pub async fn stop(mut self) {
        self.stop.take();
        let ended = timeout(Duration::from_secs(6), &mut self.running).await;
        ended.expect("a stopped gateway ends within 5 s").expect("and does not panic");
    }
}

impl Deref for TestServer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
