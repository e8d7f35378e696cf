//! Bad input: each is refused with a clear error, changes nothing, and leaves the gateway working.

use serde_json::json;

use crate::harness::{Answer, Conn, Held, RawWs, Sse, TestServer, raw, upgrade};

const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const CLIENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
const MEMBER: &str = "/api/rooms/lobby/users/bob";
const USERS: &str = "/api/rooms/lobby/users";

/// A request and the expected refusal: method and path, header lines, body; status, code, field.
type Case<'a> = (&'a str, &'a str, &'a [u8], u16, &'a str, Option<&'a str>);

/// A set that no refused request may change.
struct Untouched {
    server: TestServer,
    before: Held,
}

impl Untouched {
    async fn new() -> Self {
        Self::of(TestServer::start().await).await
    }

    async fn of(server: TestServer) -> Self {
        server.sign_in_as("lobby", "ann", &json!({"status": "here"})).await;
        let before = server.held("lobby").await;
        Self { server, before }
    }

    async fn check(&self, what: &str) {
        assert_eq!(self.server.held("lobby").await, self.before, "after {what}");
    }

    async fn send(&self, target: &str, headers: &str, body: &[u8]) -> Answer {
        raw(self.server.addr, request(target, headers, body)).await
    }

    async fn refuses(&self, case: Case<'_>) {
        let (target, headers, body, status, code, field) = case;
        let what = format!("{target} {headers:?} {}", String::from_utf8_lossy(&body[..body.len().min(200)]));
        let answer = self.send(target, headers, body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        problem(&answer, code, field, &what);
        self.check(&what).await;
    }

    async fn refuses_all(&self, cases: &[Case<'_>]) {
        for case in cases {
            self.refuses(*case).await;
        }
    }
}

/// The bytes of a request; `target` is method and path.
fn request(target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{target} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n");
    [head.as_bytes(), body].concat()
}

/// Checks that the answer is a problem document as in PROTOCOL.
fn problem(answer: &Answer, code: &str, field: Option<&str>, what: &str) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    let problem = answer.json();
    assert_eq!(problem["type"], "about:blank", "{what}");
    assert_eq!(problem["status"], answer.status, "{what}");
    assert_eq!(problem["code"], code, "{what}: {problem}");
    assert_eq!(problem["field"].as_str(), field, "{what}: {problem}");
    assert_eq!(problem["retry"], code.starts_with("too_many"), "{what}: {problem}");
    for text in ["title", "detail"] {
        assert!(problem[text].as_str().is_some_and(|text| !text.is_empty()), "{what}: {problem}");
    }
}

#[tokio::test]
async fn names_that_break_the_rules_are_refused_everywhere() {
    let room = Untouched::new().await;
    let long = "x".repeat(129);
    let long_in_bytes = "%C3%A9".repeat(65);
    for name in [
        "%zz",
        "%",
        "%4",
        "a%",
        "%ff",
        "%c3%28",
        "%00",
        "a%0Ab",
        "%7f",
        "%c2%85",
        "%2e",
        "%2e%2e",
        "%20",
        "%e2%80%8b%c2%a0",
        "ann%e2%80%aegpj",
        "%e2%81%a6ann%e2%81%a9",
        &long,
        &long_in_bytes,
    ] {
        room.refuses_all(&[
            (&format!("GET /api/login/{name}"), "", b"", 400, "bad_name", Some("user")),
            (&format!("GET /api/logout/{name}"), "", b"", 400, "bad_name", Some("user")),
            (&format!("POST /api/login/{name}"), "", b"", 400, "bad_name", Some("user")),
            (&format!("PUT {USERS}/{name}"), "", b"", 400, "bad_name", Some("user")),
            (&format!("PATCH {USERS}/{name}"), JSON, br#"{"meta":{}}"#, 400, "bad_name", Some("user")),
            (&format!("DELETE {USERS}/{name}"), "", b"", 400, "bad_name", Some("user")),
            (&format!("GET {USERS}/{name}"), "", b"", 400, "bad_name", Some("user")),
            (&format!("GET /api/rooms/{name}"), "", b"", 400, "bad_name", Some("room")),
            (&format!("GET /api/rooms/{name}/users"), "", b"", 400, "bad_name", Some("room")),
            (&format!("GET /api/rooms/{name}/stream"), "", b"", 400, "bad_name", Some("room")),
            (&format!("PUT /api/rooms/{name}/users/bob"), "", b"", 400, "bad_name", Some("room")),
            (
                &format!("POST /api/rooms/{name}/users"),
                JSON,
                br#"{"add":[{"user":"bob"}]}"#,
                400,
                "bad_name",
                Some("room"),
            ),
        ])
        .await;
    }
}

#[tokio::test]
async fn an_empty_name_in_a_path_is_a_bad_name() {
    let room = Untouched::new().await;
    for target in [
        "GET /api/login/",
        "POST /api/logout/",
        "GET /api/rooms/",
        "GET /api/rooms//users",
        "POST /api/rooms//users",
        "PUT /api/rooms//users/bob",
        "PUT /api/rooms/lobby/users/",
        "DELETE /api/rooms/lobby/users/",
        "GET /api/rooms//stream",
    ] {
        let answer = room.send(target, "", b"").await.expect(400);
        assert_eq!(answer.json()["code"], "bad_name", "{target}");
        room.check(target).await;
    }
}

#[tokio::test]
async fn a_token_in_a_url_is_refused_also_where_unknown_parameters_are_passed_over() {
    let room = Untouched::new().await;
    for (name, field) in [("token", "token"), ("access_token", "access_token"), ("%74oken", "token")] {
        for target in [
            "GET /api/rooms",
            "GET /api/rooms/lobby/stream",
            "GET /api/rooms/lobby/users/ann",
            "PUT /api/rooms/lobby/users/bob",
            "POST /api/stream",
            "GET /user-stream",
            "GET /users",
            "POST /api/login/bob",
        ] {
            let answer = room.send(&format!("{target}?x=1&{name}=s3cret"), "", b"").await.expect(400);
            problem(&answer, "bad_parameter", Some(field), target);
            assert!(answer.text().contains("tokens never travel in URLs"), "{}", answer.text());
            assert!(!answer.text().contains("s3cret"), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn forms_that_name_no_user_are_refused() {
    let room = Untouched::new().await;
    for path in ["POST /api/login", "POST /api/logout"] {
        room.refuses_all(&[
            (path, FORM, b"user=", 400, "bad_name", Some("user")),
            (path, FORM, b"user=%ff", 400, "bad_parameter", None),
            (path, FORM, b"user=%00", 400, "bad_name", Some("user")),
            (path, FORM, b"user=..", 400, "bad_name", Some("user")),
            (path, FORM, b"user=+%E3%85%A4", 400, "bad_name", Some("user")),
            (path, FORM, b"user=ann&user=bob", 400, "bad_parameter", Some("user")),
            (path, FORM, b"user=ann&usr=bob", 400, "bad_parameter", Some("usr")),
            (path, FORM, b"usr=ann", 400, "bad_parameter", Some("usr")),
            (path, FORM, b"", 400, "bad_name", Some("user")),
            (path, JSON, br#"{"user":"ann"}"#, 415, "wrong_type", Some("Content-Type")),
            (path, "", b"user=ann", 415, "wrong_type", Some("Content-Type")),
        ])
        .await;
    }
}

#[tokio::test]
async fn bodies_that_are_not_the_expected_json_are_refused() {
    let room = Untouched::new().await;
    let deep = "[".repeat(100_000);
    for body in [
        &b"{"[..],
        b"[]",
        b"null",
        b"17",
        b"\"meta\"",
        b"{} {}",
        b"{\"meta\":{}}x",
        b"\xff",
        b"{\"meta\":{\"a\":\"\xff\"}}",
        b"{\"meta\":{},\"meta\":{}}",
        b"{\"meta\":{},\"m\\u0065ta\":{}}",
        b"{\"mata\":{}}",
        b"{\"tll\":30}",
        b"[{\"a\":1}]",
        b"{'meta':{}}",
        b"{\"meta\":{\"a\":NaN}}",
        deep.as_bytes(),
    ] {
        for (target, path) in [("PUT", MEMBER), ("PATCH", "/api/rooms/lobby/users/ann")] {
            let answer = room.send(&format!("{target} {path}"), JSON, body).await.expect(400);
            assert_eq!(answer.json()["code"], "bad_json", "{}", answer.text());
        }
    }
    room.check("bad bodies").await;
}

#[tokio::test]
async fn a_meta_out_of_bounds_or_read_differently_by_readers_is_refused() {
    let room = Untouched::new().await;
    let large = json!({"meta": {"a": "x".repeat(1024 - 7)}}).to_string();
    assert_eq!(large.len(), r#"{"meta":}"#.len() + 1025);
    let deep = format!(r#"{{"meta":{{"a":{}{}}}}}"#, "[".repeat(32), "]".repeat(32));
    let escaped = format!(r#"{{"meta":{{"a":"{}"}}}}"#, r"\u0061".repeat(1024));
    for meta in [
        r#"{"meta":[]}"#,
        r#"{"meta":"x"}"#,
        r#"{"meta":1}"#,
        r#"{"meta":true}"#,
        r#"{"meta":null}"#,
        r#"{"meta":{"a":1,"a":1}}"#,
        r#"{"meta":{"b":[{"a":1,"\u0061":2}]}}"#,
        r#"{"meta":{"a":"\ud800"}}"#,
        r#"{"meta":{"a":1e400}}"#,
        &large,
        &deep,
        &escaped,
    ] {
        for target in [format!("PUT {MEMBER}"), "PATCH /api/rooms/lobby/users/ann".to_owned()] {
            room.refuses((&target, JSON, meta.as_bytes(), 400, "bad_meta", Some("meta"))).await;
        }
    }
}

#[tokio::test]
async fn a_ttl_that_is_no_whole_number_of_seconds_within_bounds_is_refused() {
    let room = Untouched::new().await;
    let private = r#"{"$serde_json::private::RawValue":"30"}"#;
    for ttl in ["0", "86401", "1.5", "-1", "\"30\"", "null", "1e99", "1e999", private] {
        let body = format!(r#"{{"ttl":{ttl}}}"#);
        room.refuses((&format!("PUT {MEMBER}"), JSON, body.as_bytes(), 400, "bad_ttl", Some("ttl"))).await;
    }
    let body = br#"{"meta":{},"ttl":30}"#;
    room.refuses(("PATCH /api/rooms/lobby/users/ann", JSON, body, 400, "bad_ttl", Some("ttl"))).await;
}

#[tokio::test]
async fn a_patch_must_bring_a_meta() {
    let room = Untouched::new().await;
    for body in ["", "{}"] {
        room.refuses(("PATCH /api/rooms/lobby/users/ann", JSON, body.as_bytes(), 400, "bad_meta", Some("meta"))).await;
    }
}

#[tokio::test]
async fn batches_with_one_fault_are_refused_as_a_whole() {
    let room = Untouched::new().await;
    let target = format!("POST {USERS}");
    room.refuses_all(&[
        (&target, JSON, br#"{"add":[{"user":"bob"},{"user":""}]}"#, 400, "bad_name", Some("add[1].user")),
        (&target, JSON, br#"{"add":[{"user":"bob"}],"del":["\u0000"]}"#, 400, "bad_name", Some("del[0]")),
        (&target, JSON, br#"{"add":[{"user":"bob"},{"user":"\u202e"}]}"#, 400, "bad_name", Some("add[1].user")),
        (&target, JSON, br#"{"add":[{"user":"bob"},{"user":"cyd","meta":3}]}"#, 400, "bad_meta", Some("add[1].meta")),
        (&target, JSON, br#"{"add":[{"user":"bob"},{"user":"cyd","ttl":0}]}"#, 400, "bad_ttl", Some("add[1].ttl")),
    ])
    .await;
    for (body, code) in [
        (r#"{"add":[{"user":"bob"},{"user":"cyd","tll":3}]}"#, "bad_json"),
        (r#"{"add":[{"user":"bob"},{"meta":{}}]}"#, "bad_json"),
        (r#"{"add":[{"user":"bob"},"cyd"]}"#, "bad_json"),
        (r#"{"add":[{"user":"bob"}],"del":[{"user":"ann"}]}"#, "bad_json"),
        (r#"{"add":[{"user":"bob"}],"delete":["ann"]}"#, "bad_json"),
        (r#"{"add":[{"user":"bob"}],"del":"ann"}"#, "bad_json"),
        (r#"{"add":[{"user":"bob"},["cyd",{}]]}"#, "bad_json"),
        (r#"{"add":[{"user":"bob","user":"cyd"}]}"#, "bad_json"),
        (r#"{"add":[{"user":"bob"}],"\u0061dd":[]}"#, "bad_json"),
        (r#"[[{"user":"bob"}],["ann"]]"#, "bad_json"),
        ("[]", "bad_json"),
        ("", "bad_json"),
    ] {
        let answer = room.send(&target, JSON, body.as_bytes()).await.expect(400);
        assert_eq!(answer.json()["code"], code, "{body}");
        room.check(body).await;
    }
    for body in [r#"{"add":[{"user":"bob"},{"user":"bob"}]}"#, r#"{"add":[{"user":"bob"}],"del":["ann","bob"]}"#] {
        let answer = room.send(&target, JSON, body.as_bytes()).await.expect(400);
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("bob")), "{}", answer.text());
        room.check(body).await;
    }
}

#[tokio::test]
async fn bodies_of_another_type_are_refused() {
    let room = Untouched::new().await;
    for content_type in ["", "Content-Type: text/plain\r\n", FORM, "Content-Type: nonsense\r\n"] {
        room.refuses_all(&[
            (&format!("PUT {MEMBER}"), content_type, br#"{"meta":{}}"#, 415, "wrong_type", Some("Content-Type")),
            (
                "PATCH /api/rooms/lobby/users/ann",
                content_type,
                br#"{"meta":{}}"#,
                415,
                "wrong_type",
                Some("Content-Type"),
            ),
            (
                &format!("POST {USERS}"),
                content_type,
                br#"{"add":[{"user":"bob"}]}"#,
                415,
                "wrong_type",
                Some("Content-Type"),
            ),
        ])
        .await;
    }
}

#[tokio::test]
async fn json_may_name_its_charset() {
    let server = TestServer::start().await;
    let json = "Content-Type: Application/JSON; charset=utf-8\r\n";
    raw(server.addr, request(&format!("PUT {MEMBER}"), json, br#"{"meta":{"a":1}}"#)).await.expect(201);
    assert_eq!(server.held("lobby").await.users["bob"].meta, json!({"a": 1}));
}

#[tokio::test]
async fn query_parameters_that_are_unknown_doubled_or_out_of_range_are_refused() {
    let room = Untouched::new().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=1&limit=1", "limit"),
        ("after=a&after=b", "after"),
        ("after=&after=", "after"),
        ("lim%69t=1&limit=1", "limit"),
        ("only=count", "only"),
        ("x", "x"),
    ] {
        for path in [USERS, "/api/rooms"] {
            room.refuses((&format!("GET {path}?{query}"), "", b"", 400, "bad_parameter", Some(field))).await;
        }
    }
    room.refuses_all(&[
        ("GET /api/rooms/lobby?limit=1", "", b"", 400, "bad_parameter", Some("limit")),
        ("GET /api/rooms/lobby/users/ann?limit=1", "", b"", 400, "bad_parameter", Some("limit")),
        (&format!("PUT {MEMBER}?ttl=3"), "", b"", 400, "bad_parameter", Some("ttl")),
        (&format!("DELETE {USERS}/ann?client=x"), "", b"", 400, "bad_parameter", Some("client")),
        (&format!("POST {USERS}?x=1"), JSON, br#"{"add":[{"user":"bob"}]}"#, 400, "bad_parameter", Some("x")),
        (&format!("DELETE {USERS}/ann?reason=gone"), "", b"", 400, "bad_parameter", Some("reason")),
        (&format!("DELETE {USERS}/ann?reason=kicked&client={CLIENT}"), "", b"", 400, "bad_parameter", Some("reason")),
        ("GET /api/rooms/lobby/stream?as=..", "", b"", 400, "bad_name", Some("as")),
        ("GET /api/rooms/lobby/stream?as=+", "", b"", 400, "bad_name", Some("as")),
        ("GET /api/rooms/lobby/stream?as=bob&as=cyd", "", b"", 400, "bad_parameter", Some("as")),
        ("GET /api/rooms/lobby/stream?as=bob&meta=x", "", b"", 400, "bad_meta", Some("meta")),
        ("GET /api/rooms/lobby/stream?as=bob&meta=[]", "", b"", 400, "bad_meta", Some("meta")),
        ("GET /api/rooms/lobby/stream?as=bob&meta={%22a%22:1,%22a%22:1}", "", b"", 400, "bad_meta", Some("meta")),
        ("GET /api/rooms/lobby/stream?meta={}", "", b"", 400, "bad_parameter", Some("meta")),
        ("GET /api/rooms/lobby/stream?as=bob&client=x", "", b"", 400, "bad_parameter", Some("client")),
        ("GET /api/rooms/lobby/stream?only=users", "", b"", 400, "bad_parameter", Some("only")),
        ("GET /api/rooms/lobby/stream?since=a&since=b", "", b"", 400, "bad_parameter", Some("since")),
        ("GET /api/rooms/lobby/stream?alive=2", "", b"", 400, "bad_parameter", Some("alive")),
    ])
    .await;
}

#[tokio::test]
async fn bodies_over_the_bound_are_refused_and_the_answer_arrives() {
    let server = TestServer::with(|config| config.max_body = 1024).await;
    let room = Untouched::of(server).await;
    let large = json!({"meta": {"a": "x".repeat(100_000)}}).to_string();
    let form = format!("user={}", "x".repeat(100_000));
    room.refuses_all(&[
        (&format!("PUT {MEMBER}"), JSON, large.as_bytes(), 413, "body_too_large", Some("body")),
        (&format!("POST {USERS}"), JSON, large.as_bytes(), 413, "body_too_large", Some("body")),
        ("PATCH /api/rooms/lobby/users/ann", JSON, large.as_bytes(), 413, "body_too_large", Some("body")),
        ("POST /api/login", FORM, form.as_bytes(), 413, "body_too_large", Some("body")),
    ])
    .await;
    let chunk = format!("{JSON}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n", large.len());
    let answer = room.send(&format!("PUT {MEMBER}"), &chunk, b"").await;
    problem(&answer.expect(413), "body_too_large", Some("body"), "a chunked body");
    room.check("a chunked body").await;
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused_before_it_is_sent_if_the_client_expects_100() {
    let room = Untouched::new().await;
    let promised = format!("{JSON}Expect: 100-continue\r\nContent-Length: 1073741824\r\n");
    room.refuses((&format!("PUT {MEMBER}"), &promised, b"", 413, "body_too_large", Some("body"))).await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let server = TestServer::with(|config| config.request_within = std::time::Duration::from_millis(200)).await;
    let room = Untouched::of(server).await;
    let promised = format!("{JSON}Content-Length: 20\r\n");
    room.refuses((&format!("PUT {MEMBER}"), &promised, b"", 408, "too_slow", Some("body"))).await;
}

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_closes_the_connection() {
    let server = TestServer::with(|config| config.request_within = std::time::Duration::from_millis(200)).await;
    for half in ["", "GET", "GET /users HTTP/1.1\r\nHost: loc"] {
        let mut conn = Conn::open(server.addr).await;
        conn.send(half).await;
        conn.lost().await;
    }
    server.cursor("lobby").await;
}

#[tokio::test]
async fn a_head_over_the_bound_is_refused() {
    let room = Untouched::new().await;
    for head in [
        request("GET /api/login/bob", &format!("X-Large: {}\r\n", "x".repeat(17_000)), b""),
        request(&format!("GET /api/login/bob?{}", "x".repeat(17_000)), "", b""),
        request("GET /api/login/bob", &"X-Many: x\r\n".repeat(1_700), b""),
    ] {
        let answer = raw(room.server.addr, head).await;
        assert!(matches!(answer.status, 414 | 431), "{answer:?}");
        room.check("a large head").await;
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_are_refused() {
    let room = Untouched::new().await;
    for nonsense in [
        "HELLO\r\n\r\n",
        "GET /api/login/bob\r\n\r\n",
        "GET /api/login/bob HTTP/1.1\r\nHost localhost\r\n\r\n",
        "GET /api/login/bob HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "GET  /api/login/bob HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /api/login/bob HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        "POST /api/login/bob HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
    ] {
        raw(room.server.addr, nonsense).await.expect(400);
        room.check(nonsense).await;
    }
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let room = Untouched::new().await;
    for path in [
        "/nope",
        "/users/",
        "/api",
        "/api/",
        "/api/nope",
        "/api/login/ann/bob",
        "/api/rooms/lobby/nope",
        "/api/rooms/lobby/users/ann/nope",
        "/healthz/nope",
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/index.html",
    ] {
        for method in ["GET", "POST"] {
            room.refuses((&format!("{method} {path}"), "", b"", 404, "not_found", None)).await;
        }
    }
}

#[tokio::test]
async fn unsupported_methods_are_refused_with_the_supported_methods() {
    let room = Untouched::new().await;
    for (path, known) in [
        ("/", "GET, HEAD"),
        ("/users", "GET, HEAD"),
        ("/user-stream", "GET, HEAD"),
        ("/api/login/bob", "GET, HEAD, POST"),
        ("/api/logout/ann", "GET, HEAD, POST"),
        ("/api/login", "POST"),
        ("/api/logout", "POST"),
        ("/api/rooms/lobby/login", "POST"),
        ("/api/rooms/lobby/logout", "POST"),
        ("/assets/app.js", "GET, HEAD"),
        ("/api/rooms", "GET, HEAD"),
        ("/api/rooms/lobby", "GET, HEAD"),
        (USERS, "GET, HEAD, POST"),
        (MEMBER, "DELETE, GET, HEAD, PATCH, PUT"),
        ("/api/rooms/lobby/stream", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
        ("/api/gateway", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
    ] {
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
        for method in methods.into_iter().filter(|method| !known.contains(method)) {
            let what = format!("{method} {path}");
            let answer = room.send(&what, "", b"").await.expect(405);
            problem(&answer, "method_not_allowed", None, &what);
            let mut allow: Vec<_> = answer.header("allow").expect("Allow").split(", ").collect();
            allow.sort_unstable();
            assert_eq!(allow.join(", "), known, "{what}");
            room.check(&what).await;
        }
    }
}

/// Every request that changes the set: method and path, header lines, body.
const CHANGES: [(&str, &str, &str); 12] = [
    ("GET /api/login/bob", "", ""),
    ("GET /api/logout/ann", "", ""),
    ("POST /api/login/bob", "", ""),
    ("POST /api/logout/ann", "", ""),
    ("POST /api/login", FORM, "user=bob"),
    ("POST /api/logout", FORM, "user=ann"),
    ("POST /api/rooms/lobby/login", FORM, "user=bob"),
    ("POST /api/rooms/lobby/logout", FORM, "user=ann"),
    ("PUT /api/rooms/lobby/users/bob", "", ""),
    ("PATCH /api/rooms/lobby/users/ann", JSON, r#"{"meta":{"status":"gone"}}"#),
    ("DELETE /api/rooms/lobby/users/ann", "", ""),
    ("POST /api/rooms/lobby/users", JSON, r#"{"add":[{"user":"bob"}]}"#),
];

#[tokio::test]
async fn changes_by_pages_of_other_sites_and_by_prefetches_are_refused() {
    let room = Untouched::new().await;
    for (sign, field) in [
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Site"),
        ("Sec-Fetch-Site: same-site", "Sec-Fetch-Site"),
        ("Origin: http://evil.example", "Origin"),
        ("Origin: null", "Origin"),
        ("Origin: localhost", "Origin"),
        ("Origin: http://localhost:4001", "Origin"),
        ("Origin: http://localhost.evil.example", "Origin"),
        ("Origin: http://localhost\r\nSec-Fetch-Site: cross-site", "Sec-Fetch-Site"),
        ("Sec-Purpose: prefetch", "Sec-Purpose"),
        ("Sec-Purpose: prefetch;prerender", "Sec-Purpose"),
    ] {
        for (target, headers, body) in CHANGES {
            let headers = format!("{headers}{sign}\r\n");
            room.refuses((target, &headers, body.as_bytes(), 403, "cross_site", Some(field))).await;
        }
    }
}

#[tokio::test]
async fn the_gateways_own_pages_and_programs_may_change_rooms() {
    for sign in [
        "",
        "Sec-Fetch-Site: same-origin\r\n",
        "Sec-Fetch-Site: none\r\n",
        "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n",
        // Behind a proxy that ends TLS, the scheme of the browser's origin is unknown to the gateway.
        "Origin: https://localhost\r\n",
        "Origin: https://app.example\r\n",
        "Origin: https://app.example\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        for (target, headers, body) in CHANGES {
            let server =
                TestServer::with(|config| config.allow_origins = vec!["https://app.example".parse().unwrap()]).await;
            let room = Untouched::of(server).await;
            let answer = room.send(target, &format!("{headers}{sign}"), body.as_bytes()).await;
            assert!(answer.status < 400, "{target} {sign:?}: {}", answer.text());
            assert_ne!(room.server.cursor("lobby").await, room.before.cursor, "{target} {sign:?}");
        }
    }
}

#[tokio::test]
async fn the_origin_is_compared_with_the_port() {
    let room = Untouched::new().await;
    let request =
        |origin: &str| format!("GET /api/login/bob HTTP/1.1\r\nHost: localhost:4000\r\nOrigin: {origin}\r\n\r\n");
    for origin in ["http://localhost", "http://localhost:4001", "http://localhost:40000"] {
        raw(room.server.addr, request(origin)).await.expect(403);
    }
    room.check("another port").await;
    raw(room.server.addr, request("http://localhost:4000")).await.expect(302);
    assert_ne!(room.server.cursor("lobby").await, room.before.cursor);
}

#[tokio::test]
async fn pages_of_other_sites_may_read_without_cors_headers() {
    let room = Untouched::new().await;
    let sign = "Sec-Fetch-Site: cross-site\r\nOrigin: http://evil.example\r\n";
    for path in ["/users", "/api/rooms", USERS, "/healthz"] {
        let answer = room.send(&format!("GET {path}"), sign, b"").await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
    Sse::open(room.server.addr, "/api/rooms/lobby/stream", &[("Sec-Fetch-Site", "cross-site")]).await;
}

#[tokio::test]
async fn a_websocket_is_refused_with_a_code_that_browsers_see() {
    let room = Untouched::new().await;
    for (path, code, reason) in [
        ("/ws?room=%00", 4400, "bad_name"),
        ("/ws?room=%ff", 4400, "bad_parameter"),
        ("/ws?room=%zz", 4400, "bad_parameter"),
        ("/ws?as=bob", 4400, "bad_parameter"),
        ("/ws?room=&since=k3f.1", 4400, "bad_parameter"),
        ("/ws?room=..", 4400, "bad_name"),
        ("/ws?room=%e2%80%8d", 4400, "bad_name"),
        ("/ws?room=lobby&room=lobby", 4400, "bad_parameter"),
        ("/ws?room=lobby&since=&since=", 4400, "bad_parameter"),
        ("/ws?room=lobby&as=..", 4400, "bad_name"),
        ("/ws?room=lobby&as=bob&meta=3", 4400, "bad_meta"),
        ("/ws?room=lobby&as=bob&client=x", 4400, "bad_parameter"),
        ("/ws?room=lobby&alive=2", 4400, "bad_parameter"),
        ("/ws?room=lobby&only=count", 4400, "bad_parameter"),
        ("/ws?room=lobby&token=s3cret", 4400, "bad_parameter"),
    ] {
        let socket = RawWs::request(room.server.addr, upgrade(path)).await;
        let (closed, why) = socket.closed().await;
        assert_eq!((closed, why.as_str()), (code, reason), "{path}");
        room.check(path).await;
    }
}
