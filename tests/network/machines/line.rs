//! A client's connection over any transport, as frames of JSON.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Response};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::ROOM;

/// A connection is dead after such a silence: the gateway says something every 10 s.
const SILENCE: Duration = Duration::from_secs(25);

/// How the gateway is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    /// An event stream. With messages by requests of their own, a session.
    Events,
}

impl Transport {
    pub const BOTH: [Self; 2] = [Self::WebSocket, Self::Events];
}

enum Wire {
    WebSocket(Box<WebSocketStream<TcpStream>>),
    Events { answer: Response, heard: Vec<u8> },
}

/// An open connection.
pub struct Line {
    wire: Wire,
    /// When to come back after its end.
    pub wait: Duration,
}

/// The wait of a client that was not told when to come back.
pub fn some_time() -> Duration {
    Duration::from_millis(fastrand::u64(100..500))
}

impl Line {
    /// A WebSocket, unless it is refused.
    pub async fn websocket(addr: SocketAddr, query: &str) -> Option<Self> {
        let stream = timeout(SILENCE, TcpStream::connect(addr)).await.ok()?.ok()?;
        let opening = client_async(format!("ws://{addr}/ws?{query}"), stream);
        let (stream, _) = timeout(SILENCE, opening).await.ok()?.ok()?;
        Some(Line { wire: Wire::WebSocket(Box::new(stream)), wait: some_time() })
    }

    /// The room's event stream after a cursor, unless it is refused.
    pub async fn events(http: &Client, addr: SocketAddr, since: &str, query: &str) -> Option<Self> {
        let asked = http.get(format!("http://{addr}/api/rooms/{ROOM}/stream?{query}")).header("Last-Event-ID", since);
        Self::answered(asked).await
    }

    /// The stream of a session, unless it is refused.
    pub async fn session(http: &Client, addr: SocketAddr, client: &str, first: &Value) -> Option<Self> {
        let asked = http.post(format!("http://{addr}/api/stream")).header("Presently-Client", client).json(first);
        Self::answered(asked).await
    }

    async fn answered(asked: reqwest::RequestBuilder) -> Option<Self> {
        let answer = timeout(SILENCE, asked.send()).await.ok()?.ok()?;
        let wire = Wire::Events { answer, heard: Vec::new() };
        matches!(&wire, Wire::Events { answer, .. } if answer.status() == 200).then(|| Line { wire, wait: some_time() })
    }

    /// The next frame; `None` at the end. Cancelling loses nothing.
    pub async fn hear(&mut self) -> Option<Value> {
        match &mut self.wire {
            Wire::WebSocket(stream) => hear_text(stream, &mut self.wait).await,
            Wire::Events { answer, heard } => hear_event(answer, heard, &mut self.wait).await,
        }
    }

    /// Sends a message over a WebSocket; false once it has ended.
    pub async fn say(&mut self, message: &Value) -> bool {
        let Wire::WebSocket(stream) = &mut self.wire else { panic!("an event stream says nothing") };
        matches!(timeout(SILENCE, stream.send(Message::text(message.to_string()))).await, Ok(Ok(())))
    }
}

async fn hear_text(stream: &mut WebSocketStream<TcpStream>, wait: &mut Duration) -> Option<Value> {
    loop {
        match timeout(SILENCE, stream.next()).await.ok()??.ok()? {
            Message::Text(text) => return Some(serde_json::from_str(&text).expect("a JSON text")),
            Message::Close(Some(close)) => {
                if let Some(told) = close.reason.strip_prefix("stopping ") {
                    *wait = Duration::from_millis(told.parse().expect("milliseconds"));
                }
            }
            Message::Close(None) | Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) | Message::Frame(_) => panic!("the gateway speaks in texts"),
        }
    }
}

async fn hear_event(answer: &mut Response, heard: &mut Vec<u8>, wait: &mut Duration) -> Option<Value> {
    loop {
        if let Some(end) = heard.windows(2).position(|bytes| bytes == b"\n\n") {
            let block: Vec<u8> = heard.drain(..end + 2).collect();
            let block = String::from_utf8(block).expect("a stream in UTF-8");
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let Some(told) = field("retry: ") {
                *wait = Duration::from_millis(told.parse().expect("milliseconds"));
            }
            if let Some(data) = field("data: ") {
                return Some(serde_json::from_str(data).expect("a JSON text"));
            }
        } else {
            heard.extend_from_slice(&timeout(SILENCE, answer.chunk()).await.ok()?.ok()??);
        }
    }
}
