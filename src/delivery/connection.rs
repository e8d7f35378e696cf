//! A connection: one stream's socket, what is heard from it, and the only way to write to it.

use std::hint::black_box;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::{Mutex, MutexGuard};
use rustix::net::SendFlags;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::debug;
use uuid::Uuid;

use crate::runtime::admission::Admission;
use crate::delivery::batch::Batch;
use crate::runtime::clock::{Clock, millis};
use crate::model::event::Cursor;
use crate::wire::framing::{Form, Frame, Framing};
use crate::runtime::handover::Socket;
use crate::rooms::hold_registry::Holder;
use crate::delivery::outbox::Line;
use crate::runtime::meter;
use crate::model::moment::Tick;
use crate::model::presence::{Ended, Why};
use crate::delivery::reader::Reader;
use crate::model::refusal::Code;
use crate::rooms::room::{Room, RoomKey};
use crate::runtime::tasks::Tasks;

/// Bytes written to one socket before others get their turn.
const TURN: usize = 256 * 1024;

/// The bytes of a stream that may wait unsent in the kernel before its socket counts as full: few, so that what is not
/// sent yet can still be netted, and pings get through. Fewer would cost more wake-ups.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 16 * 1024;

/// The bytes that may wait in the kernel to be acknowledged, which Linux doubles for what it needs beside them. A client
/// acknowledges late what it has not read, so this bounds how far its events lie behind in buffers where nothing can
/// be done for them; left alone, a connection within one machine would begin with 2.6 MB. In bursts p99 was 53 ms
/// without, 35 with 48 KiB, 30 with 32 and 28 with 24, which cost a tenth of the throughput.
const NARROW: usize = 32 * 1024;

/// The same while a large set is read, which is to come as fast as a long way allows: more than systems permit, so it is
/// what `net.core.wmem_max` says.
const WIDE: usize = 4 * 1024 * 1024;

/// The most bytes of answers (pongs, refusals) kept for a client that does not read them: more than
/// one read of small messages can cause.
const MAX_ANSWERS: usize = 256 * 1024;

/// How long after our end of a stream we still take bytes: closed earlier, a reset could eat what
/// we said last.
const DRAIN: Duration = Duration::from_secs(2);

/// A stream that took its socket over from HTTP. All writing happens under one lock, so events,
/// answers, pings and the end never mix.
///
/// In memory as it stands here: a delivery needs what comes before `asked` and nothing else. Thousands of connections
/// are not in the processor's caches, and each line of 64 bytes more would cost every delivery 50 to 150 ns.
#[derive(Debug)]
#[repr(C)]
pub struct Connection {
    output: Mutex<Output>,
    socket: TcpStream,
    writing: Arc<Writing>,
    framing: Framing,
    /// Whether the client wants signs of life that a script can see.
    alive: bool,
    /// When the first ping was sent that has no answer yet; 0 when there is none.
    asked: AtomicU64,
    ending: Mutex<Option<Ending>>,
    wake: Notify,
    id: Uuid,
    /// Held, and given back with the socket.
    _admission: Admission,
    _counted: meter::Stream,
}

/// What all connections have in common for writing.
#[derive(Debug)]
pub struct Writing {
    /// Where those go on that have to wait for their socket.
    pub tasks: Tasks,
    /// What time it is.
    pub clock: Arc<Clock>,
    /// How long a client may take no byte of what waits for it, or not answer a ping.
    pub send_within: Duration,
}

/// The writing side.
#[derive(Debug, Default)]
#[repr(C)]
struct Output {
    /// A task of its own writes here until the line is empty; the hub passes by.
    catching_up: bool,
    /// Set while bytes are on their way: found set, a panic left the line in the middle of a frame.
    writing: bool,
    /// Nothing can be written any more.
    broken: bool,
    /// Whether [`WIDE`] may wait in the kernel, and not [`NARROW`].
    wide: bool,
    line: Line,
}

