//! A gateway inside the test's own process.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use presently::{Config, Server, Stop};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Client;

/// A gateway on a free port, stopped when dropped; [`TestServer::stop`] also waits for the end.
pub struct TestServer {
    /// The address of `--admin`.
    pub admin: Option<SocketAddr>,
    client: Client,
    stop: mpsc::Sender<Stop>,
    running: JoinHandle<()>,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::run(Server::bind(Self::config(change)).await.expect("a free port"))
    }

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        // Batches fill large rooms fast. Most tests are over before the time after the start is. Streams end fast.
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (listen, fresh_for) = (vec![listen.into()], Some(Duration::ZERO));
        let drain = Duration::from_millis(100);
        let mut config = Config { listen, fresh_for, drain, max_batch: 10_000, ..Config::default() };
        change(&mut config);
        config
    }

    fn run(server: Server) -> Self {
        let (client, admin) = (Client::of(server.local_addr()), server.admin_addr());
        let (stop, stops) = mpsc::channel(2);
        let running = tokio::spawn(server.run(stops));
        Self { admin, client, stop, running }
    }

    /// Asks the gateway to stop. Asked again, it ends at once.
    pub async fn end(&self, stop: Stop) {
        self.stop.send(stop).await.expect("a running gateway");
    }

    pub async fn stop(self) {
        self.end(Stop::Terminate).await;
        self.ended().await;
    }

    /// Waits for the end of a gateway that was asked to stop.
    pub async fn ended(mut self) {
        let ended = timeout(Duration::from_secs(12), &mut self.running).await;
        ended.expect("a stopped gateway ends within 10 s").expect("and does not panic");
    }
}

impl Deref for TestServer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
