//! Connections: the write side of one stream's socket.

mod holds;
mod silence;

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::debug;

use crate::delivery::asks::Asks;
use crate::delivery::outbox::Outbox;
use crate::delivery::pings::{Link, Pings};
use crate::delivery::socket::StreamSocket;
use crate::model::id::ConnectionId;
use crate::model::moment::Tick;
use crate::model::refusal::Code;
use crate::runtime::admission::Admission;
use crate::runtime::clock::Clock;
use crate::runtime::handover::Socket;
use crate::runtime::memory::{Level, Memory};
use crate::runtime::meter;
use crate::runtime::tasks::Tasks;
use crate::wire::dialect::Format;

/// Bytes written to one socket before other tasks get their turn.
const TURN: usize = 256 * 1024;

/// The size of waiting answers (pongs, refusals) above which nothing more is read from the client. A client that sends
/// faster than it reads then waits in its own socket. One read of 4 KiB can add as much as 60 KiB. When memory is short, a
/// sixteenth of this.
const MAX_ANSWERS: usize = 256 * 1024;

/// Time in which the gateway still reads after its last message: after an earlier close, a reset could destroy the
/// message.
const DRAIN: Duration = Duration::from_secs(2);

/// A stream that took its socket over from HTTP. All writing happens under one lock, so events, answers, pings and the
/// end never mix.
///
/// The order of the fields is their order in memory: a delivery needs the fields before `pings` and no others.
/// Thousands of connections do not fit the processor's caches, and each cache line of 64 bytes more would cost every
/// delivery 50 to 150 ns.
#[derive(Debug)]
#[repr(C)]
pub struct Connection {
    output: Mutex<Output>,
    socket: StreamSocket,
    shared: Arc<Shared>,
    format: Format,
    /// Whether keep-alives include a message that scripts can see.
    alive: bool,
    pings: Pings,
    ending: Mutex<Option<Ending>>,
    wake: Notify,
    /// The questions to a client that hears keep-alives and sends messages.
    asks: Option<Arc<Asks>>,
    id: ConnectionId,
    /// Released with the socket.
    _admission: Admission,
    counted: meter::Stream,
}

/// State shared by all connections.
#[derive(Debug)]
pub struct Shared {
    /// For the bound on waiting answers.
    pub memory: Arc<Memory>,
    /// For the tasks of slow connections.
    pub tasks: Tasks,
    /// For the deadlines of pings.
    pub clock: Arc<Clock>,
    /// When milliseconds began to count.
    pub began: Instant,
    /// Timeout of a client that takes no byte of its backlog, or leaves a ping unanswered behind a slow link.
    pub send_within: Duration,
    /// Timeout of a client that leaves a ping unanswered.
    pub pong_within: Duration,
    /// Timeout of a client that has begun a message.
    pub message_within: Duration,
    /// Interval of the questions whether a client is alive.
    pub alive_every: Duration,
    /// Timeout of a client that leaves such a question unanswered.
    pub alive_within: Duration,
}

/// The writing side.
#[derive(Debug, Default)]
#[repr(C)]
struct Output {
    /// Whether a task of the connection's own writes until the outbox is empty. The hub then skips the connection.
    catching_up: bool,
    /// Set while bytes are written. Still set at the next write, the flag means a panic in the middle of a frame.
    writing: bool,
    /// Whether the connection can no longer be written to.
    broken: bool,
    /// Whether the send buffer is wide, for a set.
    wide: bool,
    /// Whether the conversation waits for answers to be written before it reads more.
    congested: bool,
    link: Link,
    outbox: Outbox,
}

/// How a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The connection is lost, with the cause for the log.
    Lost(&'static str),
    /// The same for a client that has been silent since some time.
    Silent(Tick, &'static str),
    /// The gateway ends the stream, for this reason.
    Ours(Code),
    /// The gateway stops, and the client had better return after so many milliseconds.
    Stopping(u32),
}

/// The progress of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The outbox is empty.
    Done,
    /// The socket is full.
    Full,
    /// The connection's share of one turn is written.
    Turn,
}

/// The properties of a new connection.
#[derive(Debug)]
pub struct Options {
    /// The id.
    pub id: ConnectionId,
    /// The format of all messages.
    pub format: Format,
    /// Whether keep-alives include a message that scripts can see.
    pub alive: bool,
    /// The questions to the client whether it is alive; none without `alive`.
    pub asks: Option<Arc<Asks>>,
    /// The response's head, written first.
    pub head: Bytes,
}

