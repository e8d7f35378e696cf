//! Holds: several holds of a user are one member.

use serde_json::{Value, json};

use crate::harness::{
    Client, Conn, Dialogue, Mirror, Parting, RawWs, Reader, Session, Sse, Talker, TestServer, Transport, member_path,
    upgrade, within,
};

const CLIENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
const OTHER: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4";
const THIRD: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b5";
const FOURTH: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b6";

/// Waits until the member has exactly these holds.
pub async fn held_by(client: &Client, room: &str, user: &str, holds: &[&str]) {
    within(&format!("{user} to be held by {holds:?}"), async { while client.holds(room, user).await != holds {} })
        .await;
}

/// A stream with a hold, read up to the first frame.
async fn holding(server: &TestServer, query: &str) -> (Sse, Value) {
    let mut stream = Sse::open(server.addr, &format!("/api/rooms/lobby/stream?{query}"), &[]).await;
    let frame = frame(&mut stream).await;
    (stream, frame)
}

async fn frame(stream: &mut Sse) -> Value {
    let event = within("a frame", stream.next()).await.expect("a frame");
    serde_json::from_str(&event.data).expect("a JSON text")
}

/// Bugs of others: Centrifugo #131, Reverb #213.
#[tokio::test]
async fn tabs_a_phone_and_a_lease_are_one_member_one_add_and_one_del() {
    let server = TestServer::start().await;
    let mut watcher = Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await;
    let mut first = Talker::open(server.addr, "room=lobby&as=ann").await;
    let second = Talker::open(server.addr, "room=lobby&as=ann").await;
    let (phone, _) = holding(&server, "as=ann").await;
    server.send_json("PUT", &member_path("lobby", "ann"), &json!({"ttl": 60})).await.expect(200);
    held_by(&server, "lobby", "ann", &["connection sse", "connection websocket", "connection websocket", "lease"])
        .await;
    first.leave("lobby", "ann").await;
    second.part(Parting::Close(None)).await;
    drop(phone);
    held_by(&server, "lobby", "ann", &["connection sse lost", "lease"]).await;
    let cursor = server.sign_out("lobby", "ann").await;
    watcher.caught_up(&cursor).await;
    assert_eq!((watcher.mirror.seen("add"), watcher.mirror.seen("del"), watcher.mirror.seen("update")), (1, 1, 0));
}

/// A bug of another gateway: Supabase realtime #1167.
#[tokio::test]
async fn a_changed_meta_is_one_update_and_never_a_leave_and_a_join() {
    let server = TestServer::start().await;
    let mut watcher = Reader::open(server.addr, Transport::Ws, "lobby").await.begun().await;
    let mut ann = Talker::open(server.addr, "room=lobby&as=ann&meta=%7B%22n%22%3A1%7D").await;
    let update = |meta: Value| json!({"action": "update", "room": "lobby", "user": "ann", "meta": meta});
    ann.does(update(json!({"n": 2}))).await;
    ann.does(update(json!({"n": 2}))).await;
    let (_tab, _) = holding(&server, "as=ann").await;
    let cursor = ann.does(update(json!({}))).await;
    watcher.caught_up(&cursor).await;
    assert_eq!((watcher.mirror.seen("add"), watcher.mirror.seen("del"), watcher.mirror.seen("update")), (1, 0, 2));
    assert_eq!(watcher.mirror.users["ann"].meta, json!({}));
}

#[tokio::test]
async fn update_makes_no_hold_and_needs_a_hold_of_the_connection() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    let mut other = Talker::open(server.addr, "room=lobby&as=bob").await;
    for action in ["update", "leave"] {
        let mut message = json!({"action": action, "room": "lobby", "user": "ann"});
        if action == "update" {
            message["meta"] = json!({});
        }
        assert_eq!(other.is_refused(message).await, "not_joined");
    }
    assert_eq!(server.holds("lobby", "ann").await, ["sign_in"]);
}

