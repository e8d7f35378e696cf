//! Who is silent is found soon, and who is only slow is not.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, sleep_until};

use crate::harness::{Conn, Mirror, Reader, Talker, TestServer, Transport};

/// Longer than the test.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// The way from the gateway to a client: so many bytes a second, each this late.
struct SlowLink {
    bytes_a_second: u32,
    latency: Duration,
}

impl SlowLink {
    /// A client's connection over such a link to `gateway`.
    async fn open(self, gateway: std::net::SocketAddr) -> Conn {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let near = Conn::open(listener.local_addr().expect("its address")).await;
        let (far, _) = listener.accept().await.expect("a connection");
        let far = far.into_split();
        let gateway = TcpStream::connect(gateway).await.expect("the gateway").into_split();
        let latency = self.latency;
        tokio::spawn(carry(gateway.0, far.1, latency, Some(self.bytes_a_second)));
        tokio::spawn(carry(far.0, gateway.1, latency, None));
        near
    }
}

/// Carries bytes late, and as slowly as given. The link's own rate is what is tested.
async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin + Send + 'static,
    latency: Duration,
    bytes_a_second: Option<u32>,
) {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    let late = tokio::spawn(async move {
        while let Some((at, bytes)) = receiver.recv().await {
            sleep_until(at + latency).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut part = vec![0; 64];
    while let Ok(read @ 1..) = from.read(&mut part).await {
        if let Some(rate) = bytes_a_second {
            sleep(Duration::from_secs(1) * read as u32 / rate).await;
        }
        if sender.send((tokio::time::Instant::now(), part[..read].to_vec())).is_err() {
            return;
        }
    }
    drop(sender);
    let _ = late.await;
}

/// The client's system takes all bytes, and the client says nothing, as if its process were stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_bytes_and_answers_no_ping_leaves_long_before_the_timeout_of_slow_ones() {
    let server = TestServer::with(|config| {
        config.keep_alive = Duration::from_millis(100);
        config.pong_within = Duration::from_millis(300);
        config.send_within = FOR_EVER;
    })
    .await;
    let mut watcher = Reader::open(server.addr, Transport::Ws, "lobby").await.begun().await;
    let _stopped = Talker::open(server.addr, "room=lobby&as=ann").await;
    watcher.until("ann", |mirror| mirror.users.contains_key("ann")).await;
    watcher.until("the end of ann", |mirror| mirror.users.is_empty()).await;
    assert_eq!(watcher.last["reason"], "timeout");
}

/// A link on which the answer to a ping waits behind a burst of events for several times as long as an answer may take on an idle
/// link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_but_living_link_is_not_cut() {
    let server = TestServer::with(|config| {
        config.keep_alive = Duration::from_millis(200);
        config.pong_within = Duration::from_millis(700);
        config.send_within = Duration::from_secs(60);
        config.grace = Duration::from_millis(10);
    })
    .await;
    let link = SlowLink { bytes_a_second: 2_048, latency: Duration::from_millis(100) };
    let conn = link.open(server.addr).await;
    let mut slow = Reader::with(conn, Transport::Ws, Mirror::of("lobby"), "as=slow").await.begun().await;
    let names: Vec<_> = (0..50).map(|n| json!({"user": format!("user {n}")})).collect();
    let cursor = server.batch("lobby", &json!({ "add": names })).await;
    slow.caught_up(&cursor).await;
    slow.does(json!({"action": "alive"})).await;
    assert!(server.is_present("lobby", "slow").await);
}
