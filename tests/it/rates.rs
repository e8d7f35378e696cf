//! Rates: who does something too often is slowed down, then refused, and is never made to leave for it.
//!
//! Addresses are those that a trusted proxy reports. A bucket holds a minute's worth, so a rate of a few a minute is met at
//! once, and not met again before a test ends.

use std::net::SocketAddr;

use presently::Config;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Conn, PING, RawWs, TEXT, Talker, TestServer, frame, raw, upgrade};

const CLIENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

async fn limited(limit: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::with(limit).await
}

/// Sends a request as the proxy of `address`.
async fn ask(client: &Client, address: &str, method: &str, path: &str) -> Answer {
    client.send(method, path, &[("x-forwarded-for", address)], "").await
}

/// Checks a refusal by a rate over HTTP.
fn is_too_fast(answer: Answer, what: &str) {
    let answer = answer.expect(429);
    let problem = answer.json();
    assert_eq!((&problem["code"], &problem["retry"]), (&json!("too_fast"), &json!(true)), "{what}");
    let seconds: u64 = answer.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{what}: {seconds}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(what)), "{problem}");
}

/// Opens a stream of `path` as the proxy of `address`, and reads the answer's head.
async fn stream(addr: SocketAddr, address: &str, path: &str) -> (Conn, Answer) {
    let mut conn = Conn::open(addr).await;
    conn.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n\r\n")).await;
    let head = conn.head().await.expect(200);
    (conn, head)
}

/// The event that refuses a stream of `path`.
async fn refused_stream(addr: SocketAddr, address: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n\r\n");
    let answer = raw(addr, request).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert!(answer.header("retry-after").is_some());
    answer.text().to_owned()
}

fn handshake(address: &str, query: &str) -> String {
    let request = upgrade(&format!("/ws?{query}"));
    request.replace("Upgrade: websocket", &format!("X-Forwarded-For: {address}\r\nUpgrade: websocket"))
}

async fn websocket(addr: SocketAddr, address: &str, query: &str) -> RawWs {
    RawWs::request(addr, handshake(address, query)).await
}

/// Sends messages, and returns the answers.
async fn answers(socket: &mut RawWs, messages: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let messages: Vec<_> = messages.into_iter().collect();
    let bytes: Vec<u8> = messages.iter().flat_map(|message| frame(0x80 | TEXT, message.to_string())).collect();
    socket.send(bytes).await;
    let mut answers = Vec::new();
    for _ in messages {
        let mut reply = socket.reply().await;
        while reply.opcode == PING {
            reply = socket.reply().await;
        }
        answers.push(reply.json());
    }
    answers
}

async fn too_fast(server: &TestServer, rate: &str) -> u64 {
    server.get("/api/gateway").await.expect(200).json()["too_fast"][rate].as_u64().expect("a number")
}

#[tokio::test]
async fn changes_past_the_rate_are_refused_to_this_address_and_no_other() {
    let server = limited(|config| config.rate_changes = "3/min".parse().unwrap()).await;
    for user in ["ann", "bob", "cyd"] {
        ask(&server, "192.0.2.1", "PUT", &format!("/api/rooms/den/users/{user}")).await.expect(201);
    }
    for (method, path) in [
        ("PUT", "/api/rooms/den/users/dee"),
        ("DELETE", "/api/rooms/den/users/ann"),
        ("GET", "/api/login/dee"),
        ("POST", "/api/logout/dee"),
    ] {
        is_too_fast(ask(&server, "192.0.2.1", method, path).await, "3/min for changes");
    }
    let both = "192.0.2.1, 192.0.2.2";
    ask(&server, both, "PUT", "/api/rooms/den/users/dee").await.expect(201);
    ask(&server, "10.0.0.1", "PUT", "/api/rooms/den/users/eve").await.expect(201);
    ask(&server, "2001:db8::1", "PUT", "/api/rooms/den/users/fay").await.expect(201);
    let batch = json!({"add": [{"user": "gil"}, {"user": "hal"}, {"user": "ida"}]}).to_string();
    let headers = [("x-forwarded-for", "2001:db8::2"), ("content-type", "application/json")];
    is_too_fast(server.send("POST", "/api/rooms/den/users", &headers, batch).await, "2001:db8::2");
    ask(&server, "192.0.2.1", "GET", "/api/rooms/den/users/ann").await.expect(200);
    assert_eq!(too_fast(&server, "changes").await, 5);
    let metrics = server.get("/metrics").await.expect(200);
    assert!(metrics.text().contains("presently_too_fast_total{rate=\"changes\"} 5\n"), "{}", metrics.text());
}

