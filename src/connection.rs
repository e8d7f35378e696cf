//! A connection: one stream's socket, what it reads, and the only way to write to it.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::debug;
use uuid::Uuid;

use crate::admission::Admission;
use crate::batch::Batch;
use crate::framing::{Form, Framing};
use crate::handover::Socket;
use crate::reader::Reader;
use crate::tasks::Tasks;

/// Bytes written to one socket before others get their turn.
const TURN: usize = 256 * 1024;

/// The most bytes of answers (pongs, refusals) kept for a client that does not read them: more than
/// one read of small messages can cause.
const MAX_ANSWERS: usize = 256 * 1024;

/// How long after our end of a stream we still take bytes: closed earlier, a reset could eat what
/// we said last.
const DRAIN: Duration = Duration::from_secs(2);

/// How many pings in a row may go without any sign of life from a WebSocket.
const MISSED_PINGS: u8 = 2;

/// A stream that took its socket over from HTTP. All writing happens under the lock of its line, so
/// events, answers, pings and the end never mix.
#[derive(Debug)]
pub struct Connection {
    id: Uuid,
    socket: TcpStream,
    /// Held, and given back with the socket.
    _admission: Admission,
    framing: Framing,
    line: Mutex<Line>,
    ending: Mutex<Option<Ending>>,
    wake: Notify,
    pings: AtomicU8,
    writing: Arc<Writing>,
}

/// What all connections have in common for writing.
#[derive(Debug)]
pub struct Writing {
    /// Where those go on that have to wait for their socket.
    pub tasks: Tasks,
    /// How long a client may take no byte of what waits for it.
    pub send_within: Duration,
}

/// What is to be written next.
#[derive(Debug)]
struct Line {
    /// What the socket did not take yet. A frame begun is finished before anything else.
    backlog: VecDeque<Bytes>,
    /// What follows the backlog; gone when the stream is to end.
    reader: Option<Reader>,
    /// How much of the backlog may be answers.
    answers: usize,
    /// A task of its own writes here until the reader has caught up; the hub passes by.
    catching_up: bool,
    /// The last word is in the backlog: nothing may follow it.
    closing: bool,
    /// Set while bytes are on their way: found set, a panic left the line in the middle of a frame.
    writing: bool,
    /// Nothing can be written any more.
    broken: bool,
}

/// How a stream is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client is gone, or as good as gone.
    Lost(&'static str),
    /// We end it, with this close code and reason on a WebSocket.
    Ours(u16, &'static str),
}

/// How far writing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// All there is.
    All,
    /// Until the socket was full.
    Full,
    /// Its fair share for now.
    Turn,
}

impl Connection {
    /// A connection over `socket`, with the bytes that come first and whom it reads.
    pub fn new(socket: Socket, framing: Framing, first: Bytes, reader: Option<Reader>, writing: Arc<Writing>) -> Self {
        let line = Line {
            backlog: VecDeque::from([first]),
            reader,
            answers: 0,
            catching_up: false,
            closing: false,
            writing: false,
            broken: false,
        };
        Connection {
            id: Uuid::new_v4(),
            socket: socket.stream,
            _admission: socket.admission,
            framing,
            line: Mutex::new(line),
            ending: Mutex::new(None),
            wake: Notify::new(),
            pings: AtomicU8::new(0),
            writing,
        }
    }

    /// What names the connection in logs.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Writes a batch that all readers of a room share, if this one stands at its beginning. One that
    /// stands elsewhere is led on by its own cursor.
    pub fn deliver(self: &Arc<Self>, batch: &Batch) {
        let mut line = self.line.lock();
        if line.catching_up || line.closing {
            return;
        }
        if let Some(reader) = &mut line.reader
            && reader.stands_at(batch.from())
        {
            reader.moved_to(batch.to());
            // Without a look for more: what came meanwhile has news of its own.
            let written = self.guarded(&mut line, |this, line| this.write(line, batch.bytes(this.framing)));
            return self.go_on(line, written);
        }
        self.drive(line);
    }

    /// Writes all that waits: what the socket does not take now, a task of its own writes later.
    pub fn catch_up(self: &Arc<Self>) {
        let line = self.line.lock();
        if !line.catching_up {
            self.drive(line);
        }
    }

