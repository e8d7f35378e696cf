//! Credentials over connections: `auth`, renewal, and what a token says of its user.

mod cookies;
mod ends;
mod lists;
mod revocations;
mod tickets;
mod which;

use serde_json::{Value, json};

use crate::harness::{
    API_KEY, Conn, Dialogue, Keyed, Reader, Session, Sse, Talker, TestServer, Token, Transport, grant, member_path,
    within,
};

/// A token of `user` to watch and join in `team-*`.
fn teammate(user: &str) -> Token {
    Token::of(user).may("team-*", &["watch", "join"])
}

fn bearer(credential: &str) -> String {
    format!("Bearer {credential}")
}

/// A gateway where strangers may watch everything, for readers without a credential.
async fn watched() -> Keyed {
    Keyed::with(|config| config.anyone = vec![grant("*:watch")]).await
}

/// A WebSocket whose handshake brings a credential.
async fn websocket(gateway: &Keyed, query: &str, credential: &str) -> Talker {
    Talker::with(gateway.addr, query, &[("authorization", &bearer(credential))]).await
}

/// A session whose request brings a credential.
async fn session(gateway: &Keyed, credential: &str) -> Session {
    let headers = format!("Authorization: {}\r\n", bearer(credential));
    Session::with(Conn::open(gateway.addr).await, &json!([]), &headers).await
}

/// A stream whose request brings a credential.
async fn stream(gateway: &Keyed, path: &str, credential: &str) -> Sse {
    Sse::open(gateway.addr, path, &[("Authorization", &bearer(credential))]).await
}

async fn auth(dialogue: &mut impl Dialogue, credential: &str) -> Value {
    dialogue.ask(json!({"action": "auth", "token": credential})).await
}

/// The next frame that does not belong to a keep-alive.
async fn hear(talker: &mut Talker) -> Value {
    loop {
        let frame = within("a frame", talker.hear()).await;
        if frame["action"] != "alive" {
            return frame;
        }
    }
}

/// The data of the next event.
async fn event(stream: &mut Sse) -> Value {
    let event = within("an event", stream.next()).await.expect("an event");
    serde_json::from_str(&event.data).expect("a JSON text")
}

/// The last event of a stream, which must be a refusal, and the end.
async fn last(stream: &mut Sse) -> Value {
    loop {
        let event = within("a refusal", stream.next()).await.expect("a refusal");
        if event.event.as_deref() == Some("refused") {
            assert!(within("the end", stream.next()).await.is_none() && stream.ended_cleanly());
            return serde_json::from_str(&event.data).expect("a JSON text");
        }
    }
}

#[tokio::test]
async fn what_the_url_asks_for_comes_after_auth() {
    let keyed = Keyed::start().await;
    let mut talker = Talker::open(keyed.addr, "room=team-7&as=ann&alive=1").await;
    let hello = hear(&mut talker).await;
    assert_eq!((&hello["action"], &hello["auth"]), (&json!("hello"), &json!(true)), "{hello}");
    for message in [
        json!({"action": "join", "room": "team-7", "user": "ann"}),
        json!({"action": "subscribe", "room": "team-7"}),
        json!({"action": "subscribe", "counts": "team-"}),
        json!({"action": "alive"}),
    ] {
        assert_eq!(talker.is_refused(message).await, "token_missing");
    }
    assert!(!keyed.backend().is_present("team-7", "ann").await, "the URL is done before auth");
    let ok = auth(&mut talker, &teammate("ann").sign()).await;
    let expires_in = ok["expires_in"].as_u64().expect("seconds");
    assert_eq!((&ok["action"], &ok["sub"]), (&json!("ok"), &json!("ann")), "{ok}");
    assert!((3_500..=3_600).contains(&expires_in), "{ok}");
    let snapshot = hear(&mut talker).await;
    assert_eq!((&snapshot["action"], &snapshot["count"]), (&json!("snapshot"), &json!(1)), "{snapshot}");
    assert_eq!(keyed.backend().holds("team-7", "ann").await, ["connection websocket"]);
}