#[tokio::test]
async fn local_peers_and_rates_that_are_off_have_no_bound() {
    let server = limited(|config| {
        config.rate_changes = "1/min".parse().unwrap();
        config.rate_rooms = "off".parse().unwrap();
        config.rate_snapshots = "1/min".parse().unwrap();
    })
    .await;
    for n in 0..20 {
        server.sign_in(&format!("room{n}"), "ann").await;
        server.held("room0").await;
    }
    let off = limited(|config| config.rate_changes = "off".parse().unwrap()).await;
    for n in 0..20 {
        ask(&off, "192.0.2.1", "PUT", &format!("/api/rooms/den/users/{n}")).await.expect(201);
    }
}

#[tokio::test]
async fn a_rate_never_ends_a_presence() {
    let server = limited(|config| config.rate_changes = "2/min".parse().unwrap()).await;
    let ttl = |seconds: u32| json!({ "ttl": seconds }).to_string();
    let headers = [("x-forwarded-for", "192.0.2.1"), ("content-type", "application/json")];
    let renewed = "/api/rooms/den/users/ann";
    server.send("PUT", renewed, &headers, ttl(60)).await.expect(201);
    ask(&server, "192.0.2.1", "PUT", "/api/rooms/den/users/bob").await.expect(201);
    is_too_fast(ask(&server, "192.0.2.1", "PUT", "/api/rooms/den/users/cyd").await, "changes");
    for _ in 0..5 {
        server.send("PUT", renewed, &headers, ttl(90)).await.expect(200);
    }
    let more = json!({"ttl": 90, "meta": {"a": 1}}).to_string();
    is_too_fast(server.send("PUT", renewed, &headers, more).await, "changes");
    is_too_fast(server.send("PUT", "/api/rooms/den/users/bob", &headers, ttl(90)).await, "changes");
    // A client that leaves does so also past the rate.
    ask(&server, "192.0.2.1", "DELETE", &format!("/api/rooms/den/users/bob?client={CLIENT}")).await.expect(204);
}

#[tokio::test]
async fn rooms_past_the_rate_are_not_made_and_existing_ones_go_on() {
    let server = limited(|config| config.rate_rooms = "2/min".parse().unwrap()).await;
    for room in ["a", "b"] {
        ask(&server, "192.0.2.1", "PUT", &format!("/api/rooms/{room}/users/ann")).await.expect(201);
    }
    is_too_fast(ask(&server, "192.0.2.1", "PUT", "/api/rooms/c/users/ann").await, "rooms");
    ask(&server, "192.0.2.1", "PUT", "/api/rooms/b/users/bob").await.expect(201);
    let refused = refused_stream(server.addr, "192.0.2.1", "/api/rooms/d/stream?as=ann").await;
    assert!(refused.contains("event: refused\ndata: ") && refused.contains("\"code\":\"too_fast\""), "{refused}");
    let rooms = server.get("/api/rooms").await.expect(200).json();
    assert_eq!(rooms["rooms"].as_array().map(Vec::len), Some(2), "{rooms}");
}

#[tokio::test]
async fn snapshots_past_the_rate_are_refused_and_cursors_resume() {
    let server = limited(|config| config.rate_snapshots = "2/min".parse().unwrap()).await;
    server.sign_in("den", "ann").await;
    let cursor = server.cursor("den").await;
    let from = "192.0.2.1";
    ask(&server, from, "GET", "/api/rooms/den/users").await.expect(200);
    let _stream = stream(server.addr, from, "/api/rooms/den/stream").await;
    for path in ["/api/rooms/den/users", "/api/rooms", "/users?room=den"] {
        is_too_fast(ask(&server, from, "GET", path).await, "snapshots");
    }
    let refused = refused_stream(server.addr, from, "/api/rooms/den/stream").await;
    assert!(refused.contains("event: refused") && refused.contains("\"retry\":true"), "{refused}");
    let socket = websocket(server.addr, from, "room=den").await;
    assert_eq!(socket.closed().await, (1013, "too_fast".to_owned()));
    let (mut resumed, _) = stream(server.addr, from, &format!("/api/rooms/den/stream?since={cursor}")).await;
    while resumed.take_until(b"\"resumed\"").is_none() {
        assert!(resumed.fill().await.expect("a stream"));
    }
    ask(&server, from, "GET", "/api/rooms/den").await.expect(200);
}