    /// Keeps the stream open: a comment, or a ping whose answer shows that somebody is there.
    pub fn keep_alive(self: &Arc<Self>) {
        let mut line = self.line.lock();
        // A reader that is behind has bytes waiting: they do what a comment would, and whether it takes them is
        // judged by its socket. A ping that was never sent must not count as one without an answer.
        if line.catching_up || line.closing {
            return;
        }
        if self.framing.form == Form::WebSocket && self.pings.fetch_add(1, Relaxed) >= MISSED_PINGS {
            return self.end(Ending::Lost("no answer to pings"));
        }
        let written = self.guarded(&mut line, |this, line| this.write(line, this.framing.keep_alive()));
        self.go_on(line, written);
    }

    /// Sends what is no event: answers, pongs, and the `last` word.
    fn answer(self: &Arc<Self>, bytes: impl Into<Bytes>, last: bool) {
        let bytes = bytes.into();
        let mut line = self.line.lock();
        if line.closing || (bytes.is_empty() && !last) {
            return;
        }
        line.answers += bytes.len();
        line.backlog.push_back(bytes);
        if last {
            line.closing = true;
            line.reader = None;
        }
        if line.answers > MAX_ANSWERS {
            self.end(Ending::Lost("does not read its answers"));
        } else if !line.catching_up {
            self.drive(line);
        }
    }

    /// Asks the stream to end; the first to ask says how.
    pub fn end(&self, how: Ending) {
        self.ending.lock().get_or_insert(how);
        self.wake.notify_one();
    }

    fn drive(self: &Arc<Self>, mut line: MutexGuard<'_, Line>) {
        let written = self.guarded(&mut line, Connection::write_all);
        self.go_on(line, written);
    }

    /// Leaves what could not be written to a task of its own.
    fn go_on(self: &Arc<Self>, mut line: MutexGuard<'_, Line>, written: Written) {
        if written != Written::All {
            line.catching_up = true;
            self.writing.tasks.spawn(self.clone().catching_up());
        }
    }

    /// Writes as the socket takes it, until the reader has all there is.
    async fn catching_up(self: Arc<Self>) {
        let relay = Relay(&self);
        loop {
            match self.write_on() {
                Written::All => break,
                Written::Turn => yield_now().await,
                Written::Full => {
                    if timeout(self.writing.send_within, self.socket.writable()).await.is_err() {
                        self.end(Ending::Lost("took no byte in time"));
                        break;
                    }
                }
            }
        }
        std::mem::forget(relay);
    }

    /// One turn of catching up. The line is given back under the same lock under which nothing was
    /// found to write, so no event falls between this task and the hub.
    fn write_on(&self) -> Written {
        let mut line = self.line.lock();
        let written = self.guarded(&mut line, Connection::write_all);
        if written == Written::All {
            line.catching_up = false;
        }
        written
    }

    /// Calls `write`, and ends the connection when it fails, now or half-way the last time.
    fn guarded(&self, line: &mut Line, write: impl FnOnce(&Self, &mut Line) -> io::Result<Written>) -> Written {
        if std::mem::replace(&mut line.writing, true) || line.broken {
            line.fail();
            self.end(Ending::Lost("writing failed half-way"));
            return Written::All;
        }
        let written = write(self, line).unwrap_or_else(|error| {
            debug!(connection = %self.id, %error, "writing failed");
            line.fail();
            self.end(Ending::Lost("connection broken"));
            Written::All
        });
        line.writing = false;
        written
    }

    /// Writes the backlog, and then what the reader reads.
    fn write_all(&self, line: &mut Line) -> io::Result<Written> {
        let mut turn = TURN;
        loop {
            while let Some(bytes) = line.backlog.pop_front() {
                turn = turn.saturating_sub(bytes.len());
                if self.write(line, bytes)? == Written::Full {
                    return Ok(Written::Full);
                }
            }
            // An idle connection keeps no memory for what does not wait.
            line.backlog = VecDeque::new();
            line.answers = 0;
            if turn == 0 {
                return Ok(Written::Turn);
            }
            match line.reader.as_mut().and_then(|reader| reader.next(self.framing)) {
                Some(bytes) => line.backlog.push_back(bytes),
                None => return Ok(Written::All),
            }
        }
    }

