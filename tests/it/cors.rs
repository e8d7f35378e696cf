//! Pages of other origins: those of `--allow-origin` read every answer, refusals included; others read nothing.

use presently::Config;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::harness::{Answer, Conn, Page, PrefixProxy, Session, TestServer, raw};

const ALLOWED: &str = "https://app.example";
const FOREIGN: &str = "https://evil.example";
const KEY: &str = "JgfUVmHu9mH8Bvu0oE0RVbE2GeVZ4m6xw2KzF3xOqQk9hT1s";
const CLIENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

/// The routes as the sources write them.
const SOURCES: &str = include_str!("../../src/http.rs");

const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const SESSION: &str = "Content-Type: application/json\r\nPresently-Session: SECRET\r\nPresently-Seq: 1\r\n";

/// A request: method and path, header lines, body, and the status of the answer.
type Request = (&'static str, &'static str, &'static str, u16);

/// A door: its route, a request that is answered, and a request that is refused.
type Door = (&'static str, Request, Request);

/// Reads, which any page may send.
const READS: [Door; 22] = [
    (
        r#""api" / "rooms" / Segment / "users" / Segment"#,
        ("GET /api/rooms/lobby/users/ann", "", "", 200),
        ("GET /api/rooms/lobby/users/nobody", "", "", 404),
    ),
    (
        r#""api" / "rooms" / Segment / "users""#,
        ("GET /api/rooms/lobby/users", "", "", 200),
        ("HEAD /api/rooms/lobby/users?limit=0", "", "", 400),
    ),
    (
        r#""api" / "rooms" / Segment / "events""#,
        ("GET /api/rooms/lobby/events", "", "", 200),
        ("GET /api/rooms/lobby/events?limit=0", "", "", 400),
    ),
    (r#""api" / "rooms" / Segment"#, ("GET /api/rooms/lobby", "", "", 200), ("DELETE /api/rooms/lobby", "", "", 405)),
    (r#""api" / "rooms""#, ("HEAD /api/rooms", "", "", 200), ("GET /api/rooms?token=x", "", "", 400)),
    (r#""api" / "counts""#, ("GET /api/counts", "", "", 200), ("POST /api/counts", JSON, "[]", 400)),
    (
        r#""api" / "counts""#,
        ("POST /api/counts", JSON, r#"{"rooms":[]}"#, 200),
        ("GET /api/counts?alive=2", "", "", 400),
    ),
    (
        r#""api" / "rooms" / Segment / "stream""#,
        ("GET /api/rooms/lobby/stream", "", "", 200),
        ("GET /api/rooms/lobby/stream?only=x", "", "", 400),
    ),
    (
        r#""api" / "rooms" / Segment / "stream""#,
        ("HEAD /api/rooms/lobby/stream", "", "", 200),
        ("GET /api/rooms/lobby/stream", JSON, "{}", 400),
    ),
    (r#""user-stream""#, ("GET /user-stream", "", "", 200), ("POST /user-stream", "", "", 405)),
    (r#""api" / "gateway""#, ("GET /api/gateway", "", "", 200), ("POST /api/gateway", "", "", 405)),
    (r#""metrics""#, ("GET /metrics", "", "", 200), ("POST /metrics", "", "", 405)),
    (r#""healthz""#, ("GET /healthz", "", "", 200), ("POST /healthz", "", "", 405)),
    (r#""readyz""#, ("GET /readyz", "", "", 200), ("POST /readyz", "", "", 405)),
    (r#""users""#, ("GET /users", "Accept: text/html\r\n", "", 200), ("GET /users?room=%00", "", "", 400)),
    (r#""assets" / .."#, ("GET /assets/style.css", "", "", 200), ("GET /assets/none", "", "", 404)),
    (r#""api" / "holds""#, ("GET /api/holds?user=ann", "", "", 200), ("GET /api/holds", "", "", 400)),
    (r#""api" / "access""#, ("GET /api/access", "", "", 200), ("POST /api/access", "", "", 405)),
    (r#""api" / "revocations""#, ("GET /api/revocations", "", "", 200), ("GET /api/revocations?limit=0", "", "", 400)),
    (r#""openapi.json""#, ("GET /openapi.json", "", "", 200), ("POST /openapi.json", "", "", 405)),
    (r#""asyncapi.json""#, ("HEAD /asyncapi.json", "", "", 200), ("POST /asyncapi.json", "", "", 405)),
    ("", ("GET /", "", "", 302), ("GET /nowhere", "", "", 404)),
];

/// Changes and sessions, which only pages of allowed origins may send.
const CHANGES: [Door; 15] = [
    (
        r#""api" / "rooms" / Segment / "users" / Segment"#,
        ("PUT /api/rooms/lobby/users/bob", "", "", 201),
        ("PUT /api/rooms/lobby/users/bob", JSON, "[", 400),
    ),
    (
        r#""api" / "rooms" / Segment / "users""#,
        ("POST /api/rooms/lobby/users", JSON, r#"{"add":[{"user":"cyd"}]}"#, 200),
        ("POST /api/rooms/lobby/users", "", "{}", 415),
    ),
    (
        r#""api" / "login" / Segment"#,
        ("POST /api/login/dee", "", "", 204),
        ("POST /api/login/dee", "Sec-Purpose: prefetch\r\n", "", 403),
    ),
    (
        r#""api" / "logout" / Segment"#,
        ("GET /api/logout/dee", "", "", 302),
        ("GET /api/logout/dee", "Sec-Purpose: prefetch\r\n", "", 403),
    ),
    (r#""api" / "login""#, ("POST /api/login", FORM, "user=eva", 204), ("POST /api/login", FORM, "usr=eva", 400)),
    (r#""api" / "logout""#, ("POST /api/logout", FORM, "user=eva", 204), ("GET /api/logout", "", "", 405)),
    (
        r#""api" / "rooms" / Segment / "login""#,
        ("POST /api/rooms/den/login", FORM, "user=eva", 303),
        ("POST /api/rooms/den/login", FORM, "usr=eva", 400),
    ),
    (
        r#""api" / "rooms" / Segment / "logout""#,
        ("POST /api/rooms/den/logout", FORM, "user=eva", 303),
        ("GET /api/rooms/den/logout", "", "", 405),
    ),
    (
        r#""api" / "rooms" / Segment / "stream""#,
        ("GET /api/rooms/lobby/stream?as=fay", "", "", 200),
        ("GET /api/rooms/lobby/stream?as=%00", "", "", 400),
    ),
    (r#""api" / "stream""#, ("POST /api/stream", JSON, "[]", 200), ("POST /api/stream", JSON, "{}", 400)),
    (
        r#""api" / "stream" / "messages""#,
        ("POST /api/stream/messages", SESSION, "[]", 204),
        ("POST /api/stream/messages", "Presently-Session: x\r\n", "[]", 404),
    ),
    (
        r#""api" / "revocations""#,
        ("POST /api/revocations", JSON, r#"{"jti":"x"}"#, 201),
        ("POST /api/revocations", JSON, "{}", 400),
    ),
    (
        r#""api" / "tickets""#,
        ("POST /api/tickets", JSON, r#"{"room":"lobby","can":["watch"]}"#, 201),
        ("POST /api/tickets", JSON, r#"{"room":"lobby","can":[]}"#, 400),
    ),
    (r#""api" / "cookie""#, ("POST /api/cookie", "", "", 204), ("GET /api/cookie", "", "", 405)),
    // An upgrade is no answer that a page reads, but a refusal before the upgrade is.
    (r#""ws""#, ("POST /ws", "", "", 405), ("GET /ws", "", "", 426)),
];

async fn gateway(change: impl FnOnce(&mut Config)) -> TestServer {
    let server = TestServer::with(|config| {
        config.allow_origins = vec![ALLOWED.parse().unwrap(), "capacitor://localhost".parse().unwrap()];
        change(config);
    })
    .await;
    server.sign_in("lobby", "ann").await;
    server
}

/// The head of the answer to one request, which may begin a stream.
async fn head(server: &TestServer, target: &str, headers: &str, body: &str) -> Answer {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let mut conn = Conn::open(server.addr).await;
    conn.send(format!("{target} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n{body}")).await;
    conn.head().await
}

fn varies(answer: &Answer) -> bool {
    let vary = answer.header("vary").unwrap_or_default();
    vary.split(',').any(|name| name.trim().eq_ignore_ascii_case("origin"))
}

/// Checks that a page of `origin` may read the answer, with cookies, and sees when to try again.
fn is_shared(answer: &Answer, origin: &str, what: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{what}: {answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{what}");
    assert_eq!(
        answer.header("access-control-expose-headers"),
        Some("Retry-After, WWW-Authenticate, X-Request-Id"),
        "{what}"
    );
    assert!(varies(answer), "{what}: {answer:?}");
}

/// Checks that no page of another origin may read the answer.
fn is_private(answer: &Answer, what: &str) {
    let about = answer.headers.iter().find(|(name, _)| name.to_ascii_lowercase().starts_with("access-control-"));
    assert_eq!(about, None, "{what}: {answer:?}");
}

#[tokio::test]
async fn every_door_answers_and_refuses_with_cors_headers_to_allowed_origins_only() {
    let server = gateway(|_| ()).await;
    let session = Session::open(server.addr).await;
    for (at, (_, answered, refused)) in READS.iter().chain(&CHANGES).enumerate() {
        for (target, headers, body, status) in [answered, refused] {
            let headers = headers.replace("SECRET", &session.post.secret);
            let of = |origin: &str| format!("Origin: {origin}\r\nSec-Fetch-Site: cross-site\r\n{headers}");
            let what = format!("{target} {headers}{body}");

            let answer = head(&server, target, &of(FOREIGN), body).await;
            is_private(&answer, &what);
            assert!(varies(&answer), "{what}: {answer:?}");
            let is_read = at < READS.len();
            assert!(if is_read { answer.status == *status } else { answer.status >= 400 }, "{what}: {answer:?}");

            is_shared(&head(&server, target, &of(ALLOWED), body).await.expect(*status), ALLOWED, &what);

            let again = if target.starts_with("PUT") && *status == 201 { 200 } else { *status };
            let answer = head(&server, target, &headers, body).await.expect(again);
            is_private(&answer, &what);
            assert!(varies(&answer), "{what}: {answer:?}");
        }
    }
}

#[test]
fn every_route_has_a_door_in_the_tables() {
    let routes = SOURCES.split("path!(").skip(1).map(|rest| &rest[..rest.find(").and(").expect("the end of a route")]);
    for route in routes.filter(|route| *route != "Module") {
        assert!(READS.iter().chain(&CHANGES).any(|(door, ..)| *door == route), "no row for {route}");
    }
}

#[tokio::test]
async fn without_allowed_origins_nothing_is_said() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    for (_, answered, refused) in &READS {
        for (target, headers, body, status) in [answered, refused] {
            let headers = format!("Origin: {ALLOWED}\r\n{headers}");
            let answer = head(&server, target, &headers, body).await.expect(*status);
            is_private(&answer, target);
            assert!(!varies(&answer), "{target}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn the_client_is_for_everybody_and_its_refusals_are_for_allowed_origins() {
    let server = gateway(|_| ()).await;
    for (path, origin) in [("/presently.js", ALLOWED), ("/presently.d.ts", FOREIGN), ("/presently-room.js", "null")] {
        let answer = head(&server, &format!("GET {path}"), &format!("Origin: {origin}\r\n"), "").await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), None, "{path}");
        assert!(!varies(&answer), "caches need one copy for all: {answer:?}");
    }
    let headers = format!("Origin: {ALLOWED}\r\n");
    is_shared(&head(&server, "POST /presently.js", &headers, "").await.expect(405), ALLOWED, "405");
}

#[tokio::test]
async fn origins_are_compared_by_value_and_repeated_as_sent() {
    let server = gateway(|_| ()).await;
    for origin in [ALLOWED, "https://app.example:443", "HTTPS://APP.example", "capacitor://localhost"] {
        let answer = head(&server, "GET /api/rooms", &format!("Origin: {origin}\r\n"), "").await.expect(200);
        is_shared(&answer, origin, origin);
    }
    for headers in [
        "Origin: http://app.example\r\n",
        "Origin: https://app.example:8443\r\n",
        "Origin: https://app.example.evil.example\r\n",
        "Origin: https://app.example/\r\n",
        "Origin: null\r\n",
        "Origin: *\r\n",
        "Origin:\r\n",
        "Origin: https://app.example https://evil.example\r\n",
        "Origin: https://app.example\r\nOrigin: https://evil.example\r\n",
        "Origin: https://app.example\r\nOrigin: https://app.example\r\n",
    ] {
        let answer = head(&server, "GET /api/rooms", headers, "").await.expect(200);
        is_private(&answer, headers);
        assert!(varies(&answer), "{headers}");
    }
}

#[tokio::test]
async fn refusals_of_all_kinds_can_be_read() {
    let server = gateway(|config| {
        config.rate_changes = "1/min".parse().unwrap();
        config.rate_snapshots = "1/min".parse().unwrap();
        config.max_body = 16;
    })
    .await;
    let from = format!("Origin: {ALLOWED}\r\nX-Forwarded-For: 192.0.2.7\r\n");
    let change = "PUT /api/rooms/lobby/users/bob";
    head(&server, change, &from, "").await.expect(201);
    let answer = head(&server, "DELETE /api/rooms/lobby/users/bob", &from, "").await.expect(429);
    is_shared(&answer, ALLOWED, "too_fast");
    assert!(answer.header("retry-after").is_some());

    head(&server, "GET /api/rooms/lobby/stream", &from, "").await.expect(200);
    // An EventSource gives up after an error status, so this refusal is a stream.
    let answer = head(&server, "GET /api/rooms/lobby/stream", &from, "").await.expect(200);
    is_shared(&answer, ALLOWED, "a stream refused for now");
    assert!(answer.header("retry-after").is_some());

    let large = format!("{JSON}{from}");
    is_shared(&head(&server, change, &large, &" ".repeat(17)).await.expect(413), ALLOWED, "body_too_large");
    let rebound = raw(server.addr, format!("GET / HTTP/1.1\r\nHost: evil.example\r\n{from}\r\n")).await.expect(421);
    is_shared(&rebound, ALLOWED, "wrong_host");
}

/// A file with one API key.
fn api_key() -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{KEY}\n")).expect("a written file");
    file
}

#[tokio::test]
async fn with_keys_refusals_can_be_read_and_preflights_need_no_credential() {
    let file = api_key();
    let server = TestServer::with(|config| {
        config.allow_origins = vec![ALLOWED.parse().unwrap()];
        config.api_keys = vec![file.path().to_owned()];
    })
    .await;
    let from = format!("Origin: {ALLOWED}\r\n");
    for (target, more) in [
        ("GET /api/rooms/lobby/users", ""),
        ("GET /api/rooms/lobby/stream", ""),
        ("GET /api/rooms/lobby/stream", "Authorization: Bearer no-such-key\r\n"),
        ("PUT /api/rooms/lobby/users/ann", ""),
        ("GET /api/counts", "Authorization: Basic x\r\n"),
    ] {
        let answer = head(&server, target, &format!("{from}{more}"), "").await.expect(401);
        is_shared(&answer, ALLOWED, target);
        assert!(answer.header("www-authenticate").is_some_and(|says| says.starts_with("Bearer ")), "{answer:?}");
    }
    for path in ["/api/rooms/lobby/users", "/api/stream", "/api/tickets", "/nowhere"] {
        is_shared(&preflight(&server, path, ALLOWED, "").await.expect(204), ALLOWED, path);
        preflight(&server, path, FOREIGN, "").await.expect(403);
    }
    let with_key = format!("{from}Authorization: Bearer {KEY}\r\n");
    is_shared(&head(&server, "GET /api/rooms/lobby/users", &with_key, "").await.expect(200), ALLOWED, "with the key");
}

/// A preflight for `path`.
async fn preflight(server: &TestServer, path: &str, origin: &str, more: &str) -> Answer {
    let asks = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: authorization,content-type\r\n";
    head(server, &format!("OPTIONS {path}"), &format!("Origin: {origin}\r\n{asks}{more}"), "").await
}

#[tokio::test]
async fn a_preflight_is_answered_before_all_else_and_for_all_paths() {
    let server = gateway(|config| config.rate_snapshots = "1/min".parse().unwrap()).await;
    let from = "X-Forwarded-For: 192.0.2.7\r\n";
    for path in
        ["/api/rooms/lobby/users/ann", "/api/stream", "/ws", "/nowhere", "/", "/api/rooms/?%zz", "/api/rooms/%00"]
    {
        for _ in 0..3 {
            let answer = preflight(&server, path, ALLOWED, from).await.expect(204);
            is_shared(&answer, ALLOWED, path);
            let allows = |what: &str| answer.header(&format!("access-control-{what}")).expect("a header").to_owned();
            assert_eq!(allows("allow-methods"), "GET, HEAD, POST, PUT, PATCH, DELETE");
            let headers =
                "Authorization, Content-Type, Last-Event-ID, Presently-Client, Presently-Session, Presently-Seq";
            assert_eq!(allows("allow-headers"), headers);
            assert_eq!(allows("max-age"), "7200");
            assert_eq!(answer.header("access-control-allow-private-network"), None);
        }
    }
    let private = "Access-Control-Request-Private-Network: true\r\n";
    let answer = preflight(&server, "/api/rooms", ALLOWED, private).await.expect(204);
    assert_eq!(answer.header("access-control-allow-private-network"), Some("true"));
}

#[tokio::test]
async fn a_preflight_of_a_foreign_page_is_refused_and_names_the_option() {
    let server = gateway(|_| ()).await;
    for (origin, advice) in [
        (FOREIGN, "start the gateway with --allow-origin https://evil.example"),
        ("http://app.example:8080", "start the gateway with --allow-origin http://app.example:8080"),
        // A page of the gateway's own host, which asks under another scheme.
        ("https://localhost", "start the gateway with --allow-origin https://localhost"),
        ("null", "--allow-origin cannot name it"),
    ] {
        let mut conn = Conn::open(server.addr).await;
        let ask = "OPTIONS /api/rooms HTTP/1.1\r\nHost: localhost\r\nAccess-Control-Request-Method: PUT";
        conn.send(format!("{ask}\r\nOrigin: {origin}\r\n\r\n")).await;
        let answer = conn.answer().await.expect(403);
        is_private(&answer, origin);
        assert!(varies(&answer), "{answer:?}");
        let problem = answer.json();
        assert_eq!((&problem["code"], &problem["field"]), (&json!("cross_site"), &json!("Origin")));
        let detail = problem["detail"].as_str().expect("a sentence");
        assert!(detail.contains(&format!("origin {origin} ")) && detail.ends_with(advice), "{detail}");
    }
    // Without a question for a method it is no preflight.
    head(&server, "OPTIONS /api/rooms", &format!("Origin: {ALLOWED}\r\n"), "").await.expect(405);
    let rebound = "OPTIONS / HTTP/1.1\r\nHost: evil.example\r\nAccess-Control-Request-Method: PUT\r\n";
    raw(server.addr, format!("{rebound}Origin: {ALLOWED}\r\n\r\n")).await.expect(421);
}

#[tokio::test]
async fn a_refused_change_names_the_option_with_its_value() {
    let server = gateway(|_| ()).await;
    let from = [("origin", FOREIGN), ("sec-fetch-site", "cross-site")];
    let refused = server.send("PUT", "/api/rooms/lobby/users/eve", &from, "").await.expect(403).json();
    let detail = refused["detail"].as_str().expect("a sentence");
    assert!(detail.ends_with("start the gateway with --allow-origin https://evil.example"), "{detail}");
}

/// A gateway that allows the pages of another one, and a browser at one of these.
async fn from_another_port(allowed: bool) -> (TestServer, TestServer, Page) {
    let pages = TestServer::start().await;
    let origin = format!("http://{}", pages.addr);
    let server = TestServer::with(|config| {
        config.rate_changes = "1/min".parse().unwrap();
        if allowed {
            config.allow_origins = vec![origin.parse().unwrap()];
        }
    })
    .await;
    server.sign_in("lobby", "ann").await;
    let page = Page::blank(&[]).await;
    page.go(&format!("{origin}/healthz")).await;
    page.run(&format!("window.base = 'http://{}'", server.addr)).await;
    (server, pages, page)
}

#[tokio::test]
async fn a_browser_s_page_of_an_allowed_origin_reads_streams_and_changes() {
    let (server, _pages, page) = from_another_port(true).await;
    let read = "const answer = await fetch(base + '/api/rooms/lobby', {credentials: 'include'}); \
        return (await answer.json()).count";
    assert_eq!(page.run(read).await, json!(1));

    page.run(
        "window.seen = []; window.source = new EventSource(base + '/api/rooms/lobby/stream'); \
        source.onmessage = ({ data }) => seen.push(JSON.parse(data).action)",
    )
    .await;
    page.until("a snapshot", "seen.includes('snapshot')").await;
    let change = format!(
        "const headers = {{ 'Content-Type': 'application/json', 'Presently-Client': '{CLIENT}', 'Last-Event-ID': 'x' }}; \
         const put = (headers) => fetch(base + '/api/rooms/lobby/users/bob', {{ method: 'PUT', headers, body: '{{}}' }}); \
         return (await put(headers)).status"
    );
    assert_eq!(page.run(&change).await, json!(201));
    page.until("the change", "seen.includes('add')").await;

    let session = "const json = { method: 'POST', headers: { 'Content-Type': 'application/json' } }; \
        const stream = await fetch(base + '/api/stream', { ...json, body: '[]' }); \
        const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader(); \
        const secret = JSON.parse((await reader.read()).value.split('\\n')[0].slice(6)).session; \
        const headers = { ...json.headers, 'Presently-Session': secret, 'Presently-Seq': '1' }; \
        const body = JSON.stringify([{ action: 'join', room: 'lobby', user: 'cyd' }]); \
        return (await fetch(base + '/api/stream/messages', { ...json, headers, body })).status";
    assert_eq!(page.run(session).await, json!(204));
    assert!(server.is_present("lobby", "cyd").await);

    let refused = "const answer = await fetch(base + '/api/rooms/lobby/users/nobody'); \
        return [answer.status, (await answer.json()).code]";
    assert_eq!(page.run(refused).await, json!([404, "not_present"]));
    server.stop().await;
}

#[tokio::test]
async fn a_browser_s_page_of_an_allowed_origin_sees_when_to_try_again() {
    let (server, _pages, page) = from_another_port(true).await;
    let proxy = PrefixProxy::start(&server, "/busy").await;
    let script = format!(
        "const put = () => fetch('{}api/rooms/lobby/users/bob', {{ method: 'PUT' }}); \
         await put(); const {{ status, headers }} = await put(); \
         return [status, Number(headers.get('Retry-After')) > 0]",
        proxy.base()
    );
    let seen = page.run(&script).await;
    assert_eq!(seen, json!([429, true]));
}

#[tokio::test]
async fn a_browser_s_page_of_an_allowed_origin_has_the_client_over_both_transports() {
    let (server, _pages, page) = from_another_port(true).await;
    for (transport, user) in [("websocket", "bob"), ("sse", "cyd")] {
        let options = json!({ "as": user, "transport": transport });
        let script =
            format!("const {{ Room }} = await import(base + '/presently.js'); room = new Room('den', {options})");
        page.run(&format!("window.room?.close(); {script}")).await;
        page.until(transport, &format!("room.state === 'live' && room.holding && room.transport === '{transport}'"))
            .await;
        assert!(server.is_present("den", user).await, "{transport}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_browser_s_page_of_an_allowed_origin_sends_a_token_and_sees_what_is_missing() {
    let (pages, file) = (TestServer::start().await, api_key());
    let origin = format!("http://{}", pages.addr);
    let server = TestServer::with(|config| {
        config.allow_origins = vec![origin.parse().unwrap()];
        config.api_keys = vec![file.path().to_owned()];
    })
    .await;
    let page = Page::blank(&[]).await;
    page.go(&format!("{origin}/healthz")).await;
    let script = format!(
        "const get = (headers) => fetch('http://{}/api/rooms', {{ headers }}); \
         const refused = await get({{}}); const answered = await get({{ Authorization: 'Bearer {KEY}' }}); \
         return [refused.status, refused.headers.get('WWW-Authenticate').split(' ')[0], answered.status]",
        server.addr
    );
    assert_eq!(page.run(&script).await, json!([401, "Bearer", 200]));
}

#[tokio::test]
async fn a_browser_s_page_of_a_foreign_origin_reads_and_changes_nothing() {
    let (server, _pages, page) = from_another_port(false).await;
    let fails = |request: &str| format!("try {{ await fetch({request}); return 'read' }} catch {{ return 'hidden' }}");
    for request in [
        "base + '/api/rooms/lobby'",
        "base + '/api/rooms/lobby/users/nobody'",
        "base + '/api/rooms/lobby/users/eve', { method: 'PUT' }",
        "base + '/api/login/eve', { method: 'POST' }",
        "base + '/api/stream', { method: 'POST' }",
    ] {
        assert_eq!(page.run(&fails(request)).await, json!("hidden"), "{request}");
    }
    let stream = page
        .run(
            "return new Promise((done) => { const source = new EventSource(base + '/api/rooms/lobby/stream'); \
            source.onmessage = () => done('read'); source.onerror = () => done('hidden') })",
        )
        .await;
    assert_eq!(stream, json!("hidden"));
    assert!(!server.is_present("lobby", "eve").await);
}
