//! A client of a session: an event stream, and messages by requests of their own.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::dialogue::Heard;
use super::{Answer, Client, Conn, Parting, Sse, within};

const JSON: (&str, &str) = ("content-type", "application/json");

/// What the requests of a session need.
#[derive(Clone)]
pub struct Post {
    client: Client,
    pub secret: String,
}

impl Post {
    /// The same, through another gateway.
    pub fn through(&self, addr: SocketAddr) -> Post {
        Post { client: Client::of(addr), secret: self.secret.clone() }
    }

    /// Sends `body` as the request `number`, with further headers.
    pub async fn raw(&self, number: &str, body: impl Into<Vec<u8>>, more: &[(&str, &str)]) -> Answer {
        let own = [JSON, ("presently-session", &self.secret), ("presently-seq", number)];
        self.client.send("POST", "/api/stream/messages", &[&own, more].concat(), body).await
    }

    /// Sends messages as the request `number`.
    pub async fn number(&self, number: u64, messages: &Value) -> Answer {
        self.raw(&number.to_string(), messages.to_string(), &[]).await
    }
}

pub struct Session {
    pub post: Post,
    pub stream: Sse,
    /// The last number.
    pub number: u64,
    pub(super) heard: Heard,
}

impl Session {
    pub async fn open(addr: SocketAddr) -> Self {
        Self::with(Conn::open(addr).await, &json!([]), "").await
    }

    /// Opens a session over `conn` with the first messages and further header lines, and reads the secret.
    pub async fn with(conn: Conn, first: &Value, headers: &str) -> Self {
        Self::asked(conn, "", first, headers).await
    }

    /// The same with a query.
    pub async fn asked(conn: Conn, query: &str, first: &Value, headers: &str) -> Self {
        let addr = conn.stream.peer_addr().expect("an open connection");
        let mut stream = Self::request_with(conn, query, first, headers).await;
        let session = within("the secret", frame(&mut stream)).await.expect("a frame");
        assert_eq!(session["action"], "session", "{session}");
        let secret = session["session"].as_str().expect("a secret").to_owned();
        let post = Post { client: Client::of(addr), secret };
        Self { post, stream, number: 0, heard: Heard::default() }
    }

    /// Asks for a stream.
    pub async fn request(conn: Conn, first: &Value, headers: &str) -> Sse {
        Self::request_with(conn, "", first, headers).await
    }

    async fn request_with(mut conn: Conn, query: &str, first: &Value, headers: &str) -> Sse {
        let body = first.to_string();
        let length = body.len();
        let head = format!("POST /api/stream{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n");
        conn.send(format!("{head}Content-Type: application/json\r\n{headers}\r\n{body}")).await;
        let mut stream = Sse::answered(conn).await;
        // No EventSource reads a session, so it has no `retry:`.
        stream.retry = Some(1_000);
        stream
    }

    /// Sends messages in one request, which must be taken.
    pub async fn send(&mut self, messages: &Value) {
        self.number += 1;
        self.post.number(self.number, messages).await.expect(204);
    }

    /// The next frame; `None` at the end of the stream. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Value> {
        match self.heard.frames.pop_front() {
            Some(frame) => Some(frame),
            None => self.next_frame().await,
        }
    }

    /// The next frame of the stream, apart from keep-alives and the greeting.
    pub(super) async fn next_frame(&mut self) -> Option<Value> {
        loop {
            let frame = frame(&mut self.stream).await?;
            if frame["action"] != "hello" && frame["action"] != "alive" {
                return Some(frame);
            }
        }
    }

    /// The next frame, which must come.
    pub async fn hear(&mut self) -> Value {
        within("a frame", self.next()).await.expect("a frame")
    }

    pub fn part(self, how: Parting) {
        self.stream.part(how);
    }
}

/// The next frame, which must be a message without an id.
async fn frame(stream: &mut Sse) -> Option<Value> {
    let event = stream.next().await?;
    let frame = serde_json::from_str(&event.data).expect("a JSON text");
    assert_eq!((event.id, event.event), (None, None), "{frame}");
    Some(frame)
}
