//! A key set at an address (RFC 7517, 5): fetched, kept, and fetched again.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::{debug, error, info};

use crate::access::key::{Key, Origin};
use crate::runtime::trust;

/// The most bytes of a set: 100 keys are some 40 KiB.
const MAX_BYTES: usize = 64 * 1024;

/// The time for a fetch.
const WITHIN: Duration = Duration::from_secs(5);

/// The age at which a set is fetched again. A key that was withdrawn there counts here for as long.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The least time between two fetches for unknown keys, which any stranger can name.
const UNKNOWN_EVERY: Duration = Duration::from_secs(60);

/// The most requests that wait for a fetch: a bound for their memory.
const MAX_WAITING: usize = 1_024;

/// The first and the longest wait after a failed fetch.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// The key set of one address.
pub struct Jwks {
    address: Uri,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    state: Mutex<State>,
    /// Told when a fetch is wanted before it is due.
    wanted: Notify,
    /// The number of finished fetches.
    finished: watch::Sender<u64>,
    waiting: Semaphore,
}

struct State {
    keys: Vec<Key>,
    is_ready: bool,
    /// Whether a fetch is under way, or is about to be.
    is_fetching: bool,
    /// Whether the last fetch brought a set.
    succeeded: bool,
    /// When a set was fetched last for an unknown key.
    asked: Option<Instant>,
    /// When the next fetch is due, and the wait after another failure.
    due: Instant,
    wait: Duration,
}

impl Jwks {
    /// The set at `url`, whose server may have a certificate of an authority in the file `ca`.
    ///
    /// # Errors
    ///
    /// A sentence about the address or the file.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, String> {
        let address: Uri =
            url.parse().map_err(|_| "--jwks is not an address, such as https://login.example/jwks.json")?;
        let authority = address.authority().filter(|authority| !authority.as_str().contains('@'));
        let host = authority.ok_or("--jwks names no host, or a user")?.host().to_owned();
        let is_secure = match address.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(&host) => false,
            _ => return Err("--jwks is https, or http on this machine".to_owned()),
        };
        let port = address.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let tls = is_secure
            .then(|| trust::client(ca, "--jwks-ca"))
            .transpose()?
            .map(|config| TlsConnector::from(Arc::new(config)));
        let state = State {
            keys: Vec::new(),
            is_ready: false,
            is_fetching: true,
            succeeded: false,
            asked: None,
            due: Instant::now(),
            wait: RETRY.0,
        };
        Ok(Jwks {
            address,
            host,
            port,
            tls,
            state: Mutex::new(state),
            wanted: Notify::new(),
            finished: watch::Sender::new(0),
            waiting: Semaphore::new(MAX_WAITING),
        })
    }

    /// The keys that were fetched last.
    pub fn keys(&self) -> Vec<Key> {
        self.state.lock().keys.clone()
    }

    /// Whether a set was fetched.
    pub fn is_ready(&self) -> bool {
        self.state.lock().is_ready
    }

    /// Fetches the set when that is due or wanted, for ever, and calls `changed` after each fetch that brought one. Fetches
    /// are no part of requests: a client that hangs up would cut off the fetch for all others.
    pub async fn keep(&self, changed: impl Fn()) {
        loop {
            let due = self.state.lock().due;
            tokio::select! {
                () = sleep_until(due) => {}
                () = self.wanted.notified() => {}
            }
            self.state.lock().is_fetching = true;
            match self.fetch().await {
                Ok(()) => changed(),
                Err(why) => error!("the keys at --jwks stay as they are: {why}"),
            }
            self.state.lock().is_fetching = false;
            self.finished.send_modify(|count| *count += 1);
        }
    }

    /// Waits for a fetch on behalf of a token that names an unknown key, unless there was one for such a token a short while
    /// ago. Whether it brought a set.
    pub async fn fetched_for_unknown(&self) -> bool {
        let Ok(_place) = self.waiting.try_acquire() else {
            return false;
        };
        let mut finished = self.finished.subscribe();
        {
            let (mut state, now) = (self.state.lock(), Instant::now());
            if !state.is_fetching {
                if state.asked.is_some_and(|last| now < last + UNKNOWN_EVERY) {
                    return false;
                }
                (state.asked, state.is_fetching) = (Some(now), true);
                self.wanted.notify_one();
            }
        }
        // Longer than a fetch takes, and its connection.
        let waited = timeout(WITHIN + Duration::from_secs(1), finished.changed()).await;
        matches!(waited, Ok(Ok(()))) && self.state.lock().succeeded
    }

    /// Fetches the set.
    ///
    /// # Errors
    ///
    /// A sentence about the answer. The keys stay as they are then.
    pub async fn fetch(&self) -> Result<(), String> {
        let fetched = match timeout(WITHIN, self.get()).await {
            Ok(fetched) => fetched.and_then(|text| usable(&text)),
            Err(_) => Err(format!("no answer within {} s", WITHIN.as_secs())),
        };
        let (mut state, now) = (self.state.lock(), Instant::now());
        state.succeeded = fetched.is_ok();
        match fetched {
            Ok((keys, skipped)) => {
                if !state.is_ready {
                    info!(keys = keys.len(), "the keys at --jwks are fetched");
                }
                skipped.iter().for_each(|why| debug!("--jwks: {why}"));
                (state.keys, state.is_ready) = (keys, true);
                (state.due, state.wait) = (now + MAX_AGE, RETRY.0);
                Ok(())
            }
            Err(why) => {
                state.due = now + state.wait;
                state.wait = (2 * state.wait).min(RETRY.1);
                Err(why)
            }
        }
    }

    async fn get(&self) -> Result<String, String> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let socket = TcpStream::connect((host, self.port)).await.map_err(|error| error.to_string())?;
        match &self.tls {
            None => self.ask(socket).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| "the host is no name".to_owned())?;
                self.ask(tls.connect(name, socket).await.map_err(|error| error.to_string())?).await
            }
        }
    }

    /// No redirects are followed: another server's keys would let that server make tokens.
    async fn ask(&self, socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<String, String> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())?;
        let path = self.address.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.address.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, concat!("presently/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
            if answer.status() != StatusCode::OK {
                return Err(format!("the answer is {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
            let bytes = body.map_err(|error| error.to_string())?.to_bytes();
            String::from_utf8(bytes.into()).map_err(|_| "the answer is not UTF-8".to_owned())
        };
        // The connection ends with this function, and with the time for it.
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }
}

/// The keys of a set that has a usable one: an error document must not take all keys away.
fn usable(text: &str) -> Result<(Vec<Key>, Vec<String>), String> {
    let (keys, skipped) = Key::read_set(text, Origin::Address).map_err(|error| format!("the answer {error}"))?;
    match keys.is_empty() {
        true => Err(format!("the answer has no usable key; {}", skipped.join("; "))),
        false => Ok((keys, skipped)),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwks({})", self.address)
    }
}
