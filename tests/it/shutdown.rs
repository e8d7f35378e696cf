//! Shutdown: on a signal, the gateway ends every stream cleanly and exits with 0 within 10 s, whatever the clients do.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{Binary, Conn, Mirror, Reader, Sse, Transport, within};

/// The 10 s after which Docker kills.
const PROMISED: Duration = Duration::from_secs(10);

async fn exits(gateway: &mut Binary) {
    let status = timeout(PROMISED, gateway.exit()).await.expect("an exit within 10 s");
    assert_eq!(status.code(), Some(0), "{:#?}", gateway.log());
}

#[tokio::test]
async fn an_idle_gateway_exits_at_once_on_either_signal() {
    for signal in ["TERM", "INT"] {
        let mut gateway = Binary::start(&["--user", "ann"]).await;
        gateway.get("/healthz").await.expect(200);
        gateway.signal(signal).await;
        exits(&mut gateway).await;
    }
}

#[tokio::test]
async fn streams_end_cleanly_and_websockets_with_1012() {
    for signal in ["TERM", "INT"] {
        let mut gateway = Binary::start(&["--user", "ann"]).await;
        let mut sse = Reader::open(gateway.addr, Transport::Sse, "lobby").await.begun().await;
        let mut ws = Reader::open(gateway.addr, Transport::Ws, "lobby").await.begun().await;
        let mut exercise = Sse::open(gateway.addr, "/user-stream", &[]).await;
        within("retry", exercise.until(|stream| stream.retry.is_some())).await;
        gateway.signal(signal).await;
        assert!(sse.ended().await, "its last chunk");
        assert!(ws.ended().await, "a close frame");
        assert_eq!(ws.closed.map(|frame| u16::from(frame.code)), Some(1012));
        assert_eq!(within("the end", exercise.next()).await, None);
        assert!(exercise.ended_cleanly(), "its last chunk");
        exits(&mut gateway).await;
    }
}

#[tokio::test]
async fn half_a_request_does_not_delay_the_exit() {
    let mut gateway = Binary::start(&[]).await;
    let mut halves = Vec::new();
    for half in ["", "GET /us", "PUT /api/rooms/lobby/users/ann HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"] {
        let mut conn = Conn::open(gateway.addr).await;
        conn.send(half).await;
        halves.push(conn);
    }
    let mut idle = Conn::open(gateway.addr).await;
    idle.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    idle.answer().await.expect(200);
    gateway.signal("TERM").await;
    exits(&mut gateway).await;
}

#[tokio::test]
async fn clients_that_read_nothing_do_not_delay_the_exit() {
    let mut gateway = Binary::start(&["--history", "64"]).await;
    let mut stuck = Vec::new();
    for transport in Transport::BOTH {
        stuck.push(Reader::narrow(gateway.addr, transport, Mirror::of("lobby")).await.begun().await);
    }
    gateway.flood("lobby").await;
    gateway.signal("TERM").await;
    exits(&mut gateway).await;
}

#[tokio::test]
async fn many_streams_end_cleanly() {
    let mut gateway = Binary::start(&[]).await;
    let mut readers = JoinSet::new();
    for n in 0..200 {
        let room = format!("r{}", n % 7);
        let mut reader = Reader::open(gateway.addr, Transport::BOTH[n % 2], &room).await.begun().await;
        readers.spawn(async move { reader.ended().await });
    }
    gateway.signal("TERM").await;
    assert!(readers.join_all().await.into_iter().all(|clean| clean));
    exits(&mut gateway).await;
}

#[tokio::test]
async fn events_of_answered_requests_arrive_before_the_end() {
    let mut gateway = Binary::start(&[]).await;
    let mut reader = Reader::open(gateway.addr, Transport::Sse, "lobby").await.begun().await;
    for n in 0..100 {
        gateway.sign_in("lobby", &format!("u{n}")).await;
    }
    gateway.signal("TERM").await;
    assert!(reader.ended().await, "its last chunk");
    assert_eq!(reader.mirror.users.len(), 100);
    exits(&mut gateway).await;
}
