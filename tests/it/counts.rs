//! Counts without names: the largest rooms, totals, and how many are in each room, now and from now on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use presently::Faults;
use serde_json::{Value, json};

use crate::harness::{Conn, Dialogue, Session, Sse, Talker, TestServer, Transport, quoted, within};

type Rooms = BTreeMap<String, u64>;

/// A reader of counts, over either transport, with the counts so far.
struct Lobby {
    stream: Stream,
    rooms: Rooms,
    /// The parts before the last one.
    parts: Vec<Value>,
    /// Single counts received.
    singles: usize,
}

enum Stream {
    Sse(Box<Sse>),
    Ws(Box<Talker>),
    Session(Box<Session>),
}

impl Lobby {
    /// Asks for the counts of `prefix`, and reads nothing yet.
    async fn ask(addr: SocketAddr, transport: Transport, prefix: &str) -> Self {
        let stream = match transport {
            Transport::Sse => {
                Stream::Sse(Box::new(Sse::open(addr, &format!("/api/counts?prefix={}", quoted(prefix)), &[]).await))
            }
            Transport::Ws => {
                let mut talker = Talker::open(addr, "").await;
                talker.does(json!({"action": "subscribe", "counts": prefix})).await;
                Stream::Ws(Box::new(talker))
            }
            Transport::Session => {
                let mut session = Session::open(addr).await;
                session.does(json!({"action": "subscribe", "counts": prefix})).await;
                Stream::Session(Box::new(session))
            }
        };
        Self::of(stream)
    }

    fn of(stream: Stream) -> Self {
        Self { stream, rooms: Rooms::new(), parts: Vec::new(), singles: 0 }
    }

    /// The counts of `prefix`, after the first parts.
    async fn open(addr: SocketAddr, transport: Transport, prefix: &str) -> Self {
        let mut lobby = Self::ask(addr, transport, prefix).await;
        while lobby.hear().await["last"] != true {}
        lobby
    }

    /// The next frame, applied.
    async fn hear(&mut self) -> Value {
        let frame = match &mut self.stream {
            Stream::Ws(talker) => talker.hear().await,
            Stream::Session(session) => session.hear().await,
            Stream::Sse(stream) => {
                let event = within("counts", stream.next()).await.expect("the stream goes on");
                assert_eq!((event.id, event.event), (None, None));
                serde_json::from_str(&event.data).expect("JSON")
            }
        };
        match frame["action"].as_str() {
            Some("counts") => self.part(&frame),
            Some("count") => {
                self.singles += 1;
                let room = frame["room"].as_str().expect("a room");
                match frame["count"].as_u64() {
                    Some(count) => drop(self.rooms.insert(room.to_owned(), count)),
                    None => assert!(frame["count"].is_null() && self.rooms.remove(room).is_some(), "{frame}"),
                }
            }
            other => panic!("no frame of counts: {other:?}"),
        }
        frame
    }

    fn part(&mut self, frame: &Value) {
        if frame["part"] == 0 {
            self.parts.clear();
        }
        assert_eq!(frame["part"], self.parts.len(), "{frame}");
        self.parts.push(frame.clone());
        if frame["last"] == true {
            let counts = self.parts.drain(..).collect::<Vec<_>>();
            let counts = counts.iter().flat_map(|part| part["counts"].as_array().expect("counts"));
            self.rooms = counts.map(entry).collect();
        }
    }

    /// Reads until the counts are `rooms`.
    async fn reaches(&mut self, rooms: &Rooms) {
        while self.rooms != *rooms {
            self.hear().await;
        }
    }
}

fn entry(room: &Value) -> (String, u64) {
    (room["room"].as_str().expect("a room").to_owned(), room["count"].as_u64().expect("a count"))
}

fn rooms(of: &[(&str, u64)]) -> Rooms {
    of.iter().map(|(room, count)| ((*room).to_owned(), *count)).collect()
}

