//! Places for connections: who gets one when all are taken, and what operators always reach.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::harness::{Binary, Conn, Mirror, Reader, TestServer, Transport, raw, within};

const FOR_OPERATORS: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/api/gateway"];

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// Asks over a connection of its own, which may be one beyond the bound.
async fn status(addr: SocketAddr, path: &str) -> u16 {
    raw(addr, get(path)).await.status
}

async fn health(addr: SocketAddr) -> Value {
    raw(addr, get("/healthz")).await.expect(200).json()
}

/// Asks, and expects a close without an answer.
async fn turned_away(addr: SocketAddr, path: &str) {
    let mut conn = Conn::open(addr).await;
    conn.send(get(path)).await;
    conn.ended().await;
}

/// Whether a request gets an answer, and so a place.
async fn is_answered(addr: SocketAddr) -> bool {
    let mut conn = Conn::open(addr).await;
    conn.send(get("/api/rooms")).await;
    within("an answer or the end", conn.fill()).await.expect("no reset")
}

/// A connection that has had an answer and waits for the next request.
async fn idle(addr: SocketAddr) -> Conn {
    let mut conn = Conn::open(addr).await;
    conn.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    conn.answer().await.expect(200);
    conn
}

async fn stream(addr: SocketAddr) -> Reader {
    Reader::open(addr, Transport::Sse, "lobby").await.begun().await
}

#[tokio::test]
async fn health_is_told_while_streams_have_all_places() {
    let server = TestServer::with(|config| config.max_connections = 2).await;
    let streams = [stream(server.addr).await, stream(server.addr).await];
    let full = health(server.addr).await;
    assert_eq!((&full["status"], &full["connections"], &full["max_connections"]), (&json!("ok"), &json!(2), &json!(2)));
    assert_eq!((&full["refused"], status(server.addr, "/readyz").await), (&json!(0), 200));

    let program = Binary::run(&["health", "--listen", &server.addr.to_string()], &[]).await;
    let said = "healthy, but all 2 places for connections are taken; see --max-connections\n";
    assert_eq!((program.code, program.stdout.as_str(), program.stderr.as_str()), (Some(0), said, ""));

    for path in ["/api/rooms", "/metrics", "/api/rooms/lobby/stream", "/healthz/"] {
        turned_away(server.addr, path).await;
    }
    within("the count", async { while health(server.addr).await["refused"] != 4 {} }).await;
    let [first, mut second] = streams;
    drop(first);
    within("a place", async { while !is_answered(server.addr).await {} }).await;
    let third = stream(server.addr).await;
    turned_away(server.addr, "/api/rooms/lobby/stream").await;
    drop(third);
    within("a place", async { while !is_answered(server.addr).await {} }).await;
    let cursor = server.sign_in("lobby", "ann").await;
    second.caught_up(&cursor).await;
}

#[tokio::test]
async fn silent_strangers_give_way_and_those_who_waited_longest_first() {
    let server = TestServer::with(|config| config.max_connections = 4).await;
    let kept = stream(server.addr).await;
    let silent = Conn::open(server.addr).await;
    let mut half = Conn::open(server.addr).await;
    half.send("GET /healthz HTTP/1.1\r\n").await;
    let polite = idle(server.addr).await;
    // The place of the silent one, then that of the one with half a head, then that of the one between two requests.
    for stranger in [silent, half, polite] {
        let new = stream(server.addr).await;
        stranger.lost().await;
        std::mem::forget(new);
    }
    assert_eq!(health(server.addr).await["refused"], 0);
    turned_away(server.addr, "/api/rooms").await;
    drop(kept);
}

#[tokio::test]
async fn a_connection_amid_a_request_does_not_give_way() {
    let server = TestServer::with(|config| config.max_connections = 1).await;
    let mut amid = Conn::open(server.addr).await;
    let head = "PUT /api/rooms/lobby/users/ann HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    amid.send(format!("{head}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")).await;
    amid.head().await.expect(100);
    turned_away(server.addr, "/api/rooms").await;
    amid.send("{}").await;
    amid.answer().await.expect(201);
    assert_eq!(status(server.addr, "/api/rooms").await, 200, "now it is idle, and gives way");
    amid.lost().await;
}

