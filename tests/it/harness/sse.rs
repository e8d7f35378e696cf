//! A parser of event streams (WHATWG HTML, 9.2), stricter than the standard: one space after each colon, no unknown
//! fields.

use std::net::SocketAddr;

use super::talker::reset;
use super::{Answer, Body, Conn, Parting};

/// One dispatched event.
#[derive(Debug, Default, PartialEq)]
pub struct SseEvent {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: String,
}

/// An open stream.
pub struct Sse {
    conn: Conn,
    body: Body,
    pub head: Answer,
    /// Received bytes that are not parsed yet.
    pending: Vec<u8>,
    /// Every byte of the stream that has been parsed.
    pub text: String,
    pub retry: Option<u64>,
    pub comments: usize,
}

impl Sse {
    pub async fn open(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::over(Conn::open(addr).await, path, headers).await
    }

    /// Requests the stream on an open connection. Without an `Accept`, like curl.
    pub async fn over(mut conn: Conn, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        conn.send(request + "\r\n").await;
        Self::answered(conn).await
    }

    /// Reads the response to an earlier request for a stream.
    pub async fn answered(mut conn: Conn) -> Self {
        let head = conn.head().await.expect(200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"), "{head:?}");
        assert_eq!(head.header("cache-control"), Some("no-store, no-transform"), "{head:?}");
        let body = Body::of(&head);
        Self { conn, body, head, pending: Vec::new(), text: String::new(), retry: None, comments: 0 }
    }

    /// The next event; `None` at the end of the stream, see [`Sse::ended_cleanly`]. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.parse() {
                return Some(event);
            }
            if !self.body.read(&mut self.conn, &mut self.pending).await {
                return None;
            }
        }
    }

    /// Reads until the condition holds, and drops all events.
    pub async fn until(&mut self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            self.parse();
            if condition(self) {
                return;
            }
            assert!(self.body.read(&mut self.conn, &mut self.pending).await, "the stream ended after {:?}", self.text);
        }
    }

    /// Ends the connection, cleanly or with a reset.
    pub fn part(self, how: Parting) {
        if how == Parting::Reset {
            reset(&self.conn.stream);
        }
    }

    pub fn ended_cleanly(&self) -> bool {
        self.body.clean
    }

    /// The first whole event among the received bytes.
    fn parse(&mut self) -> Option<SseEvent> {
        while let Some(at) = self.pending.windows(2).position(|window| window == b"\n\n") {
            let block = self.pending.drain(..at + 2).collect();
            let block = String::from_utf8(block).expect("a stream in UTF-8");
            let event = self.block(&block);
            self.text += &block;
            if event.is_some() {
                return event;
            }
        }
        None
    }

    fn block(&mut self, block: &str) -> Option<SseEvent> {
        let mut event = SseEvent::default();
        let mut has_data = false;
        for line in block.lines().filter(|line| !line.is_empty()) {
            if line.starts_with(':') {
                self.comments += 1;
                continue;
            }
            let (field, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}"));
            match field {
                "retry" => self.retry = Some(value.parse().expect("milliseconds")),
                "id" => event.id = Some(value.to_owned()),
                "event" => event.event = Some(value.to_owned()),
                "data" => {
                    assert!(!has_data, "one line of data for each event: {block:?}");
                    has_data = true;
                    event.data = value.to_owned();
                }
                other => panic!("no field of an event stream: {other}"),
            }
        }
        // Before a stream's end there is another one.
        if has_data && event.event.as_deref() != Some("refused") {
            let retry = self.retry.expect("a stream begins with retry");
            assert!((1000..=2000).contains(&retry), "{retry} ms");
        }
        has_data.then_some(event)
    }
}