#[tokio::test]
async fn a_session_begins_with_auth_among_its_first_messages() {
    let keyed = Keyed::start().await;
    let first = json!([
        {"action": "subscribe", "room": "team-7", "ref": 1},
        {"action": "auth", "token": teammate("ann").sign(), "ref": 2},
        {"action": "join", "room": "team-7", "user": "ann", "ref": 3},
        {"action": "subscribe", "room": "team-7", "ref": 4},
    ]);
    let mut stream = Session::request(Conn::open(keyed.addr).await, &first, "").await;
    let mut heard = Vec::new();
    for _ in 0..7 {
        heard.push(event(&mut stream).await);
    }
    let told: Vec<_> =
        heard.iter().map(|frame| (frame["action"].as_str().expect("an action"), &frame["ref"])).collect();
    let none = Value::Null;
    let [one, two, three, four] = [1, 2, 3, 4].map(|n| json!(n));
    let expected = [
        ("session", &none),
        ("hello", &none),
        ("refused", &one),
        ("ok", &two),
        ("ok", &three),
        ("ok", &four),
        ("snapshot", &none),
    ];
    assert_eq!(told, expected);
    assert_eq!((&heard[1]["auth"], &heard[2]["code"]), (&json!(true), &json!("token_missing")));
    assert_eq!((&heard[3]["sub"], &heard[6]["count"]), (&json!("ann"), &json!(1)));
}

#[tokio::test]
async fn hello_names_the_user_of_the_handshake() {
    let keyed = Keyed::start().await;
    let token = teammate("ann").sign();
    let hello = hear(&mut websocket(&keyed, "alive=1", &token).await).await;
    assert_eq!((&hello["sub"], hello.get("auth")), (&json!("ann"), None), "{hello}");
    let hello = hear(&mut websocket(&keyed, "alive=1", API_KEY).await).await;
    assert_eq!((hello.get("sub"), hello.get("auth")), (None, None), "{hello}");
    let hello = event(&mut stream(&keyed, "/api/rooms/team-7/stream?alive=1", &token).await).await;
    assert_eq!(hello["sub"], "ann", "{hello}");
    let open = TestServer::start().await;
    let hello = hear(&mut Talker::open(open.addr, "alive=1").await).await;
    assert_eq!((hello.get("sub"), hello.get("auth")), (None, None), "{hello}");
}

#[tokio::test]
async fn without_keys_every_auth_is_ok() {
    let open = TestServer::start().await;
    let mut talker = Talker::open(open.addr, "").await;
    assert_eq!(auth(&mut talker, "whatever").await, json!({"action": "ok", "ref": 1}));
    let mut session = Session::open(open.addr).await;
    assert_eq!(auth(&mut session, "whatever").await, json!({"action": "ok", "ref": 1}));
    talker.join("lobby", "ann").await;
    session.join("lobby", "bob").await;
}

#[tokio::test]
async fn a_connection_without_a_pass_ends_after_five_seconds() {
    let keyed = Keyed::start().await;
    let token = teammate("ann").sign();
    let (mut known, mut slow) = (websocket(&keyed, "", &token).await, session(&keyed, &token).await);
    let (late, mut late_session) = (Talker::open(keyed.addr, "room=team-7").await, Session::open(keyed.addr).await);
    let mut timely = Talker::open(keyed.addr, "room=team-7").await;
    assert_eq!(auth(&mut timely, &token).await["action"], "ok");
    assert_eq!(late.closed().await, (4401, "token_missing".to_owned()));
    assert_eq!(last(&mut late_session.stream).await["code"], "token_missing");
    for dialogue in [&mut known, &mut timely] {
        dialogue.does(json!({"action": "alive"})).await;
    }
    slow.does(json!({"action": "alive"})).await;
}