impl Connection {
    /// A connection over `socket`.
    pub fn new(socket: Socket, options: Options, counted: meter::Stream, shared: Arc<Shared>) -> Self {
        let mut output = Output { link: Link::new(shared.millis()), ..Output::default() };
        output.outbox.send(options.head);
        Connection {
            id: options.id,
            socket: StreamSocket::new(socket.stream),
            _admission: socket.admission,
            counted,
            format: options.format,
            alive: options.alive,
            asks: options.asks,
            output: Mutex::new(output),
            ending: Mutex::new(None),
            wake: Notify::new(),
            pings: Pings::default(),
            shared,
        }
    }

    /// The id.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The format of all messages.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The questions to the client, if it is asked.
    pub fn asks(&self) -> Option<&Asks> {
        self.asks.as_deref()
    }

    /// Writes the bytes of a batch that `take` gives, if this connection's reader is at its beginning. A reader that is
    /// elsewhere makes its own next step. Returns the number of these bytes that were written, for the caller to count.
    pub fn deliver(self: &Arc<Self>, take: impl FnOnce(&mut Outbox, Format) -> Option<Bytes>) -> usize {
        let mut output = self.output.lock();
        if output.catching_up {
            return 0;
        }
        let Some(bytes) = take(&mut output.outbox, self.format) else {
            self.drive(output);
            return 0;
        };
        let mut sent = 0;
        let written = self.guarded(&mut output, |this, output| this.write(output, bytes, &mut sent));
        self.go_on(output, written);
        sent
    }

    /// Makes the processor fetch the memory that a delivery needs. The processor fetches for many connections at once
    /// only where no atomic operation comes between, and each delivery has some.
    pub fn prefetch(&self) {
        black_box((self.output.is_locked(), Arc::as_ptr(&self.shared), self.alive));
    }

    /// Writes the outbox. A task of the connection's own writes the bytes that the socket does not take now.
    pub fn catch_up(self: &Arc<Self>) {
        let output = self.output.lock();
        if !output.catching_up {
            self.drive(output);
        }
    }

    /// Writes the number of members to readers that count; true when the last number is too recent.
    pub fn count(self: &Arc<Self>) -> bool {
        let mut output = self.output.lock();
        let waits = output.outbox.count();
        if !waits && !output.catching_up {
            self.drive(output);
        }
        waits
    }

    /// Changes the outbox, without writing.
    pub fn queue<T>(&self, change: impl FnOnce(&mut Outbox) -> T) -> T {
        change(&mut self.output.lock().outbox)
    }

    /// Whether so many answers wait that nothing more may be read now. In that case the connection wakes its
    /// conversation when fewer wait.
    pub fn is_congested(&self) -> bool {
        let mut output = self.output.lock();
        output.congested = output.outbox.answers() > self.max_answers();
        output.congested
    }

    fn max_answers(&self) -> usize {
        if self.shared.memory.level() == Level::Normal { MAX_ANSWERS } else { MAX_ANSWERS / 16 }
    }

    /// Asks the stream to end. The first request decides how.
    pub fn end(&self, how: Ending) {
        self.ending.lock().get_or_insert(how);
        self.wake.notify_one();
    }

    fn drive(self: &Arc<Self>, mut output: MutexGuard<'_, Output>) {
        let written = self.guarded(&mut output, Connection::write_all);
        self.go_on(output, written);
    }

    /// Leaves the rest of the outbox to a task of the connection's own.
    fn go_on(self: &Arc<Self>, mut output: MutexGuard<'_, Output>, written: Progress) {
        if written != Progress::Done {
            output.catching_up = true;
            self.shared.tasks.spawn(self.clone().catching_up());
        }
    }

    /// Writes as the socket takes bytes, until the outbox is empty.
    async fn catching_up(self: Arc<Self>) {
        let guard = WriterGuard(&self);
        loop {
            match self.write_on() {
                Progress::Done => break,
                Progress::Turn => yield_now().await,
                Progress::Full => {
                    let since = self.shared.clock.tick();
                    if timeout(self.shared.send_within, self.socket.writable()).await.is_err() {
                        self.end(Ending::Silent(since, "accepted no byte in time"));
                        break;
                    }
                    // A client that takes bytes is alive, however late its pongs.
                    self.pings.excuse();
                }
            }
        }
        std::mem::forget(guard);
    }

    /// One turn of catching up. The outbox returns to the hub under the same lock under which it was found empty, so no
    /// event falls between this task and the hub.
    fn write_on(&self) -> Progress {
        let mut output = self.output.lock();
        let written = self.guarded(&mut output, Connection::write_all);
        if written == Progress::Done {
            output.catching_up = false;
        }
        written
    }

