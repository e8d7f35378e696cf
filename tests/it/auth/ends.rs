//! The end of a token, in time and over each transport.

use std::time::Duration;

use serde_json::json;

use super::{auth, hear, last, session, stream, teammate, watched, websocket};
use crate::harness::{Dialogue, Keyed, Reader, Session, Talker, Transport, grant};

const CLIENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

#[tokio::test]
async fn a_connection_ends_with_its_token_and_a_return_in_time_is_no_event() {
    let keyed = Keyed::with(|config| {
        config.anyone = vec![grant("*:watch")];
        config.grace = Duration::from_secs(3_600);
    })
    .await;
    let mut watcher = Reader::open(keyed.addr, Transport::Sse, "team-7").await.begun().await;
    // Over since a while, and within the leeway for some seconds more.
    let token = |user: &str| teammate(user).ends_in(-22).sign();
    let query = format!("room=team-7&as=ann&client={CLIENT}");
    let talker = websocket(&keyed, &query, &token("ann")).await;
    let mut bob = stream(&keyed, &format!("/api/rooms/team-7/stream?as=bob&client={CLIENT}"), &token("bob")).await;
    let mut cyd = session(&keyed, &token("cyd")).await;
    cyd.join("team-7", "cyd").await;
    let mut counts = stream(&keyed, "/api/counts?prefix=team-", &token("dan")).await;
    watcher.until("three", |mirror| mirror.users.len() == 3).await;
    let cursor = keyed.backend().cursor("team-7").await;

    assert_eq!(talker.closed().await, (4401, "token_expired".to_owned()));
    for stream in [&mut bob, &mut cyd.stream, &mut counts] {
        let refused = last(stream).await;
        assert_eq!((&refused["code"], &refused["retry"]), (&json!("token_expired"), &json!(true)), "{refused}");
    }
    assert_eq!(keyed.backend().holds("team-7", "ann").await, ["connection websocket lost"]);
    assert_eq!(keyed.backend().holds("team-7", "bob").await, ["connection sse lost"]);
    assert_eq!(keyed.backend().holds("team-7", "cyd").await, ["connection sse lost"]);
    // The dead token opens nothing; a new one does.
    let dead = websocket(&keyed, &query, &teammate("ann").ends_in(-31).sign()).await;
    assert_eq!(dead.closed().await, (4401, "token_expired".to_owned()));
    let mut back = websocket(&keyed, &query, &teammate("ann").sign()).await;
    assert_eq!(hear(&mut back).await["count"], 3);
    assert_eq!(keyed.backend().holds("team-7", "ann").await, ["connection websocket"]);
    assert_eq!(keyed.backend().cursor("team-7").await, cursor, "a return within the grace period is an event");
}

#[tokio::test]
async fn the_end_is_told_before_it_comes_and_a_renewal_goes_on() {
    let keyed = watched().await;
    let short = || teammate("ann").ends_in(9).sign();
    let (mut talker, mut session) = (websocket(&keyed, "", &short()).await, session(&keyed, &short()).await);
    let (mut late, mut late_session) = (Talker::open(keyed.addr, "").await, Session::open(keyed.addr).await);
    auth(&mut late, &short()).await;
    auth(&mut late_session, &short()).await;
    for told in [hear(&mut talker).await, session.hear().await, hear(&mut late).await, late_session.hear().await] {
        assert_eq!(told["action"], "auth_expires", "{told}");
        assert!((1..=3).contains(&told["in"].as_u64().expect("seconds")), "in the last third of 9 s: {told}");
    }
    // Renewed with a token that is told of at once again, the connection has another end.
    for _ in 0..2 {
        let ok = auth(&mut talker, &short()).await;
        assert!((8..=9).contains(&ok["expires_in"].as_u64().expect("seconds")), "{ok}");
    }
    assert_eq!(hear(&mut talker).await["action"], "auth_expires");
    auth(&mut session, &teammate("ann").sign()).await;
    session.join("team-7", "ann").await;
}