/// Changes many rooms over one connection.
async fn change(addr: SocketAddr, changes: impl IntoIterator<Item = (&'static str, String, String)>) {
    let request = |(method, room, user): (_, String, String)| {
        let path = format!("/api/rooms/{}/users/{}", quoted(&room), quoted(&user));
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    };
    let requests: Vec<_> = changes.into_iter().map(request).collect();
    let mut conn = Conn::open(addr).await;
    for some in requests.chunks(200) {
        conn.send(some.concat()).await;
        for _ in some {
            assert!(conn.answer().await.status < 300);
        }
    }
}

#[tokio::test]
async fn counts_come_of_all_selected_rooms_first_and_then_as_they_change() {
    for transport in Transport::ALL {
        let server = TestServer::start().await;
        for (room, user) in [("game-1", "ann"), ("game-1", "bob"), ("game-2", "ann"), ("lobby", "ann")] {
            server.sign_in(room, user).await;
        }
        let mut lobby = Lobby::ask(server.addr, transport, "game-").await;
        let first = json!({
            "action": "counts", "prefix": "game-", "part": 0, "last": true,
            "counts": [{"room": "game-1", "count": 2}, {"room": "game-2", "count": 1}],
        });
        assert_eq!(lobby.hear().await, first);
        server.sign_in("lobby", "bob").await;
        server.sign_in("game-3", "ann").await;
        assert_eq!(lobby.hear().await, json!({"action": "count", "room": "game-3", "count": 1}));
        server.sign_out("game-3", "ann").await;
        assert_eq!(lobby.hear().await, json!({"action": "count", "room": "game-3", "count": 0}));
    }
}

#[tokio::test]
async fn the_end_of_a_room_is_null_and_a_room_comes_back() {
    let server = TestServer::with(|config| config.history_for = Duration::from_millis(100)).await;
    server.sign_in("den", "ann").await;
    for transport in Transport::ALL {
        let mut lobby = Lobby::open(server.addr, transport, "").await;
        server.sign_out("den", "ann").await;
        lobby.reaches(&Rooms::new()).await;
        server.sign_in("den", "ann").await;
        lobby.reaches(&rooms(&[("den", 1)])).await;
    }
}

#[tokio::test]
async fn an_unchanged_count_is_not_told_and_many_changes_are_one() {
    let server = TestServer::start().await;
    server.sign_in("den", "ann").await;
    let mut lobby = Lobby::open(server.addr, Transport::Sse, "").await;
    server.sign_in("den", "ann").await;
    server.send_json("PATCH", "/api/rooms/den/users/ann", &json!({"meta": {"a": 1}})).await.expect(200);
    server.batch("den", &json!({"add": [{"user": "bob"}], "del": ["ann"]})).await;
    change(server.addr, (0..500).map(|n| ("PUT", "den".to_owned(), n.to_string()))).await;
    lobby.reaches(&rooms(&[("den", 501)])).await;
    assert!(lobby.singles <= 250, "{} counts for 500 changes", lobby.singles);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_ends_with_the_counts_of_the_gateway_whenever_it_begins() {
    let server = TestServer::start().await;
    let mut rng = fastrand::Rng::with_seed(14);
    let mut change_some = |n: usize| -> Vec<_> {
        let one = |_| {
            let (room, user) = (rng.usize(..2_000), rng.u8(..3));
            let method = if rng.bool() { "PUT" } else { "DELETE" };
            (method, format!("{}-{room:04}", room % 2), user.to_string())
        };
        (0..n).map(one).collect()
    };
    change(server.addr, change_some(4_000)).await;
    let mut readers = Vec::new();
    for n in 0..6 {
        let (transport, prefix) = (Transport::ALL[n % 3], ["", "1-"][n / 3 % 2]);
        readers.push((prefix, Lobby::ask(server.addr, transport, prefix).await));
        // The counts of all rooms are on their way meanwhile.
        change(server.addr, change_some(1_000)).await;
    }
    let listed = server.get("/api/rooms?limit=10000").await.expect(200).json();
    let all: Rooms = listed["rooms"].as_array().expect("rooms").iter().map(entry).collect();
    assert!(all.len() > 1_500);
    for (prefix, mut reader) in readers {
        let selected = all.clone().into_iter().filter(|(room, _)| room.starts_with(prefix)).collect();
        within("all counts", reader.reaches(&selected)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_reads_late_skips_intermediate_counts() {
    let server = TestServer::start().await;
    let name = |n: usize| format!("{n:0100}");
    let sign_in = |user: &'static str| (0..1_500).map(move |n| ("PUT", name(n), user.to_owned()));
    change(server.addr, sign_in("ann")).await;
    let mut prompt = Lobby::open(server.addr, Transport::Sse, "").await;
    let narrow = Sse::over(Conn::narrow(server.addr).await, "/api/counts", &[]).await;
    let mut late = Lobby::of(Stream::Sse(Box::new(narrow)));
    for (count, user) in (2..).zip(["bob", "cyd", "dee", "eve", "fay"]) {
        change(server.addr, sign_in(user)).await;
        prompt.reaches(&(0..1_500).map(|n| (name(n), count)).collect()).await;
    }
    late.reaches(&prompt.rooms).await;
    assert!(late.singles < prompt.singles, "{} and {}", late.singles, prompt.singles);
}

#[tokio::test]
async fn a_hub_that_panics_misses_no_count() {
    let armed = Arc::new(AtomicBool::new(false));
    let fuse = armed.clone();
    let faults = Faults::new(move |point| assert!(point != "hub" || !fuse.swap(false, Relaxed), "sabotage"));
    let server = TestServer::with(|config| config.faults = faults).await;
    let mut readers = Vec::new();
    for transport in Transport::ALL {
        readers.push(Lobby::open(server.addr, transport, "").await);
    }
    armed.store(true, Relaxed);
    server.sign_in("den", "ann").await;
    for reader in &mut readers {
        reader.reaches(&rooms(&[("den", 1)])).await;
    }
    assert!(!armed.load(Relaxed));
    server.sign_in("den", "bob").await;
    for reader in &mut readers {
        reader.reaches(&rooms(&[("den", 2)])).await;
    }
}

#[tokio::test]
async fn counts_are_asked_for_and_ended_by_prefix_beside_rooms() {
    let server = TestServer::start().await;
    server.sign_in("den", "ann").await;
    let mut talker = Talker::open(server.addr, "").await;
    talker.subscribe("den").await;
    assert_eq!(talker.hear().await["action"], "snapshot");
    let subscribe = |prefix: &str| json!({"action": "subscribe", "counts": prefix});
    let unsubscribe = |prefix: &str| json!({"action": "unsubscribe", "counts": prefix});
    assert_eq!(talker.is_refused(unsubscribe("")).await, "not_subscribed");
    for prefix in (0..14).map(|n| n.to_string()).chain(["".to_owned(), "d".to_owned()]) {
        assert_eq!(talker.does(subscribe(&prefix)).await, "", "counts have no cursor");
        assert_eq!((&talker.hear().await["prefix"], talker.heard().len()), (&json!(prefix), 0));
    }
    assert_eq!(talker.is_refused(subscribe("one more")).await, "too_many_subscribed");
    talker.does(subscribe("d")).await;
    assert_eq!(talker.hear().await["counts"], json!([{"room": "den", "count": 1}]), "asked again, all come again");
    server.sign_in("den", "bob").await;
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(talker.hear().await["action"].as_str().expect("an action").to_owned());
    }
    heard.sort();
    assert_eq!(heard, ["add", "count", "count"], "one for each prefix that selects the room");
    talker.does(unsubscribe("")).await;
    talker.does(unsubscribe("d")).await;
    assert_eq!(talker.is_refused(unsubscribe("d")).await, "not_subscribed");
    talker.does(json!({"action": "unsubscribe", "room": "den"})).await;
    server.sign_in("den", "cyd").await;
    talker.does(subscribe("d")).await;
    assert_eq!(talker.hear().await["counts"], json!([{"room": "den", "count": 3}]), "nothing came before");
    for (message, code) in [
        (subscribe(&"x".repeat(129)), "bad_name"),
        (json!({"action": "subscribe", "counts": 1}), "bad_json"),
        (json!({"action": "subscribe", "counts": "", "room": "den"}), "bad_json"),
        (json!({"action": "unsubscribe", "counts": "", "since": ""}), "bad_json"),
    ] {
        assert_eq!(talker.is_refused(message).await, code);
    }
}

#[tokio::test]
async fn readers_of_counts_are_told_in_numbers_and_end_with_the_gateway() {
    let server = TestServer::start().await;
    let mut lobby = Lobby::open(server.addr, Transport::Sse, "").await;
    let numbers = server.get("/api/gateway").await.expect(200).json();
    assert_eq!((&numbers["count_readers"], &numbers["connections"]["sse"]), (&json!(1), &json!(1)));
    server.stop().await;
    let Stream::Sse(stream) = &mut lobby.stream else { unreachable!("over SSE") };
    assert_eq!(within("the end", stream.next()).await, None);
    assert!(stream.ended_cleanly());
}

#[tokio::test]
async fn a_stream_of_counts_has_a_head_and_refusals_of_its_own() {
    let server = TestServer::start().await;
    let head = server.send("HEAD", "/api/counts", &[], "").await.expect(200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    for (path, code, field) in [
        ("/api/counts?prefix=a&room=b", "bad_parameter", "room"),
        ("/api/counts?alive=2", "bad_parameter", "alive"),
        (&format!("/api/counts?prefix={}", "x".repeat(129)), "bad_name", "prefix"),
    ] {
        let refused = server.get(path).await.expect(400).json();
        assert_eq!((&refused["code"], &refused["field"]), (&json!(code), &json!(field)), "{path}");
    }
    assert_eq!(server.send("PUT", "/api/counts", &[], "").await.expect(405).header("allow"), Some("GET, HEAD, POST"));
    let mut conn = Conn::open(server.addr).await;
    conn.send("GET /api/counts?prefix=a&alive=1 HTTP/1.0\r\n\r\n").await;
    let mut stream = Sse::answered(conn).await;
    assert_eq!(stream.head.header("transfer-encoding"), None);
    let hello = within("hello", stream.next()).await.expect("the stream goes on").data;
    assert!(hello.starts_with(r#"{"action":"hello""#), "{hello}");
    let none = within("counts", stream.next()).await.expect("the stream goes on").data;
    assert_eq!(none, r#"{"action":"counts","prefix":"a","part":0,"last":true,"counts":[]}"#);
}

#[tokio::test]
async fn a_question_for_counts_is_answered_in_its_order() {
    let server = TestServer::start().await;
    for (room, user) in [("den", "ann"), ("den", "bob"), ("a/b", "ann")] {
        server.sign_in(room, user).await;
    }
    let asked = json!({"rooms": ["den", "attic", "a/b", "den"]});
    let answer = server.send_json("POST", "/api/counts", &asked).await.expect(200);
    let expected = r#"{"counts":[{"room":"den","count":2},{"room":"attic","count":0},{"room":"a/b","count":1},{"room":"den","count":2}]}"#;
    assert_eq!(answer.text(), expected);
    assert_eq!(
        server.send_json("POST", "/api/counts", &json!({"rooms": []})).await.expect(200).text(),
        r#"{"counts":[]}"#
    );
    let many = |n: usize| json!({ "rooms": (0..n).map(|n| n.to_string()).collect::<Vec<_>>() });
    let most = server.send_json("POST", "/api/counts", &many(1_000)).await.expect(200).json();
    assert_eq!(most["counts"].as_array().map(Vec::len), Some(1_000));
    for (body, status, code, field) in [
        (many(1_001), 413, "batch_too_large", "rooms"),
        (json!({"rooms": ["den", ""]}), 400, "bad_name", "rooms[1]"),
        (json!({"rooms": "den"}), 400, "bad_json", "body"),
        (json!({"rooms": [], "prefix": ""}), 400, "bad_json", "body"),
        (json!([["den"]]), 400, "bad_json", "body"),
    ] {
        let refused = server.send_json("POST", "/api/counts", &body).await.expect(status).json();
        assert_eq!((&refused["code"], &refused["field"]), (&json!(code), &json!(field)), "{body}");
    }
    assert_eq!(server.send("POST", "/api/counts", &[], "").await.expect(400).json()["code"], "bad_json");
    let typed = [("content-type", "text/plain")];
    assert_eq!(server.send("POST", "/api/counts", &typed, "{}").await.expect(415).json()["code"], "wrong_type");
    assert_eq!(server.get("/api/rooms/attic").await.json()["count"], 0, "asking makes no room");
    assert_eq!(server.get("/api/rooms").await.json()["rooms"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn the_largest_rooms_come_first_in_pages_with_a_total_of_what_matches() {
    let server = TestServer::start().await;
    for (room, members) in [("game-1", 3), ("game-2", 1), ("game-3", 3), ("game-4", 2), ("lobby", 9)] {
        change(server.addr, (0..members).map(|n| ("PUT", room.to_owned(), n.to_string()))).await;
    }
    let page = server.get("/api/rooms?order=count&limit=2&prefix=game-").await.expect(200).json();
    let total = json!({"rooms": 4, "members": 9});
    assert_eq!((listed(&page), &page["total"]), (rooms_in_order(&[("game-1", 3), ("game-3", 3)]), &total));
    let next = quoted(page["next"].as_str().expect("more rooms follow"));
    let page =
        server.get(&format!("/api/rooms?order=count&limit=2&prefix=game-&after={next}")).await.expect(200).json();
    assert_eq!((listed(&page), &page["total"]), (rooms_in_order(&[("game-4", 2), ("game-2", 1)]), &total));
    assert_eq!(page["next"], json!(null));
    let page = server.get("/api/rooms?order=count&limit=1").await.expect(200).json();
    assert_eq!((listed(&page), &page["total"]["members"]), (rooms_in_order(&[("lobby", 9)]), &json!(18)));
}

fn listed(page: &Value) -> Vec<(String, u64)> {
    page["rooms"].as_array().expect("rooms").iter().map(entry).collect()
}

fn rooms_in_order(of: &[(&str, u64)]) -> Vec<(String, u64)> {
    of.iter().map(|(room, count)| ((*room).to_owned(), *count)).collect()
}

#[tokio::test]
async fn rooms_are_listed_by_prefix_and_the_total_comes_when_asked_for() {
    let server = TestServer::start().await;
    for room in ["den", "game-1", "game-2", "game.3", "games"] {
        server.sign_in(room, "ann").await;
    }
    let page = server.get("/api/rooms?prefix=game-").await.expect(200).json();
    assert_eq!(page, json!({"rooms": [{"room": "game-1", "count": 1}, {"room": "game-2", "count": 1}]}));
    for (path, said) in [
        ("prefix=game&after=game-2&limit=1", json!({"rooms": [{"room": "game.3", "count": 1}], "next": "game.3"})),
        ("prefix=game&after=den&limit=1", json!({"rooms": [{"room": "game-1", "count": 1}], "next": "game-1"})),
        ("prefix=game&after=zoo", json!({"rooms": []})),
        ("prefix=gamea", json!({"rooms": []})),
        (
            "prefix=games&total=1&order=name",
            json!({"rooms": [{"room": "games", "count": 1}], "total": {"rooms": 1, "members": 1}}),
        ),
        ("prefix=zoo&order=count", json!({"rooms": [], "total": {"rooms": 0, "members": 0}})),
    ] {
        assert_eq!(server.get(&format!("/api/rooms?{path}")).await.expect(200).json(), said, "{path}");
    }
    for (path, field) in [("order=size", "order"), ("total=yes", "total"), ("order=count&after=den", "after")] {
        let refused = server.get(&format!("/api/rooms?{path}")).await.expect(400).json();
        assert_eq!((&refused["code"], &refused["field"]), (&json!("bad_parameter"), &json!(field)), "{path}");
    }
}

#[tokio::test]
async fn a_room_may_be_named_stream_or_counts() {
    let server = TestServer::start().await;
    for room in ["stream", "counts"] {
        server.sign_in(room, "ann").await;
        assert_eq!(server.get(&format!("/api/rooms/{room}")).await.expect(200).json()["count"], 1);
    }
}

#[tokio::test]
async fn the_first_counts_cost_snapshots_by_the_number_of_rooms() {
    let server = TestServer::with(|config| config.rate_snapshots = "6/min".parse().expect("a rate")).await;
    change(server.addr, (0..1_500).map(|n| ("PUT", format!("game-{n}"), "ann".to_owned()))).await;
    let stranger = [("x-forwarded-for", "192.0.2.1")];
    let mut open = Vec::new();
    // A minute's worth is 6 snapshots, and each takes 10 s to come back.
    for _ in 0..2 {
        open.push(Sse::open(server.addr, "/api/counts", &stranger).await);
    }
    open.push(Sse::open(server.addr, "/api/counts?prefix=nobody", &stranger).await);
    let refused = server.send("GET", "/api/counts", &stranger, "").await.expect(200);
    assert!(refused.text().contains("event: refused") && refused.text().contains("too_fast"), "{refused:?}");
    open.push(Sse::open(server.addr, "/api/counts?prefix=nobody", &stranger).await);
}