/// How a stream is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client is gone, or as good as gone.
    Lost(&'static str),
    /// We end it, for this reason.
    Ours(Code),
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

/// How a connection is to be.
#[derive(Debug)]
pub struct Manner {
    /// What names it.
    pub id: Uuid,
    /// How its bytes are framed.
    pub framing: Framing,
    /// Whether the client wants signs of life that a script can see.
    pub alive: bool,
    /// What it is sent first.
    pub head: Bytes,
}

impl Connection {
    /// A connection over `socket`.
    pub fn new(socket: Socket, manner: Manner, counted: meter::Stream, writing: Arc<Writing>) -> Self {
        let mut output = Output::default();
        output.line.say(manner.head);
        #[cfg(target_os = "linux")]
        let _ = SockRef::from(&socket.stream).set_tcp_notsent_lowat(UNSENT);
        let _ = SockRef::from(&socket.stream).set_send_buffer_size(NARROW);
        Connection {
            id: manner.id,
            socket: socket.stream,
            _admission: socket.admission,
            _counted: counted,
            framing: manner.framing,
            alive: manner.alive,
            output: Mutex::new(output),
            ending: Mutex::new(None),
            wake: Notify::new(),
            asked: AtomicU64::new(0),
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
        let mut output = self.output.lock();
        if output.catching_up {
            return;
        }
        let Some(bytes) = output.line.take(batch, self.framing) else {
            return self.drive(output);
        };
        let written = self.guarded(&mut output, |this, output| this.write(output, bytes));
        self.go_on(output, written);
    }

    /// Has the processor fetch from memory what a delivery needs. It does so for many connections at once, but where
    /// it comes to an atomic step, as each delivery has some, it waits for one before it begins with the next.
    pub fn prefetch(&self) {
        black_box((self.output.is_locked(), Arc::as_ptr(&self.writing), self.alive));
    }

    /// Writes all that waits: what the socket does not take now, a task of its own writes later.
    pub fn catch_up(self: &Arc<Self>) {
        let output = self.output.lock();
        if !output.catching_up {
            self.drive(output);
        }
    }

    /// Writes how many members there are, if that is what is read here; true when it is too early for that.
    pub fn count(self: &Arc<Self>) -> bool {
        let mut output = self.output.lock();
        let waits = output.line.count();
        if !waits && !output.catching_up {
            self.drive(output);
        }
        waits
    }

    /// Ends the connection of a client that owes an answer to a ping for too long, by `now` or before the next look
    /// at `next`.
    pub fn judge(&self, next: Tick) {
        let asked = self.asked.load(Relaxed);
        if asked != 0 && next > asked + millis(self.writing.send_within) {
            self.end(Ending::Lost("no answer to pings"));
        }
    }

    /// Keeps the stream open: a comment, or a ping whose answer shows that somebody is there.
    pub fn keep_alive(self: &Arc<Self>) {
        let mut output = self.output.lock();
        // A reader that is behind has bytes waiting: they do what a comment would, and whether it takes them is
        // judged by its socket. A ping that was never sent must not count as one without an answer.
        if output.catching_up || output.line.is_closing() {
            return;
        }
        if self.framing.form == Form::WebSocket {
            let now = self.writing.clock.tick().max(1);
            // Fails when an earlier one has no answer yet: that one counts.
            let _ = self.asked.compare_exchange(0, now, Relaxed, Relaxed);
        }
        // In line: the response's head may still be in it.
        output.line.say(self.framing.keep_alive(self.alive));
        self.drive(output);
    }

    /// Puts something into the line, to be written with what is there. Nothing follows the last word.
    fn put(&self, put: impl FnOnce(&mut Line) -> usize) {
        let mut output = self.output.lock();
        if !output.line.is_closing() && put(&mut output.line) > MAX_ANSWERS {
            self.end(Ending::Lost("does not read its answers"));
        }
    }

    /// Asks the stream to end; the first to ask says how.
    pub fn end(&self, how: Ending) {
        self.ending.lock().get_or_insert(how);
        self.wake.notify_one();
    }

    fn drive(self: &Arc<Self>, mut output: MutexGuard<'_, Output>) {
        let written = self.guarded(&mut output, Connection::write_all);
        self.go_on(output, written);
    }

    /// Leaves what could not be written to a task of its own.
    fn go_on(self: &Arc<Self>, mut output: MutexGuard<'_, Output>, written: Written) {
        if written != Written::All {
            output.catching_up = true;
            self.writing.tasks.spawn(self.clone().catching_up());
        }
    }

    /// Writes as the socket takes it, until the line is empty.
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
                    // Who takes bytes is there, busy as it may be.
                    self.asked.store(0, Relaxed);
                }
            }
        }
        std::mem::forget(relay);
    }

    /// One turn of catching up. The line is given back under the same lock under which nothing was
    /// found to write, so no event falls between this task and the hub.
    fn write_on(&self) -> Written {
        let mut output = self.output.lock();
        let written = self.guarded(&mut output, Connection::write_all);
        if written == Written::All {
            output.catching_up = false;
        }
        written
    }

    /// Calls `write`, and ends the connection when it fails, now or half-way the last time.
    fn guarded(&self, output: &mut Output, write: impl FnOnce(&Self, &mut Output) -> io::Result<Written>) -> Written {
        if std::mem::replace(&mut output.writing, true) || output.broken {
            output.fail();
            self.end(Ending::Lost("writing failed half-way"));
            return Written::All;
        }
        let written = write(self, output).unwrap_or_else(|error| {
            debug!(connection = %self.id, %error, "writing failed");
            output.fail();
            self.end(Ending::Lost("connection broken"));
            Written::All
        });
        output.writing = false;
        written
    }

    /// Writes what the line holds.
    fn write_all(&self, output: &mut Output) -> io::Result<Written> {
        let mut turn = TURN;
        while let Some(bytes) = output.line.next(self.framing) {
            turn = turn.saturating_sub(bytes.len());
            if self.write(output, bytes)? == Written::Full {
                self.fit(output);
                return Ok(Written::Full);
            }
            if turn == 0 {
                return Ok(Written::Turn);
            }
        }
        self.fit(output);
        Ok(Written::All)
    }

    /// Lets as much wait in the kernel as is good for what is being read.
    fn fit(&self, output: &mut Output) {
        let wide = output.line.is_amid_set();
        if wide != output.wide {
            output.wide = wide;
            let _ = SockRef::from(&self.socket).set_send_buffer_size(if wide { WIDE } else { NARROW });
        }
    }

    /// Writes `bytes`, the next in order. What the socket does not take comes first the next time.
    fn write(&self, output: &mut Output, mut bytes: Bytes) -> io::Result<Written> {
        while !bytes.is_empty() {
            self.writing.tasks.fault("write");
            match self.send(&bytes) {
                Ok(n) => bytes.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    output.line.put_back(bytes);
                    return Ok(Written::Full);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(Written::All)
    }

    /// Gives bytes to the socket. Only when that fails is it done by tokio, which has to know that the socket is full:
    /// what tokio keeps of a socket lies elsewhere in memory, and most deliveries do without. (There is no signal for a
    /// broken pipe: Rust programs ignore it.)
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        rustix::net::send(&self.socket, bytes, SendFlags::empty()).or_else(|_| self.socket.try_write(bytes))
    }

    /// Talks with the client until it is gone or the stream is to end. `peer` makes of its bytes what
    /// there is to answer.
    ///
    /// `seat` is given up then, also by a panic. It is an argument so that the task holds `peer` once: what a task
    /// moves from one future into another, it has space for twice.
    pub async fn converse(self: Arc<Self>, mut peer: impl Peer, mut seat: impl Seat) {
        let how = self.listen(&mut peer, &mut seat).await;
        peer.gone();
        debug!(connection = %self.id, ?how, "stream ends");
        if let Some(Ending::Ours(code)) = how {
            let farewell = peer.farewell(code, self.framing);
            let mut output = self.output.lock();
            if !output.line.is_closing() {
                output.line.close(farewell);
            }
        }
        if !matches!(how, Some(Ending::Lost(_))) {
            let _ = timeout(DRAIN, self.drain()).await;
        }
        drop(seat);
    }

    /// Gives the socket up, also when a task still waits to write to it.
    pub fn abandon(&self) {
        self.output.lock().fail();
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }

    /// Ends with how it ended, or with nothing when the client's own good-bye was answered.
    async fn listen(self: &Arc<Self>, peer: &mut impl Peer, seat: &mut impl Seat) -> Option<Ending> {
        let mut over = peer.begin(&mut Talk { connection: self, seat });
        loop {
            self.catch_up();
            if over {
                return None;
            }
            tokio::select! {
                biased;
                () = self.wake.notified() => return self.ending.lock().clone(),
                readable = self.socket.readable() => match readable.and_then(|()| self.read(peer, seat)) {
                    Ok(Heard::End) => return Some(Ending::Lost("client closed")),
                    Ok(Heard::Last) => over = true,
                    Ok(Heard::More) => {}
                    Err(_) => return Some(Ending::Lost("connection broken")),
                },
            }
        }
    }

    /// Reads once. Not async: the buffer would live in the task for as long as the connection does.
    fn read(self: &Arc<Self>, peer: &mut impl Peer, seat: &mut impl Seat) -> io::Result<Heard> {
        let mut buffer = [0; 4_096];
        match self.socket.try_read(&mut buffer) {
            Ok(0) => Ok(Heard::End),
            Ok(n) => {
                self.writing.tasks.fault("read");
                self.asked.store(0, Relaxed);
                let last = peer.hear(&buffer[..n], &mut Talk { connection: self, seat });
                Ok(if last { Heard::Last } else { Heard::More })
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

impl Output {
    fn fail(&mut self) {
        self.broken = true;
        self.line.fail();
    }
}

impl Holder for Connection {
    fn ended(self: Arc<Self>, room: RoomKey, ended: &Ended) {
        if let Some(event) = &ended.event {
            let bytes = self.framing.frame([Frame::Event(event)].into_iter());
            // Who watches the room gets it with the room's other events.
            self.put(|line| if line.reads(room) { 0 } else { line.say(bytes) });
            self.catch_up();
        }
        match ended.why {
            Why::Replaced => self.end(Ending::Ours(Code::Replaced)),
            Why::Kicked => self.end(Ending::Ours(Code::Kicked)),
            Why::Left => {}
        }
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

/// A connection's place at a hub, which brings it the news of the rooms it follows.
pub trait Seat: Send {
    /// Follows a room, or only how many are in it.
    fn follow(&mut self, room: &Arc<Room>, counts: bool);
    /// Follows a room no more.
    fn unfollow(&mut self, room: RoomKey);
}

/// What a peer can do in answer to what it hears. All of it is written together, in order.
pub struct Talk<'a> {
    connection: &'a Arc<Connection>,
    seat: &'a mut dyn Seat,
}

impl Talk<'_> {
    /// The connection that the talk is over.
    pub fn connection(&self) -> &Arc<Connection> {
        self.connection
    }

    /// Says something.
    pub fn say(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.connection.put(|line| line.say(bytes));
        }
    }

    /// Says something that must not come before the event at `offset`, if the room is read here.
    pub fn say_behind(&mut self, room: RoomKey, offset: u64, bytes: Bytes) {
        self.connection.put(|line| line.say_behind(room, offset, bytes));
    }

    /// Says the last word.
    pub fn close(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.connection.put(|line| {
            line.close(bytes);
            0
        });
    }

    /// Reads a room, behind what is said already. News come first: an event that falls between is then
    /// read by the reader itself.
    pub fn begin(&mut self, reader: Reader) {
        self.seat.follow(reader.room(), reader.counts());
        self.connection.put(|line| {
            line.begin(reader);
            0
        });
    }

    /// Reads a room no more; `None` when it is not read, else where it could be resumed.
    pub fn stop(&mut self, room: RoomKey) -> Option<Option<Cursor>> {
        self.seat.unfollow(room);
        self.connection.output.lock().line.stop(room)
    }

    /// How many rooms are read here.
    pub fn rooms(&self) -> usize {
        self.connection.output.lock().line.rooms()
    }
}

/// The client's end of a stream: what it says, and how one parts from it.
pub trait Peer: Send {
    /// Before anything is read; as [`Peer::hear`].
    fn begin(&mut self, talk: &mut Talk<'_>) -> bool;
    /// Takes bytes from the client and answers; true when the last word is said.
    fn hear(&mut self, input: &[u8], talk: &mut Talk<'_>) -> bool;
    /// The connection is over, or as good as over.
    fn gone(&mut self);
    /// The last word when we end the stream.
    fn farewell(&mut self, code: Code, framing: Framing) -> Bytes;
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::runtime::admission::Admissions;
    use crate::model::command::Command;
    use crate::model::hold::Transport;
    use crate::runtime::meter::Meter;
    use crate::model::name::Name;
    use crate::model::presence::Bounds;
    use crate::rooms::Rooms;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn what_a_delivery_needs_is_two_lines_of_memory_long() {
        assert!(offset_of!(Connection, asked) <= 2 * 64);
    }

    /// A connection whose response head is `HEAD`, and its client.
    async fn connected() -> (Arc<Connection>, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let admission = Admissions::new(1, 0).admit(peer.ip()).unwrap();
        let framing = Framing { form: Form::WebSocket, chunked: false };
        let manner = Manner { id: Uuid::nil(), framing, alive: true, head: Bytes::from_static(b"HEAD") };
        let send_within = Duration::from_secs(15);
        let writing = Writing { tasks: Tasks::default(), clock: Arc::default(), send_within };
        let socket = Socket { stream, read: Bytes::new(), admission };
        let counted = Arc::new(Meter::default()).stream(Transport::WebSocket);
        (Arc::new(Connection::new(socket, manner, counted, Arc::new(writing))), client)
    }

    /// Seen as handshakes that began with a ping: one was due before the connection's own task had begun.
    #[tokio::test]
    async fn a_ping_that_is_due_at_once_comes_behind_the_head() {
        let (connection, mut client) = connected().await;
        connection.keep_alive();
        let mut first = [0; 6];
        client.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HEAD\x89\0");
    }

    #[tokio::test]
    async fn much_waits_in_the_kernel_only_while_a_large_set_is_read() {
        let rooms = Rooms::new(1, Bounds { history: 10, members: 0, grace: 0 });
        let join = |n| Command::sign_in(format!("user {n}").parse().unwrap(), None);
        let room = Name::lobby();
        rooms.change(&room, &(0..100_000).map(join).collect::<Vec<_>>()).unwrap();
        let (connection, mut client) = connected().await;
        let buffer = || SockRef::from(&connection.socket).send_buffer_size().unwrap();
        let narrow = buffer();
        assert!(narrow <= 2 * NARROW);
        connection.put(|line| {
            line.begin(Reader::resume(rooms.follow(&room).unwrap(), None, 0));
            0
        });
        connection.catch_up();
        assert!(buffer() > narrow, "the client reads nothing yet, so the socket is full");
        let (mut all, mut part) = (0, vec![0; 64 * 1024]);
        let read = async {
            while buffer() > narrow {
                all += client.read(&mut part).await.unwrap();
            }
        };
        timeout(Duration::from_secs(30), read).await.expect("narrow again once the set is written");
        assert!(all > 1_000_000);
    }

    #[tokio::test]
    async fn a_reader_that_only_lags_behind_events_keeps_them_in_its_room() {
        let rooms = Rooms::new(1, Bounds { history: 10_000, members: 0, grace: 0 });
        let room = Name::lobby();
        let (connection, _reads_nothing) = connected().await;
        let buffer = || SockRef::from(&connection.socket).send_buffer_size().unwrap();
        let narrow = buffer();
        connection.put(|line| {
            line.begin(Reader::from_now_on(rooms.follow(&room).unwrap()));
            0
        });
        let join = |n| Command::sign_in(format!("user {n}").parse().unwrap(), None);
        rooms.change(&room, &(0..10_000).map(join).collect::<Vec<_>>()).unwrap();
        let turns = async {
            while connection.write_on() != Written::Full {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), turns).await.expect("10,000 events are more than a socket takes");
        assert_eq!(buffer(), narrow);
    }
}
