//! A reader that keeps a model of the room, over any transport.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Conn, Mirror, Parting, Session, Sse, SseEvent, Talker, quoted, within};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transport {
    Sse,
    Ws,
    /// A session, whose stream has a room by a message.
    Session,
}

impl Transport {
    /// The transports whose URL names a room.
    pub const BOTH: [Self; 2] = [Self::Sse, Self::Ws];
    pub const ALL: [Self; 3] = [Self::Sse, Self::Ws, Self::Session];
}

enum Wire {
    Sse(Box<Sse>),
    Ws(Box<WebSocketStream<TcpStream>>),
    Session(Box<Session>),
}

pub struct Reader {
    wire: Wire,
    pub mirror: Mirror,
    /// The last applied frame.
    pub last: Value,
    /// Whether the last message was answered with `ok`.
    granted: bool,
    /// The gateway's close frame, over WebSocket.
    pub closed: Option<CloseFrame>,
}

impl Reader {
    /// Opens a stream without a cursor.
    pub async fn open(addr: SocketAddr, transport: Transport, room: &str) -> Self {
        Self::resume(addr, transport, Mirror::of(room)).await
    }

    /// Resumes from the mirror's cursor.
    pub async fn resume(addr: SocketAddr, transport: Transport, mirror: Mirror) -> Self {
        let since = mirror.cursor.clone().unwrap_or_default();
        Self::over(Conn::open(addr).await, transport, mirror, &since, "").await
    }

    /// Resumes from the mirror's cursor, over `conn`, with further query parameters such as `as`.
    pub async fn with(conn: Conn, transport: Transport, mirror: Mirror, query: &str) -> Self {
        let since = mirror.cursor.clone().unwrap_or_default();
        Self::over(conn, transport, mirror, &since, query).await
    }

    /// Resumes from the mirror's cursor, with a small receive window: without reads, the gateway's socket is soon full.
    pub async fn narrow(addr: SocketAddr, transport: Transport, mirror: Mirror) -> Self {
        let since = mirror.cursor.clone().unwrap_or_default();
        Self::over(Conn::narrow(addr).await, transport, mirror, &since, "").await
    }

    /// Opens a stream with a cursor, but without a set.
    pub async fn bringing(addr: SocketAddr, transport: Transport, room: &str, since: &str) -> Self {
        Self::over(Conn::open(addr).await, transport, Mirror::of(room), since, "").await
    }

    async fn over(conn: Conn, transport: Transport, mirror: Mirror, since: &str, query: &str) -> Self {
        let room = quoted(&mirror.room);
        let wire = match transport {
            Transport::Sse => {
                let path = format!("/api/rooms/{room}/stream?{query}");
                Wire::Sse(Box::new(Sse::over(conn, &path, &[("Last-Event-ID", since)]).await))
            }
            Transport::Ws => {
                let url = format!("ws://localhost/ws?room={room}&since={}&{query}", quoted(since));
                let (stream, _) = within("a WebSocket", client_async(url, conn.stream)).await.expect("a WebSocket");
                Wire::Ws(Box::new(stream))
            }
            Transport::Session => {
                let subscribe = json!([{"action": "subscribe", "room": mirror.room, "since": since, "ref": 0}]);
                let query = if query.is_empty() { String::new() } else { format!("?{query}") };
                Wire::Session(Box::new(Session::asked(conn, &query, &subscribe, "").await))
            }
        };
        Self { wire, mirror: mirror.reconnected(), last: Value::Null, granted: false, closed: None }
    }

    /// Applies the next frame; `false` at the end of the stream. Cancelling loses nothing.
    pub async fn step(&mut self) -> bool {
        let frame = match &mut self.wire {
            Wire::Sse(stream) => stream.next().await.map(|event| told(&event)),
            Wire::Ws(stream) => next_text(stream, &mut self.closed).await,
            Wire::Session(session) => session.next().await,
        };
        let more = frame.is_some();
        if let Some(frame) = frame {
            if frame.get("ref").is_some() {
                assert_eq!(frame["action"], "ok", "{frame}");
                self.granted = true;
                return true;
            }
            self.mirror.apply(&frame);
            self.last = frame;
        }
        more
    }

    pub async fn until(&mut self, what: &str, condition: impl Fn(&Mirror) -> bool) {
        let reading = async {
            while !condition(&self.mirror) {
                assert!(self.step().await, "the stream ended before {what}: {:?}", self.mirror);
            }
        };
        within(what, reading).await;
    }

    /// Sends a message over a WebSocket, and reads until the `ok`.
    pub async fn does(&mut self, mut message: Value) {
        let Wire::Ws(stream) = &mut self.wire else {
            panic!("an event stream says nothing");
        };
        message["ref"] = "asked".into();
        within("a message", stream.send(Message::text(message.to_string()))).await.expect("an open connection");
        self.granted = false;
        let reading = async {
            while !self.granted {
                assert!(self.step().await, "the stream ended before {message} was answered");
            }
        };
        within("an answer", reading).await;
    }

    /// Leaves; over SSE a close frame becomes the end of the connection.
    pub async fn part(self, how: Parting) -> Mirror {
        match self.wire {
            Wire::Ws(stream) => Talker::of(*stream).part(how).await,
            Wire::Sse(stream) => stream.part(how),
            Wire::Session(session) => session.part(how),
        }
        self.mirror
    }

    /// Reads until the set is at the cursor or later.
    pub async fn caught_up(&mut self, cursor: &str) {
        self.until(cursor, |mirror| mirror.reached(cursor)).await;
    }

    /// Reads until the first frame is applied, a large snapshot as a whole.
    pub async fn begun(mut self) -> Self {
        self.until("the first frame", Mirror::is_set).await;
        self
    }

    /// Reads until the gateway ends the stream; true for a clean end.
    pub async fn ended(&mut self) -> bool {
        within("the end of the stream", async { while self.step().await {} }).await;
        match &self.wire {
            Wire::Sse(stream) => stream.ended_cleanly(),
            Wire::Session(session) => session.stream.ended_cleanly(),
            Wire::Ws(_) => self.closed.is_some(),
        }
    }
}

/// The frame in an event, whose `id:` must be what it may resume from: not a part of a snapshot.
fn told(event: &SseEvent) -> Value {
    let frame: Value = serde_json::from_str(&event.data).expect("a JSON text");
    let part = frame["last"].as_bool() == Some(false);
    assert_eq!(event.id.as_deref(), frame["cursor"].as_str().filter(|_| !part), "{frame}");
    assert_eq!(event.event, None, "a room's stream has plain messages: {frame}");
    frame
}

async fn next_text(stream: &mut WebSocketStream<TcpStream>, closed: &mut Option<CloseFrame>) -> Option<Value> {
    loop {
        match stream.next().await?.ok()? {
            Message::Text(text) => return Some(serde_json::from_str(&text).expect("a JSON text")),
            Message::Close(frame) => *closed = frame,
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) | Message::Frame(_) => panic!("the gateway speaks in texts"),
        }
    }
}
