//! Whose host a request is for, and which page sent it: foreign names and foreign pages get nothing.

use std::net::SocketAddr;

use presently::Config;

use crate::harness::{Binary, Conn, Page, TestServer, raw};

const HANDSHAKE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn ask(addr: SocketAddr, line: &str, headers: &str) -> (u16, String) {
    let answer = raw(addr, format!("{line}\r\n{headers}Connection: close\r\n\r\n")).await;
    let code = if answer.status < 400 { String::new() } else { answer.json()["code"].as_str().unwrap().to_owned() };
    (answer.status, code)
}

async fn named(change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::with(change).await
}

#[tokio::test]
async fn a_foreign_host_gets_nothing() {
    let server = TestServer::start().await;
    for (line, more) in [
        ("GET /api/rooms HTTP/1.1", ""),
        ("GET /users HTTP/1.1", ""),
        ("GET /api/rooms/lobby/stream HTTP/1.1", "Accept: text/event-stream\r\n"),
        ("PUT /api/rooms/lobby/users/ann HTTP/1.1", "Origin: http://evil.example\r\nSec-Fetch-Site: same-origin\r\n"),
        ("GET /ws?room=lobby HTTP/1.1", HANDSHAKE),
        ("GET /presently.js HTTP/1.1", ""),
        ("GET /api/rooms HTTP/1.0", ""),
    ] {
        for host in ["evil.example", "evil.example:4000", "127.0.0.1.evil.example", "localhost.evil.example"] {
            let lies = "X-Forwarded-Host: localhost\r\n";
            let refused = ask(server.addr, line, &format!("Host: {host}\r\n{lies}{more}")).await;
            assert_eq!(refused, (421, "wrong_host".to_owned()), "{line} {host}");
        }
    }
    assert!(!server.is_present("lobby", "ann").await);
    let whole = ask(server.addr, "GET http://evil.example/api/rooms HTTP/1.1", "Host: localhost\r\n").await;
    assert_eq!(whole, (421, "wrong_host".to_owned()), "the target's own host counts");
}

