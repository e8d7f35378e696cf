//! A WebSocket client that sends messages, finds answers by `ref`, and keeps all other frames.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::dialogue::{Dialogue, Heard};
use super::{Conn, within};

/// The way in which a client leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Parting {
    /// A close frame with this code, or with none.
    Close(Option<u16>),
    /// The connection ends without a close frame.
    Fin,
    /// The connection is reset.
    Reset,
}

/// Lets the connection be reset when dropped.
pub fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a linger");
}

pub struct Talker {
    stream: WebSocketStream<TcpStream>,
    pub(super) heard: Heard,
}

impl Talker {
    /// Connects, with the query of the URL.
    pub async fn open(addr: SocketAddr, query: &str) -> Self {
        Self::over(Conn::open(addr).await.stream, query).await
    }

    pub async fn over(stream: TcpStream, query: &str) -> Self {
        let url = format!("ws://localhost/ws?{query}");
        let (stream, _) = within("a WebSocket", client_async(url, stream)).await.expect("a WebSocket");
        Self::of(stream)
    }

    /// Connects with further headers in the handshake.
    pub async fn with(addr: SocketAddr, query: &str, headers: &[(&'static str, &str)]) -> Self {
        let mut request = format!("ws://localhost/ws?{query}").into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let stream = Conn::open(addr).await.stream;
        let (stream, _) = within("a WebSocket", client_async(request, stream)).await.expect("a WebSocket");
        Self::of(stream)
    }

    pub fn of(stream: WebSocketStream<TcpStream>) -> Self {
        Self { stream, heard: Heard::default() }
    }

    pub async fn subscribe(&mut self, room: &str) -> String {
        self.does(json!({"action": "subscribe", "room": room})).await
    }

    pub async fn send(&mut self, message: &Value) {
        within("a message", self.stream.send(Message::text(message.to_string()))).await.expect("an open connection");
    }

    /// The next frame that is not an answer.
    pub async fn hear(&mut self) -> Value {
        match self.heard.frames.pop_front() {
            Some(frame) => frame,
            None => self.next().await.expect("a frame"),
        }
    }

    /// The frames received between answers so far, without waiting.
    pub fn heard(&mut self) -> Vec<Value> {
        self.heard.frames.drain(..).collect()
    }

    /// Leaves, and waits until the gateway has answered a close frame.
    pub async fn part(mut self, how: Parting) {
        match how {
            Parting::Close(code) => {
                let frame = code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
                within("a close", self.stream.close(frame)).await.expect("an open connection");
                while within("the end", self.stream.next()).await.is_some_and(|frame| frame.is_ok()) {}
            }
            Parting::Fin => {}
            Parting::Reset => reset(self.stream.get_ref()),
        }
    }

    /// Waits for the gateway's close frame; returns the code and the reason.
    pub async fn closed(mut self) -> (u16, String) {
        loop {
            match within("a close", self.stream.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
                Some(Ok(_)) => {}
                other => panic!("no close: {other:?}"),
            }
        }
    }

    /// The next frame, or the code and the reason of the gateway's close frame.
    pub async fn next_or_close(&mut self) -> Result<Value, (u16, String)> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("a JSON text")),
                Some(Ok(Message::Close(Some(frame)))) => return Err((frame.code.into(), frame.reason.to_string())),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("neither a text nor a close: {other:?}"),
            }
        }
    }

    /// Reads, and thereby answers pings, until the connection ends in whatever way.
    pub async fn closed_or_lost(mut self) {
        while within("the end", self.stream.next()).await.is_some_and(|frame| frame.is_ok()) {}
    }

    /// The next frame from the socket; `None` at its end.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            match within("a frame", self.stream.next()).await? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).expect("a JSON text")),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("no text: {other:?}"),
            }
        }
    }
}
