//! A takeover: the running gateway hands its sockets to a new one, and ends its streams, whose clients return at once.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Plain;
use std::path::Path;
use std::time::Duration;

use presently::{Config, Server, StartError, Stop};
use serde_json::json;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixDatagram, UnixStream};

use crate::harness::{Binary, Conn, Dialogue, Reader, Session, Sse, Talker, TestServer, Transport, within};

const STREAM: &str = "/api/rooms/lobby/stream";
const SHORT: Duration = Duration::from_millis(300);
/// Of three streams the first one ends at once, and the second one long after the test.
const LONG: Duration = Duration::from_secs(600);
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A gateway that keeps its journal in `folder`, on the port, and takes over unless it is the first one.
async fn gateway(folder: &Path, port: u16, drain: Duration) -> TestServer {
    TestServer::with(|config| {
        places(folder, port)(config);
        config.data.dir = Some(folder.join("data"));
        config.data.takeover = port != 0;
        config.drain = drain;
    })
    .await
}

/// The listening sockets of these gateways: one of IP, one in the file system, and one for operators.
fn places(folder: &Path, port: u16) -> impl FnOnce(&mut Config) {
    let file = format!("unix:{}", folder.join("p.sock").display()).parse().expect("an address");
    let admin = format!("unix:{}", folder.join("admin.sock").display()).parse().expect("an address");
    move |config| {
        config.listen = vec![format!("127.0.0.1:{port}").parse().expect("an address"), file];
        config.admin = Some(admin);
    }
}

async fn over(folder: &Path, file: &str) -> u16 {
    let mut conn = UnixStream::connect(folder.join(file)).await.expect("somebody listens");
    conn.write_all(HEALTH.as_bytes()).await.expect("an open connection");
    let mut answer = String::new();
    within("an answer", conn.read_to_string(&mut answer)).await.expect("text");
    answer.split(' ').nth(1).expect("a status").parse().expect("a number")
}

