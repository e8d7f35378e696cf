//! Revocations: by token and by user, of connections and sign-ins, and in races.

use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{auth, hear, last, session, stream, teammate, watched, websocket};
use crate::harness::{Client, Dialogue, Keyed, Reader, Session, Token, Transport, member_path, now};

/// A time as RFC 3339 has it.
fn rfc3339(seconds: i64) -> String {
    let since = Duration::from_secs(seconds.try_into().expect("a time after 1970"));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

async fn revoke(gateway: &Keyed, what: Value) -> Value {
    gateway.backend().send_json("POST", "/api/revocations", &what).await.expect(201).json()
}

/// Waits for the user's `del`, and checks the reason.
async fn gone(watcher: &mut Reader, user: &str, reason: &str) {
    watcher.until(&format!("the end of {user}"), |mirror| !mirror.users.contains_key(user)).await;
    assert_eq!((&watcher.last["user"], &watcher.last["reason"]), (&json!(user), &json!(reason)));
}

#[tokio::test]
async fn a_revoked_jti_ends_what_its_token_opened_or_renewed_last() {
    let keyed = watched().await;
    let mut watcher = Reader::open(keyed.addr, Transport::Sse, "team-7").await.begun().await;
    let token = |jti: &str| Token::of("ann").may("team-*", &["watch", "sign_in"]).claim("jti", jti).sign();
    let one = websocket(&keyed, "room=team-7&as=ann", &token("a")).await;
    let mut other = websocket(&keyed, "room=team-7&as=ann", &token("b")).await;
    let mut renewed = websocket(&keyed, "", &token("a")).await;
    auth(&mut renewed, &token("c")).await;
    let mut bob = websocket(&keyed, "room=team-7&as=bob", &teammate("bob").sign()).await;
    watcher.until("both", |mirror| mirror.users.len() == 2).await;
    keyed.bearing(&token("a")).sign_in("team-8", "ann").await;

    assert_eq!(revoke(&keyed, json!({"jti": "a"})).await, json!({"jti": "a"}));
    assert_eq!(one.closed().await, (4403, "revoked".to_owned()));
    renewed.does(json!({"action": "alive"})).await;
    other.does(json!({"action": "alive"})).await;
    let refused = keyed.bearing(&token("a")).get("/api/rooms/team-7").await.expect(403).json();
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("revoked"), &json!(false)));
    assert_eq!(auth(&mut renewed, &token("a")).await["code"], "revoked");
    renewed.does(json!({"action": "alive"})).await;
    assert_eq!(websocket(&keyed, "", &token("a")).await.closed().await.0, 4403);
    assert!(keyed.backend().is_present("team-8", "ann").await, "a jti ends connections, and no sign-ins");

    revoke(&keyed, json!({"jti": "b"})).await;
    assert_eq!(other.closed().await, (4403, "revoked".to_owned()));
    gone(&mut watcher, "ann", "kicked").await;
    hear(&mut bob).await;
    bob.does(json!({"action": "alive"})).await;
    assert!(keyed.backend().is_present("team-7", "bob").await);

    // Also where the token came by a message, first or in place of another: a past bug dropped these.
    let mut late = Session::open(keyed.addr).await;
    auth(&mut late, &token("c")).await;
    revoke(&keyed, json!({"jti": "c"})).await;
    assert_eq!(renewed.closed().await, (4403, "revoked".to_owned()));
    assert_eq!(last(&mut late.stream).await["code"], "revoked");
}

