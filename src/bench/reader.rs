//! A reader: a connection over either transport that follows the room of the bench.

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep_until;

use crate::bench::frame_decoder::{Frame, FrameDecoder};
use crate::bench::http_client::ResponseHead;
use crate::bench::room::Room;
use crate::bench::scoreboard::{Change, ReaderKind, Scoreboard};
use crate::bench::view::View;

thread_local! {
    /// The read buffer of all readers, of 128 KiB. A reader keeps nothing there between two
    /// reads; 20,000 buffers would take memory that the gateway on the same machine needs.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; 128 * 1024].into());
}

/// A reader, connected or not.
#[derive(Debug)]
pub(super) struct Reader {
    index: usize,
    websocket: bool,
    kind: ReaderKind,
    scoreboard: Arc<Scoreboard>,
    view: Mutex<View>,
}

/// One connection of a reader to the room's stream.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) room: Arc<Room>,
    /// The cursor to resume after.
    pub(super) since: Option<String>,
    /// Limits how many readers connect at a time; released when the stream begins.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// The reader sends its request once this is `true`.
    pub(super) start: watch::Receiver<bool>,
    /// For a slow reader: it reads while this is `true`.
    pub(super) reading: Option<watch::Receiver<bool>>,
    /// For a reader that joins the room.
    pub(super) join_times: Option<JoinTimes>,
}

/// The times at which readers join their room: one after the other, in the order of their index.
#[derive(Clone, Debug)]
pub(super) struct JoinTimes {
    /// The time at which reader 0 joins, once decided.
    pub(super) first: watch::Receiver<Option<Instant>>,
    /// The time from one reader to the next.
    pub(super) interval: Duration,
}

/// Waits until reader number `index` is to join; never returns for a reader that does not join.
async fn join_time(join_times: &mut Option<JoinTimes>, index: usize) {
    let Some(JoinTimes { first, interval }) = join_times else {
        return pending().await;
    };
    match first.wait_for(Option::is_some).await.ok().and_then(|first| *first) {
        Some(first) => sleep_until((first + *interval * index as u32).into()).await,
        None => pending().await,
    }
}

/// The outcome of one read.
enum Received {
    /// The stream goes on; the reader sends these bytes, if any.
    Reply(Vec<u8>),
    /// The stream ended, with the reason.
    End(String),
}

impl Reader {
    /// Reader number `index`, not connected.
    pub(super) fn new(index: usize, websocket: bool, slow: bool, scoreboard: Arc<Scoreboard>) -> Self {
        let kind = match (slow, websocket) {
            (true, _) => ReaderKind::Slow,
            (false, true) => ReaderKind::Ws,
            (false, false) => ReaderKind::Sse,
        };
        Reader { index, websocket, kind, scoreboard, view: Mutex::default() }
    }

    /// The reader's view of the room, updated with each read.
    pub(super) fn view(&self) -> &Mutex<View> {
        &self.view
    }

    /// Whether the reader stops reading on request of the bench.
    pub(super) fn is_slow(&self) -> bool {
        self.kind == ReaderKind::Slow
    }

    /// Connects and reads until the stream ends; the reason is then in the view.
    pub(super) async fn follow(self: Arc<Self>, subscription: Subscription) {
        let ended = match self.read(subscription).await {
            Ok(why) | Err(why) => why,
        };
        self.view.lock().ended.get_or_insert(ended);
    }

    /// Reads until the gateway ends the stream, or a step of the connection fails; returns the reason.
    async fn read(&self, mut subscription: Subscription) -> Result<String, String> {
        let connected = subscription.room.target.connect(self.index, self.is_slow()).await;
        let mut stream = connected.map_err(|error| format!("cannot connect: {error}"))?;
        let started = subscription.start.wait_for(|start| *start).await.is_ok();
        let request = self.request(&subscription);
        if !started || stream.write_all(request.as_bytes()).await.is_err() {
            return Err("the gateway closed the connection".into());
        }
        let mut decoder = self.read_response(&mut stream).await?;
        drop(subscription.permit.take());
        loop {
            if let Some(reading) = &mut subscription.reading
                && reading.wait_for(|reading| *reading).await.is_err()
            {
                return Ok("the bench ended".into());
            }
            let received = tokio::select! {
                received = poll_fn(|cx| self.poll_read(cx, &mut stream, &mut decoder)) => received,
                () = join_time(&mut subscription.join_times, self.index) => {
                    subscription.join_times = None;
                    Received::Reply(self.join_message(&subscription.room.name))
                }
            };
            match received {
                Received::Reply(reply) if reply.is_empty() => {}
                Received::Reply(reply) => stream.write_all(&reply).await.map_err(|error| error.to_string())?,
                Received::End(why) => return Ok(why),
            }
        }
    }