#[tokio::test]
async fn the_new_gateway_has_the_sockets_and_the_clients_of_the_old_one_return_at_once() {
    let folder = tempdir().expect("a folder");
    let old = gateway(folder.path(), 0, SHORT).await;
    let addr = old.addr;
    let mut kept = [Conn::open(addr).await, Conn::open(addr).await];
    for conn in &mut kept {
        conn.send("GET /api/rooms HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        conn.answer().await.expect(200);
    }
    let mut sse = Sse::open(addr, STREAM, &[]).await;
    let (ws, mut session) = (Talker::open(addr, "room=lobby").await, Session::open(addr).await);
    old.sign_in("lobby", "old").await;
    let new = gateway(folder.path(), addr.port(), SHORT).await;
    assert_eq!(new.addr, addr, "one of the same address");
    assert_eq!(ws.closed().await, (1012, "stopping 0".into()));
    let mut last = within("the end", session.stream.next()).await;
    while let Some(event) = within("the end", session.stream.next()).await {
        last = Some(event);
    }
    assert!(last.is_some_and(|event| event.data.contains("stopping")) && session.stream.retry == Some(0));
    while within("the end", sse.next()).await.is_some() {}
    assert!(sse.ended_cleanly() && sse.retry == Some(0));
    within("the old gateway's end", old.ended()).await;
    assert!(new.is_present("lobby", "old").await && new.get("/healthz").await.status == 404);
    assert_eq!([over(folder.path(), "p.sock").await, over(folder.path(), "admin.sock").await], [404, 200]);
    new.stop().await;
    for gone in ["p.sock", "admin.sock", "data/takeover.sock"] {
        assert!(!folder.path().join(gone).exists(), "{gone} goes with the new one");
    }
}

/// As an operator does it, with programs.
#[tokio::test]
async fn the_service_manager_hears_of_the_new_main_process() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let data = folder.path().join("data").display().to_string();
    let mut old = Binary::start(&["--data", &data, "--drain", "300ms"]).await;
    old.sign_in("lobby", "ann").await;
    let addr = old.addr.to_string();
    let vars = [("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))];
    let new = Binary::start_with(&["--listen", &addr, "--data", &data, "--takeover"], &vars).await;
    assert_eq!((old.exit().await.code(), new.addr), (Some(0), old.addr));
    let mut text = [0; 1_024];
    let length = within("a message", manager.recv(&mut text)).await.expect("a message");
    assert_eq!(text[..length], *format!("MAINPID={}\nREADY=1\n", new.pid()).as_bytes());
    assert!(new.is_present("lobby", "ann").await);
    assert_eq!(std::fs::metadata(&data).expect("a folder").permissions().mode() & 0o777, 0o700);
}

/// Connections and requests during the takeover are answered, by either gateway; none is refused.
#[tokio::test]
async fn no_connection_is_refused_during_takeovers() {
    let folder = tempdir().expect("a folder");
    let mut running = gateway(folder.path(), 0, SHORT).await;
    let addr = running.addr;
    let (stop, stopped) = tokio::sync::watch::channel(());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let stopped = stopped.clone();
            tokio::spawn(async move {
                let mut answers = 0;
                while !stopped.has_changed().is_ok_and(|changed| changed) {
                    let mut conn = Conn::open(addr).await;
                    conn.send("GET /users HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
                    conn.answer().await.expect(200);
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for _ in 0..5 {
        let next = gateway(folder.path(), addr.port(), SHORT).await;
        within("the old gateway's end", running.ended()).await;
        running = next;
        running.get("/users").await.expect(200);
    }
    stop.send_replace(());
    for client in clients {
        assert!(client.await.expect("an answer to each request") > 0);
    }
}

#[tokio::test]
async fn a_gateway_that_handed_over_changes_nothing_more() {
    let folder = tempdir().expect("a folder");
    let old = gateway(folder.path(), 0, LONG).await;
    let addr = old.addr;
    let mut conn = Conn::open(addr).await;
    conn.send("GET /api/rooms HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    conn.answer().await.expect(200);
    let mut first = Talker::open(addr, "").await;
    let mut ann = Talker::open(addr, "").await;
    first.join("lobby", "eve").await;
    ann.join("lobby", "ann").await;
    let new = gateway(folder.path(), addr.port(), LONG).await;
    // One of the two ends at once, and the other one late.
    let ended = tokio::select! {
        ended = first.next_or_close() => (ended, false),
        ended = ann.next_or_close() => (ended, true),
    };
    assert_eq!(ended.0, Err((1012, "stopping 0".into())));
    let mut left = if ended.1 { first } else { ann };
    let late = left.ask(json!({"action": "join", "room": "lobby", "user": "bob"})).await;
    assert_eq!((&late["code"], &late["retry"]), (&json!("stopping"), &json!(true)), "{late}");
    conn.send("PUT /api/rooms/lobby/users/cyd HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    let refused = conn.answer().await.expect(503);
    assert_eq!((&refused.json()["code"], refused.header("connection")), (&json!("stopping"), Some("close")));
    new.sign_in("lobby", "cyd").await;
    old.end(Stop::Interrupt).await;
    within("the old gateway's end", old.ended()).await;
    assert!(new.is_present("lobby", "cyd").await);
}

/// The journal is free then, so the old gateway does not go on.
#[tokio::test]
async fn a_gateway_whose_successor_fails_ends_as_after_a_request_to_stop() {
    let folder = tempdir().expect("a folder");
    let old = gateway(folder.path(), 0, SHORT).await;
    let mut sse = Sse::open(old.addr, STREAM, &[]).await;
    let mut successor = Plain::connect(folder.path().join("data/takeover.sock")).expect("somebody listens");
    let word = br#"{"say":"take","protocol":1}"#;
    let frame = [&u32::try_from(word.len()).expect("few bytes").to_be_bytes()[..], word].concat();
    successor.write_all(&frame).expect("an open socket");
    drop(successor);
    while within("the end", sse.next()).await.is_some() {}
    assert!(sse.ended_cleanly());
    within("the old gateway's end", old.ended()).await;
    assert!(!folder.path().join("p.sock").exists() && !folder.path().join("data/takeover.sock").exists());
}

/// Who is present, and who watches, notices nothing: no `add`, no `del`, and every cursor goes on.
#[tokio::test]
async fn members_and_watchers_notice_nothing_and_who_leaves_the_old_gateway_has_left() {
    let folder = tempdir().expect("a folder");
    let old = gateway(folder.path(), 0, LONG).await;
    let addr = old.addr;
    let join = |user: &str, n: u8| {
        let client = format!("0190a5d2-7c1e-4b7a-9f54-3c2d1e0f9a{n:02x}");
        json!({"action": "join", "room": "lobby", "user": user, "client": client, "meta": {"n": n}})
    };
    old.sign_in("lobby", "backend").await;
    let (mut ann, mut bob, mut cyd) =
        (Session::open(addr).await, Talker::open(addr, "").await, Talker::open(addr, "").await);
    ann.does(join("ann", 1)).await;
    bob.does(join("bob", 2)).await;
    cyd.does(join("cyd", 3)).await;
    let cursor = old.cursor("lobby").await;
    let mut watchers = Vec::new();
    for transport in Transport::BOTH {
        let mut reader = Reader::open(addr, transport, "lobby").await.begun().await;
        reader.caught_up(&cursor).await;
        watchers.push((transport, reader.mirror));
    }
    let new = gateway(folder.path(), addr.port(), LONG).await;
    // The old one ends its session at once, and the others are in its hands for long.
    while within("the session's end", ann.stream.next()).await.is_some() {}
    let mut back = Vec::new();
    for (transport, mirror) in watchers {
        back.push(Reader::resume(addr, transport, mirror).await.begun().await);
    }
    let mut again = Talker::open(addr, "").await;
    again.does(join("ann", 1)).await;
    cyd.does(json!({"action": "leave", "room": "lobby", "user": "cyd"})).await;
    for reader in &mut back {
        reader.until("cyd has left", |mirror| !mirror.users.contains_key("cyd")).await;
        assert_eq!(
            (&reader.last["action"], &reader.last["reason"]),
            (&json!("del"), &json!("closed")),
            "{:?}",
            reader.last
        );
        let seen = ["add", "del", "update", "snapshot", "resumed"].map(|action| reader.mirror.seen(action));
        assert_eq!(seen[1..], [1, 0, 1, 1], "one snapshot before, and one del");
        assert_eq!(reader.mirror.names(), ["ann", "backend", "bob"]);
    }
    let holds = new.holds("lobby", "bob").await;
    assert_eq!(holds, ["connection websocket lost"], "bob's client has not come back yet");
    old.end(Stop::Interrupt).await;
    within("the old gateway's end", old.ended()).await;
}

#[tokio::test]
async fn without_a_running_gateway_there_is_nothing_to_take_over() {
    let folder = tempdir().expect("a folder");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let only = gateway(folder.path(), port, SHORT).await;
    only.get("/users").await.expect(200);
    only.stop().await;
    let start = async |dir: Option<&Path>, takeover| {
        let mut config = Config { listen: vec!["127.0.0.1:0".parse().expect("an address")], ..Config::default() };
        (config.data.dir, config.data.takeover) = (dir.map(Path::to_owned), takeover);
        Server::bind(config).await
    };
    let long = folder.path().join("x".repeat(100));
    let Err(StartError::Takeover(why)) = start(Some(&long), true).await else { panic!("a path that is too long") };
    assert!(why.ends_with("the path of a socket has at most 107 bytes"), "{why}");
    start(Some(&long), false).await.expect("a gateway without successors");
    let Err(StartError::Options(why)) = start(None, true).await else { panic!("no directory") };
    assert!(why.starts_with("--takeover needs --data"), "{why}");
}