#[tokio::test]
async fn a_revoked_user_loses_connections_and_sign_ins_of_tokens_issued_until_then() {
    let keyed = watched().await;
    let old = |user: &str| Token::of(user).may("*", &["watch", "manage"]).claim("iat", now() - 100).sign();
    let new = |user: &str| Token::of(user).may("*", &["watch", "manage"]).claim("iat", now() - 10).sign();
    let ageless = Token::of("ann").may("*", &["watch"]).without("iat");
    let mut watcher = Reader::open(keyed.addr, Transport::Sse, "team-7").await.begun().await;

    let closing = websocket(&keyed, "room=team-7&as=ann", &old("ann")).await;
    let mut staying = websocket(&keyed, "room=team-8&as=ann", &new("ann")).await;
    let mut bob = session(&keyed, &old("bob")).await;
    bob.join("team-7", "bob").await;
    let mut ended = stream(&keyed, "/api/rooms/team-7/stream?as=ann", &old("ann")).await;
    // Sign-ins: by ann's old token for ann and for cyd, by the new one, and by the backend.
    keyed.bearing(&old("ann")).sign_in("attic", "ann").await;
    keyed.bearing(&old("ann")).sign_in("team-7", "cyd").await;
    keyed.bearing(&new("ann")).sign_in("garden", "ann").await;
    keyed.bearing(&old("ann")).send_json("PUT", &member_path("hall", "ann"), &json!({"hold": "a"})).await.expect(201);
    keyed.backend().send_json("PUT", &member_path("hall", "ann"), &json!({"hold": "b"})).await.expect(200);
    watcher.until("all", |mirror| mirror.users.len() == 3).await;

    let before = rfc3339(now() - 50);
    let answer = revoke(&keyed, json!({"sub": "ann", "before": before})).await;
    assert_eq!(answer["sub"], "ann");
    assert_eq!(closing.closed().await, (4403, "revoked".to_owned()));
    let refused = last(&mut ended).await;
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("revoked"), &json!(false)), "{refused}");
    watcher.until("bob alone", |mirror| mirror.users.len() == 1).await;
    assert_eq!(watcher.last["reason"], "kicked");
    staying.does(json!({"action": "alive"})).await;
    bob.does(json!({"action": "alive"})).await;
    let backend = keyed.backend();
    assert!(!backend.is_present("attic", "ann").await && backend.is_present("garden", "ann").await);
    let holds = backend.get(&member_path("hall", "ann")).await.expect(200).json()["holds"].clone();
    assert_eq!((holds.as_array().expect("holds").len(), &holds[0]["hold"]), (1, &json!("b")), "{holds}");
    assert_eq!(backend.holds("team-7", "bob").await, ["connection sse"]);
    for (token, status) in [(old("ann"), 403), (ageless.sign(), 403), (new("ann"), 200), (old("bob"), 200)] {
        keyed.bearing(&token).get("/api/rooms/team-7").await.expect(status);
    }
    // By default until now, and the seconds of now are whole: a token of this second is revoked, too.
    revoke(&keyed, json!({"sub": "ann"})).await;
    keyed.bearing(&new("ann")).get("/api/rooms/team-7").await.expect(403);
    assert_eq!(staying.closed().await, (4403, "revoked".to_owned()));
    assert!(!backend.is_present("garden", "ann").await && backend.is_present("hall", "ann").await);
    let later = Token::of("ann").may("*", &["watch"]).claim("iat", now() + 2).sign();
    keyed.bearing(&later).get("/api/rooms/team-7").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sign_in_or_connection_outlasts_a_revocation_that_it_races() {
    let keyed = Keyed::start().await;
    for round in 0..10 {
        let user = format!("ann{round}");
        let token = Token::of(&user).may("*", &["watch", "sign_in"]).sign();
        let ann = keyed.bearing(&token);
        let paths: Vec<_> = (0..30).map(|n| member_path(&format!("room-{round}-{n}"), &user)).collect();
        let sign_ins = join_all(paths.iter().map(|path| ann.send("PUT", path, &[], "")));
        let connections = join_all((0..10).map(|n| {
            let query = format!("room=talk-{round}-{n}&as={user}");
            let (keyed, token) = (&keyed, &token);
            async move { websocket(keyed, &query, token).await.closed().await }
        }));
        let (answers, ends, _) = tokio::join!(sign_ins, connections, revoke(&keyed, json!({"sub": user})));
        assert!(answers.iter().all(|answer| [201, 403].contains(&answer.status)), "{answers:?}");
        assert!(ends.iter().all(|end| *end == (4403, "revoked".to_owned())), "{ends:?}");
        let rooms = keyed.backend().get("/api/rooms").await.expect(200).json();
        let full: Vec<_> = rooms["rooms"].as_array().expect("rooms").iter().filter(|room| room["count"] != 0).collect();
        assert!(full.is_empty(), "{user} is still in {full:?}");
    }
}

#[tokio::test]
async fn revocations_are_listed_in_pages_and_bad_ones_refused() {
    let keyed = Keyed::start().await;
    let backend = keyed.backend();
    for what in [json!({"jti": "a"}), json!({"jti": "b"}), json!({"sub": "ann"}), json!({"sub": "bob"})] {
        revoke(&keyed, what).await;
    }
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = backend.get(&format!("/api/revocations?limit=3&after={after}")).await.expect(200).json();
        all.extend(page["revocations"].as_array().expect("a list").clone());
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    let name = |revocation: &Value| revocation["jti"].as_str().or(revocation["sub"].as_str()).map(str::to_owned);
    assert_eq!(all.iter().filter_map(name).collect::<Vec<_>>(), ["a", "b", "ann", "bob"], "{all:?}");
    let future = rfc3339(now() + 100);
    for (bad, field) in [
        (json!({}), "jti"),
        (json!({"jti": ""}), "jti"),
        (json!({"jti": "x".repeat(129)}), "jti"),
        (json!({"jti": "a", "sub": "ann"}), "sub"),
        (json!({"jti": "a", "before": "2026-01-01T00:00:00Z"}), "before"),
        (json!({"sub": "ann", "before": "yesterday"}), "before"),
        (json!({"sub": "ann", "before": future}), "before"),
    ] {
        let problem = backend.send_json("POST", "/api/revocations", &bad).await.expect(400).json();
        assert_eq!((&problem["code"], &problem["field"]), (&json!("bad_json"), &json!(field)), "{bad}");
    }
    Client::of(keyed.addr).get("/api/revocations").await.expect(401);
}
