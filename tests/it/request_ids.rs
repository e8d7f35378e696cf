//! Each answer names its request, and the log's lines about the request have the same id. Logs as JSON are one object for
//! each line.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::{Answer, Binary, Conn, DEADLINE, TestServer, upgrade};

/// The lines of the log so far, each an object.
fn lines(log: &[String]) -> Vec<Value> {
    let parsed = |line: &String| match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Value::Object(object),
        other => panic!("no object: {other:?} {line}"),
    };
    log.iter().map(parsed).collect()
}

/// The first line with this message and `fields`, waited for.
async fn line(gateway: &Binary, message: &str, fields: &Value) -> Value {
    let fits = |line: &Value| {
        let has = |(name, value): (&String, &Value)| line["fields"][name] == *value;
        line["fields"]["message"] == message && fields.as_object().expect("fields").iter().all(has)
    };
    let looks = async {
        loop {
            if let Some(line) = lines(&gateway.log()).into_iter().find(fits) {
                return line["fields"].clone();
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looks).await.unwrap_or_else(|_| panic!("{message} {fields}: {:#?}", gateway.log()))
}

/// The id of an answer, which has one.
fn id(answer: &Answer) -> &str {
    let ids: Vec<_> = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-request-id")).collect();
    assert_eq!(ids.len(), 1, "{answer:?}");
    &ids[0].1
}

const NO_ID: &str = "";
const POST: &str = "Content-Length: 2\r\nContent-Type: application/json\r\n\r\n[]";

/// Requests of all kinds: answers, refusals, and streams.
const REQUESTS: [(&str, &str, u16); 15] = [
    ("GET /api/rooms", "\r\n", 200),
    ("HEAD /api/rooms", "\r\n", 200),
    ("GET /users", "\r\n", 200),
    ("GET /presently.js", "\r\n", 200),
    ("GET /healthz", "\r\n", 200),
    ("GET /nowhere", "\r\n", 404),
    ("GET /nowhere", "Accept: text/html\r\n\r\n", 404),
    ("DELETE /api/rooms", "\r\n", 405),
    ("GET /api/rooms?token=x", "\r\n", 400),
    ("GET /ws", "\r\n", 426),
    ("OPTIONS /api/rooms", "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n\r\n", 403),
    ("HEAD /user-stream", "\r\n", 200),
    ("GET /api/rooms/lobby/stream", "\r\n", 200),
    ("GET /api/counts", "Accept: text/event-stream\r\n\r\n", 200),
    ("POST /api/stream", POST, 200),
];

async fn asks(addr: std::net::SocketAddr, target: &str, headers: &str, rest: &str) -> Answer {
    let mut conn = Conn::open(addr).await;
    conn.send(format!("{target} HTTP/1.1\r\nHost: localhost\r\n{headers}{rest}")).await;
    conn.head().await
}

#[tokio::test]
async fn each_answer_refusal_and_stream_has_an_id_and_a_trusted_proxys_id_is_kept() {
    let server = TestServer::start().await;
    for (target, rest, status) in REQUESTS {
        let answer = asks(server.addr, target, NO_ID, rest).await.expect(status);
        assert!(
            id(&answer).len() == 16 && id(&answer).bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{target}: {answer:?}"
        );
        let kept = asks(server.addr, target, "X-Request-Id: 4bf9.A_z-7\r\n", rest).await;
        assert_eq!(id(&kept), "4bf9.A_z-7", "{target}");
        let long = format!("X-Request-Id: {}\r\n", "x".repeat(65));
        assert_eq!(id(&asks(server.addr, target, &long, rest).await).len(), 16, "{target}");
    }
    let mut conn = Conn::open(server.addr).await;
    conn.send(upgrade("/ws").replace("\r\n\r\n", "\r\nX-Request-Id: ws-1\r\n\r\n")).await;
    assert_eq!(id(&conn.head().await.expect(101)), "ws-1");
}

#[tokio::test]
async fn a_strangers_id_is_replaced() {
    let server = TestServer::with(|config| config.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()]).await;
    for (target, rest, _) in REQUESTS {
        let answer = asks(server.addr, target, "X-Request-Id: mine\r\n", rest).await;
        assert_eq!(id(&answer).len(), 16, "{target}: {answer:?}");
    }
}

#[tokio::test]
async fn the_lines_about_a_request_have_its_id() {
    let gateway = Binary::start(&["--log-format", "json", "--log", "debug"]).await;
    let send = async |id: &str, method: &str, path: &str| {
        let headers = [("x-request-id", id), ("x-forwarded-for", "192.0.2.7")];
        gateway.send(method, path, &headers, "").await
    };
    for (request, method, path, status, message) in [
        ("r-1", "PUT", "/api/rooms/den/users/ann", 201, "signed in"),
        ("r-2", "DELETE", "/api/rooms/den/users/ann", 204, "signed out"),
        ("r-3", "POST", "/api/login/bob", 204, "signed in"),
        ("r-4", "DELETE", "/api/rooms/lobby/users/bob?reason=kicked", 204, "kicked"),
        ("r-5", "GET", "/nowhere", 404, "request refused"),
    ] {
        let answer = send(request, method, path).await;
        assert!(answer.status == status || answer.status / 100 == status / 100, "{request}: {answer:?}");
        assert_eq!(id(&answer), request);
        line(&gateway, message, &json!({"request": request, "client": "192.0.2.7"})).await;
    }
    let made = gateway.get("/elsewhere").await;
    line(&gateway, "request refused", &json!({"request": id(&made), "path": "/elsewhere"})).await;

    for (request, target, rest) in [
        ("s-1", "GET /api/rooms/den/stream", "\r\n"),
        ("s-2", "GET /api/counts", "Accept: text/event-stream\r\n\r\n"),
        ("s-3", "POST /api/stream", POST),
    ] {
        let conn = asks(gateway.addr, target, &format!("X-Request-Id: {request}\r\n"), rest).await;
        assert_eq!(id(&conn), request);
        let began = line(&gateway, "stream began", &json!({"request": request})).await;
        line(&gateway, "stream ended", &json!({"connection": began["connection"]})).await;
    }
    let mut conn = Conn::open(gateway.addr).await;
    conn.send(upgrade("/ws?as=ann").replace("\r\n\r\n", "\r\nX-Request-Id: w-1\r\n\r\n")).await;
    conn.head().await.expect(101);
    line(&gateway, "request refused", &json!({"request": "w-1", "code": "bad_parameter"})).await;
    line(&gateway, "stream began", &json!({"request": "w-1"})).await;
}

#[tokio::test]
async fn each_line_is_one_object_also_the_longest() {
    let mut gateway = Binary::start(&["--log-format", "json", "--log", "trace"]).await;
    // Quoted and escaped twice, ten such names are longer than a line may be.
    let names: Vec<_> = (0..10).map(|n| format!("{n}{}", "\"".repeat(127))).collect();
    let add: Vec<_> = names.iter().map(|name| json!({"user": name})).collect();
    gateway.batch("den", &json!({ "add": add })).await;
    let told = line(&gateway, "signed in", &json!({"count": 10, "room": "den"})).await;
    let users = told["users"].as_str().expect("users");
    assert!(users.starts_with(r#"["0\"\""#) && users.ends_with('…'), "{users}");
    let forging = [("x-request-id", "a\" b"), ("x-forwarded-for", "192.0.2.7\", {")];
    gateway.send("GET", "/nowhere/%22%0A%1B/\u{7f}", &forging, "").await.expect(404);
    let mut conn = Conn::open(gateway.addr).await;
    conn.send("GET / \u{1}\"\r\n\r\n").await;
    conn.lost().await;
    gateway.signal("HUP").await;
    gateway.signal("TERM").await;
    gateway.exit().await;
    let log = gateway.log();
    for line in lines(&log) {
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        assert!(line["fields"]["message"].is_string(), "{line}");
    }
    assert!(log.iter().all(|line| line.len() <= 4_096), "{log:#?}");
}

#[tokio::test]
async fn a_start_that_fails_says_so_as_an_object_too() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("its address").to_string();
    let finished = Binary::run(&["--log-format", "json", "--listen", &addr], &[]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let log: Vec<_> = finished.stderr.lines().map(str::to_owned).collect();
    let last = lines(&log).pop().expect("a line");
    assert_eq!(last["level"], "ERROR");
    let sentence = format!("cannot listen on {addr}: the port is taken; choose another with --listen");
    assert_eq!(last["fields"]["message"], sentence);
}
