//! Sessions: what a WebSocket does, by an event stream and requests.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{
    Binary, Conn, Dialogue, Parting, RawWs, Reader, Session, Sse, TEXT, Talker, TestServer, Transport, member_path,
    upgrade, within,
};
use crate::holds::held_by;

const STREAM: &str = "/api/stream";
const JSON: (&str, &str) = ("content-type", "application/json");
const CLIENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
const HOUR: Duration = Duration::from_secs(3_600);

fn join(room: &str, user: &str) -> Value {
    json!({"action": "join", "room": room, "user": user})
}

fn leave(room: &str, user: &str) -> Value {
    json!({"action": "leave", "room": room, "user": user})
}

async fn data(stream: &mut Sse) -> Value {
    let event = within("a frame", stream.next()).await.expect("a frame");
    serde_json::from_str(&event.data).expect("a JSON text")
}

#[tokio::test]
async fn the_first_frames_are_the_secret_and_the_gateways_times() {
    let server = TestServer::with(|config| config.grace = Duration::from_millis(1_500)).await;
    let mut stream = Session::request(Conn::open(server.addr).await, &json!([]), "").await;
    assert_eq!(stream.head.header("x-accel-buffering"), Some("no"));
    let session = data(&mut stream).await;
    assert_eq!((&session["action"], session.as_object().map(|it| it.len())), (&json!("session"), Some(2)));
    assert!(session["session"].as_str().is_some_and(|secret| secret.len() >= 32), "{session}");
    let hello = json!({"action": "hello", "grace": 1_500, "keep_alive": 10_000, "silence": 25_000});
    assert_eq!(data(&mut stream).await, hello);
    let other = Session::open(server.addr).await;
    assert_ne!(session["session"], other.post.secret);
}

#[tokio::test]
async fn who_asks_for_keep_alives_is_told_the_gateways_times_before_all_else() {
    let server = TestServer::start().await;
    let hello = json!({"action": "hello", "grace": 5_000, "keep_alive": 10_000, "silence": 25_000});
    let mut stream = Sse::open(server.addr, "/api/rooms/lobby/stream?alive=1", &[]).await;
    let first = within("a frame", stream.next()).await.expect("a frame");
    assert_eq!((first.id, first.event, first.data), (None, None, hello.to_string()));
    assert_eq!(data(&mut stream).await["action"], "snapshot");
    let mut talker = Talker::open(server.addr, "room=lobby&alive=1").await;
    assert_eq!((talker.hear().await, talker.hear().await["action"].clone()), (hello, json!("snapshot")));
    let mut stream = Sse::open(server.addr, "/api/rooms/lobby/stream", &[]).await;
    assert_eq!(data(&mut stream).await["action"], "snapshot");
    assert_eq!(Talker::open(server.addr, "room=lobby").await.hear().await["action"], "snapshot");
}