#[tokio::test]
async fn a_connection_holds_in_several_rooms_and_watches_others() {
    let server = TestServer::start().await;
    let mut talker = Talker::open(server.addr, "").await;
    for room in ["a", "b", "c"] {
        talker.join(room, "ann").await;
        assert_eq!(server.holds(room, "ann").await, ["connection websocket"]);
    }
    assert!(talker.heard().is_empty(), "to join is not to watch");
    talker.subscribe("b").await;
    talker.subscribe("d").await;
    let firsts = [talker.hear().await, talker.hear().await];
    let told = firsts.map(|frame| (frame["action"].clone(), frame["room"].clone(), frame["count"].clone()));
    assert_eq!(told[0], (json!("snapshot"), json!("b"), json!(1)));
    assert_eq!(told[1], (json!("snapshot"), json!("d"), json!(0)), "to watch is not to join");
    server.sign_in("a", "bob").await;
    server.sign_in("d", "bob").await;
    let next = talker.hear().await;
    assert_eq!((&next["action"], &next["room"]), (&json!("add"), &json!("d")), "a is not watched");
    let cursor = talker.does(json!({"action": "unsubscribe", "room": "d"})).await;
    assert_eq!(cursor, server.cursor("d").await);
    assert_eq!(talker.is_refused(json!({"action": "unsubscribe", "room": "d"})).await, "not_subscribed");
    server.sign_in("d", "cyd").await;
    server.sign_in("b", "cyd").await;
    assert_eq!(talker.hear().await["room"], "b");
    talker.part(Parting::Close(Some(1000))).await;
    for room in ["a", "b", "c"] {
        within(room, async { while server.is_present(room, "ann").await {} }).await;
    }
}

#[tokio::test]
async fn a_repeated_subscription_starts_again_from_its_cursor() {
    let server = TestServer::start().await;
    let cursor = server.sign_in("lobby", "ann").await;
    server.sign_in("lobby", "bob").await;
    let mut talker = Talker::open(server.addr, "room=lobby").await;
    assert_eq!(talker.hear().await["count"], 2);
    talker.does(json!({"action": "subscribe", "room": "lobby", "since": cursor})).await;
    assert_eq!(talker.hear().await["action"], "resumed");
    assert_eq!(talker.hear().await["user"], "bob");
    server.sign_in("lobby", "cyd").await;
    assert_eq!(talker.hear().await["user"], "cyd", "and each event comes once");
}

