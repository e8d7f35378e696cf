//! Inherited sockets: what comes during a restart waits, and is not refused.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use serde_json::json;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixDatagram, UnixStream};

use crate::harness::{Binary, Conn, Sse, raw, within};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A socket as a service manager has it, and a copy to pass. It blocks.
fn listener() -> (TcpListener, impl Fn() -> Vec<OwnedFd>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let copy = listener.try_clone().expect("a copy");
    (listener, move || vec![copy.try_clone().expect("a copy").into()])
}

#[tokio::test]
async fn connections_during_a_restart_wait_and_are_not_refused() {
    let (listener, passed) = listener();
    let addr = listener.local_addr().expect("its address");
    let mut old = Binary::inherit(passed(), &["--drain", "50ms"], &[]).await;
    assert_eq!(old.addr, addr);
    let mut stream = Sse::open(addr, "/api/rooms/lobby/stream", &[]).await;
    within("a snapshot", stream.next()).await.expect("a snapshot");
    old.signal("TERM").await;
    assert!(within("the end", stream.next()).await.is_none());
    assert_eq!(old.exit().await.code(), Some(0));
    // More than the 128 that the system's usual queue takes.
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let mut conn = Conn::open(addr).await;
        conn.send(HEALTH).await;
        waiting.push(conn);
    }
    let new = Binary::inherit(passed(), &[], &[]).await;
    for conn in &mut waiting {
        conn.answer().await.expect(200);
    }
    assert_eq!(new.log().iter().filter(|line| line.contains("listening on")).count(), 1, "the default has no place");
    new.sign_in("lobby", "ann").await;
}

#[tokio::test]
async fn sockets_of_the_file_system_are_inherited_and_given_addresses_come_on_top() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("p.sock");
    let (listener, passed) = listener();
    let mut sockets = passed();
    sockets.push(UnixListener::bind(&path).expect("a socket").into());
    let mut gateway = Binary::inherit(sockets, &["--listen", "127.0.0.1:0"], &[]).await;
    let log = gateway.log().join("\n");
    assert_eq!(gateway.addr, listener.local_addr().expect("its address"), "{log}");
    raw(gateway.addr, HEALTH).await.expect(200);
    let mut client = UnixStream::connect(&path).await.expect("somebody listens");
    client.write_all(HEALTH.as_bytes()).await.expect("an open connection");
    let mut answer = String::new();
    within("an answer", client.read_to_string(&mut answer)).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut lines = Vec::new();
    while lines.len() < 3 {
        tokio::task::yield_now().await;
        lines = gateway.log().into_iter().filter(|line| line.contains("listening on ")).collect();
    }
    assert!(lines[1].ends_with(&format!("unix:{}", path.display())) || lines[1].contains("p.sock"), "{lines:?}");
    let (_, given) = lines[2].split_once("http://").expect("an address");
    let given = given.split_whitespace().next().expect("an address").parse().expect("an address");
    raw(given, HEALTH).await.expect(200);
    gateway.signal("TERM").await;
    assert_eq!(gateway.exit().await.code(), Some(0));
    assert!(path.exists(), "the file is its maker's");
}

#[tokio::test]
async fn what_is_no_listening_socket_is_one_sentence() {
    let (listener, _) = listener();
    let connected = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for (n, wrong) in [OwnedFd::from(connected), datagrams.into()].into_iter().enumerate() {
        let good = TcpListener::bind("127.0.0.1:0").expect("a free port").into();
        let (sockets, file) = if n == 0 { (vec![wrong], 3) } else { (vec![good, wrong], 4) };
        let finished = Binary::run_inheriting(sockets, &[]).await;
        let sentence = format!("presently: LISTEN_FDS: file {file} is no listening stream socket; see ListenStream=");
        assert_eq!((finished.code, finished.stderr.lines().count()), (Some(1), 1), "{finished:?}");
        assert!(finished.stderr.starts_with(&sentence), "{finished:?}");
    }
}

#[tokio::test]
async fn others_reach_no_inherited_socket_without_keys() {
    let everywhere = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let address = everywhere.local_addr().expect("its address");
    let finished = Binary::run_inheriting(vec![everywhere.into()], &[]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains(&format!("listening on {address} needs --key")), "{finished:?}");
}

/// As systemd's `Type=notify` hears it (sd_notify(3)).
#[tokio::test]
async fn the_service_manager_hears_of_the_start_and_of_the_stop() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let hears = async || {
        let mut text = [0; 1_024];
        let length = within("a message", manager.recv(&mut text)).await.expect("a message");
        String::from_utf8(text[..length].to_vec()).expect("text")
    };
    let vars = [("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))];
    let args = ["--listen", "127.0.0.1:0", "--drain", "20s", "--drain-delay", "5s"];
    let gateway = Binary::start_with(&args, &vars).await;
    assert_eq!(hears().await, "READY=1\n");
    gateway.get("/readyz").await.expect(200);
    gateway.signal("TERM").await;
    assert_eq!(hears().await, "STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000\n", "5 s, 20 s, and 5 s for what is left");
    let refused = gateway.get("/readyz").await.expect(503);
    assert_eq!(refused.json()["code"], json!("stopping"));
    let wrong = [("NOTIFY_SOCKET", "/nowhere/notify")];
    let deaf = Binary::start_with(&["--listen", "127.0.0.1:0"], &wrong).await;
    deaf.get("/readyz").await.expect(200);
}