#[tokio::test]
async fn the_body_that_opens_a_session_may_be_its_first_messages() {
    let server = TestServer::start().await;
    let subscribe = json!({"action": "subscribe", "room": "lobby", "ref": 2});
    let mut join = join("lobby", "ann");
    join["ref"] = json!(1);
    let mut session = Session::with(Conn::open(server.addr).await, &json!([join, subscribe]), "").await;
    assert_eq!(session.hear().await["ref"], 1);
    assert_eq!(session.hear().await["ref"], 2);
    let snapshot = session.hear().await;
    assert_eq!((&snapshot["action"], &snapshot["users"][0]["user"]), (&json!("snapshot"), &json!("ann")));
    assert_eq!(server.holds("lobby", "ann").await, ["connection sse"]);
    session.send(&json!([])).await;
    // Also without any body.
    let bare = format!("POST {STREAM} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    let mut conn = Conn::open(server.addr).await;
    conn.send(bare).await;
    conn.head().await.expect(200);
}

#[tokio::test]
async fn one_stream_follows_many_rooms_and_its_frames_have_no_ids() {
    let server = TestServer::start().await;
    let mut session = Session::open(server.addr).await;
    let rooms: Vec<_> = (0..20).map(|n| format!("room {n}")).collect();
    let subscribe: Vec<_> = rooms.iter().map(|room| json!({"action": "subscribe", "room": room})).collect();
    session.send(&json!(subscribe)).await;
    let mut snapshots = 0;
    while snapshots < rooms.len() {
        snapshots += usize::from(session.hear().await["action"] == "snapshot");
    }
    for room in &rooms {
        let cursor = server.sign_in(room, "ann").await;
        let add = session.hear().await;
        assert_eq!((&add["action"], &add["room"], &add["cursor"]), (&json!("add"), &json!(room), &json!(cursor)));
    }
    let cursor = session.does(json!({"action": "unsubscribe", "room": "room 7"})).await;
    server.sign_in("room 7", "bob").await;
    session.send(&json!([{"action": "subscribe", "room": "room 7", "since": cursor}])).await;
    assert_eq!(session.hear().await["action"], "ok");
    let resumed = session.hear().await;
    assert_eq!((&resumed["action"], &resumed["cursor"]), (&json!("resumed"), &json!(cursor)));
    assert_eq!(session.hear().await["user"], "bob");
}

#[tokio::test]
async fn messages_are_taken_and_answered_in_order_and_a_faulty_one_is_refused_by_itself() {
    let server = TestServer::start().await;
    let mut session = Session::open(server.addr).await;
    let updates = (0..90).map(|n| json!({"action": "update", "room": "a", "user": "ann", "meta": {"n": n}, "ref": n}));
    let faulty = [json!(7), json!([]), json!({"action": "dance", "ref": "d"}), join("a", "."), leave("a", "bob")];
    let all: Vec<_> = [join("a", "ann")].into_iter().chain(faulty).chain(updates).collect();
    session.send(&json!(all)).await;
    assert_eq!(session.hear().await["action"], "ok");
    for code in ["bad_json", "bad_json", "unknown_action", "bad_name", "not_joined"] {
        assert_eq!(session.hear().await["code"], code);
    }
    for n in 0..90 {
        let answer = session.hear().await;
        assert_eq!((&answer["action"], &answer["ref"]), (&json!("ok"), &json!(n)));
    }
    let member = server.get(&member_path("a", "ann")).await.expect(200).json();
    assert_eq!(member["meta"], json!({"n": 89}));
}

#[tokio::test]
async fn the_last_number_again_gets_the_first_answer_and_does_nothing() {
    let server = TestServer::start().await;
    let mut session = Session::open(server.addr).await;
    let messages = json!([{"action": "join", "room": "lobby", "user": "ann", "ref": 1}, leave("lobby", "ann")]);
    session.send(&messages).await;
    let cursor = server.cursor("lobby").await;
    for _ in 0..2 {
        assert!(session.post.number(1, &messages).await.expect(204).body.is_empty());
    }
    assert_eq!(server.cursor("lobby").await, cursor, "it was not done again");
    assert_eq!((session.hear().await["ref"].clone(), session.hear().await["action"].clone()), (json!(1), json!("ok")));
    session.send(&json!([{"action": "alive", "ref": 2}])).await;
    assert_eq!(session.hear().await["ref"], 2, "and answered once");
}

#[tokio::test]
async fn any_other_jump_of_the_number_is_out_of_order() {
    let server = TestServer::start().await;
    let mut session = Session::open(server.addr).await;
    let refused = async |session: &Session, number| {
        let answer = session.post.number(number, &json!([join("lobby", "ann")])).await.expect(409).json();
        assert_eq!((&answer["code"], &answer["field"]), (&json!("out_of_order"), &json!("Presently-Seq")));
    };
    refused(&session, 2).await;
    session.send(&json!([])).await;
    session.send(&json!([])).await;
    for number in [1, 4, u64::MAX] {
        refused(&session, number).await;
    }
    assert!(!server.is_present("lobby", "ann").await);
    session.join("lobby", "ann").await;
}

#[tokio::test]
async fn a_request_that_is_refused_as_a_whole_uses_up_no_number() {
    let server = TestServer::start().await;
    let mut session = Session::open(server.addr).await;
    let (post, ann) = (session.post.clone(), json!([join("lobby", "ann")]).to_string());
    let refused = async |number: &str, body: &str, more: &[(&str, &str)], status, code: &str| {
        let answer = post.raw(number, body, more).await.expect(status).json();
        assert_eq!(answer["code"], code, "{number} {body:.40} {more:?}");
    };
    for body in ["", "{}", "7", "[", "[{]", "[{}]x", "null"] {
        refused("1", body, &[], 400, "bad_json").await;
    }
    refused("1", &json!(vec![join("lobby", "ann"); 101]).to_string(), &[], 413, "batch_too_large").await;
    refused("1", &format!("[\"{}\"]", "x".repeat(64 * 1024)), &[], 413, "body_too_large").await;
    for number in ["0", "-1", "+1", "1.0", "", "18446744073709551616"] {
        refused(number, &ann, &[], 400, "bad_request").await;
    }
    refused("1", &ann, &[("presently-seq", "1")], 400, "bad_request").await;
    refused("1", &ann, &[("presently-session", &post.secret)], 400, "bad_request").await;
    let own = [("presently-session", post.secret.as_str()), ("presently-seq", "1")];
    let missing = |name| [&[JSON], &own[..]].concat().into_iter().filter(move |(key, _)| *key != name);
    for (name, status, code) in [
        ("presently-seq", 400, "bad_request"),
        ("presently-session", 400, "bad_request"),
        ("content-type", 415, "wrong_type"),
    ] {
        let headers: Vec<_> = missing(name).collect();
        let path = "/api/stream/messages";
        let answer = server.send("POST", path, &headers, ann.as_str()).await.expect(status).json();
        assert_eq!(answer["code"], code, "without {name}");
        server.send("POST", &format!("{path}?x=1"), &headers, ann.as_str()).await.expect(400);
        server.send("GET", path, &headers, "").await.expect(405);
    }
    assert!(!server.is_present("lobby", "ann").await);
    assert_eq!(session.number, 0);
    session.join("lobby", "ann").await;
}

#[tokio::test]
async fn another_request_while_one_is_under_way_is_refused_as_busy() {
    // A tenth of it for one connection. The messages past it are taken later.
    let server = TestServer::with(|config| config.rate_messages = "60/min".parse().expect("a rate")).await;
    let conn = Conn::open(server.addr).await;
    let mut session = Session::with(conn, &json!([]), "X-Forwarded-For: 192.0.2.7\r\n").await;
    for messages in [8, 1] {
        session.send(&json!(vec![json!({"action": "alive"}); messages])).await;
    }
    let slow = tokio::spawn({
        let post = session.post.clone();
        async move { post.number(3, &json!([join("lobby", "ann")])).await }
    });
    let busy = async |number| {
        loop {
            let answer = session.post.number(number, &json!([join("lobby", "bob")])).await;
            if answer.status == 409 && answer.json()["code"] == "busy" {
                return answer.json();
            }
            assert_eq!((answer.status, answer.json()["code"].clone()), (409, json!("out_of_order")));
        }
    };
    assert_eq!(busy(4).await["retry"], true);
    busy(3).await;
    assert!(!slow.is_finished() && !server.is_present("lobby", "ann").await, "slower reading first");
    slow.abort();
}

#[tokio::test]
async fn an_unknown_session_is_not_found() {
    let server = TestServer::start().await;
    let session = Session::open(server.addr).await;
    let mut post = session.post.clone();
    for secret in ["x", &"0".repeat(32), &post.secret.to_uppercase(), &format!("{} ", &post.secret[1..])] {
        post.secret = secret.to_string();
        let answer = post.number(1, &json!([])).await.expect(404).json();
        assert_eq!((&answer["code"], &answer["retry"]), (&json!("no_session"), &json!(false)));
    }
}

#[tokio::test]
async fn each_request_of_a_session_is_judged_like_a_change() {
    let server = TestServer::start().await;
    let session = Session::open(server.addr).await;
    for header in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("sec-purpose", "prefetch")] {
        let answer = session.post.raw("1", "[]", &[header]).await.expect(403);
        assert_eq!(answer.json()["code"], "cross_site");
        server.send("POST", STREAM, &[JSON, header], "[]").await.expect(403);
    }
    session.post.raw("1", "[]", &[("host", "evil.example")]).await.expect(421);
    session.post.raw("1", "[]", &[("sec-fetch-site", "same-origin")]).await.expect(204);
}