    /// Calls `write`, and ends the connection when it fails or when the last call did not return.
    fn guarded(&self, output: &mut Output, write: impl FnOnce(&Self, &mut Output) -> io::Result<Progress>) -> Progress {
        if std::mem::replace(&mut output.writing, true) || output.broken {
            output.fail();
            self.end(Ending::Lost("writing failed half-way"));
            return Progress::Done;
        }
        let written = write(self, output).unwrap_or_else(|error| {
            debug!(connection = %self.id, %error, "writing failed");
            output.fail();
            self.end(Ending::Lost("connection broken"));
            Progress::Done
        });
        output.writing = false;
        if output.congested && output.outbox.answers() <= self.max_answers() {
            output.congested = false;
            self.wake.notify_one();
        }
        written
    }

    /// Writes the outbox, as far as the socket takes it.
    fn write_all(&self, output: &mut Output) -> io::Result<Progress> {
        let mut sent = 0;
        let written = self.write_turn(output, &mut sent);
        self.counted.sent(sent);
        written
    }

    fn write_turn(&self, output: &mut Output, sent: &mut usize) -> io::Result<Progress> {
        let mut turn = TURN;
        while let Some(bytes) = output.outbox.next(self.format) {
            turn = turn.saturating_sub(bytes.len());
            if self.write(output, bytes, sent)? == Progress::Full {
                self.fit_buffer(output);
                return Ok(Progress::Full);
            }
            if turn == 0 {
                return Ok(Progress::Turn);
            }
        }
        self.fit_buffer(output);
        Ok(Progress::Done)
    }

    /// Fits the send buffer to the present write.
    fn fit_buffer(&self, output: &mut Output) {
        let wide = output.outbox.is_amid_set();
        if wide != output.wide {
            output.wide = wide;
            self.socket.set_wide(wide);
        }
    }

    /// Writes `bytes`, the next in order, and adds to `sent`. Bytes that the socket does not take return to the front of the
    /// outbox.
    fn write(&self, output: &mut Output, mut bytes: Bytes, sent: &mut usize) -> io::Result<Progress> {
        while !bytes.is_empty() {
            self.shared.tasks.fault("write");
            match self.socket.send(&bytes) {
                Ok(n) => {
                    output.link.carry(self.shared.millis(), n);
                    *sent += n;
                    bytes.advance(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    output.outbox.put_back(bytes);
                    return Ok(Progress::Full);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(Progress::Done)
    }

    /// The time that a client has for the rest of a message.
    pub fn message_within(&self) -> Duration {
        self.shared.message_within
    }

    /// Whether deadlines may be enforced now.
    pub fn enforces_deadlines(&self) -> bool {
        self.shared.clock.enforces_deadlines()
    }

    /// Waits until the stream is asked to end, or until reading may go on: `None`.
    pub async fn woken(&self) -> Option<Ending> {
        self.wake.notified().await;
        self.ending.lock().clone()
    }

    /// Ready when the client has sent bytes, or closed the connection. For one task only.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_readable(cx)
    }

    /// Reads the bytes that have arrived; 0 is the client's end. Any byte answers a ping.
    ///
    /// # Errors
    ///
    /// The socket's; `WouldBlock` when there are no bytes.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.try_read(buffer)?;
        if read > 0 {
            self.shared.tasks.fault("read");
            self.pings.answered(|| self.shared.clock.tick());
        }
        Ok(read)
    }

    /// Reads the bytes that arrived before the connection was lost; 0 behind the last.
    ///
    /// # Errors
    ///
    /// The socket's; `WouldBlock` when there are no bytes.
    pub fn read_left(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read_left(buffer)
    }

    /// Closes the socket, also when a task still waits to write.
    pub fn abandon(&self) {
        self.output.lock().fail();
        self.socket.close();
    }

    /// Writes the last message, ends the gateway's side, and takes the bytes that the client still sends, for at most
    /// [`DRAIN`].
    pub async fn drain(self: &Arc<Self>) {
        let _ = timeout(DRAIN, self.drain_socket()).await;
    }

    async fn drain_socket(self: &Arc<Self>) -> io::Result<()> {
        loop {
            match self.write_on() {
                Progress::Done => break,
                Progress::Turn => yield_now().await,
                Progress::Full => self.socket.writable().await?,
            }
        }
        self.socket.finish().await
    }
}

impl Shared {
    /// Milliseconds, which wrap around. Also time in which the process is stopped counts: links carry bytes meanwhile.
    fn millis(&self) -> u32 {
        self.began.elapsed().as_millis() as u32
    }
}

impl Output {
    fn fail(&mut self) {
        self.broken = true;
        self.outbox.fail();
    }
}

/// Dropped only by a panic of the writing task: ends the connection, which would hang otherwise.
struct WriterGuard<'a>(&'a Connection);

impl Drop for WriterGuard<'_> {
    fn drop(&mut self) {
        self.0.end(Ending::Lost("writer failed"));
    }
}

#[cfg(test)]
pub(super) mod tests;
