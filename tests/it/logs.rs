//! Logs never hurt: whatever becomes of standard error, the gateway starts, serves and stops. What is logged tells who did
//! what, and no secrets.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::harness::{Binary, Client, Conn, Dialogue, LogLines, Parting, Reader, Session, Talker, Transport, within};

/// The device on which every write finds the disk full.
fn full_disk() -> File {
    File::options().write(true).open("/dev/full").expect("/dev/full")
}

/// Checks that the gateway serves a stream and a change, and stops with 0 on SIGTERM.
async fn serves_and_stops(mut gateway: Binary) {
    let mut reader = Reader::open(gateway.addr, Transport::Ws, "lobby").await.begun().await;
    let cursor = gateway.sign_in("lobby", "bob").await;
    reader.caught_up(&cursor).await;
    gateway.signal("TERM").await;
    assert!(reader.ended().await, "a close frame");
    assert_eq!(gateway.exit().await.code(), Some(0));
}

async fn dropped(client: &Client) -> u64 {
    let numbers = client.get("/api/gateway").await.expect(200).json();
    numbers["log_lines_dropped"].as_u64().expect("a number")
}

/// Waits until some lines are counted as dropped.
async fn drops_lines(client: &Client) {
    let looks = async {
        while dropped(client).await == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    within("a dropped line", looks).await;
}

/// Makes the gateway log many lines at `debug`.
async fn refusals(client: &Client, hundreds: usize) {
    let mut conn = Conn::open(client.addr).await;
    for _ in 0..hundreds {
        conn.send("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100)).await;
        for _ in 0..100 {
            conn.answer().await.expect(404);
        }
    }
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_nothing_else() {
    let gateway = Binary::start_into(full_disk(), &[]).await;
    drops_lines(&gateway).await;
    let metrics = gateway.get("/metrics").await.expect(200);
    let counted = format!("presently_log_lines_dropped_total {}", dropped(&gateway).await);
    assert!(metrics.text().lines().any(|line| line == counted), "{counted}: {}", metrics.text());
    serves_and_stops(gateway).await;
}

#[tokio::test]
async fn failing_to_start_has_its_exit_code_also_on_a_full_disk() {
    let gateway = Binary::start(&[]).await;
    for (args, code) in
        [(["--listen", &gateway.addr.to_string()], 1), (["--listen", "nowhere"], 2), (["--log", "=="], 2)]
    {
        let finished = Binary::run_into(Stdio::from(full_disk()), &args, &[]).await;
        assert_eq!(finished.code, Some(code), "{args:?}");
    }
}

#[tokio::test]
async fn a_log_whose_reader_is_gone_costs_lines_and_nothing_else() {
    let (gateway, lines) = Binary::start_unread(&["--listen", "127.0.0.1:0", "--log", "debug"], &[]).await;
    drop(lines);
    refusals(&gateway, 1).await;
    drops_lines(&gateway).await;
    serves_and_stops(gateway).await;
}

/// Fills the log's pipe and its queue, which nobody reads.
async fn with_a_stalled_log() -> (Binary, LogLines) {
    let (gateway, lines) = Binary::start_unread(&["--listen", "127.0.0.1:0", "--log", "debug"], &[]).await;
    while dropped(&gateway).await == 0 {
        refusals(&gateway, 10).await;
    }
    (gateway, lines)
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let (gateway, _lines) = with_a_stalled_log().await;
    serves_and_stops(gateway).await;
}

#[tokio::test]
async fn dropped_lines_are_told_once_the_log_is_read_again() {
    let (gateway, mut lines) = with_a_stalled_log().await;
    loop {
        let line = within("the dropped lines", lines.next_line()).await.expect("UTF-8").expect("a line");
        if line.contains("log lines were dropped") {
            assert!(line.contains("WARN") && line.contains("lines="), "{line}");
            break;
        }
    }
    serves_and_stops(gateway).await;
}

/// The line with all of `parts`, waited for.
async fn line(gateway: &Binary, parts: &[&str]) -> String {
    let looks = async {
        loop {
            let log = gateway.log();
            if let Some(line) = log.iter().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.clone();
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), looks)
        .await
        .unwrap_or_else(|_| panic!("{parts:?}: {:#?}", gateway.log()))
}

#[tokio::test]
async fn the_log_tells_who_signed_whom_in_or_out_and_who_was_refused() {
    let gateway = Binary::start(&["--log", "debug"]).await;
    let from = [("x-forwarded-for", "192.0.2.7"), ("content-type", "application/json")];
    let send = async |method, path: &str, body: &str| {
        let headers = if body.is_empty() { &from[..1] } else { &from[..] };
        gateway.send(method, path, headers, body).await.status
    };
    let who = "client=192.0.2.7";

    assert_eq!(send("PUT", "/api/rooms/den/users/ann", "").await, 201);
    line(&gateway, &["DEBUG", "signed in", who, r#"room="den""#, r#"users=["ann"]"#]).await;
    assert_eq!(send("POST", "/api/rooms/den/users", r#"{"add":[{"user":"bob"}],"del":["ann"]}"#).await, 200);
    line(&gateway, &["DEBUG", "signed in", who, r#"users=["bob"]"#, "count=1"]).await;
    line(&gateway, &["DEBUG", "signed out", who, r#"users=["ann"]"#]).await;
    assert_eq!(send("DELETE", "/api/rooms/den/users/bob?reason=kicked", "").await, 204);
    line(&gateway, &["INFO", "kicked", who, r#"room="den""#, r#"users=["bob"]"#]).await;

    assert_eq!(send("PATCH", "/api/rooms/den/users/cyd", r#"{"meta":{}}"#).await, 404);
    let patched =
        [r#"method="PATCH""#, r#"path="/api/rooms/den/users/cyd""#, "not_present", "cyd is not a member of den"];
    line(&gateway, &[&["DEBUG", "request refused", who], &patched[..]].concat()).await;
    let foreign = [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")];
    gateway.send("PUT", "/api/rooms/den/users/eve", &foreign, "").await.expect(403);
    line(&gateway, &["request refused", "client=127.0.0.1", "/users/eve", "cross_site"]).await;

    let mut talker = Talker::open(gateway.addr, "room=den").await;
    assert_eq!(talker.is_refused(json!({"action": "leave", "room": "den", "user": "dee"})).await, "not_joined");
    line(&gateway, &["DEBUG", "message refused", "client=127.0.0.1", "connection=", "not_joined", "dee"]).await;
    assert_eq!(Talker::open(gateway.addr, "as=dee&since=x").await.closed().await.0, 4400);
    line(&gateway, &["request refused", r#"path="/ws""#, r#"user="dee""#, "bad_parameter"]).await;
}

#[tokio::test]
async fn names_cannot_forge_lines_and_secrets_are_not_logged() {
    let gateway = Binary::start(&["--log", "debug"]).await;
    let secret = "6f1c1b1e-5d4f-4a55-8d2c-0d5f6f3a9b10";
    let mut talker = Talker::open(gateway.addr, &format!("room=den&as=ann&client={secret}")).await;
    talker.is_refused(json!({"action": "leave", "room": "den", "user": 1, "client": secret})).await;
    talker.is_refused(json!({"action": "join", "room": secret, "user": "ann", "meta": secret})).await;
    gateway
        .send("DELETE", &format!("/api/rooms/den/users/bob?client={secret}&reason=kicked"), &[], "")
        .await
        .expect(400);
    gateway.send("DELETE", &format!("/api/rooms/den/users/bob?client={secret}"), &[], "").await.expect(204);
    gateway.send("GET", "/ws?room=den%0Aforged%1B[31m", &[], "").await.expect(426);
    let forged = line(&gateway, &["request refused", "upgrade_required"]).await;
    assert!(forged.contains(r#"room="den\nforged\u{1b}[31m""#), "{forged}");
    let log = gateway.log();
    assert!(log.iter().all(|line| !line.contains(secret) && !line.starts_with("forged")), "{log:#?}");
}

/// All ways for secrets into the gateway, well and badly formed, with one secret in each.
#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    let mut gateway = Binary::start(&["--log", "trace,tungstenite::protocol=trace"]).await;
    let (id, secret) = ("6f1c1b1e-5d4f-4a55-8d2c-0d5f6f3a9b10", "hunter2Hunter2hunter2");
    let lobby = "/api/rooms/lobby";
    let credentials: &[(&str, &str)] =
        &[("authorization", &format!("Bearer {secret}")), ("cookie", &format!("presently-4000={secret}"))];

    // In URLs.
    for name in ["ticket", "token", "access_token", "client", "api_key", "session", "since", ""] {
        for path in
            ["/api/rooms", "/user-stream", "/users", "/ws", "/nowhere", "/healthz", "/assets/x", "/api/rooms//users"]
        {
            gateway.send("POST", &format!("{path}?{name}={secret}"), credentials, "").await;
            gateway.send("HEAD", &format!("{path}?{name}={secret}"), credentials, "").await;
            gateway.send("GET", &format!("/api/rooms/lobby/users?{secret}={name}"), credentials, "").await.expect(400);
        }
        let url = format!("{lobby}/stream?as=ann&client={id}&{name}={secret}");
        let mut conn = Conn::open(gateway.addr).await;
        conn.send(format!("GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        conn.head().await;
        let query = format!("room=den&as=ann&client={id}&{name}={secret}");
        Talker::open(gateway.addr, &query).await.part(Parting::Reset).await;
    }
    for query in [format!("client={id}"), format!("client={secret}"), format!("client={id}&hold={secret}")] {
        gateway.send("DELETE", &format!("{lobby}/users/ann?{query}"), &[("presently-client", id)], "").await;
        gateway.send("DELETE", &format!("{lobby}/users/ann?{query}"), &[("presently-client", secret)], "").await;
    }

    // In messages.
    let mut talker = Talker::open(gateway.addr, &format!("room=den&client={id}")).await;
    for message in [
        json!({"action": "auth", "token": secret}),
        json!({"action": "join", "room": "den", "user": "ann", "client": id}),
        json!({"action": "join", "room": "den", "user": "ann", "client": secret}),
        json!({"action": "join", "room": "den", "user": "ann", "session": secret}),
        json!({"action": secret, (secret): secret}),
    ] {
        talker.ask(message).await;
    }
    talker.does(json!({"action": "join", "room": "den", "user": "ann", "client": id})).await;

    // In a session.
    let header = format!("Presently-Client: {id}\r\nAuthorization: Bearer {secret}\r\n");
    let mut session = Session::with(Conn::open(gateway.addr).await, &json!([]), &header).await;
    session.join("den", "ann").await;
    session.ask(json!({"action": "auth", "token": secret})).await;
    session.post.raw("9", "[]", credentials).await.expect(409);
    session.post.raw(secret, "[]", credentials).await.expect(400);
    session.post.raw("2", format!("[{{\"{secret}\"]"), credentials).await.expect(400);
    let other = [("presently-session", secret), ("presently-seq", "1")];
    gateway.send("POST", "/api/stream/messages", &other, "").await.expect(404);
    let own = session.post.secret.clone();

    // Outside of HTTP.
    for request in [
        format!("GET /?{secret} HTTP/9.9\r\n\r\n"),
        format!("{secret}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{secret}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n", secret.repeat(1_000)),
    ] {
        let mut conn = Conn::open(gateway.addr).await;
        conn.send(request).await;
        conn.lost().await;
    }

    gateway.signal("TERM").await;
    gateway.exit().await;
    let log = gateway.log();
    for line in ["request refused", "message refused", "stream ended", "connection ended"] {
        assert!(log.iter().any(|logged| logged.contains(line)), "{line}: {log:#?}");
    }
    for secret in [id, secret, &own] {
        assert!(log.iter().all(|line| !line.contains(secret)), "{:#?}", log.iter().find(|line| line.contains(secret)));
    }
}

/// The same for what vouches for a caller: an API key, tokens, tickets, cookies.
#[tokio::test]
async fn no_credential_is_logged_at_any_level() {
    let (key, wrong) =
        ("JgfUVmHu9mH8Bvu0oE0RVbE2GeVZ4m6xw2KzF3xOqQk9hT1s", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("api-key");
    std::fs::write(&file, key).expect("a file");
    let mut gateway = Binary::start(&["--log", "trace", "--api-key", file.to_str().expect("UTF-8")]).await;
    let bearer = |credential: &str| format!("Bearer {credential}");
    let (known, unknown) = (bearer(key), bearer(wrong));
    let json = ("content-type", "application/json");

    let asked = r#"{"room":"den","can":["watch"]}"#;
    let headers = [("authorization", known.as_str()), json];
    let made = gateway.send("POST", "/api/tickets", &headers, asked).await.expect(201).json();
    let ticket = made["ticket"].as_str().expect("a ticket").to_owned();
    let origin = format!("http://{}", gateway.addr);
    let signed_in = gateway.send("POST", "/api/cookie", &[headers[0], ("origin", &origin)], "").await.expect(204);
    let cookie = signed_in.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
    let (_, id) = cookie.split_once('=').expect("a value");

    for credential in [&known, &unknown] {
        for (method, path) in [("GET", "/api/rooms"), ("PUT", "/api/rooms/den/users/ann"), ("POST", "/api/revocations")]
        {
            gateway.send(method, path, &[("authorization", credential)], "").await;
            gateway.send(method, path, &[("cookie", &cookie), ("origin", &origin)], "").await;
            gateway.send(method, path, &[("cookie", &format!("{cookie}{wrong}"))], "").await;
        }
    }
    for path in ["/api/rooms/den/stream", "/user-stream"] {
        for credential in [ticket.as_str(), &ticket, wrong, key] {
            let mut conn = Conn::open(gateway.addr).await;
            conn.send(format!("GET {path}?ticket={credential} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
            conn.head().await;
        }
    }
    assert_eq!(Talker::open(gateway.addr, &format!("room=den&ticket={ticket}")).await.closed().await.0, 4401);
    for credential in [wrong, key] {
        let mut talker = Talker::open(gateway.addr, "").await;
        talker.ask(json!({"action": "auth", "token": credential})).await;
        let mut session = Session::open(gateway.addr).await;
        session.ask(json!({"action": "auth", "token": credential})).await;
    }

    gateway.signal("TERM").await;
    gateway.exit().await;
    let log = gateway.log();
    for line in ["request refused", "message refused", "token_invalid"] {
        assert!(log.iter().any(|logged| logged.contains(line)), "{line}: {log:#?}");
    }
    for secret in [key, wrong, &ticket, id] {
        assert!(log.iter().all(|line| !line.contains(secret)), "{:#?}", log.iter().find(|line| line.contains(secret)));
    }
}