#[tokio::test]
async fn what_strangers_may_do_holds_before_auth_and_nothing_ends() {
    let keyed = watched().await;
    let waiting = Keyed::start().await;
    let late = Talker::open(waiting.addr, "").await;
    let mut talker = Talker::open(keyed.addr, "room=team-7&as=ann&alive=1").await;
    let hello = hear(&mut talker).await;
    assert_eq!(hello.get("auth"), None, "{hello}");
    talker.subscribe("attic").await;
    assert_eq!(hear(&mut talker).await["room"], "attic");
    assert_eq!(talker.is_refused(json!({"action": "join", "room": "attic", "user": "ann"})).await, "token_missing");
    assert_eq!(late.closed().await.0, 4401);
    // As long as another gateway waits at most.
    talker.does(json!({"action": "alive"})).await;
    assert_eq!(auth(&mut talker, &teammate("ann").sign()).await["sub"], "ann");
    let refused = hear(&mut talker).await;
    assert_eq!(
        (&refused["room"], &refused["code"]),
        (&json!("attic"), &json!("not_allowed")),
        "a token is not added to"
    );
    let snapshot = hear(&mut talker).await;
    assert_eq!((&snapshot["room"], &snapshot["count"]), (&json!("team-7"), &json!(1)), "{snapshot}");
    Reader::open(keyed.addr, Transport::Ws, "attic").await.begun().await;
}

#[tokio::test]
async fn a_bad_credential_is_never_taken_for_none() {
    let keyed = watched().await;
    let expired = teammate("ann").ends_in(-31).sign();
    let foreign = teammate("ann").claim("aud", "others").sign();
    let path = "/api/rooms/team-7/users";
    for (credential, code, check) in [
        ("nonsense", "token_invalid", Some("format")),
        (expired.as_str(), "token_expired", Some("exp")),
        (&foreign, "token_invalid", Some("aud")),
    ] {
        let problem = keyed.bearing(credential).get(path).await.expect(401).json();
        assert_eq!((problem["code"].as_str(), problem["check"].as_str()), (Some(code), check), "{problem}");
        assert_eq!(problem["retry"], code == "token_expired", "{problem}");
        let mut talker = Talker::open(keyed.addr, "").await;
        let refused = auth(&mut talker, credential).await;
        assert_eq!((&refused["action"], refused["check"].as_str()), (&json!("refused"), check), "{refused}");
        assert_eq!((&refused["code"], &refused["retry"]), (&json!(code), &json!(code == "token_expired")));
        assert_eq!(talker.closed().await, (4401, code.to_owned()));
        let closed = websocket(&keyed, "room=team-7", credential).await.closed().await;
        assert_eq!(closed, (4401, code.to_owned()));
        let stream = keyed.bearing(credential).get("/api/rooms/team-7/stream").await.expect(401);
        assert_eq!(stream.json()["code"], code, "no EventSource may come back with the same");
        let mut session = Session::open(keyed.addr).await;
        assert_eq!(auth(&mut session, credential).await["code"], code);
        let event = within("the end", session.stream.next()).await.expect("a refusal");
        assert_eq!(event.event.as_deref(), Some("refused"), "{event:?}");
    }
    for value in ["Basic YTpi", "Bearer", "Bearer a b", ""] {
        let answer = keyed.send("GET", path, &[("authorization", value)], "").await.expect(401);
        assert_eq!(answer.json()["code"], "token_invalid", "{value:?}");
    }
    keyed.get(path).await.expect(200);
}

#[tokio::test]
async fn a_failed_renewal_leaves_the_old_pass_and_another_user_is_refused() {
    let keyed = Keyed::start().await;
    let mut talker = websocket(&keyed, "room=team-7&as=ann", &teammate("ann").sign()).await;
    assert_eq!(hear(&mut talker).await["count"], 1);
    for (credential, code) in [
        ("nonsense".to_owned(), "token_invalid"),
        (teammate("ann").ends_in(-31).sign(), "token_expired"),
        (teammate("bob").sign(), "wrong_user"),
        (API_KEY.to_owned(), "wrong_user"),
    ] {
        assert_eq!(auth(&mut talker, &credential).await["code"], code);
        talker.join("team-8", "ann").await;
    }
    let mut backend = websocket(&keyed, "", API_KEY).await;
    assert_eq!(auth(&mut backend, API_KEY).await, json!({"action": "ok", "ref": 1}));
    assert_eq!(auth(&mut backend, &teammate("ann").sign()).await["code"], "wrong_user");
    for user in ["ann", "bob"] {
        backend.join("team-9", user).await;
    }
}

