//! Streams: a reader's first frame, the frames afterwards, and resuming after a gap.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::harness::{Client, Conn, Mirror, RawWs, Reader, Sse, TestServer, Transport, offset, raw, upgrade, within};

const STREAM: &str = "/api/rooms/lobby/stream";

/// Cursors that are no place in the room `lobby` of this gateway.
const NOWHERE: [&str; 12] = [
    "nonsense",
    ".",
    "k3f.17",
    "k3f.",
    ".17",
    "0.0",
    "-1.1",
    "k3f.99999999999999999999",
    "🦀",
    "a b&c=d",
    "\"'<",
    "null",
];

/// Many members with a large `meta` each, for a snapshot of megabytes.
async fn crowd(client: &Client, count: usize) -> String {
    let mut cursor = String::new();
    let users: Vec<_> =
        (0..count).map(|n| json!({"user": format!("u{n:05}"), "meta": {"n": n, "é": "\"\n"}})).collect();
    for users in users.chunks(5_000) {
        cursor = client.batch("lobby", &json!({ "add": users })).await;
    }
    cursor
}

async fn agrees(server: &TestServer, reader: &Reader) {
    let held = server.held(&reader.mirror.room).await;
    assert_eq!(reader.mirror.users, held.users);
    assert_eq!(reader.mirror.cursor, Some(held.cursor));
}

/// The next frame of a stream, as text.
async fn next(stream: &mut Sse) -> String {
    within("an event", stream.next()).await.expect("the stream goes on").data
}

