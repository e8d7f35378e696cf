use std::mem::offset_of;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use uuid::Uuid;

use crate::delivery::reader::Reader;
use crate::delivery::step::Follower;
use crate::model::command::Command;
use crate::model::cursor::Offset;
use crate::model::history::Bound;
use crate::model::hold::Transport;
use crate::model::name::Name;
use crate::model::presence::Bounds;
use crate::rooms::Rooms;
use crate::runtime::admission::{Admissions, Visit};
use crate::runtime::idle::Quota;
use crate::runtime::memory::tests::MadeUp;
use crate::runtime::meter::Meter;

#[test]
#[cfg(target_pointer_width = "64")]
fn the_fields_of_a_delivery_are_in_two_cache_lines() {
    assert!(offset_of!(Connection, pings) <= 2 * 64);
}

/// A connection whose response head is `HEAD`, and its client.
pub async fn connected() -> (Arc<Connection>, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let admission = Admissions::new(1, 0).enter(None, false, Quota::NONE).and_then(Visit::into_admission).unwrap();
    let id = ConnectionId(Uuid::nil());
    let options = Options { id, format: Format::WEBSOCKET, alive: true, asks: None, head: Bytes::from_static(b"HEAD") };
    let send_within = Duration::from_secs(15);
    let message_within = Duration::from_secs(10);
    let [alive_every, alive_within] = [60, 120].map(Duration::from_secs);
    let memory = Arc::new(Memory::new(u64::MAX, Box::new(MadeUp::default())));
    let shared = Shared {
        memory,
        tasks: Tasks::default(),
        clock: Arc::default(),
        began: Instant::now(),
        send_within,
        pong_within: send_within,
        message_within,
        alive_every,
        alive_within,
    };
    let socket = Socket { stream, read: Bytes::new(), admission };
    let counted = Arc::new(Meter::default()).stream(Transport::WebSocket);
    (Arc::new(Connection::new(socket, options, counted, Arc::new(shared))), client)
}

/// A past bug: a handshake began with a ping, which was due before the connection's task had started.
#[tokio::test]
async fn a_ping_that_is_due_at_once_follows_the_head() {
    let (connection, mut client) = connected().await;
    connection.keep_alive();
    let mut first = [0; 6];
    client.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HEAD\x89\0");
}

#[tokio::test]
async fn the_send_buffer_is_wide_only_while_a_large_set_is_written() {
    let rooms = Rooms::within(
        1,
        Bounds { history: Bound { events: 10, bytes: usize::MAX }, members: 0, grace: Duration::ZERO },
    );
    let join = |n| Command::sign_in(format!("user {n}").parse().unwrap());
    let room = Name::lobby();
    rooms.change(&room, &(0..100_000).map(join).collect::<Vec<_>>()).unwrap();
    let (connection, mut client) = connected().await;
    let buffer = || connection.socket.buffer_size();
    let narrow = buffer();
    let follower = Follower::resume(rooms.follow(&room), None, Offset::default());
    connection.queue(|outbox| outbox.begin(Reader::new(follower)));
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
async fn the_backlog_of_a_slow_reader_stays_in_its_room() {
    let rooms = Rooms::within(
        1,
        Bounds { history: Bound { events: 10_000, bytes: usize::MAX }, members: 0, grace: Duration::ZERO },
    );
    let room = Name::lobby();
    let (connection, _reads_nothing) = connected().await;
    let buffer = || connection.socket.buffer_size();
    let narrow = buffer();
    let follower = Follower::from_now_on(rooms.follow(&room));
    connection.queue(|outbox| outbox.begin(Reader::new(follower)));
    let join = |n| Command::sign_in(format!("user {n}").parse().unwrap());
    rooms.change(&room, &(0..10_000).map(join).collect::<Vec<_>>()).unwrap();
    let turns = async {
        while connection.write_on() != Progress::Full {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), turns).await.expect("10,000 events are more than a socket takes");
    assert_eq!(buffer(), narrow);
}