#[tokio::test]
async fn own_names_and_monitors_are_served() {
    let server = TestServer::start().await;
    for host in
        ["localhost", "LOCALHOST.", "app.localhost:4000", "127.0.0.1", "[::1]:4000", "10.1.2.3", "presently:4000"]
    {
        assert_eq!(ask(server.addr, "GET /api/rooms HTTP/1.1", &format!("Host: {host}\r\n")).await.0, 200, "{host}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(ask(server.addr, &format!("GET {path} HTTP/1.1"), "Host: monitored.example\r\n").await.0, 200);
    }
    // A spelling of 127.0.0.1 that only resolvers know.
    let listening = named(|config| config.listen = vec!["127.1:0".parse().unwrap()]).await;
    assert_eq!(ask(listening.addr, "GET /api/rooms HTTP/1.1", "Host: 127.1\r\n").await.0, 200);
    assert_eq!(ask(server.addr, "GET /api/rooms HTTP/1.1", "Host: 127.1\r\n").await.0, 421);
    for change in [
        (|config| config.public_urls = vec!["https://app.example".parse().unwrap()]) as fn(&mut Config),
        |config| config.allow_origins = vec!["https://app.example:8443".parse().unwrap()],
        |config| config.allow_hosts = vec!["app.example".into()],
        |config| config.allow_hosts = vec!["*".into()],
    ] {
        let server = named(change).await;
        assert_eq!(ask(server.addr, "GET /api/rooms HTTP/1.1", "Host: App.Example\r\n").await.0, 200);
    }
}

#[tokio::test]
async fn a_request_has_one_host_and_a_path() {
    let server = TestServer::start().await;
    let bad = (400, "bad_request".to_owned());
    for (line, headers) in [
        ("GET /api/rooms HTTP/1.1", ""),
        ("GET /api/rooms HTTP/1.1", "Host: localhost\r\nHost: localhost\r\n"),
        ("GET /api/rooms HTTP/1.0", "Host: localhost\r\nHost: localhost\r\n"),
        ("GET /api/rooms HTTP/1.1", "Host: a b\r\n"),
        ("GET /api/rooms HTTP/1.1", "Host:\r\n"),
        ("CONNECT a:443 HTTP/1.1", "Host: a:443\r\n"),
        ("CONNECT localhost:443 HTTP/1.1", "Host: localhost\r\n"),
        ("OPTIONS * HTTP/1.1", "Host: localhost\r\n"),
    ] {
        assert_eq!(ask(server.addr, line, headers).await, bad, "{line} {headers}");
    }
    assert_eq!(ask(server.addr, "GET /api/rooms HTTP/1.0", "").await.0, 200);
    assert_eq!(ask(server.addr, "GET http://localhost/api/rooms HTTP/1.1", "Host: localhost\r\n").await.0, 200);
    assert_eq!(ask(server.addr, "GET http://localhost HTTP/1.1", "Host: localhost\r\n").await.0, 302);
}

#[tokio::test]
async fn no_method_and_no_target_makes_the_gateway_panic() {
    let gateway = Binary::start(&[]).await;
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PRI", "FOO"];
    let targets = ["/", "*", "a:443", "http://localhost", "http://localhost/x", "/%", "/?%zz", "//", "/a//b", "?"];
    for method in methods {
        for target in targets {
            let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let mut conn = Conn::open(gateway.client().addr).await;
            conn.send(request).await;
            let status = conn.head().await.status;
            assert!(status < 500, "{method} {target}: {status}");
        }
    }
    assert!(gateway.log().iter().all(|line| !line.contains("panicked")), "{:?}", gateway.log());
}

#[tokio::test]
async fn a_refused_host_is_logged_once() {
    let gateway = Binary::start(&[]).await;
    for host in ["evil.example", "evil.example:80", "other.example", "EVIL.example"] {
        assert_eq!(ask(gateway.client().addr, "GET / HTTP/1.1", &format!("Host: {host}\r\n")).await.0, 421);
    }
    // A line of its own behind those of the hosts.
    gateway.signal("TERM").await;
    let mut gateway = gateway;
    gateway.exit().await;
    let logged = |host: &str| gateway.log().iter().filter(|line| line.contains(&format!("host=\"{host}\""))).count();
    assert_eq!((logged("evil.example"), logged("other.example")), (1, 1), "{:?}", gateway.log());
}

/// A change of `ann` with these headers.
async fn change(server: &TestServer, headers: &str) -> u16 {
    ask(server.addr, "PUT /api/rooms/lobby/users/ann HTTP/1.1", headers).await.0
}

#[tokio::test]
async fn pages_of_the_same_origin_are_believed_and_odd_headers_are_not() {
    let server = TestServer::start().await;
    let host = "Host: 127.0.0.1:4000\r\n";
    for (headers, status) in [
        ("Sec-Fetch-Site: same-origin\r\n", 201),
        ("Sec-Fetch-Site: same-origin\r\nOrigin: null\r\n", 200),
        ("Sec-Fetch-Site: same-origin\r\nOrigin: https://app.example\r\n", 200),
        ("Sec-Fetch-Site: none\r\n", 200),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: CROSS-SITE\r\n", 403),
        ("Sec-Fetch-Site: Same-Origin\r\n", 403),
        ("Sec-Fetch-Site:\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: same-origin\r\n", 403),
        ("Origin: http://127.0.0.1:4000\r\n", 200),
        ("Origin: http://127.0.0.1:4000\r\nOrigin: http://127.0.0.1:4000\r\n", 403),
        ("Origin: http://127.0.0.1:4000\r\nOrigin: http://evil.example\r\n", 403),
        ("Origin: http://127.0.0.1:4000\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("Origin: http://127.0.0.1:9999\r\n", 403),
        ("Origin: ftp://127.0.0.1:4000\r\n", 403),
        ("Origin: null\r\n", 403),
    ] {
        assert_eq!(change(&server, &format!("{host}{headers}")).await, status, "{headers}");
    }
}

#[tokio::test]
async fn the_public_url_says_which_pages_are_ours() {
    let server = named(|config| config.public_urls = vec!["https://app.example".parse().unwrap()]).await;
    for (headers, status) in [
        ("Host: app.example\r\nOrigin: https://app.example\r\n", 201),
        ("Host: app.example:443\r\nOrigin: https://app.example\r\n", 200),
        ("Host: 127.0.0.1:4000\r\nOrigin: https://app.example\r\n", 200),
        ("Host: localhost:4000\r\nOrigin: http://localhost:4000\r\n", 200),
        ("Host: app.example\r\nOrigin: http://app.example\r\n", 403),
        ("Host: app.example:8443\r\nOrigin: https://app.example:8443\r\n", 403),
    ] {
        assert_eq!(change(&server, headers).await, status, "{headers}");
    }
}

#[tokio::test]
async fn an_app_s_scheme_may_be_allowed_exactly() {
    let server = named(|config| config.allow_origins = vec!["capacitor://localhost".parse().unwrap()]).await;
    assert_eq!(change(&server, "Host: localhost\r\nOrigin: capacitor://localhost\r\n").await, 201);
    assert_eq!(change(&server, "Host: localhost\r\nOrigin: ionic://localhost\r\n").await, 403);
}

/// DNS rebinding in a real browser: a name that resolves to the gateway's machine is not the gateway's name.
#[tokio::test]
async fn a_browser_at_a_rebound_name_reads_and_changes_nothing() {
    let server = TestServer::start().await;
    let page = Page::blank(&["--host-resolver-rules=MAP evil.example 127.0.0.1"]).await;
    page.go(&format!("http://evil.example:{}/healthz", server.addr.port())).await;
    let script = "const read = await fetch('/api/rooms'); \
        const change = await fetch('/api/rooms/lobby/users/eve', {method: 'PUT'}); \
        return [read.status, change.status, (await change.json()).code]";
    assert_eq!(page.run(script).await, serde_json::json!([421, 421, "wrong_host"]));
    assert!(!server.is_present("lobby", "eve").await);
}
