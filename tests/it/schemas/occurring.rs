//! Every documented status of a request can occur, and no other does: each operation is asked in all ways that lead to one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::operations;
use crate::harness::schema::{answer_fault, resolved};
use crate::harness::{
    API_KEY, Answer, Body, Client, Conn, KeyServer, Keyed, Session, TestServer, Token, upgrade, within,
};

/// The most bytes of a body in these tests: more than a starved gateway reads, which is 4 KiB.
const MAX_BODY: usize = 8 * 1024;

/// Statuses that no test of this size brings about, with the reason.
const TOO_FAR: [(&str, &str, u16); 1] = [
    // 100,000 cookies; a unit test fills the book.
    ("post", "/api/cookie", 503),
];

/// One request.
#[derive(Clone)]
struct Ask {
    method: String,
    target: String,
    headers: String,
    body: String,
    /// Whether the end of the body never comes.
    cut: bool,
}

impl Ask {
    /// The request of an operation with the examples of the document.
    fn of((path, method, operation): (&str, &str, &Value)) -> Self {
        let mut target = path.replace("{room}", "lobby").replace("{user}", "ann").replace("{file}", "style.css");
        if path == "/api/holds" {
            target += "?user=ann";
        }
        let mut headers = String::new();
        if path == "/api/stream/messages" {
            headers += "Presently-Session: none\r\nPresently-Seq: 1\r\n";
        }
        let mut body = String::new();
        if let Some((ty, media)) =
            operation["requestBody"]["content"].as_object().and_then(|content| content.iter().next())
        {
            headers += &format!("Content-Type: {ty}\r\n");
            let example = &media["example"];
            body = if ty.ends_with("json") { example.to_string() } else { "user=ann".to_owned() };
        }
        Self { method: method.to_uppercase(), target, headers, body, cut: false }
    }

    fn with(&self, headers: &str) -> Self {
        Self { headers: format!("{}{headers}\r\n", self.headers), ..self.clone() }
    }

    fn to(&self, target: String) -> Self {
        Self { target, ..self.clone() }
    }

    /// The same with spaces around the body, which change nothing but its length.
    fn padded(&self, bytes: usize) -> Self {
        Self { body: format!("{}{}", self.body, " ".repeat(bytes)), ..self.clone() }
    }

    /// The same with bodies that are refused.
    fn of_bodies(&self) -> [Self; 4] {
        let untyped = Self { headers: self.headers.replace("application/", "text/"), ..self.clone() };
        let (cut, broken) = (Self { cut: true, ..self.clone() }, Self { body: "[".to_owned(), ..self.clone() });
        [self.padded(MAX_BODY), untyped, cut, broken]
    }

    fn has_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// Sends the request, and reads the answer as far as it ends.
    async fn send(&self, addr: SocketAddr) -> Answer {
        let Self { method, target, headers, body, cut } = self;
        let own = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
        let page = if headers.contains("Origin:") { "" } else { "Origin: http://localhost\r\n" };
        let length = body.len() + if *cut { 10 } else { 0 };
        let length = if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
        let mut conn = Conn::open(addr).await;
        conn.send(format!("{method} {target} HTTP/1.1\r\n{own}{page}{headers}{length}\r\n{body}")).await;
        let mut answer = conn.head().await;
        let is_stream = answer.header("content-type") == Some("text/event-stream");
        let has_body = method != "HEAD" && !is_stream && !matches!(answer.status, 101 | 204 | 304);
        if has_body {
            let (mut body, mut bytes) = (Body::of(&answer), Vec::new());
            while within("the body of an answer", body.read(&mut conn, &mut bytes)).await {}
            answer.body = bytes;
        }
        answer
    }
}

/// The gateways that bring about refusals.
struct World {
    open: TestServer,
    keyed: Keyed,
    slowed: TestServer,
    starved: TestServer,
    unready: TestServer,
    _no_keys: KeyServer,
    operated: TestServer,
    session: Session,
    starved_session: Session,
    /// A token that was revoked.
    revoked: String,
}

