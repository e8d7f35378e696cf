//! Conversations: the read side of one stream, and the answers to its client.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep};
use tracing::debug;

use crate::delivery::connection::{Connection, Ending};
use crate::delivery::count_reader::CountReader;
use crate::delivery::outbox::Unsubscribed;
use crate::delivery::reader::Reader;
use crate::model::count::Prefix;
use crate::model::cursor::Offset;
use crate::model::refusal::Code;
use crate::rooms::key::RoomKey;
use crate::rooms::room::Room;
use crate::wire::framing::Framing;

/// The most bytes of one read.
const READ: usize = 4_096;

/// The most reads after a loss: 256 KiB, more than clients send without waiting for answers.
const LAST_READS: usize = 64;

/// The client's end of a stream: decodes the client's bytes, and writes the last message.
pub trait Peer: Send {
    /// Called before anything is read.
    fn begin(&mut self, talk: &mut Talk<'_>) -> Flow;
    /// Takes bytes from the client and answers them.
    fn receive(&mut self, input: &[u8], talk: &mut Talk<'_>) -> Flow;
    /// Ready when messages have come by requests of their own, beside the stream, or when the peer may go on with earlier ones.
    fn poll_posted(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
    /// Takes these messages, if any, and answers them.
    fn take_posted(&mut self, _: &mut Talk<'_>) -> Flow {
        Flow::Continue
    }
    /// Whether nothing more may be read before the peer is ready by [`Peer::poll_posted`].
    fn is_busy(&self) -> bool {
        false
    }
    /// The time to wait before more is read, if the client sends faster than its rate. Asked after each read, and
    /// again after the wait.
    fn pause(&mut self) -> Option<Duration> {
        None
    }
    /// The connection is lost, or about to be closed by the gateway for the reason `code`.
    fn gone(&mut self, code: Option<Code>);
    /// The last message when the gateway ends the stream.
    fn farewell(&mut self, end: Farewell, framing: Framing) -> Bytes;
}

/// Why the gateway ends a stream, and when the client had better return.
#[derive(Clone, Copy, Debug)]
pub struct Farewell {
    /// The reason.
    pub code: Code,
    /// The milliseconds until the client had better return, if that matters.
    pub wait: Option<u32>,
}

impl From<Code> for Farewell {
    fn from(code: Code) -> Self {
        Farewell { code, wait: None }
    }
}

/// Whether a conversation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The client may send more.
    Continue,
    /// The client has begun a message, and has to complete it in time.
    Amid {
        /// Whether the last bytes began the message.
        new: bool,
    },
    /// The last message is queued.
    End,
}

/// A connection's subscriptions at a hub. A drop ends all subscriptions.
pub trait Subscriptions: Send {
    /// Adds a room: its events, or only its number of members.
    fn add(&mut self, room: &Arc<Room>, counts: bool);
    /// Removes a room.
    fn remove(&mut self, room: RoomKey);
    /// Adds the counts of many rooms.
    fn add_counts(&mut self);
    /// Removes the counts of many rooms.
    fn remove_counts(&mut self);
}

/// The answers of a peer to received bytes. All answers are written together, in order.
pub struct Talk<'a> {
    connection: &'a Arc<Connection>,
    subscriptions: &'a mut dyn Subscriptions,
}

impl Talk<'_> {
    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        self.connection
    }

    /// Sends bytes that are framed already.
    pub fn write(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.connection.queue(|outbox| outbox.send(bytes));
        }
    }

    /// Sends a JSON message, framed as the stream needs it.
    pub fn say(&mut self, json: &str) {
        self.write(self.connection.format().answer(json));
    }

    /// Sends a JSON message that must not come before the event at `offset`, if the room is read here.
    pub fn say_after(&mut self, room: RoomKey, offset: Offset, json: &str) {
        let bytes = self.connection.format().answer(json);
        self.connection.queue(|outbox| outbox.send_after(room, offset, bytes));
    }

    /// Sends the last message.
    pub fn close(&mut self, bytes: impl Into<Bytes>) {
        self.connection.queue(|outbox| outbox.close(bytes.into()));
    }

    /// Starts reading a room.
    pub fn begin(&mut self, reader: Reader) {
        // The subscription comes first: the reader itself then finds any event that falls between.
        self.subscriptions.add(reader.room(), reader.counts());
        self.connection.queue(|outbox| outbox.begin(reader));
    }

    /// Stops reading a room.
    pub fn stop(&mut self, room: RoomKey) -> Unsubscribed {
        self.subscriptions.remove(room);
        self.connection.queue(|outbox| outbox.stop(room))
    }

    /// Starts reading counts.
    pub fn begin_counts(&mut self, reader: CountReader) {
        if self.count_readers() == 0 {
            self.subscriptions.add_counts();
        }
        self.connection.queue(|outbox| outbox.begin_counts(reader));
    }

    /// Stops reading the counts of `prefix`; false when they are not read here.
    pub fn stop_counts(&mut self, prefix: &Prefix) -> bool {
        let stopped = self.connection.queue(|outbox| outbox.stop_counts(prefix));
        if stopped && self.count_readers() == 0 {
            self.subscriptions.remove_counts();
        }
        stopped
    }

    /// The number of prefixes whose counts are read here.
    pub fn count_readers(&self) -> usize {
        self.connection.queue(|outbox| outbox.count_readers())
    }

    /// The rooms that are read here, each with whether only its number of members is.
    pub fn watched(&self) -> Vec<(Arc<Room>, bool)> {
        self.connection.queue(|outbox| outbox.watched())
    }

    /// The prefixes whose counts are read here.
    pub fn prefixes(&self) -> Vec<Prefix> {
        self.connection.queue(|outbox| outbox.prefixes())
    }

    /// The number of rooms that are read here.
    pub fn rooms(&self) -> usize {
        self.connection.queue(|outbox| outbox.rooms())
    }
}