#[tokio::test]
async fn places_beyond_the_bound_are_few_and_short() {
    let server = TestServer::with(|config| config.max_connections = 1).await;
    let stream = stream(server.addr).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(Conn::open(server.addr).await);
    }
    assert_eq!(status(server.addr, "/healthz").await, 200, "silent strangers give way here, too");
    for conn in silent {
        conn.lost().await;
    }
    drop(stream);
}

#[tokio::test]
async fn operators_have_an_address_of_their_own() {
    let server = TestServer::with(|config| {
        config.admin = Some("127.0.0.1:0".parse().expect("an address"));
        config.max_connections = 1;
    })
    .await;
    let admin = server.admin.expect("an address");
    for path in FOR_OPERATORS {
        assert_eq!((status(admin, path).await, status(server.addr, path).await), (200, 404), "{path}");
    }
    for path in ["/", "/users", "/api/rooms", "/api/rooms/lobby/stream", "/ws", "/presently.js", "/healthz/"] {
        assert_eq!(status(admin, path).await, 404, "{path}");
    }
    let foreign = "GET /api/gateway HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(admin, foreign).await.status, 421);
    let page = raw(server.addr, get("/users")).await.expect(200);
    assert!(!page.text().contains("id=\"gateway\""), "the page has no panel for numbers that it may not read");

    let _stream = stream(server.addr).await;
    Conn::open(server.addr).await.lost().await;
    let mut connected = Vec::new();
    for _ in 0..40 {
        connected.push(idle(admin).await);
    }
    let seen = health(admin).await;
    assert_eq!((&seen["connections"], &seen["refused"]), (&json!(1), &json!(1)), "operators take no places");
    server.stop().await;
}

/// The status of an answer over the socket at `path`.
async fn over(path: &Path, target: &str) -> String {
    let mut socket = within("a connection", UnixStream::connect(path)).await.expect("somebody listens");
    socket.write_all(get(target).as_bytes()).await.expect("an open connection");
    let mut answer = String::new();
    within("an answer", socket.read_to_string(&mut answer)).await.expect("text");
    answer.split(' ').nth(1).expect("a status").to_owned()
}

#[tokio::test]
async fn the_gateway_is_not_ready_while_it_stops() {
    let folder = tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock");
    let admin = format!("unix:{}", socket.display());
    let mut gateway = Binary::start(&["--admin", &admin]).await;
    assert_eq!(over(&socket, "/readyz").await, "200");
    // Stopping waits for a while for such a reader.
    let _stuck = Reader::narrow(gateway.addr, Transport::Ws, Mirror::of("lobby")).await.begun().await;
    gateway.flood("lobby").await;
    gateway.signal("TERM").await;
    while over(&socket, "/readyz").await == "200" {}
    assert_eq!((over(&socket, "/readyz").await.as_str(), over(&socket, "/healthz").await.as_str()), ("503", "200"));
    assert_eq!(gateway.exit().await.code(), Some(0));
}

#[tokio::test]
async fn the_health_check_knows_the_operators_address_as_the_gateway_does() {
    let folder = tempdir().expect("a folder");
    let admin = format!("unix:{}", folder.path().join("admin.sock").display());
    let gateway = Binary::start_with(&["--listen", "127.0.0.1:0"], &[("PRESENTLY_ADMIN", &admin)]).await;
    gateway.get("/healthz").await.expect(404);
    for (args, vars) in [
        (&["health", "--admin", &admin][..], &[][..]),
        (&["--admin", &admin, "health"], &[]),
        (&["health"], &[("PRESENTLY_ADMIN", admin.as_str())]),
    ] {
        let asked = Binary::run(args, vars).await;
        assert_eq!((asked.code, asked.stdout.as_str(), asked.stderr.as_str()), (Some(0), "", ""), "{args:?}");
    }
    drop(gateway);
    let dead = Binary::run(&["health", "--admin", &admin], &[]).await;
    assert_eq!(dead.code, Some(1));
    assert!(dead.stderr.contains(&format!("the gateway at {admin} is not healthy")), "{dead:?}");
}

#[tokio::test]
async fn a_taken_address_for_operators_is_one_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("its address").to_string();
    let finished = Binary::run(&["--listen", "127.0.0.1:0", "--admin", &addr], &[]).await;
    assert_eq!((finished.code, finished.stderr.trim().lines().count()), (Some(1), 1), "{finished:?}");
    assert!(finished.stderr.contains("the port is taken; choose another with --admin"), "{finished:?}");
}