#[tokio::test]
async fn a_renewal_with_fewer_rights_ends_subscriptions_and_holds_one_by_one() {
    let keyed = watched().await;
    let mut watcher = Reader::open(keyed.addr, Transport::Sse, "team-7").await.begun().await;
    let mut talker = websocket(&keyed, "", &teammate("ann").sign()).await;
    let mut session = session(&keyed, &teammate("ann").sign()).await;
    begin(&mut talker).await;
    begin(&mut session).await;
    watcher.until("ann", |mirror| mirror.users.contains_key("ann")).await;
    let fewer = Token::of("ann").may("team-8", &["watch", "join"]).sign();
    for lost in [renewed(&mut talker, &fewer).await, renewed(&mut session, &fewer).await] {
        let what = |lost: &Value| json!([lost["room"], lost["counts"], lost["user"], lost["code"], lost["retry"]]);
        let not_allowed = |room: Value, counts: Value, user: Value| json!([room, counts, user, "not_allowed", false]);
        let null = Value::Null;
        assert_eq!(what(&lost[0]), not_allowed(json!("team-7"), null.clone(), null.clone()));
        assert_eq!(what(&lost[1]), not_allowed(null.clone(), json!("team-"), null.clone()));
        assert_eq!(what(&lost[2]), not_allowed(json!("team-7"), null, json!("ann")));
        assert!(lost.iter().all(|lost| lost.get("ref").is_none() && lost["action"] == "refused"), "{lost:?}");
    }
    watcher.until("the end of ann", |mirror| !mirror.users.contains_key("ann")).await;
    assert_eq!(watcher.last["reason"], "closed");
    assert_eq!(keyed.backend().holds("team-8", "ann").await, ["connection sse", "connection websocket"]);
    let update = json!({"action": "update", "room": "team-8", "user": "ann", "meta": {"status": "here"}});
    talker.does(update.clone()).await;
    assert_eq!(talker.is_refused(json!({"action": "subscribe", "room": "team-7"})).await, "not_allowed");
    assert_eq!(session.is_refused(json!({"action": "join", "room": "team-7", "user": "ann"})).await, "not_allowed");
    // What is left goes on.
    let news = async { while talker.read().await.is_some_and(|frame| frame["room"] != "team-8") {} };
    keyed.backend().sign_in("team-8", "bob").await;
    within("an event of team-8", news).await;
}

/// Watches and joins two rooms, and reads the counts of both.
async fn begin(dialogue: &mut impl Dialogue) {
    for room in ["team-7", "team-8"] {
        dialogue.does(json!({"action": "subscribe", "room": room})).await;
        dialogue.join(room, "ann").await;
    }
    dialogue.does(json!({"action": "subscribe", "counts": "team-"})).await;
}

/// Renews, and returns the three refusals that follow.
async fn renewed(dialogue: &mut impl Dialogue, token: &str) -> Vec<Value> {
    assert_eq!(auth(dialogue, token).await["sub"], "ann");
    let mut refused = Vec::new();
    while refused.len() < 3 {
        let frame = within("a refusal", dialogue.read()).await.expect("a refusal");
        if frame["action"] == "refused" {
            refused.push(frame);
        }
    }
    refused
}

