//! One reader: a connection over either transport, and what it sees.

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

use crate::bench::board::{Board, Class, count};
use crate::bench::caller::Head;
use crate::bench::frames::{Frame, Frames};
use crate::bench::sight::Sight;
use crate::bench::target::Target;

thread_local! {
    /// All readers share one buffer, since none keeps anything in it: 20,000 of their own would be
    /// memory that the gateway on the same machine lacks.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; 128 * 1024].into());
}

/// One reader, whether connected or not.
#[derive(Debug)]
pub struct Reader {
    index: usize,
    ws: bool,
    class: Class,
    board: Arc<Board>,
    sight: Mutex<Sight>,
}

/// How a reader is to connect.
#[derive(Debug)]
pub struct Visit {
    /// Where to.
    pub target: Arc<Target>,
    /// The room.
    pub room: Arc<str>,
    /// The cursor to come back with.
    pub since: Option<String>,
    /// Given back once the stream has begun, for the next reader to connect.
    pub turn: Option<OwnedSemaphorePermit>,
    /// The request is sent when it says `true`.
    pub start: watch::Receiver<bool>,
    /// For a reader that is to be slow: it reads while it says `true`.
    pub reads: Option<watch::Receiver<bool>>,
    /// For a reader that is to join: when.
    pub joins: Option<Joins>,
}

/// When all readers of a crowd join the room that they watch, one after the other.
#[derive(Clone, Debug)]
pub struct Joins {
    /// The first one's time, once it is known.
    pub start: watch::Receiver<Option<Instant>>,
    /// From one to the next.
    pub pause: Duration,
}

/// Waits until it is reader number `index`'s turn to join, if it ever is.
async fn turn_to_join(joins: &mut Option<Joins>, index: usize) {
    let Some(Joins { start, pause }) = joins else {
        return pending().await;
    };
    match start.wait_for(Option::is_some).await.ok().and_then(|start| *start) {
        Some(start) => sleep_until((start + *pause * index as u32).into()).await,
        None => pending().await,
    }
}

/// What one read came to.
enum Turn {
    /// There may be more; this is to be sent.
    More(Vec<u8>),
    /// The stream ended.
    Ended(String),
}

impl Reader {
    /// Reader number `index`, not connected yet.
    pub fn new(index: usize, ws: bool, slow: bool, board: Arc<Board>) -> Self {
        let class = match (slow, ws) {
            (true, _) => Class::Slow,
            (false, true) => Class::Ws,
            (false, false) => Class::Sse,
        };
        Reader { index, ws, class, board, sight: Mutex::default() }
    }

    /// What it sees.
    pub fn sight(&self) -> &Mutex<Sight> {
        &self.sight
    }

    /// Whether it is to be slow.
    pub fn is_slow(&self) -> bool {
        self.class == Class::Slow
    }

    /// Connects and reads until the stream ends; then its sight says why.
    pub async fn follow(self: Arc<Self>, visit: Visit) {
        let ended = match self.read(visit).await {
            Ok(why) | Err(why) => why,
        };
        self.sight.lock().ended.get_or_insert(ended);
    }

    async fn read(&self, mut visit: Visit) -> Result<String, String> {
        let connected = visit.target.connect(self.index, visit.reads.is_some()).await;
        let mut stream = connected.map_err(|error| format!("cannot connect: {error}"))?;
        let opened = visit.start.wait_for(|start| *start).await.is_ok();
        let request = self.request(&visit);
        if !opened || stream.write_all(request.as_bytes()).await.is_err() {
            return Err("the gateway closed the connection".into());
        }
        let mut frames = self.answered(&mut stream).await?;
        drop(visit.turn.take());
        loop {
            if let Some(reads) = &mut visit.reads
                && reads.wait_for(|reads| *reads).await.is_err()
            {
                return Ok("it was told to stop".into());
            }
            let turn = tokio::select! {
                turn = poll_fn(|cx| self.poll_turn(cx, &mut stream, &mut frames)) => turn,
                () = turn_to_join(&mut visit.joins, self.index) => {
                    visit.joins = None;
                    Turn::More(self.join(&visit.room))
                }
            };
            match turn {
                Turn::More(reply) if reply.is_empty() => {}
                Turn::More(reply) => stream.write_all(&reply).await.map_err(|error| error.to_string())?,
                Turn::Ended(why) => return Ok(why),
            }
        }
    }

    /// The message by which it joins the room, as a user of its own.
    fn join(&self, room: &str) -> Vec<u8> {
        let user = self.board.fresh(1).start;
        let text = format!(r#"{{"action":"join","room":"{room}","user":"u{user}","ref":{user}}}"#);
        self.board.sending(user, false);
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        frame
    }

    fn request(&self, visit: &Visit) -> String {
        let (host, room) = (visit.target.host(), &visit.room);
        let since = |sign| visit.since.as_ref().map_or(String::new(), |since| format!("{sign}since={since}"));
        if self.ws {
            // Any key of 16 bytes does: nobody caches here.
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

    /// Reads the answer's head, and what of the stream came with it.
    async fn answered(&self, stream: &mut TcpStream) -> Result<Frames, String> {
        let mut bytes = Vec::with_capacity(1_024);
        let head = loop {
            match stream.read_buf(&mut bytes).await {
                Ok(0) => return Err("the gateway closed the connection".into()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
            if let Some(head) = Head::parse(&bytes)? {
                break head;
            }
        };
        let wanted = if self.ws { 101 } else { 200 };
        if head.status != wanted {
            return Err(format!("the gateway answered {}", head.status));
        }
        let mut frames = if self.ws { Frames::websocket() } else { Frames::sse(head.chunked) };
        match self.take(&mut frames, &bytes[head.bytes..]) {
            Turn::More(reply) => stream.write_all(&reply).await.map_err(|error| error.to_string())?,
            Turn::Ended(why) => return Err(why),
        }
        Ok(frames)
    }

    fn poll_turn(&self, cx: &mut Context<'_>, stream: &mut TcpStream, frames: &mut Frames) -> Poll<Turn> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(stream).poll_read(cx, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Turn::Ended(error.to_string())),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    Poll::Ready(Turn::Ended("the gateway closed the connection".into()))
                }
                Poll::Ready(Ok(())) => Poll::Ready(self.take(frames, buffer.filled())),
            }
        })
    }

    /// Takes in all that is whole in these bytes.
    fn take(&self, frames: &mut Frames, bytes: &[u8]) -> Turn {
        let now = Instant::now();
        let (mut reply, mut ended, mut objects) = (Vec::new(), None, 0);
        let mut sight = self.sight.lock();
        let mut times = self.board.times(self.class).lock();
        let cut = frames.cut(bytes, |frame| match frame {
            Frame::Object(object) => {
                objects += 1;
                let event = sight.take(object, now);
                if let Some(time) = event.and_then(|event| self.board.took(event, now)) {
                    count(&mut times, time);
                }
            }
            Frame::Ping(payload) => pong(&mut reply, payload),
            Frame::End(code) => ended = Some(code.map_or("the stream ended".into(), |code| format!("closed: {code}"))),
        });
        self.board.arrived(objects);
        match cut.err().or(ended) {
            Some(why) => Turn::Ended(why),
            None => Turn::More(reply),
        }
    }
}

/// A pong (RFC 6455, 5.5.3), masked with zeros; no ping is longer than 125 bytes.
fn pong(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend([0x8A, 0x80 | (payload.len() as u8 & 0x7F), 0, 0, 0, 0]);
    out.extend_from_slice(payload);
}