#[tokio::test]
async fn large_pages_count_as_many_snapshots() {
    let server = limited(|config| config.rate_snapshots = "5/min".parse().unwrap()).await;
    let add: Vec<_> = (0..2_500).map(|n| json!({ "user": format!("user{n}") })).collect();
    server.batch("den", &json!({ "add": add })).await;
    ask(&server, "192.0.2.1", "GET", "/api/rooms/den/users?limit=10000").await.expect(200);
    is_too_fast(ask(&server, "192.0.2.1", "GET", "/api/rooms/den/users?limit=10000").await, "snapshots");
    ask(&server, "192.0.2.1", "GET", "/api/rooms/den/users?limit=10").await.expect(200);
}

#[tokio::test]
async fn new_streams_past_the_rate_are_refused() {
    let server = limited(|config| config.rate_connections = "2/min".parse().unwrap()).await;
    let _streams = (
        stream(server.addr, "192.0.2.1", "/api/rooms/den/stream").await,
        websocket(server.addr, "192.0.2.1", "room=den").await,
    );
    let refused = refused_stream(server.addr, "192.0.2.1", "/user-stream").await;
    assert!(refused.contains("event: refused") && refused.contains("2/min for connections"), "{refused}");
    let socket = websocket(server.addr, "192.0.2.1", "room=den").await;
    assert_eq!(socket.closed().await, (1013, "too_fast".to_owned()));
    stream(server.addr, "192.0.2.2", "/user-stream").await;
    assert_eq!(too_fast(&server, "connections").await, 2);
}

#[tokio::test]
async fn messages_past_the_rate_are_read_later_and_all_answered() {
    // A connection has a tenth: 60 a minute, one a second.
    let server = limited(|config| config.rate_messages = "10/s".parse().unwrap()).await;
    let mut socket = websocket(server.addr, "192.0.2.1", "").await;
    let leave = |n: usize| json!({"action": "leave", "room": "den", "user": "ann", "ref": n});
    let mut answered = Vec::new();
    for more in [0..60, 60..61, 61..62] {
        answered.extend(answers(&mut socket, more.map(leave)).await);
    }
    let refs: Vec<_> = answered.iter().map(|answer| answer["ref"].as_u64().expect("a ref")).collect();
    assert_eq!(refs, (0..62).collect::<Vec<_>>());
    assert!(answered.iter().all(|answer| answer["code"] == "not_joined"), "no message is refused for the rate");
    assert!(too_fast(&server, "messages").await > 0);
}

#[tokio::test]
async fn changes_over_a_websocket_have_a_rate_and_leaving_is_free() {
    // A connection has a tenth: 2 a minute.
    let server = limited(|config| config.rate_changes = "20/min".parse().unwrap()).await;
    let mut socket = websocket(server.addr, "192.0.2.1", "").await;
    let message = |action: &str, user: &str| json!({"action": action, "room": "den", "user": user});
    let update = json!({"action": "update", "room": "den", "user": "ann", "meta": {"a": 1}});
    let asked = [
        message("join", "ann"),
        message("join", "bob"),
        message("join", "cyd"),
        update,
        message("leave", "bob"),
        message("leave", "ann"),
    ];
    let answers = answers(&mut socket, asked).await;
    let told: Vec<_> = answers.iter().map(|answer| answer["code"].as_str().unwrap_or("ok")).collect();
    assert_eq!(told, ["ok", "ok", "too_fast", "too_fast", "ok", "ok"]);
    assert_eq!(answers[2]["retry"], true);
    let detail = answers[2]["message"].as_str().unwrap_or_default();
    assert!(detail.starts_with("this connection is over its rate of 2/min for changes"), "{detail}");
}

