//! Fuzzing over sockets: mutants of requests, frames and messages get documented answers, and nothing panics.
//!
//! The mutants are the same in every run. `PRESENTLY_SEED` chooses others, `PRESENTLY_FUZZ=100` makes 100 times as many.

use std::net::SocketAddr;

use futures_util::{StreamExt, stream};
use presently::model::refusal::TABLE;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Binary, CLOSE, FIN, Mutants, PING, PONG, RawWs, Reader, TEXT, Transport, frame, upgrade, within};

/// Connections at the same time: many, because half of a request takes the gateway's patience.
const AT_ONCE: usize = 64;

const MESSAGES: [&str; 7] = [
    r#"{"action":"subscribe","counts":"game-","ref":7}"#,
    r#"{"action":"join","room":"lobby","user":"bob","meta":{"status":"here"},"ref":1}"#,
    r#"{"action":"update","room":"lobby","user":"bob","meta":{"n":1E5},"ref":"x"}"#,
    r#"{"action":"subscribe","room":"attic","since":"k3f.17","ref":3}"#,
    r#"{"action":"unsubscribe","room":"attic","ref":4}"#,
    r#"{"action":"leave","room":"lobby","user":"bob","ref":5}"#,
    r#"{"action":"join","room":"山","user":"cyd","client":"0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"}"#,
];

