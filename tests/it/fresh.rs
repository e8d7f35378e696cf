//! After a start without memory, the gateway says that members of before may be missing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Sse, Talker, TestServer, within};

async fn frame(stream: &mut Sse) -> Value {
    let event = within("a frame", stream.next()).await.expect("a frame");
    serde_json::from_str(&event.data).expect("a JSON text")
}

async fn fresh(millis: u64) -> TestServer {
    TestServer::with(|config| config.fresh_for = Some(Duration::from_millis(millis))).await
}

#[tokio::test]
async fn each_reader_that_was_told_gets_one_snapshot_when_the_time_is_over() {
    let server = fresh(400).await;
    let mut sse = Sse::open(server.addr, "/api/rooms/lobby/stream", &[]).await;
    let mut ws = Talker::open(server.addr, "room=lobby").await;
    let mut count = Sse::open(server.addr, "/api/rooms/lobby/stream?only=count", &[]).await;
    for first in [frame(&mut sse).await, ws.hear().await, frame(&mut count).await] {
        assert!(first["fresh_for"].as_u64().is_some_and(|left| (1..=400).contains(&left)), "{first}");
    }
    let mut counts = Sse::open(server.addr, "/api/counts?alive=1", &[]).await;
    assert_eq!(frame(&mut counts).await["action"], "hello");
    let first = frame(&mut counts).await;
    assert!(first["action"] == "counts" && first["fresh_for"].is_u64(), "{first}");
    let cursor = server.sign_in("lobby", "ann").await;
    for second in [frame(&mut sse).await, ws.hear().await] {
        assert_eq!((&second["action"], second.get("fresh_for")), (&json!("add"), None), "{second}");
    }
    for settled in [frame(&mut sse).await, ws.hear().await] {
        assert_eq!((&settled["action"], settled.get("fresh_for")), (&json!("snapshot"), None));
        assert_eq!((&settled["cursor"], settled["users"].as_array().map(Vec::len)), (&json!(cursor), Some(1)));
    }
    let mut counted = frame(&mut count).await;
    while counted.get("fresh_for").is_some() {
        counted = frame(&mut count).await;
    }
    assert_eq!(counted, json!({"action": "count", "room": "lobby", "count": 1}));
    let mut all = frame(&mut counts).await;
    while all["action"] != "counts" {
        all = frame(&mut counts).await;
    }
    assert_eq!((all.get("fresh_for"), &all["counts"][0]["count"]), (None, &json!(1)));
    server.sign_in("lobby", "bob").await;
    assert_eq!(frame(&mut sse).await["user"], "bob", "one snapshot, and the events go on");
    let mut late = Sse::open(server.addr, "/api/rooms/lobby/stream", &[]).await;
    assert_eq!(frame(&mut late).await.get("fresh_for"), None);
}

#[tokio::test]
async fn lists_and_counts_tell_it_and_the_exercise_does_not() {
    // By default, the time is the grace period.
    let server = TestServer::with(|config| (config.fresh_for, config.grace) = (None, Duration::from_secs(60))).await;
    let cursor = server.sign_in("lobby", "ann").await;
    for path in ["/api/rooms", "/api/rooms/lobby", "/api/rooms/lobby/users"] {
        let told = server.get(path).await.expect(200).json();
        assert!(told["fresh_for"].as_u64().is_some_and(|left| left > 1_000), "{path}: {told}");
    }
    let asked = server.send_json("POST", "/api/counts", &json!({"rooms": ["lobby"]})).await.expect(200).json();
    assert!(asked["fresh_for"].is_u64(), "{asked}");
    let mut resumed = Sse::open(server.addr, &format!("/api/rooms/lobby/stream?since={cursor}"), &[]).await;
    let first = frame(&mut resumed).await;
    assert!(first["action"] == "resumed" && first["fresh_for"].is_u64(), "{first}");
    let mut exercise = Sse::open(server.addr, "/user-stream", &[]).await;
    within("retry", exercise.until(|stream| stream.retry.is_some())).await;
    server.sign_in("lobby", "bob").await;
    assert_eq!(frame(&mut exercise).await, json!({"action": "add", "user": "bob"}));
}
