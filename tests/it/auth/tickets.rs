//! Tickets: once, for one stream, in one room.

use serde_json::{Value, json};

use super::{event, hear, last, teammate, watched, websocket};
use crate::harness::{API_KEY, Client, Keyed, Sse, Talker, TestServer, Token};

async fn ticket(gateway: &Keyed, credential: &str, asked: Value) -> String {
    let answer = gateway.bearing(credential).send_json("POST", "/api/tickets", &asked).await.expect(201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.json()["expires"].is_string(), "{answer:?}");
    answer.json()["ticket"].as_str().expect("a ticket").to_owned()
}

#[tokio::test]
async fn a_ticket_opens_one_stream_once_and_a_head_does_not_use_it_up() {
    let keyed = Keyed::start().await;
    let can = json!({"room": "team-7", "can": ["watch", "join"]});
    let token = teammate("ann").sign();
    let used = ticket(&keyed, &token, can.clone()).await;
    let path = format!("/api/rooms/team-7/stream?as=ann&ticket={used}");
    for _ in 0..3 {
        keyed.send("HEAD", &path, &[], "").await.expect(200);
    }
    let mut stream = Sse::open(keyed.addr, &path, &[]).await;
    assert_eq!(event(&mut stream).await["count"], 1);
    let again = keyed.get(&path).await.expect(401).json();
    assert_eq!((&again["code"], &again["check"]), (&json!("token_invalid"), &json!("ticket")));
    keyed.send("HEAD", &path, &[], "").await.expect(401);

    let used = ticket(&keyed, &token, can.clone()).await;
    let mut talker = Talker::open(keyed.addr, &format!("room=team-7&as=ann&ticket={used}")).await;
    assert_eq!(hear(&mut talker).await["count"], 1);
    let again = Talker::open(keyed.addr, &format!("room=team-7&ticket={used}")).await.closed().await;
    assert_eq!(again, (4401, "token_invalid".to_owned()));
    // A ticket is renewed like its maker's token.
    assert_eq!(super::auth(&mut talker, &teammate("bob").sign()).await["code"], "wrong_user");
    assert_eq!(super::auth(&mut talker, &token).await["sub"], "ann");

    let lobby = Token::of("ann").may("lobby", &["watch"]).sign();
    let used = ticket(&keyed, &lobby, json!({"room": "lobby", "can": ["watch"]})).await;
    let head = [("Accept", "text/event-stream")];
    let mut stream = Sse::open(keyed.addr, &format!("/user-stream?ticket={used}"), &head).await;
    assert_eq!(event(&mut stream).await["action"], "cursor");
}

#[tokio::test]
async fn a_ticket_gives_no_more_than_its_maker_has() {
    let keyed = Keyed::start().await;
    let token = teammate("ann").sign();
    let ann = keyed.bearing(&token);
    for (asked, status, code, field) in [
        (json!({"room": "attic", "can": ["watch"]}), 403, "not_allowed", None),
        (json!({"room": "team-7", "can": ["sign_in"]}), 400, "bad_json", Some("can")),
        (json!({"room": "team-7", "can": ["dance"]}), 400, "bad_json", Some("can")),
        (json!({"room": "team-7", "can": []}), 400, "bad_json", Some("can")),
        (json!({"room": "team-7", "can": ["join"], "sub": "bob"}), 403, "wrong_user", Some("sub")),
        (json!({"room": "", "can": ["join"]}), 400, "bad_name", Some("room")),
    ] {
        let problem = ann.send_json("POST", "/api/tickets", &asked).await.expect(status).json();
        assert_eq!((&problem["code"], problem["field"].as_str()), (&json!(code), field), "{asked}: {problem}");
    }
    let nameless = json!({"room": "team-7", "can": ["join"]});
    let problem = keyed.backend().send_json("POST", "/api/tickets", &nameless).await.expect(400).json();
    assert_eq!((&problem["code"], &problem["field"]), (&json!("bad_json"), &json!("sub")));
    let stranger = Client::of(keyed.addr).send_json("POST", "/api/tickets", &nameless).await.expect(401).json();
    assert_eq!(stranger["code"], "token_missing");

    // An API key's ticket is the named user's.
    let named = json!({"room": "attic", "can": ["join", "watch"], "sub": "ann"});
    let used = ticket(&keyed, API_KEY, named.clone()).await;
    let other = keyed.get(&format!("/api/rooms/attic/stream?as=bob&ticket={used}")).await.expect(403).json();
    assert_eq!(other["code"], "wrong_user");
    let used = ticket(&keyed, API_KEY, named).await;
    let mut stream = Sse::open(keyed.addr, &format!("/api/rooms/attic/stream?as=ann&ticket={used}"), &[]).await;
    assert_eq!(event(&mut stream).await["count"], 1);

    // Nowhere else, and not beside a token.
    let used = ticket(&keyed, &token, json!({"room": "team-7", "can": ["watch"]})).await;
    let refused = keyed.get(&format!("/api/rooms/team-7/users?ticket={used}")).await.expect(400).json();
    assert_eq!((&refused["code"], &refused["field"]), (&json!("bad_parameter"), &json!("ticket")));
    let both = ann.get(&format!("/api/rooms/team-7/stream?ticket={used}")).await.expect(400).json();
    assert_eq!((&both["code"], &both["field"]), (&json!("bad_request"), &json!("ticket")));
}

#[tokio::test]
async fn the_stream_of_a_ticket_ends_as_its_token_would() {
    let keyed = watched().await;
    let asked = json!({"room": "team-7", "can": ["watch", "join"]});
    let used = ticket(&keyed, &teammate("ann").sign(), asked.clone()).await;
    let mut stream = Sse::open(keyed.addr, &format!("/api/rooms/team-7/stream?as=ann&ticket={used}"), &[]).await;
    assert_eq!(event(&mut stream).await["count"], 1);
    let late = ticket(&keyed, &teammate("ann").sign(), asked.clone()).await;
    let short = ticket(&keyed, &teammate("bob").ends_in(-26).sign(), asked).await;
    let talker = Talker::open(keyed.addr, &format!("room=team-7&as=bob&ticket={short}")).await;
    keyed.backend().send_json("POST", "/api/revocations", &json!({"sub": "ann"})).await.expect(201);
    assert_eq!(last(&mut stream).await["code"], "revoked");
    let refused = keyed.get(&format!("/api/rooms/team-7/stream?ticket={late}")).await.expect(403).json();
    assert_eq!(refused["code"], "revoked", "a ticket made before outlasts no revocation");
    assert!(!keyed.backend().is_present("team-7", "ann").await);
    assert_eq!(talker.closed().await, (4401, "token_expired".to_owned()));
    // The API key lives on.
    websocket(&keyed, "room=team-7", API_KEY).await;
}

#[tokio::test]
async fn without_keys_tickets_work_too() {
    let open = TestServer::start().await;
    let asked = json!({"room": "team-7", "can": ["watch", "join"]});
    let made = open.send_json("POST", "/api/tickets", &asked).await.expect(201).json();
    let path = format!("/api/rooms/team-7/stream?as=ann&ticket={}", made["ticket"].as_str().expect("a ticket"));
    let mut stream = Sse::open(open.addr, &path, &[]).await;
    assert_eq!(event(&mut stream).await["count"], 1);
}
