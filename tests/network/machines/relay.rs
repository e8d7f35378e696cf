//! A relay that makes a link slow.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// The pieces under way in one direction.
const UNDER_WAY: usize = 4_096;

/// Forwards connections to a server, each piece later by `delay` in each direction.
pub struct Relay {
    _serving: JoinSet<()>,
}

impl Relay {
    pub async fn start(at: SocketAddr, to: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind(at).await.expect("a free port");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                tunnels.spawn(tunnel(from, to, delay));
            }
        });
        Relay { _serving: serving }
    }
}

async fn tunnel(from: TcpStream, to: SocketAddr, delay: Duration) {
    let Ok(to) = TcpStream::connect(to).await else { return };
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let ((asks, hears), (answers, asked)) = (from.into_split(), to.into_split());
    tokio::select! {
        () = carry(asks, asked, delay) => {}
        () = carry(answers, hears, delay) => {}
    }
}

/// One direction, with many pieces under way at a time.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (send, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let reading = async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if send.send((Instant::now() + delay, bytes[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some((due, bytes)) = under_way.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}