/// Talks with the client until the connection is lost or the stream ends.
///
/// `subscriptions` end with the conversation, also by a panic. They are an argument so that the task holds `peer` once:
/// a task has space twice for a value that it moves from one future into another.
pub async fn converse(connection: Arc<Connection>, mut peer: impl Peer, mut subscriptions: impl Subscriptions) {
    let ending = listen(&connection, &mut peer, &mut subscriptions).await;
    if matches!(ending, Some(Ending::Lost(_) | Ending::Silent(..))) {
        hear_out(&connection, &mut peer, &mut subscriptions).await;
    }
    let ours = match ending {
        Some(Ending::Ours(code)) => Some(code.into()),
        Some(Ending::Stopping(wait)) => Some(Farewell { code: Code::Stopping, wait: Some(wait) }),
        Some(Ending::Lost(_) | Ending::Silent(..)) | None => None,
    };
    peer.gone(ours.map(|end| end.code));
    debug!(connection = %connection.id(), ?ending, "stream ended");
    if let Some(end) = ours {
        let farewell = peer.farewell(end, connection.format().framing);
        connection.queue(|outbox| outbox.close(farewell));
    }
    if !matches!(ending, Some(Ending::Lost(_) | Ending::Silent(..))) {
        connection.drain().await;
    }
    drop(subscriptions);
}