    /// Writes `bytes`, the next in order. What the socket does not take comes first the next time.
    fn write(&self, line: &mut Line, mut bytes: Bytes) -> io::Result<Written> {
        while !bytes.is_empty() {
            self.writing.tasks.fault("write");
            match self.socket.try_write(&bytes) {
                Ok(n) => bytes.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    line.backlog.push_front(bytes);
                    return Ok(Written::Full);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(Written::All)
    }

    /// Talks with the client until it is gone or the stream is to end. `peer` makes of its bytes what
    /// there is to answer.
    ///
    /// `seat` is given up then, also by a panic. It is an argument so that the task holds `peer` once: what a task
    /// moves from one future into another, it has space for twice.
    pub async fn converse(self: Arc<Self>, mut peer: impl Peer, seat: impl Send) {
        self.catch_up();
        let how = self.listen(&mut peer).await;
        debug!(connection = %self.id, ?how, "stream ends");
        if let Some(Ending::Ours(code, reason)) = how {
            self.answer(peer.farewell(code, reason, self.framing), true);
        }
        if !matches!(how, Some(Ending::Lost(_))) {
            let _ = timeout(DRAIN, self.drain()).await;
        }
        drop(seat);
    }

    /// Gives the socket up, also when a task still waits to write to it.
    pub fn abandon(&self) {
        self.line.lock().fail();
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }

    /// Ends with how it ended, or with nothing when the client's own good-bye was answered.
    async fn listen(self: &Arc<Self>, peer: &mut impl Peer) -> Option<Ending> {
        let mut output = Vec::new();
        let mut over = peer.begin(&mut output);
        loop {
            self.answer(std::mem::take(&mut output), over);
            if over {
                return None;
            }
            tokio::select! {
                biased;
                () = self.wake.notified() => return self.ending.lock().clone(),
                readable = self.socket.readable() => match readable.and_then(|()| self.read(peer, &mut output)) {
                    Ok(Heard::End) => return Some(Ending::Lost("client closed")),
                    Ok(Heard::Last) => over = true,
                    Ok(Heard::More) => {}
                    Err(_) => return Some(Ending::Lost("connection broken")),
                },
            }
        }
    }

    /// Reads once. Not async: the buffer would live in the task for as long as the connection does.
    fn read(&self, peer: &mut impl Peer, output: &mut Vec<u8>) -> io::Result<Heard> {
        let mut buffer = [0; 4_096];
        match self.socket.try_read(&mut buffer) {
            Ok(0) => Ok(Heard::End),
            Ok(n) => {
                self.writing.tasks.fault("read");
                self.pings.store(0, Relaxed);
                Ok(if peer.hear(&buffer[..n], output) { Heard::Last } else { Heard::More })
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Heard::More),
            Err(e) => Err(e),
        }
    }

    /// Writes the last word, ends our side, and takes what the client still sends.
    async fn drain(self: &Arc<Self>) -> io::Result<()> {
        loop {
            match self.write_on() {
                Written::All => break,
                Written::Turn => yield_now().await,
                Written::Full => self.socket.writable().await?,
            }
        }
        SockRef::from(&self.socket).shutdown(Shutdown::Write)?;
        loop {
            self.socket.readable().await?;
            match self.socket.try_read(&mut [0; 1_024]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Line {
    fn fail(&mut self) {
        self.broken = true;
        self.closing = true;
        self.reader = None;
        self.backlog.clear();
    }
}

enum Heard {
    More,
    Last,
    End,
}

/// Dropped by a panic, so that a connection whose writer failed ends instead of hanging.
struct Relay<'a>(&'a Connection);

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        self.0.end(Ending::Lost("its writer failed"));
    }
}

/// The client's end of a stream: what it says, and how one parts from it.
pub trait Peer: Send {
    /// Before anything is read; as [`Peer::hear`].
    fn begin(&mut self, output: &mut Vec<u8>) -> bool;
    /// Takes bytes from the client, puts answers into `output`; true when those are the last word.
    fn hear(&mut self, input: &[u8], output: &mut Vec<u8>) -> bool;
    /// The last word when we end the stream.
    fn farewell(&mut self, code: u16, reason: &str, framing: Framing) -> Bytes;
}