#[tokio::test]
async fn what_opens_no_session_is_refused_without_a_stream() {
    let server = TestServer::start().await;
    for (body, status, code) in [
        ("{}".to_owned(), 400, "bad_json"),
        (json!(vec![json!({}); 101]).to_string(), 413, "batch_too_large"),
        (format!("[\"{}\"]", "x".repeat(64 * 1024)), 413, "body_too_large"),
    ] {
        assert_eq!(server.send("POST", STREAM, &[JSON], body).await.expect(status).json()["code"], code);
    }
    server.send("POST", STREAM, &[], "[]").await.expect(415);
    server.send("POST", "/api/stream?room=lobby", &[JSON], "[]").await.expect(400);
    assert_eq!(server.send("GET", STREAM, &[], "").await.expect(405).header("allow"), Some("POST"));
    let server = TestServer::with(|config| config.rate_connections = "1/min".parse().expect("a rate")).await;
    let from = ("x-forwarded-for", "192.0.2.7");
    let _one = Session::with(Conn::open(server.addr).await, &json!([]), "X-Forwarded-For: 192.0.2.7\r\n").await;
    let refused = server.send("POST", STREAM, &[JSON, from], "[]").await.expect(429);
    assert!(refused.header("retry-after").is_some() && refused.json()["code"] == "too_fast");
}