    /// The WebSocket frame by which the reader joins the room, as a new user.
    fn join_message(&self, room: &str) -> Vec<u8> {
        let user = self.scoreboard.new_users(1).start;
        let text = format!(r#"{{"action":"join","room":"{room}","user":"u{user}","ref":{user}}}"#);
        self.scoreboard.sending(user, Change::SignIn);
        // Final text frame, masked with zeros; the text has fewer than 126 bytes.
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        frame
    }

    fn request(&self, subscription: &Subscription) -> String {
        let (host, room) = (subscription.room.target.host(), &subscription.room.name);
        let since = |sign| subscription.since.as_ref().map_or(String::new(), |since| format!("{sign}since={since}"));
        if self.websocket {
            // The key may be constant: no cache lies between bench and gateway.
            format!(
                "GET /ws?room={room}{} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cHJlc2VudGx5IGJlbmNoIQ==\r\n\r\n",
                since('&')
            )
        } else {
            format!(
                "GET /api/rooms/{room}/stream{} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n",
                since('?')
            )
        }
    }

    /// Reads the head of the response, and the beginning of the stream if it came with the head.
    async fn read_response(&self, stream: &mut TcpStream) -> Result<FrameDecoder, String> {
        let mut bytes = Vec::with_capacity(1_024);
        let head = loop {
            match stream.read_buf(&mut bytes).await {
                Ok(0) => return Err("the gateway closed the connection".into()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
            if let Some(head) = ResponseHead::parse(&bytes)? {
                break head;
            }
        };
        let expected = if self.websocket { 101 } else { 200 };
        if head.status != expected {
            return Err(format!("the gateway answered {}", head.status));
        }
        let mut decoder = if self.websocket { FrameDecoder::websocket() } else { FrameDecoder::sse(head.chunked) };
        match self.receive(&mut decoder, &bytes[head.head_length..]) {
            Received::Reply(reply) => stream.write_all(&reply).await.map_err(|error| error.to_string())?,
            Received::End(why) => return Err(why),
        }
        Ok(decoder)
    }

    fn poll_read(&self, cx: &mut Context<'_>, stream: &mut TcpStream, decoder: &mut FrameDecoder) -> Poll<Received> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(stream).poll_read(cx, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Received::End(error.to_string())),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    Poll::Ready(Received::End("the gateway closed the connection".into()))
                }
                Poll::Ready(Ok(())) => Poll::Ready(self.receive(decoder, buffer.filled())),
            }
        })
    }

    /// Applies the frames that these bytes complete to the view, and counts their latencies.
    fn receive(&self, decoder: &mut FrameDecoder, bytes: &[u8]) -> Received {
        let now = Instant::now();
        let (mut reply, mut ended, mut objects) = (Vec::new(), None, 0);
        let mut view = self.view.lock();
        let mut latencies = self.scoreboard.latencies(self.kind).lock();
        let decoded = decoder.decode(bytes, |frame| match frame {
            Frame::Object(object) => {
                objects += 1;
                let event = view.apply(object, now);
                if let Some(latency) = event.and_then(|event| self.scoreboard.latency(event, now)) {
                    latencies.record(latency);
                }
            }
            Frame::Ping(payload) => add_pong(&mut reply, payload),
            Frame::End(code) => ended = Some(code.map_or("the stream ended".into(), |code| format!("closed: {code}"))),
        });
        self.scoreboard.arrived(objects);
        match decoded.err().or(ended) {
            Some(why) => Received::End(why),
            None => Received::Reply(reply),
        }
    }
}

/// Adds a pong (RFC 6455, 5.5.3), masked with zeros. A ping's payload has at most 125 bytes.
fn add_pong(reply: &mut Vec<u8>, payload: &[u8]) {
    reply.extend([0x8A, 0x80 | (payload.len() as u8 & 0x7F), 0, 0, 0, 0]);
    reply.extend_from_slice(payload);
}
