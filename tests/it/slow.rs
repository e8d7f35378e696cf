//! Slow is not dead: a slow reader keeps the stream and the right set; a reader that accepts no bytes is ended after
//! the deadline, and not before.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::harness::{Conn, FIN, Mirror, PING, PONG, RawWs, Reader, TEXT, TestServer, Transport, frame, within};

/// The number of open connections, requested over a fixed connection: a pool's connections would change the number.
async fn connections(asks: &mut Conn) -> u64 {
    health(asks).await["connections"].as_u64().expect("connections")
}

/// The number of open streams of one transport.
async fn streams(asks: &mut Conn, transport: Transport) -> u64 {
    asks.send("GET /api/gateway HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let name = if transport == Transport::Sse { "sse" } else { "websocket" };
    asks.answer().await.expect(200).json()["connections"][name].as_u64().expect("a number")
}

async fn health(asks: &mut Conn) -> Value {
    asks.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    asks.answer().await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_accepts_no_bytes_is_ended_after_the_deadline_and_not_before() {
    const DEADLINE: Duration = Duration::from_millis(1_500);
    let server = TestServer::with(|config| config.send_within = DEADLINE).await;
    let mut asks = Conn::open(server.addr).await;
    for transport in Transport::BOTH {
        // Before the connection, whose snapshot may already fill the socket.
        let begun = Instant::now();
        let stuck = Reader::narrow(server.addr, transport, Mirror::of("lobby")).await;
        server.flood("lobby").await;
        within("the end of the stuck reader", async { while streams(&mut asks, transport).await > 0 {} }).await;
        assert!(begun.elapsed() >= DEADLINE, "{transport:?} was given up too early");
        drop(stuck);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_always_too_slow_is_never_ended_and_never_wrong() {
    let server = TestServer::with(|config| config.history = 8).await;
    for transport in Transport::BOTH {
        server.flood("lobby").await;
        let mut slow = Reader::narrow(server.addr, transport, Mirror::of("lobby")).await.begun().await;
        // One frame is read for each batch of 40 events, so the reader never catches up.
        for n in 0..60 {
            let names: Vec<String> = (0..40).map(|k| format!("{transport:?} {n} {k}")).collect();
            let add: Vec<Value> = names.iter().map(|user| json!({ "user": user })).collect();
            server.batch("lobby", &json!({ "add": add })).await;
            assert!(within("a frame", slow.step()).await, "the slow reader lost the stream");
            server.batch("lobby", &json!({ "del": names })).await;
        }
        let cursor = server.sign_in("lobby", &format!("end {transport:?}")).await;
        slow.caught_up(&cursor).await;
        assert_eq!(slow.mirror.users, server.held("lobby").await.users, "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_reader_gets_no_events_of_users_who_came_and_went() {
    let server = TestServer::with(|config| config.history = 64).await;
    for transport in Transport::BOTH {
        let mut stuck = Reader::narrow(server.addr, transport, Mirror::of("lobby")).await.begun().await;
        // Fills the reader's socket; the guests afterwards cancel out in `changes`.
        server.flood("lobby").await;
        for n in 0..100 {
            server.sign_in("lobby", &format!("guest {n}")).await;
            server.sign_out("lobby", &format!("guest {n}")).await;
        }
        let cursor = server.sign_in("lobby", &format!("end {transport:?}")).await;
        stuck.caught_up(&cursor).await;
        assert_eq!(stuck.mirror.users, server.held("lobby").await.users, "{transport:?}");
        assert!(stuck.mirror.seen("add") < 1_000, "{} events", stuck.mirror.seen("add"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_in_the_middle_of_a_large_snapshot_needs_no_pongs() {
    const KEEP_ALIVE: Duration = Duration::from_millis(10);
    let server = TestServer::with(|config| config.keep_alive = KEEP_ALIVE).await;
    server.flood("lobby").await;
    let mut busy = RawWs::narrow(server.addr, "lobby").await;
    // Reads part after part, so slowly that unanswered pings would end the stream long before the last part.
    let (mut parts, mut frame) = (0, busy.frame().await);
    // A ping may come before the first part.
    while frame.opcode == PING {
        frame = busy.frame().await;
    }
    while frame.json()["last"] != true {
        tokio::time::sleep(2 * KEEP_ALIVE).await;
        parts += 1;
        frame = busy.frame().await;
    }
    assert!(parts > 10, "{parts} parts are read too quickly to tell");
}

/// A past bug: a client that read slower than it sent was ended, although it read all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_faster_than_it_reads_is_slowed_down_and_loses_nothing() {
    const JOINS: usize = 10_000;
    let server = TestServer::with(|config| config.max_per_connection = JOINS).await;
    let mut eager = RawWs::narrow(server.addr, "other").await;
    let joins = (0..JOINS).flat_map(|n| {
        let user = format!("user {n}");
        frame(FIN | TEXT, json!({"action": "join", "room": "lobby", "user": user, "ref": n}).to_string())
    });
    let sending = tokio::spawn({
        let (mut sender, joins) = (eager.sender(), joins.collect::<Vec<_>>());
        async move { sender.write_all(&joins).await.expect("an open connection") }
    });
    for n in 0..JOINS {
        let answer = loop {
            let frame = eager.reply().await;
            // Messages are a sign of life, too.
            if frame.opcode != PING {
                break frame.json();
            }
        };
        assert_eq!((&answer["action"], &answer["ref"]), (&json!("ok"), &json!(n)), "{answer}");
    }
    within("the last join", sending).await.expect("no panic");
    assert_eq!(server.held("lobby").await.users.len(), JOINS);
}

/// A past bug: one byte a second kept half a message, and with it the hold, for ever.
#[tokio::test]
async fn a_message_that_is_not_complete_in_time_ends_the_connection() {
    const WITHIN: Duration = Duration::from_millis(300);
    let server = TestServer::with(|config| config.request_within = WITHIN).await;
    let whole = frame(FIN | TEXT, "half a message");
    // The first byte, byte after byte, or control frames within a fragmented message.
    for (start, more) in [
        (whole[..1].to_vec(), vec![]),
        (frame(TEXT, [b'x'; 1_000])[..2].to_vec(), vec![b'x']),
        (frame(TEXT, "a start"), frame(FIN | PING, "")),
    ] {
        let mut slow = RawWs::open(server.addr, "lobby").await;
        let begun = Instant::now();
        slow.send(start).await;
        let mut sender = slow.sender();
        let close = async {
            loop {
                let frame = slow.reply().await;
                if frame.opcode != PONG {
                    return frame.close();
                }
            }
        };
        let dribble = async {
            while !more.is_empty() && sender.write_all(&more).await.is_ok() {
                tokio::time::sleep(WITHIN / 10).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            close = close => assert_eq!(close, (4408, "too_slow".to_owned())),
            () = dribble => {}
        }
        assert!(begun.elapsed() >= WITHIN, "ended too early");
    }
    // A connection between messages may be silent for as long as it answers pings.
    let mut idle = RawWs::open(server.addr, "lobby").await;
    idle.send(&whole[..3]).await;
    idle.send(&whole[3..]).await;
    assert_eq!(idle.reply().await.json()["code"], "bad_json");
    tokio::time::sleep(2 * WITHIN).await;
    idle.send(&whole).await;
    assert_eq!(idle.reply().await.json()["code"], "bad_json");
}

#[tokio::test]
async fn a_reader_that_answers_no_ping_is_ended() {
    let server = TestServer::with(|config| config.keep_alive = Duration::from_millis(50)).await;
    let silent = RawWs::open(server.addr, "lobby").await;
    silent.lost().await;
}

#[tokio::test]
async fn connections_from_one_address_have_a_bound_of_their_own() {
    let server = TestServer::with(|config| {
        config.max_per_address = 2;
        config.trusted_proxies.clear();
    })
    .await;
    let mut asks = Conn::open(server.addr).await;
    let first = Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await;
    Conn::open(server.addr).await.lost().await;
    drop(first);
    within("a place", async { while connections(&mut asks).await > 1 {} }).await;
    Reader::open(server.addr, Transport::Ws, "lobby").await.begun().await;
}

#[tokio::test]
async fn a_connection_without_a_further_request_is_closed_after_the_timeout() {
    let server = TestServer::with(|config| config.idle_within = Duration::from_millis(300)).await;
    let mut idle = Conn::open(server.addr).await;
    assert_eq!(health(&mut idle).await["status"], "ok");
    idle.lost().await;
}

/// A past bug: connections were closed after 10 s without a request, while proxies keep them for 60 s, so a request met
/// the close now and then.
#[tokio::test]
async fn a_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let server = TestServer::with(|config| config.request_within = Duration::from_millis(300)).await;
    let mut idle = Conn::open(server.addr).await;
    health(&mut idle).await;
    for start in ["", "GET /healthz HTTP/1.1\r\n"] {
        let mut half = Conn::open(server.addr).await;
        half.send(start).await;
        half.lost().await;
    }
    assert_eq!(health(&mut idle).await["status"], "ok", "idle for twice as long");
    for wait in
        ["\r\n", "GET /healthz HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"]
    {
        let mut idle = Conn::open(server.addr).await;
        health(&mut idle).await;
        idle.send(wait).await;
        if wait.ends_with("body") {
            idle.answer().await.expect(302);
            idle.send("GET").await;
        }
        idle.lost().await;
    }
}

#[tokio::test]
async fn a_body_announced_as_too_large_is_refused_without_waiting_for_it() {
    let server = TestServer::with(|config| config.request_within = Duration::from_secs(3_600)).await;
    let mut client = Conn::open(server.addr).await;
    let head = "PUT /api/rooms/lobby/users/ann HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    client.send(format!("{head}Content-Length: 2000000\r\n\r\n")).await;
    assert_eq!(client.answer().await.expect(413).json()["code"], "body_too_large");
}