#[tokio::test]
async fn close_ends_all_holds_cleanly_and_the_stream() {
    let server = TestServer::with(|config| config.grace = HOUR).await;
    let mut session = Session::open(server.addr).await;
    session.join("a", "ann").await;
    session.join("b", "bob").await;
    session.send(&json!([{"action": "close", "ref": 9}, join("a", "cyd")])).await;
    assert_eq!(session.hear().await, json!({"action": "ok", "ref": 9}));
    assert!(within("the end", session.next()).await.is_none() && session.stream.ended_cleanly());
    for (room, user) in [("a", "ann"), ("b", "bob"), ("a", "cyd")] {
        assert!(!server.is_present(room, user).await, "{user}");
    }
    session.post.number(4, &json!([])).await.expect(404);
    let mut ws = RawWs::request(server.addr, upgrade("/ws?room=a&as=ann")).await;
    held_by(&server, "a", "ann", &["connection websocket"]).await;
    ws.send(crate::harness::frame(crate::harness::FIN | TEXT, r#"{"action":"close"}"#)).await;
    assert_eq!(ws.reply().await.json(), json!({"action": "ok"}));
    assert_eq!(ws.closed().await, (1000, String::new()));
    assert!(!server.is_present("a", "ann").await);
}

#[tokio::test]
async fn any_other_end_of_the_stream_is_a_loss() {
    let server = TestServer::with(|config| config.grace = HOUR).await;
    for (user, how) in [("ann", Parting::Fin), ("bob", Parting::Reset)] {
        let mut session = Session::open(server.addr).await;
        session.join("lobby", user).await;
        let post = session.post.clone();
        session.part(how);
        held_by(&server, "lobby", user, &["connection sse lost"]).await;
        post.number(2, &json!([leave("lobby", user)])).await.expect(404);
    }
}

#[tokio::test]
async fn who_comes_back_takes_the_place_of_the_older_hold_and_the_older_session_hears_why_it_ends() {
    let server = TestServer::with(|config| config.grace = HOUR).await;
    let mut join = join("lobby", "ann");
    join["client"] = json!(CLIENT);
    let mut older = Session::with(Conn::open(server.addr).await, &json!([join]), "").await;
    held_by(&server, "lobby", "ann", &["connection sse"]).await;
    let cursor = server.cursor("lobby").await;
    let _newer = Session::with(Conn::open(server.addr).await, &json!([join]), "").await;
    assert_eq!(older.hear().await["action"], "ok");
    // The greeting was read by `hear`.
    let last = within("the reason", older.stream.next()).await.expect("the reason");
    let told: Value = serde_json::from_str(&last.data).expect("a JSON text");
    assert_eq!((last.event.as_deref(), &told["code"]), (Some("refused"), &json!("replaced")));
    assert!(within("the end", older.stream.next()).await.is_none() && older.stream.ended_cleanly());
    held_by(&server, "lobby", "ann", &["connection sse"]).await;
    assert_eq!(server.cursor("lobby").await, cursor, "no event");
}

#[tokio::test]
async fn a_session_has_the_bounds_of_a_websocket() {
    let server = TestServer::with(|config| config.max_per_connection = 2).await;
    let mut session = Session::open(server.addr).await;
    session.join("a", "ann").await;
    session.join("b", "ann").await;
    assert_eq!(session.is_refused(join("c", "ann")).await, "too_many_joined");
    for room in ["a", "b"] {
        session.does(json!({"action": "subscribe", "room": room})).await;
    }
    assert_eq!(session.is_refused(json!({"action": "subscribe", "room": "c"})).await, "too_many_subscribed");
    let numbers = server.get("/api/gateway").await.expect(200).json();
    assert_eq!(numbers["connections"]["sse"], 1);
    let server = TestServer::with(|config| config.max_message = 100).await;
    let session = Session::open(server.addr).await;
    session.post.raw("1", format!("[\"{}\"]", "x".repeat(100)), &[]).await.expect(413);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_read_later() {
    let server = TestServer::start().await;
    let session = Session::with(Conn::narrow(server.addr).await, &json!([]), "").await;
    let long = json!(vec![json!({"action": "x".repeat(64), "ref": "r".repeat(126)}); 100]);
    let mut number = 0;
    // 30 KB of answers each: what may wait and what the sockets take is less than 100 of them.
    while number < 100 {
        let posted = timeout(Duration::from_millis(500), session.post.number(number + 1, &long)).await;
        let Ok(answer) = posted else { break };
        answer.expect(204);
        number += 1;
    }
    assert!((3..100).contains(&number), "{number} requests were taken");
    let answer = session.post.number(number + 2, &json!([])).await.expect(409);
    assert_eq!(answer.json()["code"], "busy");
    let mut session = session;
    for _ in 0..100 * (number + 1) {
        assert_eq!(session.hear().await["code"], "unknown_action");
    }
    // The answer may be a moment later than the last message's.
    let answered = async { while session.post.number(number + 1, &long).await.status != 204 {} };
    within("the request that was under way", answered).await;
}

#[tokio::test]
async fn the_secret_is_in_no_log() {
    let gateway = Binary::start(&["--log", "trace"]).await;
    let mut session = Session::open(gateway.addr).await;
    let secret = session.post.secret.clone();
    session.join("lobby", "ann").await;
    session.post.number(7, &json!([])).await.expect(409);
    session.post.raw("x", "[]", &[]).await.expect(400);
    session.send(&json!([{"action": "close"}])).await;
    let ended = async { while session.post.number(3, &json!([])).await.status != 404 {} };
    within("the end", ended).await;
    let seen = async {
        while !gateway.log().iter().any(|line| line.contains("no_session")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the refusal in the log", seen).await;
    assert!(gateway.log().iter().all(|line| !line.contains(&secret)));
}

#[tokio::test]
async fn an_older_http_client_gets_the_stream_without_chunks() {
    let server = TestServer::start().await;
    let request = format!("POST {STREAM} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n");
    let mut conn = Conn::open(server.addr).await;
    conn.send(request + r#"[{"action":"close"}]"#).await;
    let answer = conn.answer().await;
    assert_eq!((answer.header("transfer-encoding"), answer.header("connection")), (None, Some("close")));
}

#[tokio::test]
async fn sessions_end_with_the_gateway_and_hear_why() {
    let server = TestServer::start().await;
    let mut session = Session::open(server.addr).await;
    session.join("lobby", "ann").await;
    let stopping = tokio::spawn(server.stop());
    let last = within("the reason", session.stream.next()).await.expect("the reason");
    let told: Value = serde_json::from_str(&last.data).expect("a JSON text");
    assert_eq!((&told["code"], &told["retry"]), (&json!("stopping"), &json!(true)));
    assert!(within("the end", session.stream.next()).await.is_none());
    within("the gateway's end", stopping).await.expect("no panic");
}

/// Options with which a client is asked and judged at once.
async fn asking() -> TestServer {
    TestServer::with(|config| {
        config.keep_alive = Duration::from_millis(50);
        config.alive_every = Duration::from_millis(50);
        config.alive_within = Duration::from_millis(300);
        config.grace = HOUR;
    })
    .await
}

#[tokio::test]
async fn a_session_is_asked_whether_it_is_alive_and_lost_without_an_answer() {
    let server = asking().await;
    let mut session = Session::open(server.addr).await;
    session.join("lobby", "ann").await;
    let ask = json!({"action": "alive", "ask": true});
    let asked = async { while data(&mut session.stream).await != ask {} };
    within("a question", asked).await;
    assert!(within("the end", session.next()).await.is_none());
    held_by(&server, "lobby", "ann", &["connection sse lost"]).await;
}

#[tokio::test]
async fn any_request_of_a_session_is_an_answer() {
    let server = asking().await;
    let mut session = Session::open(server.addr).await;
    session.join("lobby", "ann").await;
    // Three times as long as an answer may take.
    let mut asked = 0;
    while asked < 18 {
        let frame = data(&mut session.stream).await;
        if frame["ask"] == true {
            asked += 1;
            match asked % 3 {
                0 => session.send(&json!([{"action": "alive"}])).await,
                1 => session.send(&json!([])).await,
                _ => drop(session.post.number(999, &json!([])).await.expect(409)),
            }
        }
    }
    held_by(&server, "lobby", "ann", &["connection sse"]).await;
}

#[tokio::test]
async fn a_websocket_with_alive_is_asked_too_and_held_to_it_once_it_has_answered() {
    let server = asking().await;
    let mut silent = Talker::open(server.addr, "room=lobby&as=silent&alive=1").await;
    let mut answers = Talker::open(server.addr, "room=lobby&as=answers&alive=1").await;
    let ask = json!({"action": "alive", "ask": true});
    let asked = async { while answers.hear().await != ask {} };
    within("a question", asked).await;
    answers.does(json!({"action": "alive"})).await;
    // The pongs of a frozen page, without an answer.
    let pongs = tokio::spawn(async move { answers.closed_or_lost().await });
    let mut questions = 0;
    while questions < 18 {
        questions += usize::from(silent.hear().await == ask);
    }
    within("the end of a page that answers no more", pongs).await.expect("no panic");
    held_by(&server, "lobby", "answers", &["connection websocket lost"]).await;
    held_by(&server, "lobby", "silent", &["connection websocket"]).await;
}

#[tokio::test]
async fn a_stream_of_one_room_is_not_asked_as_it_cannot_answer() {
    let server = asking().await;
    let mut stream = Sse::open(server.addr, "/api/rooms/lobby/stream?as=ann&alive=1", &[]).await;
    for _ in 0..12 {
        assert_eq!(data(&mut stream).await.get("ask"), None);
    }
    held_by(&server, "lobby", "ann", &["connection sse"]).await;
}

#[tokio::test]
async fn a_session_resumes_room_by_room_from_any_transport() {
    let server = TestServer::start().await;
    let mut reader = Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await;
    for n in 0..9 {
        let cursor = server.sign_in("lobby", &n.to_string()).await;
        reader = Reader::resume(server.addr, Transport::ALL[(n + 2) % 3], reader.mirror).await;
        reader.caught_up(&cursor).await;
    }
    assert_eq!((reader.mirror.seen("snapshot"), reader.mirror.seen("add")), (1, 9));
}
