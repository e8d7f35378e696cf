//! A proxy between a browser and a gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Client;

/// Forwards connections to a gateway. Breaks upgrades on request, as some proxies do.
pub struct Proxy {
    pub addr: SocketAddr,
    broken: Arc<AtomicBool>,
    cut: watch::Sender<()>,
    _serving: JoinSet<()>,
}

impl Proxy {
    pub async fn start(gateway: &Client) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (to, broken, (cut, _)) = (gateway.addr, Arc::new(AtomicBool::new(false)), watch::channel(()));
        let (is_broken, cuts) = (broken.clone(), cut.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                tunnels.spawn(tunnel(from, to, is_broken.clone(), cuts.subscribe()));
            }
        });
        Self { addr, broken, cut, _serving: serving }
    }

    /// Ends every connection, and refuses upgrades from now on.
    pub fn break_upgrades(&self) {
        self.broken.store(true, Ordering::SeqCst);
        self.cut.send_replace(());
    }
}

async fn tunnel(mut from: TcpStream, to: SocketAddr, broken: Arc<AtomicBool>, mut cut: watch::Receiver<()>) {
    let mut head = [0; 8];
    let upgrade = matches!(from.peek(&mut head).await, Ok(8) if head == *b"GET /ws?");
    if upgrade && broken.load(Ordering::SeqCst) {
        return; // Closes the connection without an answer.
    }
    let Ok(mut to) = TcpStream::connect(to).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut from, &mut to) => {}
        _ = cut.changed() => {}
    }
}
