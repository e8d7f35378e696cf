//! Rooms over HTTP: sign in, sign out, change `meta`, read the members.

use serde_json::{Value, json};

use crate::harness::{
    Answer, Conn, FIN, RawWs, Reader, Sse, TEXT, TestServer, Transport, frame, member_path, offset, quoted, upgrade,
    within,
};

const ANN: &str = "/api/rooms/lobby/users/ann";
const USERS: &str = "/api/rooms/lobby/users";

/// The `user` of each member in a list.
fn users(page: &Value) -> Vec<&str> {
    let users = page["users"].as_array().expect("users");
    users.iter().map(|member| member["user"].as_str().expect("a name")).collect()
}

/// Whether the request caused an event in the room.
async fn moves(server: &TestServer, method: &str, path: &str, body: &Value) -> bool {
    let before = server.cursor("lobby").await;
    let answer = server.send_json(method, path, body).await;
    assert!(answer.status < 300, "{answer:?}");
    let after = server.cursor("lobby").await;
    if method != "DELETE" {
        assert_eq!(answer.json()["cursor"], after.as_str(), "{method} {body}");
    }
    before != after
}

#[tokio::test]
async fn an_absent_room_reads_as_empty() {
    let server = TestServer::start().await;
    let room = server.get("/api/rooms/attic").await.expect(200).json();
    assert_eq!((&room["room"], &room["count"]), (&json!("attic"), &json!(0)));
    let held = server.held("attic").await;
    assert!(held.users.is_empty());
    assert_eq!(server.get("/api/rooms/attic/users/ann").await.expect(404).json()["code"], "not_present");
}

#[tokio::test]
async fn reading_a_room_does_not_create_the_room() {
    let server = TestServer::start().await;
    server.held("attic").await;
    server.cursor("attic").await;
    let listed = server.get("/api/rooms").await.expect(200).json();
    assert!(!listed["rooms"].as_array().expect("rooms").iter().any(|room| room["room"] == "attic"), "{listed}");
}

#[tokio::test]
async fn a_first_sign_in_and_a_repetition_are_answered_differently() {
    let server = TestServer::start().await;
    let first = server.send("PUT", ANN, &[], "").await.expect(201);
    assert_eq!(first.header("content-type"), Some("application/json"));
    let cursor = server.cursor("lobby").await;
    assert_eq!(first.json(), json!({"user": "ann", "cursor": cursor, "expires": null}));
    let again = server.send("PUT", ANN, &[], "").await.expect(200);
    assert_eq!(again.json(), first.json());
    assert_eq!(server.held("lobby").await.users.len(), 1);
}

#[tokio::test]
async fn a_sign_out_of_a_member_and_of_an_absent_user_are_answered_alike() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    assert!(moves(&server, "DELETE", ANN, &json!(null)).await);
    let again = server.send("DELETE", ANN, &[], "").await.expect(204);
    assert!(again.body.is_empty());
    assert!(!moves(&server, "DELETE", ANN, &json!(null)).await);
}

#[tokio::test]
async fn a_member_is_shown_with_all_holds() {
    let server = TestServer::start().await;
    let cursor = server.sign_in_as("lobby", "ann", &json!({"status": "away"})).await;
    let member = server.get(ANN).await.expect(200).json();
    let joined = server.held("lobby").await.users["ann"].joined.clone();
    let expected = json!({
        "room": "lobby", "cursor": cursor, "user": "ann", "meta": {"status": "away"},
        "joined": joined, "holds": [{"kind": "sign_in", "meta": {"status": "away"}, "rank": 0}],
    });
    assert_eq!(member, expected);
    server.sign_out("lobby", "ann").await;
    assert_eq!(server.get(ANN).await.expect(404).json()["code"], "not_present");
}

