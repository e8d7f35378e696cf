//! A server of a key set (JWKS), which answers what a test wants.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::within;

/// The server, which ends when dropped.
pub struct KeyServer {
    addr: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// The whole answer; nothing is answered while it is empty.
    answer: Mutex<Vec<u8>>,
    /// The requests so far.
    asked: AtomicUsize,
}

impl KeyServer {
    pub async fn start() -> Self {
        Self::with(None).await
    }

    /// A server over TLS for the name `localhost`. Its certificate is written to `ca`.
    pub async fn over_tls(ca: &Path) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(ca, cert.pem()).expect("a file");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let config = config.with_single_cert(vec![cert.der().clone()], key).expect("a usable certificate");
        Self::with(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (addr, state) = (listener.local_addr().expect("an address"), Arc::<State>::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let told = state.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.expect("a connection");
                let (told, tls) = (told.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(socket, &told).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                answer(socket, &told).await;
                            }
                        }
                    }
                });
            }
        });
        Self { addr, scheme, state, serving }
    }

    pub fn url(&self) -> String {
        format!("{}://localhost:{}/keys.json?of=tests", self.scheme, self.addr.port())
    }

    /// Answers with these keys from now on.
    pub fn publish(&self, keys: &[Value]) {
        self.says("200 OK", &serde_json::json!({ "keys": keys }).to_string());
    }

    /// Answers with this status and body from now on; with nothing if there is no status.
    pub fn says(&self, status: &str, body: &str) {
        if status.is_empty() {
            return self.stall();
        }
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nLocation: {}\r\n", body.len(), self.url());
        *self.state.answer.lock().expect("unpoisoned") = format!("{head}Connection: close\r\n\r\n{body}").into();
    }

    /// Answers nothing from now on.
    pub fn stall(&self) {
        self.state.answer.lock().expect("unpoisoned").clear();
    }

    pub fn asked(&self) -> usize {
        self.state.asked.load(SeqCst)
    }

    /// Waits until so many requests were received.
    pub async fn was_asked(&self, times: usize) {
        let asked = async {
            while self.asked() < times {
                sleep(Duration::from_millis(5)).await;
            }
        };
        within("a fetch of the keys", asked).await;
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin, state: &State) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    assert!(head.starts_with(b"GET /keys.json?of=tests HTTP/1.1\r\n"), "{:?}", String::from_utf8_lossy(&head));
    let answer = state.answer.lock().expect("unpoisoned").clone();
    state.asked.fetch_add(1, SeqCst);
    if answer.is_empty() {
        // Until the client is gone.
        let _ = socket.read_u8().await;
        return;
    }
    // The client may hang up before the end.
    let _ = socket.write_all(&answer).await;
    let _ = socket.shutdown().await;
}