#[tokio::test]
async fn answers_come_before_snapshots_they_cause_and_after_the_last_event_of_ended_holds() {
    let server = TestServer::start().await;
    let mut talker = Talker::open(server.addr, "").await;
    talker.subscribe("lobby").await;
    assert!(talker.heard().is_empty(), "ok comes before the snapshot");
    assert_eq!(talker.hear().await["action"], "snapshot");
    for round in 0..50 {
        let joined = talker.join("lobby", "ann").await;
        let left = talker.leave("lobby", "ann").await;
        let heard = talker.heard();
        let told: Vec<_> = heard.iter().map(|frame| (frame["action"].as_str(), frame["cursor"].as_str())).collect();
        let expected = [(Some("add"), Some(&*joined)), (Some("del"), Some(&*left))];
        assert_eq!(told, expected, "round {round}: all of it comes before the ok to leave");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_snapshot_includes_the_streams_own_hold() {
    let server = TestServer::start().await;
    let names: Vec<String> = (0..200).map(|n| format!("u{n}")).collect();
    let add: Vec<Value> = names.iter().map(|user| json!({"user": format!("other {user}")})).collect();
    server.batch("lobby", &json!({ "add": add })).await;
    let tasks = names.into_iter().enumerate().map(|(n, name)| {
        let addr = server.addr;
        tokio::spawn(async move {
            let query = format!("as={name}");
            let users = if n % 2 == 0 {
                let mut talker = Talker::open(addr, &format!("room=lobby&{query}")).await;
                talker.hear().await["users"].clone()
            } else {
                let mut stream = Sse::open(addr, &format!("/api/rooms/lobby/stream?{query}"), &[]).await;
                frame(&mut stream).await["users"].clone()
            };
            assert!(users.as_array().expect("users").iter().any(|member| member["user"] == *name), "{name}: {users}");
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        within("a snapshot", task).await.expect("no panic");
    }
}

#[tokio::test]
async fn a_new_connection_of_a_client_replaces_the_older_hold() {
    let server = TestServer::with(|config| config.grace = std::time::Duration::from_secs(3_600)).await;
    let mut watcher = Reader::open(server.addr, Transport::Ws, "lobby").await.begun().await;
    let query = format!("room=lobby&as=ann&client={CLIENT}");
    let first = Talker::open(server.addr, &query).await;
    held_by(&server, "lobby", "ann", &["connection websocket"]).await;
    let second = Talker::open(server.addr, &query).await;
    assert_eq!(first.closed().await, (4409, "replaced".into()));
    held_by(&server, "lobby", "ann", &["connection websocket"]).await;
    let (mut third, _) = holding(&server, &format!("as=ann&client={CLIENT}")).await;
    assert_eq!(second.closed().await, (4409, "replaced".into()));
    held_by(&server, "lobby", "ann", &["connection sse"]).await;
    let fourth = Talker::open(server.addr, &query).await;
    let told = within("the end", third.next()).await.expect("a refusal");
    assert_eq!(told.event.as_deref(), Some("refused"));
    assert!(told.data.contains(r#""code":"replaced""#), "{}", told.data);
    assert!(within("the end", third.next()).await.is_none() && third.ended_cleanly());
    fourth.part(Parting::Reset).await;
    held_by(&server, "lobby", "ann", &["connection websocket lost"]).await;
    let mut fifth = Talker::open(server.addr, "").await;
    let join = json!({"action": "join", "room": "lobby", "user": "ann", "client": CLIENT});
    let cursor = fifth.does(join.clone()).await;
    assert_eq!(fifth.does(join).await, cursor, "one's own hold is no other's");
    held_by(&server, "lobby", "ann", &["connection websocket"]).await;
    let mut tab = Talker::open(server.addr, &format!("client={OTHER}")).await;
    tab.join("lobby", "ann").await;
    held_by(&server, "lobby", "ann", &["connection websocket", "connection websocket"]).await;
    let marker = server.sign_in("lobby", "end").await;
    watcher.caught_up(&marker).await;
    assert_eq!((watcher.mirror.seen("add"), watcher.mirror.seen("del")), (2, 0));
}

/// The hold of `CLIENT` ends with its connection, so whoever ends it knew the id.
#[tokio::test]
async fn a_client_may_name_itself_by_a_header_on_every_door() {
    let server = TestServer::with(|config| config.grace = std::time::Duration::from_secs(3_600)).await;
    let named = [("Presently-Client", CLIENT)];
    let handshake = |path: &str, id: &str| {
        upgrade(path).replace("Upgrade: websocket\r\n", &format!("Upgrade: websocket\r\nPresently-Client: {id}\r\n"))
    };
    let stream = Sse::open(server.addr, "/api/rooms/lobby/stream?as=ann", &named).await;
    let socket = RawWs::request(server.addr, handshake("/ws?room=lobby&as=ann", CLIENT)).await;
    held_by(&server, "lobby", "ann", &["connection websocket"]).await;
    let header = format!("Presently-Client: {CLIENT}\r\n");
    let mut session = Session::with(Conn::open(server.addr).await, &json!([]), &header).await;
    session.join("lobby", "ann").await;
    held_by(&server, "lobby", "ann", &["connection sse"]).await;
    // The query and the header are one id, whichever way it is spelled.
    let both = format!("/ws?room=lobby&as=ann&client={}", CLIENT.to_uppercase());
    let last = RawWs::request(server.addr, handshake(&both, CLIENT)).await;
    held_by(&server, "lobby", "ann", &["connection websocket"]).await;

    server.sign_in("lobby", "ann").await;
    server.send("DELETE", &member_path("lobby", "ann"), &[("Presently-Client", OTHER)], "").await.expect(204);
    held_by(&server, "lobby", "ann", &["connection websocket", "sign_in"]).await;
    server.send("DELETE", &member_path("lobby", "ann"), &named, "").await.expect(204);
    held_by(&server, "lobby", "ann", &["sign_in"]).await;
    drop((stream, socket, last));
}

#[tokio::test]
async fn two_clients_in_one_request_or_none_in_the_header_are_refused() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    let member = member_path("lobby", "ann");
    for (query, headers, field) in [
        (format!("client={CLIENT}"), vec![OTHER], "client"),
        (String::new(), vec![CLIENT, OTHER], "client"),
        (String::new(), vec![""], "Presently-Client"),
        (format!("client={CLIENT}"), vec!["x"], "Presently-Client"),
        ("client=x".to_owned(), vec![CLIENT], "client"),
    ] {
        let headers: Vec<_> = headers.iter().map(|id| ("Presently-Client", *id)).collect();
        for (method, path) in [("DELETE", &member), ("GET", &"/api/rooms/lobby/stream".to_owned())] {
            let refused = server.send(method, &format!("{path}?{query}"), &headers, "").await.expect(400).json();
            assert_eq!((&refused["code"], &refused["field"]), (&json!("bad_parameter"), &json!(field)), "{query}");
        }
        let lines: String = headers.iter().map(|(name, id)| format!("{name}: {id}\r\n")).collect();
        let handshake = upgrade(&format!("/ws?{query}")).replace("Host:", &format!("{lines}Host:"));
        assert_eq!(RawWs::request(server.addr, handshake).await.closed().await, (4400, "bad_parameter".into()));
    }
    assert!(server.is_present("lobby", "ann").await, "a refused leave is no sign-out");
}

#[tokio::test]
async fn client_ids_are_never_shown() {
    let server = TestServer::start().await;
    let mut talker = Talker::open(server.addr, &format!("room=lobby&as=ann&client={CLIENT}")).await;
    let snapshot = talker.hear().await.to_string();
    let member = server.get(&member_path("lobby", "ann")).await.expect(200);
    assert!(!snapshot.contains(CLIENT) && !member.text().contains(CLIENT), "{snapshot} {}", member.text());
}

#[tokio::test]
async fn a_sign_out_ends_every_hold_and_each_connection_gets_one_del() {
    let server = TestServer::start().await;
    let mut watches = Talker::open(server.addr, "room=lobby&as=ann").await;
    assert_eq!(watches.hear().await["action"], "snapshot");
    let mut only_holds = Talker::open(server.addr, "").await;
    only_holds.join("lobby", "ann").await;
    let (mut counts, first) = holding(&server, "as=ann&only=count").await;
    assert_eq!(first["action"], "count");
    server.sign_in("lobby", "ann").await;
    let cursor = server.sign_out("lobby", "ann").await;
    assert!(!server.is_present("lobby", "ann").await);
    for talker in [&mut watches, &mut only_holds] {
        let del = talker.hear().await;
        assert_eq!(
            (&del["action"], &del["user"], &del["reason"]),
            (&json!("del"), &json!("ann"), &json!("signed_out"))
        );
        assert_eq!(del["cursor"], cursor);
    }
    // In either order.
    let heard = [frame(&mut counts).await["action"].clone(), frame(&mut counts).await["action"].clone()];
    assert!(heard.contains(&json!("del")) && heard.contains(&json!("count")), "{heard:?}");
    server.sign_in("lobby", "bob").await;
    let next = watches.hear().await;
    assert_eq!((&next["action"], &next["user"]), (&json!("add"), &json!("bob")), "who watches is told once");
    assert_eq!(only_holds.is_refused(json!({"action": "leave", "room": "lobby", "user": "ann"})).await, "not_joined");
    assert!(only_holds.heard().is_empty(), "one del, and it stays open");
    only_holds.join("lobby", "ann").await;
}

#[tokio::test]
async fn a_signed_out_client_may_only_watch_until_it_changes_its_id() {
    let server = TestServer::start().await;
    for (query, code, client, new) in [("", "signed_out", CLIENT, THIRD), ("?reason=kicked", "kicked", OTHER, FOURTH)] {
        let holds = format!("as=ann&client={client}");
        let mut stays = Talker::open(server.addr, &format!("room=lobby&{holds}")).await;
        assert_eq!(stays.hear().await["action"], "snapshot");
        server.send("DELETE", &format!("{}{query}", member_path("lobby", "ann")), &[], "").await.expect(204);
        assert_eq!(stays.hear().await["reason"], code);
        // As an EventSource reconnects: to the original URL.
        let (mut again, refused) = holding(&server, &holds).await;
        assert_eq!(
            (&refused["action"], &refused["code"], &refused["retry"]),
            (&json!("refused"), &json!(code), &json!(false))
        );
        assert_eq!(frame(&mut again).await["action"], "snapshot");
        let mut talker = Talker::open(server.addr, &format!("room=lobby&{holds}")).await;
        assert_eq!(talker.hear().await["code"], code);
        assert_eq!(talker.hear().await["action"], "snapshot");
        let join = json!({"action": "join", "room": "lobby", "user": "ann"});
        assert_eq!(talker.is_refused(join.clone()).await, code, "the URL's client is the join's");
        assert!(!server.is_present("lobby", "ann").await);
        let (_new, _) = holding(&server, &format!("as=ann&client={new}")).await;
        assert!(server.is_present("lobby", "ann").await);
        server.sign_out("lobby", "ann").await;
        assert_eq!(talker.is_refused(join).await, code);
    }
}

/// A past rule: a kick closed the connection, and with it all other rooms and users of a browser.
#[tokio::test]
async fn a_kick_ends_the_hold_and_says_so_and_the_connection_stays() {
    let server = TestServer::start().await;
    let mut ann = Talker::open(server.addr, "").await;
    ann.join("lobby", "ann").await;
    ann.join("other", "ann").await;
    let (mut stream, _) = holding(&server, "as=ann").await;
    let mut session = Session::open(server.addr).await;
    session.join("lobby", "ann").await;
    server.send("DELETE", &format!("{}?reason=kicked", member_path("lobby", "ann")), &[], "").await.expect(204);
    let cursor = server.cursor("lobby").await;
    for del in [ann.hear().await, frame(&mut stream).await, session.hear().await] {
        assert_eq!((&del["action"], &del["reason"], &del["cursor"]), (&json!("del"), &json!("kicked"), &json!(cursor)));
    }
    let cursor = server.sign_in("lobby", "bob").await;
    assert_eq!(frame(&mut stream).await["cursor"], cursor);
    assert_eq!(ann.is_refused(json!({"action": "leave", "room": "lobby", "user": "ann"})).await, "not_joined");
    assert_eq!(session.is_refused(json!({"action": "leave", "room": "lobby", "user": "ann"})).await, "not_joined");
    held_by(&server, "other", "ann", &["connection websocket"]).await;
}

#[tokio::test]
async fn a_connection_has_a_bound_of_holds_and_of_watched_rooms() {
    let server = TestServer::with(|config| config.max_per_connection = 2).await;
    let mut talker = Talker::open(server.addr, "room=a&as=ann").await;
    talker.join("b", "ann").await;
    talker.join("b", "ann").await;
    assert_eq!(talker.is_refused(json!({"action": "join", "room": "c", "user": "ann"})).await, "too_many_joined");
    talker.leave("a", "ann").await;
    talker.join("c", "ann").await;
    server.sign_out("b", "ann").await;
    talker.join("d", "ann").await;
    assert_eq!(talker.is_refused(json!({"action": "join", "room": "b", "user": "ann"})).await, "too_many_joined");
    talker.subscribe("b").await;
    talker.subscribe("b").await;
    assert_eq!(talker.is_refused(json!({"action": "subscribe", "room": "c"})).await, "too_many_subscribed");
    talker.does(json!({"action": "unsubscribe", "room": "a"})).await;
    talker.subscribe("c").await;
}

#[tokio::test]
async fn a_lease_expires_unless_renewed_and_shows_its_end() {
    let server = TestServer::start().await;
    let mut watcher = Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await;
    let put = async |body: Value| server.send_json("PUT", "/api/rooms/lobby/users/ann", &body).await.json();
    let lease = put(json!({"ttl": 86_400})).await;
    assert!(lease["expires"].as_str().is_some_and(|at| at.len() == 20 && at.ends_with('Z')), "{lease}");
    assert_eq!(server.holds("lobby", "ann").await, ["lease"]);
    assert_eq!(put(json!({})).await["expires"], Value::Null, "a sign-in without a term takes its place");
    assert_eq!(server.holds("lobby", "ann").await, ["sign_in"]);
    put(json!({"ttl": 1})).await;
    watcher.until("the lease's end", |mirror| mirror.seen("del") == 1).await;
    assert_eq!(watcher.last["reason"], "expired");
    assert!(!server.is_present("lobby", "ann").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_leases_with_one_deadline_end_for_every_reader() {
    let server = TestServer::start().await;
    let mut watcher = Reader::open(server.addr, Transport::Ws, "lobby").await.begun().await;
    for tenth in 0..10 {
        let add: Vec<Value> = (0..5_000).map(|n| json!({"user": format!("{tenth} {n}"), "ttl": 2})).collect();
        server.batch("lobby", &json!({ "add": add })).await;
    }
    watcher.until("all of them", |mirror| mirror.users.len() > 20_000).await;
    watcher.until("nobody", |mirror| mirror.users.is_empty()).await;
    assert_eq!(server.held("lobby").await.users, watcher.mirror.users);
}

/// `alive=1` asks for keep-alives that scripts can see.
#[tokio::test]
async fn alive_is_sent_on_both_transports_on_request() {
    let server = TestServer::with(|config| config.keep_alive = std::time::Duration::from_millis(50)).await;
    let mut talker = Talker::open(server.addr, "room=lobby&alive=1").await;
    assert_eq!(talker.hear().await["action"], "hello");
    assert_eq!(talker.hear().await["action"], "snapshot");
    assert_eq!(talker.hear().await, json!({"action": "alive"}));
    let (mut stream, hello) = holding(&server, "alive=1").await;
    assert_eq!((&hello["action"], &frame(&mut stream).await["action"]), (&json!("hello"), &json!("snapshot")));
    assert_eq!(frame(&mut stream).await, json!({"action": "alive"}));
    let cursor = server.sign_in("lobby", "ann").await;
    while frame(&mut stream).await["cursor"] != *cursor {}
}

/// Bugs of others: phoenix_pubsub #65, Nchan #379.
#[tokio::test]
async fn a_counting_stream_gets_numbers_at_a_limited_rate() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    let (mut stream, first) = holding(&server, "only=count").await;
    assert_eq!(first, json!({"action": "count", "room": "lobby", "count": 1}));
    let begun = std::time::Instant::now();
    for n in 0..300 {
        server.sign_in("lobby", &n.to_string()).await;
    }
    let mut told = 1;
    while frame(&mut stream).await["count"] != 301 {
        told += 1;
    }
    // Two a second, and one at the beginning.
    let most = 1 + begun.elapsed().as_millis() / 500;
    assert!(told <= most, "{told} counts in {:?}", begun.elapsed());
    server.sign_in_as("lobby", "ann", &json!({"n": 1})).await;
    server.sign_out("lobby", "ann").await;
    assert_eq!(frame(&mut stream).await["count"], 300, "an update changes no count");
}

/// Centrifugo has no resume over SSE; Phoenix #2255.
#[tokio::test]
async fn a_client_moves_from_one_transport_to_the_other() {
    let server = TestServer::start().await;
    let mut reader = Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await;
    for n in 0..20 {
        let cursor = server.sign_in("lobby", &n.to_string()).await;
        let mirror: Mirror = reader.mirror;
        reader = Reader::resume(server.addr, Transport::BOTH[n % 2], mirror).await;
        reader.caught_up(&cursor).await;
    }
    assert_eq!((reader.mirror.seen("snapshot"), reader.mirror.seen("add")), (1, 20));
}

#[tokio::test]
async fn heads_prefetches_and_other_sites_make_no_hold() {
    let server = TestServer::start().await;
    let path = "/api/rooms/lobby/stream?as=ann";
    server.send("HEAD", path, &[], "").await.expect(200);
    for header in [("Sec-Purpose", "prefetch"), ("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")] {
        server.send("GET", path, &[header], "").await.expect(403);
    }
    assert!(!server.is_present("lobby", "ann").await);
}

/// A bug of another client, centrifuge-dart #89: of many users that joined at once, most lost the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_joins_closes_no_connection() {
    const CROWD: usize = 200;
    let server = TestServer::start().await;
    let gathering = (0..CROWD).map(|n| {
        let addr = server.addr;
        tokio::spawn(async move {
            let conn = Conn::open(addr).await;
            Reader::with(
                conn,
                Transport::Ws,
                Mirror::of("lobby"),
                &format!("client={}", uuid::Uuid::from_u128(n as u128)),
            )
            .await
            .begun()
            .await
        })
    });
    let mut crowd = Vec::new();
    for reader in gathering.collect::<Vec<_>>() {
        crowd.push(within("a reader", reader).await.expect("no panic"));
    }
    let joining = crowd.into_iter().enumerate().map(|(n, mut reader)| {
        tokio::spawn(async move {
            reader.does(json!({"action": "join", "room": "lobby", "user": format!("u{n}")})).await;
            reader.until("everybody", |mirror| mirror.users.len() == CROWD).await;
            reader
        })
    });
    let mut all = Vec::new();
    for reader in joining.collect::<Vec<_>>() {
        all.push(within("everybody", reader).await.expect("no panic"));
    }
    let held = server.held("lobby").await;
    assert!(all.iter().all(|reader| reader.mirror.users == held.users));
}

#[tokio::test]
async fn the_holds_of_a_user_are_listed_for_all_rooms() {
    let server = TestServer::start().await;
    for room in ["a", "b", "c"] {
        server.sign_in(room, "ann").await;
    }
    server.sign_in("b", "bob").await;
    let list = async |query: &str| server.get(&format!("/api/holds?user=ann{query}")).await.expect(200).json();
    let held = |room: &str| json!({"room": room, "holds": [{"kind": "sign_in"}]});
    let first = list("&limit=2").await;
    assert_eq!(first, json!({"user": "ann", "rooms": [held("a"), held("b")], "next": "b"}));
    assert_eq!(list("&limit=2&after=b").await, json!({"user": "ann", "rooms": [held("c")]}));
    assert_eq!(list("&after=c").await, json!({"user": "ann", "rooms": []}));
    assert_eq!(server.get("/api/holds").await.expect(400).json()["field"], "user");
    assert_eq!(server.get("/api/holds?user=ann&limit=0").await.expect(400).json()["field"], "limit");
}