#[tokio::test]
async fn the_info_of_a_token_is_shown_and_no_client_sets_it() {
    let keyed = watched().await;
    let token = |role: &str| Token::of("ann").may("team-*", &["watch", "sign_in"]).info(json!({"role": role})).sign();
    let mut watcher = Reader::open(keyed.addr, Transport::Sse, "team-7").await.begun().await;
    let mut talker = websocket(&keyed, "room=team-7&as=ann", &token("editor")).await;
    watcher.until("ann", |mirror| mirror.users.contains_key("ann")).await;
    assert_eq!(watcher.last["info"], json!({"role": "editor"}), "{}", watcher.last);
    // Nothing new is no event.
    auth(&mut talker, &token("editor")).await;
    auth(&mut talker, &token("owner")).await;
    watcher.until("an update", |mirror| mirror.users["ann"].info == json!({"role": "owner"})).await;
    let path = member_path("team-7", "ann");
    let ann = keyed.bearing(&token("editor"));
    for method in ["PUT", "PATCH"] {
        let refused = ann.send_json(method, &path, &json!({"info": {"role": "admin"}})).await.expect(403).json();
        assert_eq!(refused["code"], "not_allowed");
    }
    let batch = json!({"add": [{"user": "ann", "info": {"role": "admin"}}]});
    ann.send_json("POST", "/api/rooms/team-7/users", &batch).await.expect(403);
    for message in ["join", "update"] {
        let set = json!({"action": message, "room": "team-7", "user": "ann", "meta": {}, "info": {"role": "admin"}});
        assert_eq!(talker.is_refused(set).await, "bad_json");
    }
    let info = |answer: Value| answer["info"].clone();
    assert_eq!(info(keyed.backend().get(&path).await.json()), json!({"role": "owner"}));
    // A sign-in says what its token says.
    ann.send_json("PUT", &path, &json!({"meta": {"status": "here"}})).await.expect(200);
    assert_eq!(info(keyed.backend().get(&path).await.json()), json!({"role": "editor"}));
    keyed.backend().send_json("PATCH", &path, &json!({"info": {"role": "guest"}})).await.expect(200);
    assert_eq!(info(keyed.get(&path).await.json()), json!({"role": "guest"}));
}

#[tokio::test]
async fn a_request_of_a_session_with_another_users_credential_is_refused() {
    let keyed = Keyed::start().await;
    let mut early = Session::open(keyed.addr).await;
    auth(&mut early, &teammate("ann").sign()).await;
    for session in [&mut early, &mut session(&keyed, &teammate("ann").sign()).await] {
        let messages = json!([{"action": "alive"}]).to_string();
        let number = (session.number + 1).to_string();
        let (bob, ann) = (bearer(&teammate("bob").sign()), bearer(&teammate("ann").sign()));
        let refused = session.post.raw(&number, messages.clone(), &[("authorization", &bob)]).await.expect(403).json();
        assert_eq!((&refused["code"], &refused["field"]), (&json!("wrong_user"), &json!("Authorization")));
        let bad = session.post.raw(&number, messages.clone(), &[("authorization", "Bearer nonsense")]).await;
        assert_eq!(bad.expect(401).json()["code"], "token_invalid");
        session.post.raw(&number, messages, &[("authorization", &ann)]).await.expect(204);
        session.number += 1;
        // The secret alone suffices.
        session.does(json!({"action": "alive"})).await;
    }
}

#[tokio::test]
async fn the_client_id_of_another_user_takes_nothing_over() {
    let keyed = watched().await;
    let client = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
    let mut watcher = Reader::open(keyed.addr, Transport::Sse, "team-7").await.begun().await;
    let query = |user: &str| format!("room=team-7&as={user}&client={client}");
    let mut ann = websocket(&keyed, &query("ann"), &teammate("ann").sign()).await;
    assert_eq!(hear(&mut ann).await["count"], 1);
    let mut bob = websocket(&keyed, &query("bob"), &teammate("bob").sign()).await;
    assert_eq!(hear(&mut bob).await["count"], 2);
    let path = format!("{}?client={client}", member_path("team-7", "ann"));
    keyed.bearing(&teammate("bob").sign()).send("DELETE", &path, &[], "").await.expect(403);
    watcher.until("both", |mirror| mirror.users.len() == 2).await;
    ann.does(json!({"action": "update", "room": "team-7", "user": "ann", "meta": {"status": "here"}})).await;
    // The id of one's own connection does.
    keyed.bearing(&teammate("ann").sign()).send("DELETE", &path, &[], "").await.expect(204);
    watcher.until("bob alone", |mirror| mirror.users.len() == 1).await;
    assert_eq!((&watcher.last["user"], &watcher.last["reason"]), (&json!("ann"), &json!("closed")));
}
