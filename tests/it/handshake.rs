//! The opening handshake of RFC 6455, 4.2.1: an incomplete handshake is refused over HTTP, before the upgrade.

use serde_json::Value;

use crate::harness::{RawWs, TestServer, raw, upgrade};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A valid handshake with one change: a header's name, and a new value or none.
fn handshake(change: &[(&str, Option<&str>)]) -> String {
    let mut headers = vec![
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ];
    for (name, value) in change {
        headers.retain(|(header, _)| header != name);
        headers.extend(value.map(|value| (*name, value)));
    }
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET /ws?room=lobby HTTP/1.1\r\n{lines}\r\n")
}

async fn accepted(server: &TestServer, request: &str) {
    let mut socket = RawWs::request(server.addr, request).await;
    assert_eq!(socket.frame().await.json()["action"], "snapshot", "{request}");
}

#[tokio::test]
async fn a_valid_handshake_is_answered_as_the_rfc_requires() {
    let server = TestServer::start().await;
    let answer = raw(server.addr, handshake(&[])).await.expect(101);
    // The example of RFC 6455, 1.3.
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(answer.header("upgrade").map(str::to_lowercase), Some("websocket".into()));
    assert_eq!(answer.header("connection").map(str::to_lowercase), Some("upgrade".into()));
    assert_eq!(answer.header("sec-websocket-protocol"), None);
    assert_eq!(answer.header("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn tokens_may_be_lists_and_in_any_case() {
    let server = TestServer::start().await;
    for change in [
        ("Upgrade", "WebSocket"),
        ("Upgrade", "h2c, websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Connection", "keep-alive,upgrade"),
        ("Connection", "UPGRADE"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Origin", "http://localhost"),
    ] {
        accepted(&server, &handshake(&[(change.0, Some(change.1))])).await;
    }
    accepted(&server, &handshake(&[("Connection", Some("keep-alive\r\nConnection: Upgrade"))])).await;
}

#[tokio::test]
async fn an_incomplete_handshake_is_refused_with_400() {
    let server = TestServer::start().await;
    let doubled = format!("{KEY}\r\nSec-WebSocket-Key: {KEY}");
    for (name, value) in [
        ("Connection", None),
        ("Connection", Some("keep-alive")),
        ("Connection", Some("upgraded")),
        ("Sec-WebSocket-Version", None),
        ("Sec-WebSocket-Key", None),
        ("Sec-WebSocket-Key", Some("")),
        ("Sec-WebSocket-Key", Some("c2hvcnQ=")),
        ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZSE=")),
        ("Sec-WebSocket-Key", Some("not base64 at all!!!!!!!")),
        ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZQ")),
        ("Sec-WebSocket-Key", Some(&doubled)),
    ] {
        let request = handshake(&[(name, value)]);
        let answer = raw(server.addr, &request).await;
        assert_eq!(answer.status, 400, "{request}");
        assert_eq!(answer.json()["code"], "bad_handshake", "{request}: {}", answer.text());
    }
    accepted(&server, &handshake(&[])).await;
}

#[tokio::test]
async fn another_protocol_or_version_is_refused_with_the_supported_version() {
    let server = TestServer::start().await;
    for (name, value) in [
        ("Upgrade", None),
        ("Upgrade", Some("h2c")),
        ("Upgrade", Some("websockets")),
        ("Sec-WebSocket-Version", Some("8")),
        ("Sec-WebSocket-Version", Some("14")),
        ("Sec-WebSocket-Version", Some("+13")),
    ] {
        let request = handshake(&[(name, value)]);
        let answer = raw(server.addr, &request).await;
        assert_eq!(answer.status, 426, "{request}");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{request}");
        assert_eq!(answer.header("upgrade").map(str::to_lowercase), Some("websocket".into()), "{request}");
        assert_eq!(answer.json()["code"], "upgrade_required", "{request}");
    }
}

#[tokio::test]
async fn a_plain_get_is_refused_with_upgrade_required() {
    let server = TestServer::start().await;
    let answer = server.get("/ws?room=lobby").await.expect(426);
    assert_eq!(answer.json()["code"], "upgrade_required");
}

#[tokio::test]
async fn only_get_and_only_http_1_1_upgrade() {
    let server = TestServer::start().await;
    for method in ["POST", "PUT", "DELETE"] {
        let request = handshake(&[]).replacen("GET", method, 1);
        let answer = raw(server.addr, &request).await.expect(405);
        assert!(
            answer.header("allow").is_some_and(|allow| allow.split(", ").any(|known| known == "GET")),
            "{answer:?}"
        );
    }
    let old = handshake(&[]).replacen("HTTP/1.1", "HTTP/1.0", 1);
    let answer = raw(server.addr, &old).await;
    assert!(matches!(answer.status, 400 | 426), "{answer:?}");
    accepted(&server, &handshake(&[])).await;
}

#[tokio::test]
async fn the_subprotocol_is_chosen_only_if_offered() {
    let server = TestServer::start().await;
    for (offered, chosen) in [
        ("presently.v1", Some("presently.v1")),
        ("chat, presently.v1", Some("presently.v1")),
        ("chat\r\nSec-WebSocket-Protocol: presently.v1", Some("presently.v1")),
        ("chat", None),
        ("presently.v2", None),
        ("Presently.V1", None),
    ] {
        let request = handshake(&[("Sec-WebSocket-Protocol", Some(offered))]);
        let answer = raw(server.addr, request).await.expect(101);
        assert_eq!(answer.header("sec-websocket-protocol"), chosen, "{offered}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_closed_with_a_code_they_can_see() {
    let server = TestServer::with(|config| config.allow_origins = vec!["https://app.example".parse().unwrap()]).await;
    for origin in ["http://evil.example", "null", "http://localhost:4001", "http://localhost.evil.example"] {
        let socket = RawWs::request(server.addr, handshake(&[("Origin", Some(origin))])).await;
        assert_eq!(socket.closed().await, (4403, "cross_site".to_owned()), "{origin}");
    }
    accepted(&server, &handshake(&[("Origin", Some("https://app.example"))])).await;
}

#[tokio::test]
async fn the_room_is_taken_from_the_query_as_forms_are_encoded() {
    let server = TestServer::start().await;
    for (query, room) in [("a+b", "a b"), ("%C3%A9%2Fx", "é/x"), ("lobby&since=", "lobby")] {
        let mut socket = RawWs::request(server.addr, upgrade(&format!("/ws?room={query}"))).await;
        let first: Value = socket.frame().await.json();
        assert_eq!(first["room"], room, "{query}");
    }
}