#[tokio::test]
async fn frames_equal_the_examples_of_the_protocol_on_both_transports() {
    let server = TestServer::start().await;
    let first = server.sign_in("lobby", "ann").await;
    let joined = server.held("lobby").await.users["ann"].joined.clone();
    let mut sse = Sse::open(server.addr, STREAM, &[]).await;
    let mut ws = RawWs::open(server.addr, "lobby").await;
    let frames = [
        format!(
            r#"{{"action":"snapshot","room":"lobby","cursor":"{first}","at":"","count":1,"part":0,"last":true,"users":[{{"user":"ann","meta":{{}},"joined":"{joined}"}}]}}"#
        ),
        {
            let cursor = server.sign_in_as("lobby", "yay", &json!({})).await;
            let joined = server.held("lobby").await.users["yay"].joined.clone();
            format!(
                r#"{{"action":"add","room":"lobby","cursor":"{cursor}","at":"","user":"yay","meta":{{}},"joined":"{joined}"}}"#
            )
        },
        {
            let cursor = server.sign_in_as("lobby", "yay", &json!({"status": "away"})).await;
            format!(
                r#"{{"action":"update","room":"lobby","cursor":"{cursor}","at":"","user":"yay","meta":{{"status":"away"}}}}"#
            )
        },
        {
            let cursor = server.sign_out("lobby", "yay").await;
            format!(
                r#"{{"action":"del","room":"lobby","cursor":"{cursor}","at":"","user":"yay","reason":"signed_out"}}"#
            )
        },
    ];
    for frame in frames {
        assert_eq!(timeless(&next(&mut sse).await), frame);
        assert_eq!(timeless(&String::from_utf8(ws.frame().await.payload).expect("a text")), frame);
    }
    let resumed = format!(r#"{{"action":"resumed","room":"lobby","cursor":"{first}","at":""}}"#);
    let mut sse = Sse::open(server.addr, STREAM, &[("Last-Event-ID", &first)]).await;
    assert_eq!(timeless(&next(&mut sse).await), resumed);
    let mut ws = RawWs::request(server.addr, upgrade(&format!("/ws?room=lobby&since={first}"))).await;
    assert_eq!(timeless(&String::from_utf8(ws.frame().await.payload).expect("a text")), resumed);
}

#[tokio::test]
async fn the_set_comes_first_and_then_every_event() {
    let server = TestServer::start().await;
    server.sign_in_as("lobby", "ann", &json!({"status": "away"})).await;
    server.sign_in("lobby", "bob").await;
    for transport in Transport::BOTH {
        let mut reader = Reader::open(server.addr, transport, "lobby").await.begun().await;
        assert_eq!(reader.mirror.names(), ["ann", "bob"]);
        server.sign_in("lobby", "cyd").await;
        server.sign_in_as("lobby", "cyd", &json!({"a": 1})).await;
        let cursor = server.sign_out("lobby", "cyd").await;
        reader.caught_up(&cursor).await;
        let seen = ["snapshot", "add", "update", "del"].map(|action| reader.mirror.seen(action));
        assert_eq!(seen, [1, 1, 1, 1], "{transport:?}");
        agrees(&server, &reader).await;
    }
}

#[tokio::test]
async fn a_reader_of_an_empty_room_gets_the_first_event() {
    let server = TestServer::start().await;
    for (transport, room) in Transport::BOTH.into_iter().zip(["attic", "cellar"]) {
        let mut reader = Reader::open(server.addr, transport, room).await.begun().await;
        assert!(reader.mirror.users.is_empty());
        let cursor = server.sign_in(room, "ann").await;
        reader.caught_up(&cursor).await;
        assert_eq!(reader.mirror.names(), ["ann"]);
        agrees(&server, &reader).await;
    }
}

#[tokio::test]
async fn within_history_a_reader_resumes_with_the_missed_events() {
    let server = TestServer::start().await;
    for transport in Transport::BOTH {
        server.sign_in("lobby", "ann").await;
        let left = Reader::open(server.addr, transport, "lobby").await.begun().await.mirror;
        server.sign_in("lobby", "bob").await;
        server.sign_out("lobby", "ann").await;
        let cursor = server.sign_out("lobby", "bob").await;
        let mut reader = Reader::resume(server.addr, transport, left).await;
        reader.caught_up(&cursor).await;
        let seen = ["snapshot", "resumed", "add", "del"].map(|action| reader.mirror.seen(action));
        assert_eq!(seen, [1, 1, 1, 2], "{transport:?}");
        agrees(&server, &reader).await;
    }
}

#[tokio::test]
async fn a_reader_that_missed_nothing_resumes_without_events() {
    let server = TestServer::start().await;
    for transport in Transport::BOTH {
        let last = server.sign_in("lobby", &format!("before {transport:?}")).await;
        let left = Reader::open(server.addr, transport, "lobby").await.begun().await.mirror;
        let mut reader = Reader::resume(server.addr, transport, left).await.begun().await;
        assert_eq!((reader.mirror.seen("resumed"), reader.mirror.cursor.as_ref()), (1, Some(&last)));
        let cursor = server.sign_in("lobby", &format!("after {transport:?}")).await;
        reader.caught_up(&cursor).await;
        assert_eq!(reader.mirror.seen("add"), 1);
    }
}

#[tokio::test]
async fn a_cursor_never_fails() {
    let server = TestServer::with(|config| config.history = 2).await;
    let mut cursors = vec![server.sign_in("lobby", "ann").await];
    // More events than the history has, whole or in brief.
    for n in 0..40 {
        server.sign_in("lobby", &format!("user {n}")).await;
    }
    let last = server.cursor("lobby").await;
    cursors.push(format!("{last}9"));
    cursors.push(server.sign_in("den", "eve").await);
    cursors.push(TestServer::start().await.sign_in("lobby", "ann").await);
    cursors.push("x".repeat(4_000));
    cursors.extend(NOWHERE.map(str::to_owned));
    for since in &cursors {
        for transport in Transport::BOTH {
            let reader = Reader::bringing(server.addr, transport, "lobby", since).await.begun().await;
            assert_eq!(reader.mirror.seen("snapshot"), 1, "{transport:?} {since}");
            agrees(&server, &reader).await;
        }
        let query = format!("{STREAM}?since={}", crate::harness::quoted(since));
        let mut stream = Sse::open(server.addr, &query, &[]).await;
        assert!(next(&mut stream).await.starts_with(r#"{"action":"snapshot""#), "{since}");
    }
}

#[tokio::test]
async fn a_reader_that_returns_from_behind_history_gets_changes() {
    let server = TestServer::with(|config| config.history = 4).await;
    for user in ["ann", "bob", "cyd", "dee", "eve", "fay"] {
        server.sign_in("lobby", user).await;
    }
    for transport in Transport::BOTH {
        let reader = Reader::open(server.addr, transport, "lobby").await.begun().await;
        let mirror = reader.mirror.clone();
        drop(reader);
        server.sign_out("lobby", "bob").await;
        for n in 0..5 {
            server.sign_in("lobby", &format!("guest {n}")).await;
            server.sign_out("lobby", &format!("guest {n}")).await;
        }
        server.sign_in("lobby", &format!("new over {transport:?}")).await;
        let reader = Reader::resume(server.addr, transport, mirror).await.begun().await;
        assert_eq!((reader.mirror.seen("changes"), reader.mirror.seen("snapshot")), (1, 1), "{transport:?}");
        agrees(&server, &reader).await;
        server.sign_in("lobby", "bob").await;
    }
}

#[tokio::test]
async fn an_empty_cursor_is_none() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    for transport in Transport::BOTH {
        let reader = Reader::bringing(server.addr, transport, "lobby", "").await.begun().await;
        assert_eq!(reader.mirror.seen("snapshot"), 1);
    }
}

/// The frame with an empty `at`.
fn timeless(frame: &str) -> String {
    let (before, rest) = frame.split_once(r#""at":""#).expect("a time");
    let (at, after) = rest.split_once('"').expect("an end");
    assert!(at.len() == "2026-11-22T05:53:01.042Z".len() && at.ends_with('Z'), "{frame}");
    format!(r#"{before}"at":""{after}"#)
}

#[tokio::test]
async fn last_event_id_wins_over_since_also_when_it_is_unknown() {
    let server = TestServer::start().await;
    let old = server.sign_in("lobby", "ann").await;
    let new = server.sign_in("lobby", "bob").await;
    for (since, last, first) in [
        (&old, new.as_str(), format!(r#"{{"action":"resumed","room":"lobby","cursor":"{new}","at":""#)),
        (&new, old.as_str(), format!(r#"{{"action":"resumed","room":"lobby","cursor":"{old}","at":""#)),
        (&old, "", format!(r#"{{"action":"resumed","room":"lobby","cursor":"{old}","at":""#)),
        (&old, "nonsense", r#"{"action":"snapshot""#.to_owned()),
    ] {
        let path = format!("{STREAM}?since={since}");
        let mut stream = Sse::open(server.addr, &path, &[("Last-Event-ID", last)]).await;
        assert!(timeless(&next(&mut stream).await).starts_with(&first), "since={since} and {last}");
    }
}

#[tokio::test]
async fn a_last_event_id_in_bad_utf_8_is_no_error() {
    let server = TestServer::start().await;
    let mut conn = Conn::open(server.addr).await;
    let request = format!("GET {STREAM} HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: ");
    conn.send([request.as_bytes(), b"\xff\xfe\r\n\r\n"].concat()).await;
    let mut stream = Sse::answered(conn).await;
    assert!(next(&mut stream).await.starts_with(r#"{"action":"snapshot""#));
}

#[tokio::test]
async fn a_cursor_of_one_transport_resumes_on_the_other() {
    let server = TestServer::start().await;
    let mut mirror = Mirror::of("lobby");
    for n in 0..6 {
        let transport = Transport::BOTH[n % 2];
        let mut reader = Reader::resume(server.addr, transport, mirror).await;
        let cursor = server.sign_in("lobby", &format!("seen {n}")).await;
        reader.caught_up(&cursor).await;
        mirror = reader.mirror;
        server.sign_in("lobby", &format!("missed {n}")).await;
    }
    assert_eq!((mirror.seen("snapshot"), mirror.seen("resumed")), (1, 5));
}

#[tokio::test]
async fn a_stream_can_continue_from_the_cursor_of_an_answer() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    let held = server.held("lobby").await;
    for transport in Transport::BOTH {
        let mut mirror = Mirror::of("lobby");
        (mirror.users, mirror.cursor) = (held.users.clone(), Some(held.cursor.clone()));
        let mut reader = Reader::resume(server.addr, transport, mirror).await;
        let cursor = server.sign_in("lobby", &format!("{transport:?}")).await;
        reader.caught_up(&cursor).await;
        assert_eq!((reader.mirror.seen("resumed"), reader.mirror.seen("snapshot")), (1, 0));
        agrees(&server, &reader).await;
    }
}

#[tokio::test]
async fn after_a_restart_readers_get_a_snapshot() {
    let old = TestServer::start().await;
    for n in 0..5 {
        old.sign_in("lobby", &format!("old {n}")).await;
    }
    let left = Reader::open(old.addr, Transport::Sse, "lobby").await.begun().await.mirror;
    let new = TestServer::start().await;
    for n in 0..5 {
        new.sign_in("lobby", &format!("new {n}")).await;
    }
    for transport in Transport::BOTH {
        let reader = Reader::resume(new.addr, transport, left.clone()).await.begun().await;
        assert_eq!(reader.mirror.seen("resumed"), 0);
        agrees(&new, &reader).await;
    }
}

#[tokio::test]
async fn each_stream_gets_a_random_retry_time() {
    let server = TestServer::start().await;
    let mut told = std::collections::BTreeSet::new();
    for n in 0..40 {
        let path = if n % 2 == 0 { STREAM } else { "/user-stream" };
        let mut stream = Sse::open(server.addr, path, &[]).await;
        within("retry", stream.until(|stream| stream.retry.is_some())).await;
        let retry = stream.retry.expect("just awaited");
        assert!((1_000..=2_000).contains(&retry) && stream.text.starts_with("retry: "), "{:?}", stream.text);
        told.insert(retry);
    }
    assert!(told.len() > 5, "40 clients that all come back at {told:?} ms");
}

#[tokio::test]
async fn proxies_are_asked_not_to_buffer_a_stream() {
    let server = TestServer::start().await;
    for path in [STREAM, "/user-stream"] {
        let stream = Sse::open(server.addr, path, &[]).await;
        assert_eq!(stream.head.header("x-accel-buffering"), Some("no"), "{path}");
    }
}

#[tokio::test]
async fn a_stream_for_http_1_0_has_no_chunks_and_ends_with_the_connection() {
    let server = TestServer::start().await;
    for path in [STREAM, "/user-stream"] {
        let mut conn = Conn::open(server.addr).await;
        conn.send(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        let mut stream = Sse::answered(conn).await;
        assert_eq!(stream.head.header("transfer-encoding"), None);
        within("retry", stream.until(|stream| stream.retry.is_some())).await;
        let cursor = server.sign_in("lobby", path).await;
        while within("an event", stream.next()).await.expect("the stream goes on").id.as_ref() != Some(&cursor) {}
    }
    let mut conn = Conn::open(server.addr).await;
    conn.send(format!("GET {STREAM} HTTP/1.0\r\n\r\n")).await;
    let mut stream = Sse::answered(conn).await;
    server.stop().await;
    while within("the end", stream.next()).await.is_some() {}
    assert!(stream.ended_cleanly());
}

/// A past bug: behind Express' `compression` not one event of a stream arrived, because its buffer was never full.
#[tokio::test]
async fn no_stream_is_stored_buffered_or_compressed_on_its_way() {
    let server = TestServer::with(|config| config.max_rooms = 1).await;
    server.sign_in("lobby", "ann").await;
    let full = "/api/rooms/another/stream?as=ann"; // refused for now, by a stream that ends
    let gets = [STREAM, "/user-stream", "/api/rooms/lobby/stream?only=count", "/api/counts?prefix=", full];
    let requests =
        gets.map(|path| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip, br\r\n\r\n"));
    let session = "POST /api/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                   Accept-Encoding: gzip\r\nContent-Length: 2\r\n\r\n[]";
    for request in requests.into_iter().chain([session.to_owned()]) {
        let mut conn = Conn::open(server.addr).await;
        conn.send(&request).await;
        let head = conn.head().await.expect(200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"), "{request}");
        assert_eq!(head.header("cache-control"), Some("no-store, no-transform"), "{request}");
        assert_eq!(head.header("content-encoding"), None, "{request}");
    }
}

#[tokio::test]
async fn a_head_request_gets_only_the_head_of_a_stream() {
    let server = TestServer::start().await;
    for path in [STREAM, "/user-stream"] {
        let mut conn = Conn::open(server.addr).await;
        conn.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let head = conn.head().await.expect(200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        conn.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        conn.answer().await.expect(200);
        conn.ended().await;
    }
}

#[tokio::test]
async fn a_stream_may_follow_other_requests_in_the_same_segment() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    for ask in [format!("GET {STREAM} HTTP/1.1\r\nHost: localhost\r\n\r\n"), upgrade("/ws?room=lobby")] {
        let mut conn = Conn::open(server.addr).await;
        conn.send(format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n{ask}")).await;
        assert_eq!(conn.answer().await.expect(200).json()["status"], "ok");
        if ask.contains("websocket") {
            conn.head().await.expect(101);
            continue;
        }
        let mut stream = Sse::answered(conn).await;
        assert!(next(&mut stream).await.contains("ann"));
    }
}

/// A past bug: three of four such streams were closed without an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_ends_its_side_after_the_request_gets_the_beginning_of_the_stream() {
    let server = TestServer::start().await;
    for _ in 0..20 {
        let mut conn = Conn::open(server.addr).await;
        conn.send(format!("GET {STREAM} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        conn.stream.shutdown().await.expect("an open connection");
        let mut stream = Sse::answered(conn).await;
        let first = within("the first frame", stream.next()).await.expect("a frame");
        assert!(first.data.contains("snapshot"), "{first:?}");
        assert_eq!(within("the end", stream.next()).await, None);
    }
}

/// The earlier answers are larger than the window, so the request for the stream comes while they are being written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_behind_large_answers_begins_after_their_last_byte() {
    let server = TestServer::with(|config| config.history = 64).await;
    server.flood("lobby").await;
    for ask in [format!("GET {STREAM} HTTP/1.1\r\nHost: localhost\r\n\r\n"), upgrade("/ws?room=lobby")] {
        let mut conn = Conn::narrow(server.addr).await;
        let list = "GET /api/rooms/lobby/users HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(8);
        conn.send(list + &ask).await;
        for _ in 0..8 {
            assert_eq!(conn.answer().await.expect(200).json()["count"], 900);
        }
        let head = conn.head().await;
        let kind = head.header("content-type").or(head.header("upgrade"));
        assert!(matches!(kind, Some("text/event-stream" | "websocket")), "{head:?}");
    }
}

#[tokio::test]
async fn requests_after_a_stream_on_the_same_connection_are_ignored() {
    let server = TestServer::start().await;
    for path in [STREAM, "/user-stream"] {
        let mut conn = Conn::open(server.addr).await;
        let late = "GET /api/login/late HTTP/1.1\r\nHost: localhost\r\n\r\n";
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n{late}")).await;
        let mut stream = Sse::answered(conn).await;
        within("retry", stream.until(|stream| stream.retry.is_some())).await;
        let cursor = server.sign_in("lobby", path).await;
        while within("an event", stream.next()).await.expect("the stream goes on").id.as_ref() != Some(&cursor) {}
        assert!(!server.held("lobby").await.users.contains_key("late"));
    }
}

#[tokio::test]
async fn a_stream_takes_no_body() {
    let server = TestServer::start().await;
    for path in [STREAM, "/user-stream"] {
        for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
            let answer =
                raw(server.addr, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{body}")).await.expect(400);
            assert_eq!(answer.json()["code"], "bad_request", "{path}");
        }
    }
}

#[tokio::test]
async fn a_refusal_with_retry_is_a_stream_of_one_event() {
    let server = TestServer::with(|config| config.max_rooms = 1).await;
    server.sign_in("lobby", "ann").await;
    let mut stream = Sse::open(server.addr, "/api/rooms/den/stream?as=bob", &[]).await;
    let refused = within("a refusal", stream.next()).await.expect("a refusal");
    let told: Value = serde_json::from_str(&refused.data).expect("a JSON text");
    assert_eq!((refused.event.as_deref(), refused.id), (Some("refused"), None));
    assert_eq!((&told["action"], &told["code"]), (&json!("refused"), &json!("too_many_rooms")));
    assert_eq!(told["retry"], true);
    assert_eq!(within("the end", stream.next()).await, None);
    assert!(stream.ended_cleanly());
    let socket = RawWs::request(server.addr, &upgrade("/ws?room=den&as=bob")).await;
    assert_eq!(socket.closed().await, (1013, "too_many_rooms".to_owned()));
    Reader::open(server.addr, Transport::Ws, "den").await.begun().await;
    Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parts_of_a_large_snapshot_are_the_set() {
    let server = TestServer::start().await;
    crowd(&server, 20_000).await;
    let page = server.held("lobby").await;
    for transport in Transport::BOTH {
        let reader = Reader::open(server.addr, transport, "lobby").await.begun().await;
        assert!(reader.mirror.seen("snapshot") > 10, "{} parts", reader.mirror.seen("snapshot"));
        assert_eq!((&reader.mirror.users, reader.mirror.cursor.as_ref()), (&page.users, Some(&page.cursor)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_of_bounded_size_and_only_the_last_can_be_resumed_from() {
    let server = TestServer::start().await;
    let cursor = crowd(&server, 5_000).await;
    let mut stream = Sse::open(server.addr, STREAM, &[]).await;
    loop {
        let part = within("a part", stream.next()).await.expect("a part");
        assert!(part.data.len() < 40 * 1024, "{} bytes", part.data.len());
        let last = part.data.contains(r#""last":true"#);
        assert_eq!(part.id.as_ref(), last.then_some(&cursor));
        if last {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_during_a_snapshot_come_after_it() {
    let server = TestServer::start().await;
    crowd(&server, 20_000).await;
    for transport in Transport::BOTH {
        let mut reader = Reader::narrow(server.addr, transport, Mirror::of("lobby")).await;
        reader.until("the first part", |mirror| mirror.seen("snapshot") > 0).await;
        assert!(!reader.mirror.is_set(), "the rest is still to come");
        let mut cursor = String::new();
        for n in 0..100 {
            cursor = server.sign_in_as("lobby", &format!("late{n}"), &json!({"by": format!("{transport:?}")})).await;
        }
        reader.caught_up(&cursor).await;
        let events = reader.mirror.seen("add") + reader.mirror.seen("update");
        // The snapshot may be shared with an earlier reader, and slightly older.
        assert!(events >= 100, "{transport:?}");
        let held = server.held("lobby").await;
        assert_eq!((&reader.mirror.users, reader.mirror.cursor.as_ref()), (&held.users, Some(&held.cursor)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_falls_behind_history_gets_changes_or_a_snapshot() {
    let server = TestServer::with(|config| config.history = 64).await;
    for transport in Transport::BOTH {
        let mut slow = Reader::narrow(server.addr, transport, Mirror::of("lobby")).await.begun().await;
        let mut quick = Reader::open(server.addr, transport, "lobby").await.begun().await;
        let resyncs = |mirror: &Mirror| mirror.seen("snapshot") + mirror.seen("changes");
        let before = resyncs(&slow.mirror);
        let (cursor, ()) =
            tokio::join!(server.flood("lobby"), quick.until("the flood", |mirror| mirror.users.len() > 800));
        quick.caught_up(&cursor).await;
        slow.caught_up(&cursor).await;
        assert!(resyncs(&slow.mirror) > before, "{transport:?} read all events");
        let end = server.sign_in("lobby", &format!("end {transport:?}")).await;
        slow.caught_up(&end).await;
        agrees(&server, &slow).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_delays_nobody() {
    let server = TestServer::with(|config| config.history = 64).await;
    let mut stuck = Vec::new();
    for n in 0..6 {
        stuck.push(Reader::narrow(server.addr, Transport::BOTH[n % 2], Mirror::of("lobby")).await);
    }
    server.flood("lobby").await;
    let mut quick = Reader::open(server.addr, Transport::Ws, "lobby").await.begun().await;
    for n in 0..50 {
        let cursor = server.sign_in("lobby", &format!("n{n}")).await;
        quick.caught_up(&cursor).await;
    }
    assert_eq!(quick.mirror.seen("add"), 50);
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_reaches_every_reader_as_events_in_order() {
    let server = TestServer::with(|config| config.history = 10_000).await;
    let mut readers = Vec::new();
    for n in 0..8 {
        readers.push(Reader::open(server.addr, Transport::BOTH[n % 2], "lobby").await.begun().await);
    }
    let before = server.cursor("lobby").await;
    let cursor = crowd(&server, 5_000).await;
    assert!(offset(&cursor) >= offset(&before) + 5_000, "each event has a cursor of its own");
    for reader in &mut readers {
        reader.caught_up(&cursor).await;
        assert_eq!(reader.mirror.seen("add"), 5_000);
    }
}