/// Makes `address` too fast for everything but connections.
async fn exhaust(server: &TestServer, address: &str) {
    let mut socket = websocket(server.addr, address, "").await;
    let join = |n: usize| json!({"action": "join", "room": "busy", "user": format!("user{n}")});
    // The second message is read, and then has to be paid for.
    answers(&mut socket, (0..10).map(join)).await;
    answers(&mut socket, (10..11).map(join)).await;
    for n in 0..10 {
        ask(server, address, "PUT", &format!("/api/rooms/busy/users/{n}")).await;
        ask(server, address, "GET", "/api/rooms/busy/users").await;
    }
    is_too_fast(ask(server, address, "PUT", "/api/rooms/busy/users/x").await, "changes");
    is_too_fast(ask(server, address, "GET", "/api/rooms/busy/users").await, "snapshots");
    assert!(too_fast(server, "messages").await > 0);
}

#[tokio::test]
async fn who_comes_back_within_the_grace_passes_the_rates() {
    let server = limited(|config| {
        config.rate_messages = "8/min".parse().unwrap();
        config.rate_changes = "8/min".parse().unwrap();
        config.rate_snapshots = "8/min".parse().unwrap();
        config.grace = std::time::Duration::from_secs(3_600);
    })
    .await;
    let query = |user: &str| format!("room=den&as={user}&client={CLIENT}");
    for user in ["ann", "bob", "cyd"] {
        Talker::open(server.addr, &query(user)).await.hear().await;
    }
    for user in ["ann", "bob", "cyd"] {
        while server.holds("den", user).await != ["connection websocket lost"] {
            tokio::task::yield_now().await;
        }
    }
    exhaust(&server, "192.0.2.1").await;

    // By the URL of a WebSocket and of a stream.
    let mut back = websocket(server.addr, "192.0.2.1", &query("ann")).await;
    assert_eq!(back.frame().await.json()["action"], "snapshot");
    let path = format!("/api/rooms/den/stream?as=bob&client={CLIENT}");
    let (_stream, head) = stream(server.addr, "192.0.2.1", &path).await;
    assert_eq!(head.header("retry-after"), None);
    assert_eq!(server.holds("den", "bob").await, ["connection sse"]);
    // By messages.
    let mut back = websocket(server.addr, "192.0.2.1", "").await;
    let join = json!({"action": "join", "room": "den", "user": "cyd", "client": CLIENT});
    assert_eq!(answers(&mut back, [join]).await[0]["action"], "ok");
    assert_eq!(answers(&mut back, [json!({"action": "subscribe", "room": "den"})]).await[0]["action"], "ok");
    assert_eq!(server.holds("den", "cyd").await, ["connection websocket"]);
    // The gateway need not know yet that the older connection is lost.
    let mut newer = websocket(server.addr, "192.0.2.1", &query("cyd")).await;
    assert_eq!(newer.frame().await.json()["action"], "snapshot");
    assert_eq!(back.closed().await, (4409, "replaced".to_owned()));

    // Somebody new does not.
    let new = websocket(server.addr, "192.0.2.1", &format!("room=den&as=dee&client={CLIENT}")).await;
    assert_eq!(new.closed().await, (1013, "too_fast".to_owned()));
}

/// A gateway with the defaults, and 2,000 people who come back to it through a proxy that reports one address.
#[tokio::test]
async fn two_thousand_people_behind_one_address_are_back_at_once() {
    let server = TestServer::start().await;
    for round in 0..20 {
        let mut sockets = Vec::new();
        for n in 0..100 {
            let user = format!("user{round}-{n}");
            let mut socket = websocket(server.addr, "192.0.2.1", &format!("room={user}&as={user}")).await;
            assert_eq!(socket.frame().await.json()["action"], "snapshot");
            let asked = [
                json!({"action": "subscribe", "room": "den"}),
                json!({"action": "join", "room": "den", "user": user}),
                json!({"action": "update", "room": "den", "user": user, "meta": {"status": "here"}}),
            ];
            assert!(answers(&mut socket, asked).await.iter().all(|answer| answer["action"] == "ok"));
            sockets.push(socket);
        }
    }
    let numbers = server.get("/api/gateway").await.expect(200).json();
    assert!(numbers["too_fast"].as_object().is_some_and(|rates| rates.values().all(|count| *count == 0)), "{numbers}");
}
