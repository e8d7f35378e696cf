//! A proxy that serves a gateway below a path prefix.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Client;

/// Longer than any head of a browser here.
const HEAD: usize = 64 * 1024;

/// Passes requests below a prefix on without the prefix, one on each connection and each as a client's with rates, and refuses all others, as an origin does
/// where the gateway is one application among many.
pub struct PrefixProxy {
    pub addr: SocketAddr,
    prefix: &'static str,
    astray: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl PrefixProxy {
    /// With a prefix like `/apps/presence`.
    pub async fn start(gateway: &Client, prefix: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (to, astray) = (gateway.addr, Arc::new(Mutex::new(Vec::new())));
        let noted = astray.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut requests = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                requests.spawn(pass(from, to, prefix, noted.clone()));
            }
        });
        Self { addr, prefix, astray, _serving: serving }
    }

    /// The gateway's base here.
    pub fn base(&self) -> String {
        format!("http://{}{}/", self.addr, self.prefix)
    }

    /// The requests so far that were not below the prefix. Browsers ask for `/favicon.ico` by themselves.
    pub fn astray(&self) -> Vec<String> {
        let astray = self.astray.lock().expect("unpoisoned");
        astray.iter().filter(|request| !request.contains(" /favicon.ico ")).cloned().collect()
    }
}

async fn pass(mut from: TcpStream, to: SocketAddr, prefix: &str, astray: Arc<Mutex<Vec<String>>>) {
    let Some((head, rest)) = head(&mut from).await else { return };
    let mut lines = head.split("\r\n");
    let request = lines.next().unwrap_or_default();
    let below = format!(" {prefix}/");
    if !request.contains(&below) {
        astray.lock().expect("unpoisoned").push(request.to_owned());
        let _ = from.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        return;
    }
    let mut lines: Vec<_> = lines.filter(|line| !line.is_empty()).map(str::to_owned).collect();
    // A second request on the connection would not be rewritten.
    if !lines.iter().any(|line| line.to_ascii_lowercase().starts_with("upgrade:")) {
        lines.retain(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        lines.push("connection: close".to_owned());
    }
    lines.push("x-forwarded-for: 192.0.2.7".to_owned());
    lines.insert(0, request.replacen(&below, " /", 1));
    let Ok(mut to) = TcpStream::connect(to).await else { return };
    let head = lines.join("\r\n") + "\r\n\r\n";
    if to.write_all(&[head.as_bytes(), &rest].concat()).await.is_ok() {
        let _ = copy_bidirectional(&mut from, &mut to).await;
    }
}

/// The head of a request without its blank line, and what came with it of the body.
async fn head(from: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut read = Vec::new();
    while read.len() < HEAD {
        if from.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Some((String::from_utf8(read).ok()?, rest));
        }
    }
    None
}
