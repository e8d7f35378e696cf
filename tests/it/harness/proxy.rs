//! A proxy between a browser and a gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Client;

/// Forwards connections to a gateway. Breaks upgrades on request, as some proxies do, or all connections.
pub struct Proxy {
    pub addr: SocketAddr,
    broken: Arc<AtomicBool>,
    down: Arc<AtomicBool>,
    cut: watch::Sender<()>,
    _serving: JoinSet<()>,
}

impl Proxy {
    pub async fn start(gateway: &Client) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (to, (cut, _)) = (gateway.addr, watch::channel(()));
        let (broken, down) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let (is_broken, is_down, cuts) = (broken.clone(), down.clone(), cut.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                if !is_down.load(Ordering::SeqCst) {
                    tunnels.spawn(tunnel(from, to, is_broken.clone(), cuts.subscribe()));
                }
            }
        });
        Self { addr, broken, down, cut, _serving: serving }
    }

    /// Ends every connection, and those to come at once.
    pub fn cut(&self) {
        self.down.store(true, Ordering::SeqCst);
        self.cut.send_replace(());
    }

    /// Lets connections pass again.
    pub fn mend(&self) {
        self.down.store(false, Ordering::SeqCst);
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