impl World {
    async fn new() -> Self {
        let open = TestServer::with(|config| {
            config.max_body = MAX_BODY;
            config.max_message = MAX_BODY;
            config.request_within = Duration::from_millis(500);
        });
        let open = open.await;
        let slowed = TestServer::with(|config| {
            for rate in [&mut config.rate_connections, &mut config.rate_changes, &mut config.rate_snapshots] {
                *rate = "1/min".parse().expect("a rate");
            }
        });
        let starved = TestServer::with(|config| config.max_memory = "256KiB".parse().expect("an amount"));
        let no_keys = KeyServer::start().await;
        no_keys.says("500 Internal Server Error", "");
        let url = no_keys.url();
        let unready = TestServer::with(|config| config.jwks = Some(url));
        let operated = TestServer::with(|config| config.admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)).into()));
        let (starved, keyed) = (starved.await, Keyed::start().await);
        let revocation = json!({"jti": "gone"});
        keyed.backend().send_json("POST", "/api/revocations", &revocation).await.expect(201);
        Self {
            session: Session::open(open.addr).await,
            starved_session: Session::open(starved.addr).await,
            revoked: Token::of("dee").claim("jti", "gone").sign(),
            keyed,
            slowed: slowed.await,
            starved,
            unready: unready.await,
            _no_keys: no_keys,
            operated: operated.await,
            open,
        }
    }

    /// Ann is a member of the lobby, and somebody else is not.
    async fn begin(&self) {
        self.open.sign_in("lobby", "ann").await;
        self.open.sign_out("lobby", "somebody").await;
    }

    /// The requests of an operation, each to a gateway that judges it in its own way.
    fn ways(&self, base: &Ask) -> Vec<(SocketAddr, Ask)> {
        let and = if base.target.contains('?') { '&' } else { '?' };
        let to_others = || base.to(base.target.replace("/ann", "/somebody").replace("style.css", "none"));
        let open = [
            base.clone(),
            base.clone(),
            to_others(),
            base.with("Accept: text/html"),
            base.with("Accept: application/json"),
            base.with("Host: evil.example"),
            base.with("Origin: https://evil.example"),
            base.with("Host: localhost\r\nHost: localhost"),
            base.to(format!("{}{and}token=x", base.target)),
            base.with("Upgrade: websocket"),
            base.with(upgrade("/ws").split_once("localhost\r\n").expect("headers").1.trim_end()),
        ];
        let mut ways: Vec<_> = open.into_iter().map(|ask| (self.open.addr, ask)).collect();
        if base.has_body() {
            ways.extend(base.of_bodies().map(|ask| (self.open.addr, ask)));
            ways.push((self.starved.addr, base.padded(5 * 1024)));
        }
        ways.push((self.starved.addr, base.clone()));
        let bearing = |credential: &str| base.with(&format!("Authorization: Bearer {credential}"));
        let powerless = Token::of("cyd").sign();
        let foreign = bearing(API_KEY).with("Origin: https://evil.example");
        for ask in
            [base.clone(), bearing("nonsense"), bearing(&powerless), bearing(&self.revoked), bearing(API_KEY), foreign]
        {
            ways.push((self.keyed.addr, ask.with("Accept: application/json")));
        }
        for user in ["ann", "bob", "cyd"] {
            let fresh = base.to(base.target.replace("/ann", &format!("/{user}"))).with("X-Forwarded-For: 192.0.2.7");
            let body = fresh.body.replace("user=ann", &format!("user={user}"));
            ways.push((self.slowed.addr, Ask { body, ..fresh }));
        }
        ways.push((self.unready.addr, base.clone()));
        ways.push((self.operated.addr, base.clone()));
        ways
    }

    /// The requests of open sessions: the first, the same again, one whose number does not follow, and bodies that are refused.
    fn of_sessions(&self, base: &Ask) -> Vec<(SocketAddr, Ask)> {
        let number = |session: &Session, seq: u64| {
            let headers = base.headers.replace(": none", &format!(": {}", session.post.secret));
            Ask { headers: headers.replace("Seq: 1", &format!("Seq: {seq}")), ..base.clone() }
        };
        let mut ways: Vec<_> = [1, 1, 5].map(|seq| (self.open.addr, number(&self.session, seq))).into();
        ways.extend(number(&self.session, 2).of_bodies().map(|ask| (self.open.addr, ask)));
        ways.push((self.starved.addr, number(&self.starved_session, 1).padded(5 * 1024)));
        ways
    }
}

/// An entity tag that the file of a target has.
async fn tagged(client: &Client, base: &Ask) -> Option<Ask> {
    let answer = client.send(&base.method, &base.target, &[], "").await;
    let tag = answer.header("etag").map(str::to_owned);
    tag.map(|tag| base.with(&format!("If-None-Match: {tag}")))
}

#[tokio::test]
async fn every_documented_status_occurs_and_every_answer_is_documented() {
    let world = World::new().await;
    let mut faults = vec![];
    for (path, method, operation) in operations() {
        let base = Ask::of((path, method, operation));
        let mut ways = world.ways(&base);
        if path == "/api/stream/messages" {
            ways.extend(world.of_sessions(&base));
        }
        if matches!(method, "get" | "head") && !path.contains("stream") && path != "/api/counts" {
            ways.extend(tagged(&world.open, &base).await.map(|ask| (world.open.addr, ask)));
        }
        world.begin().await;
        let mut seen = BTreeSet::new();
        for (addr, ask) in ways {
            let answer = ask.send(addr).await;
            if let Some(fault) = answer_fault(&ask.method, &ask.target, &answer) {
                faults.push(format!("{fault}: {} {} {:?}: {answer:?}", ask.method, ask.target, ask.headers));
            }
            seen.insert(answer.status);
        }
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let occurs = seen.iter().any(|seen| {
                seen.to_string() == *status || status.ends_with("XX") && status.starts_with(&(seen / 100).to_string())
            });
            let is_far = TOO_FAR.iter().any(|(m, p, s)| (*m, *p, s.to_string()) == (method, path, status.clone()));
            if occurs == is_far {
                faults.push(format!("never met: {method} {path} {status}: {}", resolved(response)["description"]));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The check itself finds what is not documented.
#[test]
fn an_answer_that_is_not_documented_is_found() {
    let answer = |status, ty: &str, body: Value| Answer {
        status,
        headers: vec![("content-type".to_owned(), ty.to_owned())],
        body: body.to_string().into_bytes(),
    };
    let room = json!({"room": "lobby", "count": 1, "cursor": "k3f.1"});
    let fault = |answer: &Answer| answer_fault("GET", "/api/rooms/lobby", answer);
    assert_eq!(fault(&answer(200, "application/json", room.clone())), None);
    let more = json!({"room": "lobby", "count": 1, "cursor": "k3f.1", "mood": "good"});
    for wrong in [
        answer(201, "application/json", room.clone()),
        answer(200, "text/plain", room),
        answer(200, "application/json", more),
        answer(200, "application/json", json!({"room": "lobby", "count": -1, "cursor": "k3f.1"})),
        answer(200, "application/json", json!({"room": "lobby", "count": 1})),
        answer(401, "application/problem+json", json!({})),
    ] {
        assert!(fault(&wrong).is_some(), "{wrong:?}");
    }
}
