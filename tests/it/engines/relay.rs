//! A relay between a log and its server, which loses answers and cuts connections.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// What the server answers is lost.
    Mute,
    /// Connections end at once.
    Down,
}

/// Forwards connections to a server.
pub struct Relay {
    pub addr: SocketAddr,
    mode: watch::Sender<Mode>,
    /// The number of connections.
    open: watch::Sender<usize>,
    _serving: JoinSet<()>,
}

impl Relay {
    pub async fn start(to: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (mode, open) = (watch::Sender::new(Mode::Open), watch::Sender::new(0));
        let (mut serving, modes, opened) = (JoinSet::new(), mode.clone(), open.clone());
        serving.spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                opened.send_modify(|open| *open += 1);
                let (mode, closed) = (modes.subscribe(), opened.clone());
                tunnels.spawn(async move {
                    tunnel(from, to, mode).await;
                    closed.send_modify(|open| *open -= 1);
                });
            }
        });
        Relay { addr, mode, open, _serving: serving }
    }

    /// Loses all answers from now on, until the connections are cut.
    pub fn mute(&self) {
        self.mode.send_replace(Mode::Mute);
    }

    /// Cuts all connections, and those to come.
    pub async fn cut(&self) {
        self.mode.send_replace(Mode::Down);
        self.open.subscribe().wait_for(|open| *open == 0).await.expect("the relay is there");
    }

    /// Lets connections pass again.
    pub fn mend(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn tunnel(from: TcpStream, to: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let modes = mode.clone();
    let forwards = async {
        let Ok(to) = TcpStream::connect(to).await else { return };
        let ((mut asks, mut hears), (mut answers, mut asked)) = (from.into_split(), to.into_split());
        let back = async {
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = answers.read(&mut bytes).await {
                if *modes.borrow() != Mode::Mute && hears.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            _ = copy(&mut asks, &mut asked) => {}
            () = back => {}
        }
    };
    tokio::select! {
        () = forwards => {}
        _ = mode.wait_for(|mode| *mode == Mode::Down) => {}
    }
}
