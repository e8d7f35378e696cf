//! Listening: on names, on all addresses, on sockets in the file system, and on several of them at once.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use serde_json::Value;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::harness::{Binary, Finished, TestServer, raw, within};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

async fn status(addr: SocketAddr) -> u16 {
    raw(addr, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.status
}

/// Sends a request over the socket at `path`, and reads the answer to its end.
async fn over(path: &Path, request: &str) -> String {
    let mut socket = within("a connection", UnixStream::connect(path)).await.expect("somebody listens");
    let head = format!("{request}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("an open connection");
    let mut answer = String::new();
    within("an answer", socket.read_to_string(&mut answer)).await.expect("text");
    answer
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn complains(finished: &Finished, about: &str) {
    assert_eq!((finished.code, finished.stderr.trim().lines().count()), (Some(1), 1), "{finished:?}");
    assert!(finished.stderr.contains(about), "{about:?} in {finished:?}");
}

#[tokio::test]
async fn an_empty_host_stands_for_all_addresses_of_both_families_with_one_port() {
    let server = TestServer::with(|config| {
        config.listen = vec![":0".parse().expect("an address")];
        config.open = true;
    })
    .await;
    for ip in [V4, V6] {
        assert_eq!(status((ip, server.addr.port()).into()).await, 200, "{ip}");
    }
}

#[tokio::test]
async fn a_name_stands_for_all_its_addresses_with_one_port() {
    let server = TestServer::with(|config| config.listen = vec!["localhost:0".parse().expect("an address")]).await;
    for addr in tokio::net::lookup_host(("localhost", server.addr.port())).await.expect("addresses") {
        assert_eq!(status(addr).await, 200, "{addr}");
    }
}

#[tokio::test]
async fn several_addresses_are_listened_on_and_logged() {
    let folder = tempdir().expect("a folder");
    let socket = folder.path().join("p.sock");
    let args = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", &unix(&socket), "--listen", "[::]:0"];
    let gateway = Binary::start_with(&args, &[("PRESENTLY_OPEN", "true")]).await;
    // The gateway serves, so all lines are written.
    assert_eq!(status(gateway.addr).await, 200);
    while gateway.log().len() < 4 {
        tokio::task::yield_now().await;
    }
    let log = gateway.log().join("\n");
    for place in ["http://127.0.0.1:", "http://[::1]:", &unix(&socket), "http://[::]:"] {
        assert!(log.contains(&format!("listening on {place}")), "{place} in {log}");
    }
    let (_, rest) = log.split_once("http://[::1]:").expect("an address of IPv6");
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    assert_eq!(status((V6, port.parse().expect("a port")).into()).await, 200);
    let listed = Binary::start_with(&[], &[("PRESENTLY_LISTEN", "127.0.0.1:0,[::1]:0")]).await;
    assert_eq!(status(listed.addr).await, 200);
}

#[tokio::test]
async fn a_socket_in_the_file_system_serves_requests_and_streams() {
    let folder = tempdir().expect("a folder");
    let socket = folder.path().join("p.sock");
    let server = TestServer::with(|config| {
        config.listen.push(unix(&socket).parse().expect("an address"));
        // Clients of the socket are loopback's, so their headers count as a trusted proxy's.
        config.max_per_address = 1;
    })
    .await;
    let file = fs::metadata(&socket).expect("a file");
    assert_eq!((file.file_type().is_socket(), file.permissions().mode() & 0o777), (true, 0o660));

    let made = over(&socket, "PUT /api/rooms/lobby/users/ann HTTP/1.1").await;
    assert!(made.starts_with("HTTP/1.1 201 "), "{made}");
    let stream = "GET /api/rooms/lobby/stream HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
    let mut reader = UnixStream::connect(&socket).await.expect("somebody listens");
    reader.write_all(stream.as_bytes()).await.expect("an open connection");
    let mut seen = String::new();
    let mut until = async |text: &str| {
        while !seen.contains(text) {
            let mut part = [0; 4_096];
            let n = within(text, reader.read(&mut part)).await.expect("an open stream");
            assert!(n > 0, "{text} in {seen}");
            seen.push_str(std::str::from_utf8(&part[..n]).expect("text"));
        }
    };
    until(r#""user":"ann""#).await;
    server.sign_in("lobby", "bob").await;
    until(r#""user":"bob""#).await;
    let second = stream[..stream.len() - 4].replace("\r\nHost: localhost", "");
    assert!(over(&socket, &second).await.contains("too_many_connections"));
    server.flood("lobby").await;
    until("flood899").await;
    server.stop().await;
    assert!(!socket.exists(), "the file goes with the gateway");
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_is_taken() {
    let folder = tempdir().expect("a folder");
    let socket = folder.path().join("p.sock");
    // Its file stays behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    let listen = unix(&socket);
    let gateway = Binary::start_with(&["--listen", "127.0.0.1:0", "--listen", &listen], &[]).await;
    assert!(over(&socket, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    complains(&Binary::run(&["--listen", &listen], &[]).await, "another process answers there");
    assert!(over(&socket, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "), "still the first one's");
    drop(gateway);
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_one_sentence() {
    let folder = tempdir().expect("a folder");
    let precious = folder.path().join("precious");
    fs::write(&precious, "data").expect("a file");
    for (listen, about) in [
        (unix(&precious), "the file is no socket, so it is not replaced"),
        (unix(&folder.path().join("none/p.sock")), "there is no such folder"),
        (unix(&folder.path().join("x".repeat(200))), "at most 107 bytes"),
        ("no.such.name.invalid:4000".to_owned(), "no.such.name.invalid:4000"),
    ] {
        complains(&Binary::run(&["--listen", &listen], &[]).await, about);
    }
    assert_eq!(fs::read_to_string(&precious).expect("still there"), "data");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port();
    for listen in [format!("localhost:{port}"), format!(":{port}")] {
        let finished = Binary::run(&["--open", "--listen", &listen], &[]).await;
        complains(&finished, "the port is taken; choose another with --listen");
    }
}

#[tokio::test]
async fn health_is_asked_wherever_the_gateway_listens() {
    let folder = tempdir().expect("a folder");
    let socket = unix(&folder.path().join("p.sock"));
    let gateway = Binary::start_with(&["--open", "--listen", ":0", "--listen", &socket], &[]).await;
    let port = gateway.addr.port();
    for listen in [socket.clone(), format!("localhost:{port}"), format!(":{port}"), format!("[::]:{port}")] {
        let health = Binary::run(&["health", "--listen", &listen], &[]).await;
        assert_eq!((health.code, health.stderr.as_str()), (Some(0), ""), "{listen}");
    }
    let body: Value = gateway.get("/healthz").await.expect(200).json();
    assert_eq!(body["status"], "ok");
    drop(gateway);
    let dead = Binary::run(&["health"], &[("PRESENTLY_LISTEN", &socket)]).await;
    complains(&dead, &format!("the gateway at {socket} is not healthy"));
}