#[tokio::test]
async fn only_a_different_meta_is_an_update() {
    let server = TestServer::start().await;
    assert!(moves(&server, "PUT", ANN, &json!({"meta": {"a": 1, "b": [true, null]}})).await);
    assert!(!moves(&server, "PUT", ANN, &json!({})).await, "none given changes nothing");
    assert!(!moves(&server, "PUT", ANN, &json!({"meta": {"a": 1, "b": [true, null]}})).await, "the same again");
    assert!(!moves(&server, "PATCH", ANN, &json!({"meta": {"a": 1, "b": [true, null]}})).await, "the same again");
    let reordered = [("content-type", "application/json")];
    let before = server.cursor("lobby").await;
    server.send("PUT", ANN, &reordered, r#"{ "meta": {"b" : [true, null], "a":1} }"#).await.expect(200);
    assert_eq!(server.cursor("lobby").await, before, "the order of keys is no value");
    assert!(moves(&server, "PATCH", ANN, &json!({"meta": {"a": 2}})).await);
    assert_eq!(server.held("lobby").await.users["ann"].meta, json!({"a": 2}));
    assert!(moves(&server, "PUT", ANN, &json!({"meta": {}})).await, "{{}} clears");
    assert_eq!(server.held("lobby").await.users["ann"].meta, json!({}));
    assert!(!moves(&server, "PATCH", ANN, &json!({"meta": {}})).await);
}

#[tokio::test]
async fn meta_may_fill_its_bound_to_the_byte() {
    let server = TestServer::start().await;
    let meta = json!({"a": "é".repeat(507) + "xx"});
    assert_eq!(meta.to_string().len(), 1024);
    server.sign_in_as("lobby", "ann", &meta).await;
    assert_eq!(server.held("lobby").await.users["ann"].meta, meta);
}

/// Sends `meta` through each door; returns the doors.
async fn through_all_doors(server: &TestServer, meta: &str) -> (Vec<&'static str>, Sse, RawWs) {
    let json = [("content-type", "application/json")];
    server.send("PUT", "/api/rooms/lobby/users/put", &json, format!(r#"{{"meta": {meta} }}"#)).await.expect(201);
    server.sign_in("lobby", "patch").await;
    server.send("PATCH", "/api/rooms/lobby/users/patch", &json, format!(r#"{{"meta":{meta}}}"#)).await.expect(200);
    server.send("POST", USERS, &json, format!(r#"{{"add":[{{"user":"post","meta":{meta}}}]}}"#)).await.expect(200);
    let quoted = quoted(meta);
    let sse = Sse::open(server.addr, &format!("/api/rooms/lobby/stream?as=sse&meta={quoted}"), &[]).await;
    let mut ws = RawWs::request(server.addr, upgrade(&format!("/ws?room=lobby&as=ws&meta={quoted}"))).await;
    let messages = [
        format!(r#"{{"action":"join","room":"lobby","user":"join","meta":{meta}}}"#),
        r#"{"action":"join","room":"lobby","user":"update"}"#.to_owned(),
        format!(r#"{{"action":"update","room":"lobby","user":"update","meta":{meta}}}"#),
    ];
    for message in messages {
        ws.send(frame(FIN | TEXT, message)).await;
        assert_eq!(ws.reply().await.json()["action"], "ok");
    }
    (vec!["join", "patch", "post", "put", "sse", "update", "ws"], sse, ws)
}

#[tokio::test]
async fn meta_comes_back_as_sent_whatever_the_door() {
    for meta in [
        r#"{"a":1E5,"b":0.12345678901234567890,"c":18446744073709551616,"d":1.0,"e":-0}"#,
        r#"{"$serde_json::private::RawValue":"{\"a\":1}"}"#,
        r#"{"a":{"$serde_json::private::RawValue":"[[[]]]"}}"#,
    ] {
        let server = TestServer::start().await;
        let (doors, ..) = through_all_doors(&server, meta).await;
        let list = server.get(USERS).await.expect(200);
        for user in doors {
            let member = format!(r#"{{"user":"{user}","meta":{meta},"joined":""#);
            assert!(list.text().contains(&member), "{user}: {}", list.text());
            let one = server.get(&member_path("lobby", user)).await.expect(200);
            assert!(one.text().contains(&format!(r#""meta":{meta},"#)), "{}", one.text());
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_number_in_another_spelling_is_an_update() {
    let server = TestServer::start().await;
    let mut stream = Sse::open(server.addr, "/api/rooms/lobby/stream", &[]).await;
    for number in ["100000", "1E5", "1E5", "100000.0"] {
        let body = format!(r#"{{"meta":{{"n":{number}}}}}"#);
        server.send("PUT", ANN, &[("content-type", "application/json")], body).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(within("an event", stream.next()).await.expect("an event").data);
    }
    for (event, said) in seen[1..].iter().zip([
        r#""user":"ann","meta":{"n":100000},"#,
        r#""user":"ann","meta":{"n":1E5}}"#,
        r#""user":"ann","meta":{"n":100000.0}}"#,
    ]) {
        assert!(event.contains(said), "{event}");
    }
}

#[tokio::test]
async fn patch_makes_no_hold() {
    let server = TestServer::start().await;
    let before = server.cursor("lobby").await;
    let answer = server.send_json("PATCH", ANN, &json!({"meta": {"a": 1}})).await.expect(404);
    assert_eq!(answer.json()["code"], "not_present");
    assert_eq!(server.cursor("lobby").await, before);
    server.sign_in("lobby", "ann").await;
    let answer = server.send_json("PATCH", ANN, &json!({"meta": {"a": 1}})).await.expect(200);
    let cursor = server.cursor("lobby").await;
    assert_eq!(answer.json(), json!({"user": "ann", "cursor": cursor, "expires": null}));
}

#[tokio::test]
async fn a_batch_counts_only_real_changes() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    server.sign_in("lobby", "bob").await;
    let changes = json!({
        "add": [{"user": "bob", "meta": {"status": "here"}}, {"user": "cyd"}, {"user": "dee", "meta": {}}],
        "del": ["ann", "nobody"],
    });
    let answer = server.send_json("POST", USERS, &changes).await.expect(200).json();
    let held = server.held("lobby").await;
    assert_eq!(answer, json!({"added": 2, "removed": 1, "cursor": held.cursor}));
    assert_eq!(held.users.keys().collect::<Vec<_>>(), ["bob", "cyd", "dee"]);
    assert_eq!(held.users["bob"].meta, json!({"status": "here"}));
}

#[tokio::test]
async fn either_half_of_a_batch_may_be_left_out() {
    let server = TestServer::start().await;
    server.batch("lobby", &json!({"add": [{"user": "ann"}]})).await;
    assert!(!moves(&server, "POST", USERS, &json!({})).await);
    server.batch("lobby", &json!({"del": ["ann"]})).await;
    assert!(server.held("lobby").await.users.is_empty());
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    let before = server.held("lobby").await;
    for changes in [
        json!({"add": [{"user": "bob"}, {"user": ""}]}),
        json!({"add": [{"user": "bob"}, {"user": "cyd", "meta": []}]}),
        json!({"add": [{"user": "bob"}, {"user": "bob"}]}),
        json!({"add": [{"user": "bob"}], "del": ["bob"]}),
        json!({"add": [{"user": "bob"}], "del": ["ann", "ann"]}),
        json!({"add": [{"user": "bob"}], "del": ["ann", ".."]}),
    ] {
        server.send_json("POST", USERS, &changes).await.expect(400);
        assert_eq!(server.held("lobby").await, before, "{changes}");
    }
}

#[tokio::test]
async fn a_batch_over_the_bound_of_members_changes_nothing_and_may_be_retried() {
    let server = TestServer::with(|config| config.max_members = 3).await;
    server.sign_in("lobby", "ann").await;
    let before = server.held("lobby").await;
    let three = json!({"add": [{"user": "bob"}, {"user": "cyd"}, {"user": "dee"}]});
    let refused = server.send_json("POST", USERS, &three).await.expect(503).json();
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("too_many_members"), &json!(true)));
    assert_eq!(server.held("lobby").await, before);
    let mut exchange = three.clone();
    exchange["del"] = json!(["ann"]);
    server.batch("lobby", &exchange).await;
    assert_eq!(server.held("lobby").await.users.len(), 3);
    server.send("PUT", ANN, &[], "").await.expect(503);
    server.send("PUT", &member_path("lobby", "bob"), &[], "").await.expect(200);
    server.get("/api/login/ann").await.expect(503);
}

#[tokio::test]
async fn one_room_too_many_is_refused_and_existing_rooms_stay_usable() {
    let server = TestServer::with(|config| config.max_rooms = 3).await;
    let mut refused = None;
    for n in 0..4 {
        let answer = server.send("PUT", &format!("/api/rooms/r{n}/users/ann"), &[], "").await;
        if answer.status == 503 {
            refused = Some(answer.json());
        }
    }
    assert_eq!(refused.expect("the fourth does not fit")["code"], "too_many_rooms");
    server.sign_in("r0", "bob").await;
    assert_eq!(server.held("r0").await.users.len(), 2);
    assert!(server.held("r3").await.users.is_empty(), "reading needs no room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sign_ins_of_one_user_at_once_are_one_member() {
    let server = TestServer::start().await;
    let before = server.cursor("lobby").await;
    let tries: Vec<_> = (0..16)
        .map(|_| {
            let client = (*server).clone();
            tokio::spawn(async move { client.send("PUT", ANN, &[], "").await.status })
        })
        .collect();
    let mut created = 0;
    for attempt in tries {
        created += usize::from(attempt.await.expect("no panic") == 201);
    }
    assert_eq!(created, 1);
    assert_eq!(offset(&server.cursor("lobby").await), offset(&before) + 1, "one event");
}

#[tokio::test]
async fn members_are_paged_in_byte_order() {
    let server = TestServer::start().await;
    let names = ["", "é", "a/b", "Zoe", "ann", "ann b", "山"].map(|name| format!("{name}x"));
    let add: Vec<_> = names.iter().map(|name| json!({ "user": name })).collect();
    let cursor = server.batch("lobby", &json!({ "add": add })).await;
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{USERS}?limit=2&after={}", quoted(&after))).await.expect(200).json();
        assert_eq!((&page["count"], &page["cursor"]), (&json!(names.len()), &json!(cursor)));
        paged.extend(users(&page).into_iter().map(str::to_owned));
        match users(&page).last() {
            Some(last) => after = (*last).to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, sorted);
}

#[tokio::test]
async fn a_page_may_begin_after_a_user_who_left() {
    let server = TestServer::start().await;
    server.batch("lobby", &json!({"add": [{"user": "ann"}, {"user": "cyd"}]})).await;
    let page = server.get(&format!("{USERS}?after=bob")).await.expect(200).json();
    assert_eq!(users(&page), ["cyd"]);
    let page = server.get(&format!("{USERS}?after=&limit=")).await.expect(200).json();
    assert_eq!(users(&page), ["ann", "cyd"], "empty is absent");
}

#[tokio::test]
async fn a_page_has_1000_members_unless_asked() {
    let server = TestServer::start().await;
    let add: Vec<_> = (0..1_001).map(|n| json!({"user": format!("u{n:04}")})).collect();
    server.batch("lobby", &json!({ "add": add })).await;
    let page = server.get(USERS).await.expect(200).json();
    assert_eq!((users(&page).len(), &page["count"]), (1_000, &json!(1_001)));
    let page = server.get(&format!("{USERS}?limit=10000")).await.expect(200).json();
    assert_eq!(users(&page).len(), 1_001);
}

#[tokio::test]
async fn rooms_are_listed_with_their_counts_and_paged() {
    let server = TestServer::start().await;
    for (room, user) in [("den", "ann"), ("den", "bob"), ("a/b", "ann"), ("lobby", "ann"), ("zoo", "ann")] {
        server.sign_in(room, user).await;
    }
    let first = server.get("/api/rooms?limit=3").await.expect(200).json();
    let expected = json!({
        "rooms": [{"room": "a/b", "count": 1}, {"room": "den", "count": 2}, {"room": "lobby", "count": 1}],
        "next": "lobby",
    });
    assert_eq!(first, expected);
    let rest = server.get("/api/rooms?limit=3&after=lobby").await.expect(200).json();
    assert_eq!(rest, json!({"rooms": [{"room": "zoo", "count": 1}]}), "no `next` where nothing follows");
}

#[tokio::test]
async fn a_full_last_page_of_rooms_has_no_next() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    let listed = server.get("/api/rooms?limit=1").await.expect(200).json();
    assert_eq!(listed, json!({"rooms": [{"room": "lobby", "count": 1}]}));
}

#[tokio::test]
async fn rooms_are_independent() {
    let server = TestServer::start().await;
    let lobby = server.sign_in("lobby", "ann").await;
    let mut reader = Reader::open(server.addr, Transport::Ws, "den").await.begun().await;
    server.sign_in("Lobby", "bob").await;
    let den = server.sign_in("den", "cyd").await;
    reader.caught_up(&den).await;
    assert_eq!(reader.mirror.names(), ["cyd"]);
    assert_eq!(server.cursor("lobby").await, lobby);
    assert_ne!(lobby.split_once('.'), den.split_once('.'), "each room has its own epoch");
    assert_eq!(server.held("lobby").await.users.into_keys().collect::<Vec<_>>(), ["ann"]);
}

#[tokio::test]
async fn rooms_and_users_have_names_of_any_kind() {
    let server = TestServer::start().await;
    for name in ["a/b", "山田 🎌", "\"'<>&", "..a", "x?y#z", "%41", &"n".repeat(128), &"é".repeat(64)] {
        server.sign_in(name, name).await;
        let member = server.get(&member_path(name, name)).await.expect(200).json();
        assert_eq!((&member["room"], &member["user"]), (&json!(name), &json!(name)));
        assert_eq!(server.get(&format!("/api/rooms/{}", quoted(name))).await.expect(200).json()["room"], name);
    }
}

#[tokio::test]
async fn head_answers_like_get_and_changes_nothing() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    let before = server.held("lobby").await;
    let paths =
        ["/", "/users", "/api/rooms", "/api/rooms/lobby", USERS, ANN, "/healthz", "/api/login/bob", "/api/logout/ann"];
    let mut heads = Vec::new();
    for path in paths {
        heads.push(server.send("HEAD", path, &[], "").await);
    }
    assert_eq!(server.held("lobby").await, before);
    for (path, head) in paths.into_iter().zip(heads) {
        let get = server.get(path).await;
        assert!(head.body.is_empty(), "{path}");
        let seen = |answer: &Answer| (answer.status, answer.header("content-type").map(str::to_owned));
        assert_eq!(seen(&head), seen(&get), "{path}");
    }
}

#[tokio::test]
async fn a_batch_has_a_bound_and_is_refused_whole() {
    let server = TestServer::with(|config| config.max_batch = 3).await;
    let users = |names: &[&str]| names.iter().map(|user| json!({ "user": user })).collect::<Vec<_>>();
    server.batch("lobby", &json!({"add": users(&["ann", "bob"]), "del": ["cyd"]})).await;
    let four = json!({"add": users(&["dan", "eve", "fay"]), "del": ["ann"]});
    let refused = server.send_json("POST", "/api/rooms/lobby/users", &four).await.expect(413).json();
    assert_eq!(refused["code"], "batch_too_large", "{refused}");
    let held = server.get("/api/rooms/lobby/users").await.expect(200).json();
    let names: Vec<_> = held["users"].as_array().expect("users").iter().map(|user| &user["user"]).collect();
    assert_eq!(names, ["ann", "bob"]);
}

#[tokio::test]
async fn lists_end_at_a_mebibyte_and_go_on_at_next() {
    let server = TestServer::start().await;
    let meta = json!({"text": "x".repeat(900)});
    for batch in 0..3 {
        let add: Vec<_> = (0..900).map(|n| json!({"user": format!("{batch}-{n:03}"), "meta": meta})).collect();
        server.batch("lobby", &json!({ "add": add })).await;
    }
    let (mut seen, mut pages, mut next) = (Vec::new(), 0, None);
    loop {
        let after = next.map(|next| format!("&after={next}")).unwrap_or_default();
        let answer = server.get(&format!("/api/rooms/lobby/users?limit=10000{after}")).await.expect(200);
        assert!(answer.body.len() < 1_100_000, "{}", answer.body.len());
        let page = answer.json();
        let users = page["users"].as_array().expect("users");
        seen.extend(users.iter().map(|user| user["user"].as_str().expect("a name").to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(last) => next = Some(last.to_owned()),
            None => break,
        }
    }
    assert!(pages > 1 && seen.len() == 2_700 && seen.is_sorted(), "{pages} pages of {} users", seen.len());
}

#[tokio::test]
async fn watching_makes_no_room() {
    let server = TestServer::with(|config| config.max_rooms = 1).await;
    server.sign_in("lobby", "ann").await;
    let mut watchers = Vec::new();
    for transport in [Transport::Sse, Transport::Ws] {
        watchers.push(Reader::open(server.addr, transport, "den").await.begun().await);
    }
    let listed = server.get("/api/rooms").await.expect(200).json();
    assert_eq!(listed["rooms"], json!([{"room": "lobby", "count": 1}]));
    let refused = server.send_json("PUT", "/api/rooms/den/users/bob", &json!({})).await.expect(503).json();
    assert_eq!(refused["code"], "too_many_rooms");
}

#[tokio::test]
async fn a_list_of_rooms_with_long_names_ends_at_a_mebibyte() {
    let server = TestServer::start().await;
    let mut conn = Conn::open(server.addr).await;
    for first in (0..8_000).step_by(500) {
        let put = |n: usize| {
            format!("PUT /api/rooms/{n:0128}/users/ann HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        };
        conn.send((first..first + 500).map(put).collect::<String>()).await;
        for _ in 0..500 {
            conn.answer().await.expect(201);
        }
    }
    let first = server.get("/api/rooms?limit=10000").await.expect(200);
    assert!(first.body.len() <= 1024 * 1024 + 1_024, "{}", first.body.len());
    let listed = |page: &Value| page["rooms"].as_array().expect("rooms").len();
    let page = first.json();
    let next = page["next"].as_str().expect("more rooms follow");
    let rest = server.get(&format!("/api/rooms?limit=10000&after={next}")).await.expect(200).json();
    assert_eq!((listed(&page) + listed(&rest), &rest["next"]), (8_000, &Value::Null));
}