/// Returns the ending; `None` when the peer has queued the last message.
async fn listen(
    connection: &Arc<Connection>,
    peer: &mut impl Peer,
    subscriptions: &mut impl Subscriptions,
) -> Option<Ending> {
    let mut flow = peer.begin(&mut Talk { connection, subscriptions });
    let mut patience = Patience::default();
    patience.after(flow, connection);
    patience.rest(peer, connection);
    loop {
        connection.catch_up();
        if flow == Flow::End {
            return None;
        }
        // While answers wait, further messages wait in the client's socket. A task of the connection's own then writes, and
        // ends the connection of a client that accepts no bytes. The messages of a client that is too fast wait there, too.
        let reads = !connection.is_congested();
        if !reads || patience.rests() {
            patience.renew(connection);
        }
        tokio::select! {
            biased;
            ending = connection.woken() => if ending.is_some() {
                return ending;
            },
            next = poll_fn(|cx| patience.poll_next(cx, connection, reads.then_some(&mut *peer))) => match next {
                Next::Late => return Some(Ending::Ours(Code::TooSlow)),
                Next::Rested => patience.rest(peer, connection),
                Next::Posted => {
                    flow = peer.take_posted(&mut Talk { connection, subscriptions });
                    patience.rest(peer, connection);
                }
                Next::Bytes => match receive(connection, peer, subscriptions, |buffer| connection.try_read(buffer)) {
                    Ok(next) => {
                        flow = next;
                        patience.after(flow, connection);
                        patience.rest(peer, connection);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Some(Ending::Lost("client closed")),
                    Err(_) => return Some(Ending::Lost("connection broken")),
                },
            },
        }
    }
}

/// Takes what a lost client sent before the loss, within a bound. A failed write is often noticed first, and the bytes may
/// end in a clean close.
async fn hear_out(connection: &Arc<Connection>, peer: &mut impl Peer, subscriptions: &mut impl Subscriptions) {
    if peer.take_posted(&mut Talk { connection, subscriptions }) == Flow::End {
        return;
    }
    for _ in 0..LAST_READS {
        let read = |buffer: &mut _| connection.read_left(buffer);
        match receive(connection, peer, subscriptions, read) {
            Ok(Flow::Continue | Flow::Amid { .. }) => yield_now().await,
            Ok(Flow::End) | Err(_) => return,
        }
    }
}

/// Reads once. Not async: the buffer would live in the task for as long as the connection.
///
/// # Errors
///
/// The socket's; `UnexpectedEof` at the client's end.
fn receive(
    connection: &Arc<Connection>,
    peer: &mut impl Peer,
    subscriptions: &mut impl Subscriptions,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<Flow> {
    let mut buffer = [0; READ];
    match read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => Ok(peer.receive(&buffer[..n], &mut Talk { connection, subscriptions })),
    }
}

/// The time left for a message that the client has begun, and the time in which nothing is read from a client that is too
/// fast. Boxed, since few clients are in the middle of a message, and fewer too fast.
#[derive(Default)]
struct Patience {
    message: Option<Pin<Box<Sleep>>>,
    rest: Option<Pin<Box<Sleep>>>,
    /// Nothing is read at the moment.
    unread: bool,
}

impl Patience {
    /// Begins with each new message, and ends with it.
    fn after(&mut self, flow: Flow, connection: &Connection) {
        match flow {
            Flow::Continue | Flow::End => self.message = None,
            Flow::Amid { new: false } if self.message.is_some() => {}
            Flow::Amid { .. } => self.message = Some(Box::pin(sleep(connection.message_within()))),
        }
    }

    /// Begins anew, because the gateway itself does not read.
    fn renew(&mut self, connection: &Connection) {
        if let Some(end) = &mut self.message {
            end.as_mut().reset(Instant::now() + connection.message_within());
        }
    }

    /// Reads nothing for as long as the peer wants to pause, or is busy. Then nobody waits for the client's answers either.
    fn rest(&mut self, peer: &mut impl Peer, connection: &Connection) {
        self.rest = peer.pause().map(|pause| Box::pin(sleep(pause)));
        let unread = self.rests() || peer.is_busy();
        if unread || self.unread {
            connection.reads_answers(!unread);
        }
        self.unread = unread;
    }

    fn rests(&self) -> bool {
        self.rest.is_some()
    }

    /// Waits for messages and bytes of `peer`, if given, or for the end of a time.
    ///
    /// Not async: idle streams keep the state of each future.
    fn poll_next(&mut self, cx: &mut Context<'_>, connection: &Connection, peer: Option<&mut impl Peer>) -> Poll<Next> {
        // First, because a message that has arrived is not late.
        if let Some(rest) = &mut self.rest {
            if rest.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Next::Rested);
            }
        } else if let Some(peer) = peer {
            // First, because a client may post its good-bye and close the stream at once.
            if peer.poll_posted(cx).is_ready() {
                return Poll::Ready(Next::Posted);
            }
            if !peer.is_busy() && connection.poll_readable(cx).is_ready() {
                return Poll::Ready(Next::Bytes);
            }
        }
        while let Some(end) = &mut self.message {
            ready!(end.as_mut().poll(cx));
            // Time in which the process was stopped does not count, nor time in which it does not read.
            if connection.enforces_deadlines() && !self.unread {
                return Poll::Ready(Next::Late);
            }
            self.renew(connection);
        }
        Poll::Pending
    }
}

/// What a conversation waits for, apart from the request to end.
enum Next {
    /// Messages beside the stream.
    Posted,
    /// Bytes, or the socket's end.
    Bytes,
    /// The end of a rest.
    Rested,
    /// A message that was begun is not complete in time.
    Late,
}

#[cfg(test)]
mod tests;
