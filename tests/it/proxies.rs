//! Behind reverse proxies: pages, WebSockets and streams work with the configurations of OPERATING, and what strangers
//! write into a proxy's headers is ignored.

use std::net::SocketAddr;

use presently::Config;
use serde_json::json;

use crate::harness::{
    Answer, Client, Conn, Dialogue, DocumentedProxy, RawWs, Reader, Session, TestServer, Transport, raw,
};

/// A host with a port, as browsers see it.
const HOST: &str = "app.example:8443";

fn post(path: &str, headers: &str) -> String {
    let user = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 8";
    format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}{user}\r\n\r\nuser=ann")
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n")
}

fn handshake(path: &str, origin: &str) -> String {
    get(
        path,
        &format!(
            "Origin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        ),
    )
}

async fn behind(change: impl FnOnce(&mut Config)) -> (TestServer, [DocumentedProxy; 2]) {
    let named = |config: &mut Config| {
        config.allow_hosts = vec!["app.example".into()];
        change(config);
    };
    let server = TestServer::with(named).await;
    let proxies = [DocumentedProxy::nginx(server.addr).await, DocumentedProxy::haproxy(server.addr).await];
    (server, proxies)
}

async fn code(addr: SocketAddr, request: String) -> (u16, String) {
    let answer = raw(addr, request).await;
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

fn location(answer: &Answer) -> &str {
    answer.header("location").unwrap_or_default()
}

#[tokio::test]
async fn pages_change_rooms_and_foreign_pages_do_not() {
    let (_server, proxies) = behind(|_| {}).await;
    for proxy in proxies {
        for path in ["", "/presence"] {
            let login = format!("{path}/api/login");
            raw(proxy.addr, post(&login, &format!("Origin: http://{HOST}\r\n"))).await.expect(204);
            for (headers, why) in [
                ("Origin: http://evil.example\r\n".to_owned(), "another host"),
                (format!("Origin: https://{HOST}\r\n"), "another scheme"),
                ("Origin: http://app.example\r\n".to_owned(), "another port"),
                ("Origin: http://evil.example\r\nX-Forwarded-Host: evil.example\r\n".to_owned(), "a made-up host"),
                (format!("Origin: https://{HOST}\r\nX-Forwarded-Proto: https\r\n"), "a made-up scheme"),
            ] {
                let refused = code(proxy.addr, post(&login, &headers)).await;
                assert_eq!(refused, (403, "cross_site".to_owned()), "{path} {why}");
            }
        }
    }
}

#[tokio::test]
async fn websockets_open_for_our_pages_only() {
    let (_server, proxies) = behind(|_| {}).await;
    for proxy in proxies {
        for path in ["/ws?room=lobby", "/presence/ws?room=lobby"] {
            let mut ours = RawWs::request(proxy.addr, &handshake(path, &format!("http://{HOST}"))).await;
            assert_eq!(ours.frame().await.json()["action"], "snapshot", "{path}");
            let foreign = RawWs::request(proxy.addr, &handshake(path, "http://evil.example")).await;
            assert_eq!(foreign.closed().await, (4403, "cross_site".to_owned()), "{path}");
        }
    }
}

#[tokio::test]
async fn streams_are_not_held_back() {
    let (server, proxies) = behind(|_| {}).await;
    for (n, proxy) in proxies.iter().enumerate() {
        for transport in Transport::ALL {
            let mut reader = Reader::open(proxy.addr, transport, "lobby").await.begun().await;
            let cursor = server.sign_in("lobby", &format!("{n} {transport:?}")).await;
            reader.caught_up(&cursor).await;
        }
        let mut session = Session::open(proxy.addr).await;
        session.join("lobby", "ann").await;
        session.send(&json!([{"action": "close"}])).await;
        assert!(!server.is_present("lobby", "ann").await);
    }
}

#[tokio::test]
async fn redirects_stay_below_the_path_of_the_proxy() {
    let (_server, proxies) = behind(|_| {}).await;
    for proxy in proxies {
        for (path, to) in [
            ("/presence/", "/presence/users"),
            ("/presence/api/login/ann", "/presence/users"),
            ("/api/login/ann", "/users"),
            ("/", "/users"),
        ] {
            let lie = "X-Forwarded-Prefix: /elsewhere\r\n";
            for headers in ["", lie] {
                let answer = raw(proxy.addr, get(path, headers)).await.expect(302);
                assert_eq!(location(&answer), to, "{path} {headers}");
            }
        }
        let client = raw(proxy.addr, get("/presence/presently.js", "")).await.expect(200);
        let named = client.header("content-location").unwrap_or_default();
        assert!(named.starts_with("/presence/presently."), "{named}");
        raw(proxy.addr, get(named, "")).await.expect(200);
        let form = format!("Origin: http://{HOST}\r\nAccept: text/html\r\n");
        let answer = raw(proxy.addr, post("/presence/api/rooms/team/login", &form)).await.expect(303);
        assert_eq!(location(&answer), "/presence/users?room=team");
    }
}

/// A stream's request through a proxy, from a client that lies about its address.
async fn stream(addr: SocketAddr, address: &str) -> Conn {
    let mut conn = Conn::open(addr).await;
    let lie = format!("X-Forwarded-For: {address}\r\n");
    conn.send(get("/api/rooms/lobby/stream", &lie)).await;
    conn
}

#[tokio::test]
async fn streams_count_for_the_address_that_the_proxy_reports() {
    let (server, proxies) = behind(|config| config.max_per_address = 1).await;
    for proxy in proxies {
        let mut first = stream(proxy.addr, "192.0.2.1").await;
        first.head().await.expect(200);
        let refused = stream(proxy.addr, "192.0.2.2").await.answer().await.expect(200);
        assert!(refused.text().contains("\"code\":\"too_many_connections\""), "{}", refused.text());
        drop(first);
        // The gateway learns of the end from the proxy, some time later.
        while Client::of(server.addr).get("/api/gateway").await.json()["connections"]["sse"] != 0 {}
    }
}

#[tokio::test]
async fn the_addresses_of_one_trusted_proxy_have_a_bound_each() {
    let server = TestServer::with(|config| {
        config.max_per_address = 1;
        config.allow_hosts = vec!["app.example".into()];
    })
    .await;
    let mut held = Vec::new();
    for address in ["192.0.2.1", "192.0.2.2", "10.0.0.1, 192.0.2.3"] {
        let mut conn = stream(server.addr, address).await;
        conn.head().await.expect(200);
        held.push(conn);
    }
    let refused = stream(server.addr, "1.1.1.1, 192.0.2.3").await.answer().await.expect(200);
    assert!(refused.text().contains("event: refused"), "{}", refused.text());
    let handshake = handshake("/ws?room=lobby", &format!("http://{HOST}"));
    let handshake = handshake.replace("Upgrade: websocket", "X-Forwarded-For: 192.0.2.1\r\nUpgrade: websocket");
    let socket = RawWs::request(server.addr, &handshake).await;
    assert_eq!(socket.closed().await, (1013, "too_many_connections".to_owned()));
}

#[tokio::test]
async fn headers_of_peers_that_are_no_trusted_proxies_are_ignored() {
    let server = TestServer::with(|config| {
        config.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
        config.allow_hosts = vec!["app.example".into()];
    })
    .await;
    let lies = "X-Forwarded-Host: evil.example\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Proto: https\r\n";
    let foreign = post("/api/login", &format!("{lies}Origin: http://evil.example\r\n"));
    assert_eq!(code(server.addr, foreign).await, (403, "cross_site".to_owned()));
    let ours = post("/api/login", &format!("{lies}Accept: text/html\r\nOrigin: http://{HOST}\r\n"));
    assert_eq!(location(&raw(server.addr, ours).await.expect(303)), "/users");
}

#[tokio::test]
async fn default_ports_may_be_left_out() {
    let server = TestServer::with(|config| config.allow_hosts = vec!["*".into()]).await;
    for (host, origin, status) in [
        ("app.example:443", "https://app.example", 204),
        ("app.example", "https://app.example:443", 204),
        ("APP.example", "http://app.example:80", 204),
        ("app.example:80", "https://app.example", 403),
        ("app.example:8080", "http://app.example", 403),
        ("[::1]:4000", "http://[::1]:4000", 204),
    ] {
        let request = post("/api/login", &format!("Origin: {origin}\r\n")).replace(HOST, host);
        assert_eq!(raw(server.addr, request).await.status, status, "{host} {origin}");
    }
}

#[tokio::test]
async fn the_proxy_of_compose_sends_clients_to_gateways_that_are_ready() {
    let (one, two) = (TestServer::start().await, TestServer::start().await);
    one.sign_in("lobby", "ann").await;
    two.sign_in("lobby", "bob").await;
    // Nobody listens there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let proxy = DocumentedProxy::composed([one.addr, gone, two.addr]).await;
    let client = Client::of(proxy.addr);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..12 {
        let held = client.held("lobby").await;
        seen.extend(held.users.into_keys());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["ann", "bob"]);
    for transport in Transport::BOTH {
        let reader = Reader::open(proxy.addr, transport, "lobby").await.begun().await;
        assert_eq!(reader.mirror.users.len(), 1);
    }
}