const BODIES: [(&str, &str); 5] = [
    ("POST /api/counts", r#"{"rooms":["lobby","game-1","\u0061"]}"#),
    ("PUT /api/rooms/lobby/users/bob", r#"{"meta":{"status":"away","n":[1E5,{}]},"ttl":30}"#),
    ("PATCH /api/rooms/lobby/users/ann", r#"{"meta":{"a":{"b":"\u0061"}}}"#),
    ("POST /api/rooms/lobby/users", r#"{"add":[{"user":"bob","meta":{}},{"user":"cyd","ttl":30}],"del":["eve"]}"#),
    ("POST /api/stream", r#"[{"action":"join","room":"lobby","user":"bob","ref":1},{"action":"alive"},[],7]"#),
];

const TARGETS: [&str; 7] = [
    "/api/rooms/%E5%B1%B1/users/a%2Fb",
    "/api/rooms/lobby/users?limit=2&after=a%C3%A9",
    "/api/rooms/lobby/stream?as=bob&meta=%7B%22a%22%3A%5B1E5%5D%7D&client=0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3",
    "/ws?room=lobby&since=k3f.17&alive=1",
    "/user-stream?x=1",
    "/api/rooms?order=count&limit=2&after=1.a&prefix=%C3%A9&total=1",
    "/api/counts?prefix=game-&alive=1",
];

#[tokio::test]
async fn mutants_of_heads_and_of_pipelined_requests_are_answered_as_documented() {
    let fuzzed = Fuzzed::start().await;
    let mut inputs: Vec<_> = BODIES.iter().map(|(target, body)| request(target, body)).collect();
    inputs.extend(TARGETS.iter().map(|target| request(&format!("GET {target}"), "")));
    for target in ["DELETE /api/rooms/lobby/users/bob?reason=kicked", "GET /users?room=lobby", "HEAD /api/rooms"] {
        inputs.push(request(target, ""));
    }
    for target in ["OPTIONS *", "CONNECT localhost:443", "GET http://localhost/healthz", "TRACE /"] {
        inputs.push(request(target, ""));
    }
    inputs.push(b"GET /user-stream HTTP/1.0\r\nLast-Event-ID: k3f.2\r\n\r\n".to_vec());
    let head = "POST /api/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    inputs.push(format!("{head}Transfer-Encoding: chunked\r\n\r\n8\r\nuser=bob\r\n0\r\n\r\n").into());
    inputs.push([upgrade("/ws?room=lobby").into_bytes(), plain(MESSAGES[0])].concat());
    let pipelined: Vec<_> = inputs.windows(2).map(|pair| pair.concat()).collect();
    fuzzed.exchange(Mutants::of(inputs.into_iter().chain(pipelined), 1_500)).await;
    fuzzed.ends_well().await;
}

#[tokio::test]
async fn mutants_of_bodies_paths_and_queries_are_answered_as_documented() {
    let fuzzed = Fuzzed::start().await;
    for (target, body) in BODIES {
        fuzzed.exchange(Mutants::of([body], 500).map(|body| request(target, body))).await;
    }
    let targets =
        Mutants::of(TARGETS, 1_500).map(|target| [b"GET ", &target[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
    fuzzed.exchange(targets).await;
    fuzzed.ends_well().await;
}

#[tokio::test]
async fn mutants_of_frames_behind_a_handshake_are_answered_as_documented() {
    let fuzzed = Fuzzed::start().await;
    let messages = MESSAGES.map(plain);
    let frames = [
        messages.concat(),
        [&frame(FIN | PING, "hi")[..], &messages[2], &frame(FIN | CLOSE, [3, 232])].concat(),
        // One message in two parts, with a ping in between.
        [&[TEXT, 0x81, 0, 0, 0, 0, b'{'][..], &frame(FIN | PING, ""), &[FIN, 0x81, 0, 0, 0, 0, b'}']].concat(),
        [&[0x82, 0xFE, 0, 2, 0, 0, 0, 0, 1, 2][..], &messages[0]].concat(),
    ];
    let head = upgrade("/ws?room=lobby&as=bob").into_bytes();
    fuzzed.exchange(Mutants::of(frames, 1_500).map(|mutant| [&head[..], &mutant].concat())).await;
    fuzzed.ends_well().await;
}

#[tokio::test]
async fn mutants_of_messages_are_answered_one_by_one() {
    let fuzzed = Fuzzed::start().await;
    let mut socket = RawWs::request(fuzzed.gateway.addr, upgrade("/ws")).await;
    for (at, text) in Mutants::of(MESSAGES, 3_000).texts().enumerate() {
        socket.send(frame(FIN | TEXT, &text)).await;
        // The `ref` of a mutant may be lost, so the answer is the one before that of another message.
        let mark = format!("after {at}");
        socket.send(frame(FIN | TEXT, format!(r#"{{"action":"x","ref":"{mark}"}}"#))).await;
        let mut answers = Vec::new();
        loop {
            let received = socket.frame().await;
            if received.opcode == PING {
                socket.send(frame(FIN | PONG, received.payload)).await;
                continue;
            }
            let message = received.json();
            is_known_message(&message);
            if message["ref"] == mark.as_str() {
                break;
            }
            answers.extend(Some(message).filter(|message| message["action"] == "ok" || message["action"] == "refused"));
        }
        assert_eq!(answers.len(), 1, "{text}: {answers:?}");
    }
    fuzzed.ends_well().await;
}

/// The program, and a reader that must not be affected by other connections.
struct Fuzzed {
    gateway: Binary,
    witness: Reader,
}

impl Fuzzed {
    async fn start() -> Self {
        let gateway = Binary::start(&["--max-rooms", "1000", "--user", "ann", "--request-within", "200ms"]).await;
        let witness = Reader::open(gateway.addr, Transport::Sse, "witness").await.begun().await;
        Self { gateway, witness }
    }

    /// Sends each of `requests` on a connection of its own, and checks the answers.
    async fn exchange(&self, requests: impl Iterator<Item = Vec<u8>>) {
        let answers = stream::iter(requests).map(|request| async {
            let (answers, whole) = answers(self.gateway.addr, &request).await;
            (request, answers, whole)
        });
        let mut answers = answers.buffer_unordered(AT_ONCE);
        let (mut sent, mut answered) = (0, 0);
        while let Some((request, answers, whole)) = answers.next().await {
            are_documented(&request, &answers, whole);
            sent += 1;
            answered += usize::from(!answers.is_empty());
        }
        assert!(answered > sent / 2, "{answered} of {sent} requests are answered");
    }

    /// Checks that the gateway works as before, and that nothing panicked.
    async fn ends_well(mut self) {
        for cursor in [self.gateway.sign_in("witness", "bob").await, self.gateway.sign_out("witness", "bob").await] {
            self.witness.caught_up(&cursor).await;
        }
        assert_eq!(self.gateway.restarts().await, 0);
        let log = self.gateway.log();
        assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
    }
}

fn request(target: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let kind = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let kind = if body.is_empty() { "" } else { &kind };
    [format!("{target} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n").as_bytes(), body].concat()
}

/// A text frame whose mask of zeros leaves the text to the mutants.
fn plain(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    let head = if length < 126 { vec![FIN | TEXT, 0x80 | length] } else { vec![FIN | TEXT, 0xFE, 0, length] };
    [&head[..], &[0; 4], text.as_bytes()].concat()
}

/// Sends bytes, and after the beginning of an answer the end of the client's side; returns everything that comes back,
/// and whether the connection then ended without a reset: a gateway that closes with unread bytes resets.
///
/// The gateway itself ends half of a request.
async fn answers(addr: SocketAddr, request: &[u8]) -> (Vec<u8>, bool) {
    let mut stream = within("a connection", TcpStream::connect(addr)).await.expect("a connection");
    let mut answers = Vec::new();
    let _ = within("bytes to be taken", stream.write_all(request)).await;
    let _ = within("an answer", stream.read_buf(&mut answers)).await;
    let _ = stream.shutdown().await;
    let end = within("the end of the answers", stream.read_to_end(&mut answers)).await;
    (answers, end.is_ok())
}

/// Checks HTTP answers, one after the other: each is a success, a refusal of PROTOCOL, or hyper's own to bad HTTP.
fn are_documented(request: &[u8], mut answers: &[u8], whole: bool) {
    while !answers.is_empty() {
        let shown = || format!("{}\n{}", request.escape_ascii(), answers.escape_ascii());
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut answer = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(head)) = answer.parse(answers) else { panic!("no HTTP: {}", shown()) };
        let status = answer.code.expect("a status");
        let header = |name| {
            let header = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            header.map(|header| str::from_utf8(header.value).expect("a header in UTF-8"))
        };
        if status == 101 {
            return are_known_frames(&answers[head..]);
        }
        let is_stream = header("content-type") == Some("text/event-stream");
        // The answer to HEAD has a length and no body.
        if is_stream || request.windows(4).any(|word| word == b"HEAD") {
            return assert!(status < 500, "{}", shown());
        }
        let length: usize = header("content-length").map_or(0, |length| length.parse().expect("a length"));
        let Some(body) = answers.get(head..head + length) else {
            return assert!(!whole, "a body is cut: {}", shown());
        };
        match header("content-type") {
            Some("application/problem+json") => is_refusal(status, &serde_json::from_slice(body).expect("JSON")),
            _ => assert!(matches!(status, 100 | 200 | 201 | 204 | 302 | 303 | 304 | 400 | 414 | 431), "{}", shown()),
        }
        answers = &answers[head + length..];
    }
}

fn is_refusal(status: u16, problem: &Value) {
    let row = TABLE.iter().find(|row| problem["code"] == row.name).unwrap_or_else(|| panic!("unknown: {problem}"));
    assert_eq!((row.status, problem["status"].as_u64()), (status, Some(status.into())), "{problem}");
    assert_ne!(row.name, "failed", "{problem}");
}

/// Checks the gateway's frames behind a handshake, up to the last whole frame.
fn are_known_frames(mut bytes: &[u8]) {
    while let [first, length, rest @ ..] = bytes {
        let (length, rest) = match (length, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (0..126, rest) => (usize::from(*length), rest),
            _ => return,
        };
        let Some((payload, rest)) = rest.split_at_checked(length) else { return };
        match first {
            0x81 => is_known_message(&serde_json::from_slice(payload).expect("JSON")),
            0x88 => {
                // Refusals have codes over 4000. A close without a code answers a close without a code.
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                assert!(code.is_none_or(|code| code != 1011 && is_close_code(code)), "{code:?}");
            }
            0x89 | 0x8A => {}
            _ => panic!("no frame of the gateway: {}", bytes.escape_ascii()),
        }
        bytes = rest;
    }
}

/// Whether frames may carry the close code (RFC 6455, 7.4).
fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

fn is_known_message(message: &Value) {
    match message["action"].as_str() {
        Some("refused") => {
            let row = TABLE.iter().find(|row| message["code"] == row.name);
            assert!(row.is_some_and(|row| row.name != "failed"), "{message}");
        }
        Some("ok" | "snapshot" | "resumed" | "changes" | "add" | "update" | "del") => {}
        Some("counts" | "count" | "alive" | "hello") => {}
        _ => panic!("unknown: {message}"),
    }
}
