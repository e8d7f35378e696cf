//! The test harness: gateways, and clients that keep a model of their room.

mod binary;
mod browser;
mod client;
mod conn;
mod dialogue;
mod documented_proxy;
mod guarded;
mod key_server;
mod keyed;
mod metrics;
mod mirror;
mod mutants;
pub mod naive;
mod prefix;
mod proxy;
mod reader;
pub mod schema;
mod server;
mod session;
pub mod signer;
mod sse;
mod talker;
mod websocket;

use std::time::Duration;

pub use binary::{Binary, Finished, LogLines};
pub use browser::Page;
pub use client::{Client, Held, member_path, quoted};
pub use conn::{Answer, Body, Conn, raw};
pub use dialogue::Dialogue;
pub use documented_proxy::DocumentedProxy;
pub use guarded::{Guarded, SECRET};
pub use key_server::KeyServer;
pub use keyed::{API_KEY, Keyed, READ_KEY, TOKEN_SECRET, Token, grant, now};
pub use metrics::Metrics;
pub use mirror::{Member, Mirror, Set, offset};
pub use mutants::Mutants;
pub use prefix::PrefixProxy;
pub use proxy::Proxy;
pub use reader::{Reader, Transport};
pub use server::TestServer;
pub use session::Session;
pub use sse::{Sse, SseEvent};
pub use talker::{Parting, Talker};
pub use websocket::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RawWs, TEXT, frame, unmasked, upgrade};

/// Longer than any step of a test: a hang becomes a failure with a name.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Awaits `future` for at most [`DEADLINE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
