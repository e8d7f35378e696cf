//! Leaving: a clean end counts at once, a loss after the grace period, and a return within the grace period is no
//! event.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Binary, CLOSE, Client, Dialogue, FIN, Parting, RawWs, Reader, Session, Sse, Talker, TestServer, Transport, frame,
    member_path, upgrade, within,
};
use crate::holds::held_by;

const HOUR: Duration = Duration::from_secs(3_600);
const CLIENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

async fn lasting(grace: Duration) -> (TestServer, Reader) {
    let server = TestServer::with(|config| config.grace = grace).await;
    let watcher = Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await;
    (server, watcher)
}

/// Waits for the user's `del`, and checks the reason.
async fn gone(watcher: &mut Reader, user: &str, reason: &str) {
    watcher.until(&format!("the end of {user}"), |mirror| !mirror.users.contains_key(user)).await;
    assert_eq!((&watcher.last["user"], &watcher.last["reason"]), (&json!(user), &json!(reason)));
}

async fn came(watcher: &mut Reader, user: &str) {
    watcher.until(&format!("{user} to come"), |mirror| mirror.users.contains_key(user)).await;
}

#[tokio::test]
async fn a_clean_close_ends_the_hold_at_once() {
    let (server, mut watcher) = lasting(HOUR).await;
    for (n, code) in [None, Some(1000), Some(3000), Some(4000), Some(4999)].into_iter().enumerate() {
        let user = format!("u{n}");
        let talker = Talker::open(server.addr, &format!("room=lobby&as={user}")).await;
        came(&mut watcher, &user).await;
        talker.part(Parting::Close(code)).await;
        gone(&mut watcher, &user, "closed").await;
    }
    let mut talker = Talker::open(server.addr, "").await;
    talker.join("lobby", "ann").await;
    came(&mut watcher, "ann").await;
    talker.leave("lobby", "ann").await;
    gone(&mut watcher, "ann", "closed").await;
}

/// A past bug: the failed write was judged before the close frame, and 6 to 8 of 100 such clients counted as lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_close_counts_although_a_write_fails_at_the_same_moment() {
    let (server, mut watcher) = lasting(HOUR).await;
    for n in 0..50 {
        let user = format!("u{n}");
        let mut parting = RawWs::request(server.addr, upgrade(&format!("/ws?room=lobby&as={user}"))).await;
        came(&mut watcher, &user).await;
        let event = tokio::spawn({
            let client = Client::clone(&server);
            async move { client.sign_in("lobby", &format!("event {n}")).await }
        });
        parting.send(frame(FIN | CLOSE, 1000_u16.to_be_bytes())).await;
        // The frames are unread, so the system resets the connection.
        drop(parting);
        gone(&mut watcher, &user, "closed").await;
        within("the event", event).await.expect("no panic");
    }
}

#[tokio::test]
async fn an_sse_client_leaves_over_http() {
    let (server, mut watcher) = lasting(HOUR).await;
    let path = format!("/api/rooms/lobby/stream?as=ann&client={CLIENT}");
    let _stream = Sse::open(server.addr, &path, &[]).await;
    came(&mut watcher, "ann").await;
    server.sign_in("lobby", "ann").await;
    let leave = format!("{}?client={CLIENT}", member_path("lobby", "ann"));
    server.send("DELETE", &leave, &[], "").await.expect(204);
    assert_eq!(server.holds("lobby", "ann").await, ["sign_in"], "only that client's hold ends");
    server.sign_out("lobby", "ann").await;
    gone(&mut watcher, "ann", "signed_out").await;
    let _again = Sse::open(server.addr, &path, &[]).await;
    came(&mut watcher, "ann").await;
    server.send("DELETE", &leave, &[], "").await.expect(204);
    gone(&mut watcher, "ann", "closed").await;
}

#[tokio::test]
async fn a_lost_connection_holds_for_the_grace_period() {
    let (server, mut watcher) = lasting(HOUR).await;
    let partings = [1001, 4001].map(|code| Parting::Close(Some(code)));
    for (n, how) in partings.into_iter().chain([Parting::Fin, Parting::Reset]).enumerate() {
        let user = format!("u{n}");
        let talker = Talker::open(server.addr, &format!("room=lobby&as={user}")).await;
        came(&mut watcher, &user).await;
        talker.part(how).await;
        held_by(&server, "lobby", &user, &["connection websocket lost"]).await;
    }
    let mut breaks = RawWs::request(server.addr, upgrade("/ws?room=lobby&as=ann")).await;
    came(&mut watcher, "ann").await;
    breaks.send(frame(FIN | 0x40, "")).await;
    assert_eq!(breaks.closed().await.0, 1002, "a close by the gateway is a loss, too");
    held_by(&server, "lobby", "ann", &["connection websocket lost"]).await;
    let stream = Sse::open(server.addr, "/api/rooms/lobby/stream?as=bob", &[]).await;
    came(&mut watcher, "bob").await;
    drop(stream);
    held_by(&server, "lobby", "bob", &["connection sse lost"]).await;
    let cursor = server.sign_in("lobby", "end").await;
    watcher.caught_up(&cursor).await;
    assert_eq!(watcher.mirror.seen("del"), 0);
    server.sign_out("lobby", "ann").await;
    gone(&mut watcher, "ann", "signed_out").await;
}

/// Bugs of others: Sockudo #87, Mercure #645, Nchan #579, ably-js #489.
#[tokio::test]
async fn a_user_who_does_not_return_within_the_grace_period_is_gone() {
    let (server, mut watcher) = lasting(Duration::from_millis(100)).await;
    for transport in ["ws", "sse"] {
        let user = format!("by {transport}");
        let path = format!("/api/rooms/lobby/stream?as={}", user.replace(' ', "%20"));
        if transport == "ws" {
            let talker = Talker::open(server.addr, "").await;
            let mut talker = talker;
            talker.join("lobby", &user).await;
            came(&mut watcher, &user).await;
            talker.part(Parting::Reset).await;
        } else {
            let stream = Sse::open(server.addr, &path, &[]).await;
            came(&mut watcher, &user).await;
            drop(stream);
        }
        gone(&mut watcher, &user, "timeout").await;
    }
}

/// A bug of another gateway: Mercure #464.
#[tokio::test]
async fn a_reload_and_a_change_of_network_are_no_event() {
    let (server, mut watcher) = lasting(HOUR).await;
    let query = format!("room=lobby&as=ann&client={CLIENT}");
    for how in [Parting::Close(Some(1001)), Parting::Close(Some(4001)), Parting::Reset, Parting::Fin] {
        let talker = Talker::open(server.addr, &query).await;
        held_by(&server, "lobby", "ann", &["connection websocket"]).await;
        talker.part(how).await;
        held_by(&server, "lobby", "ann", &["connection websocket lost"]).await;
    }
    let _back = Talker::open(server.addr, &query).await;
    held_by(&server, "lobby", "ann", &["connection websocket"]).await;
    let cursor = server.sign_in("lobby", "end").await;
    watcher.caught_up(&cursor).await;
    assert_eq!((watcher.mirror.seen("add"), watcher.mirror.seen("del")), (2, 0));
}

#[tokio::test]
async fn a_user_with_only_lost_connections_is_a_member_until_the_last_grace_period_ends() {
    let (server, mut watcher) = lasting(Duration::from_millis(200)).await;
    let first = Talker::open(server.addr, "room=lobby&as=ann").await;
    let second = Talker::open(server.addr, "room=lobby&as=ann").await;
    held_by(&server, "lobby", "ann", &["connection websocket", "connection websocket"]).await;
    came(&mut watcher, "ann").await;
    first.part(Parting::Reset).await;
    held_by(&server, "lobby", "ann", &["connection websocket"]).await;
    second.part(Parting::Reset).await;
    gone(&mut watcher, "ann", "timeout").await;
    assert_eq!((watcher.mirror.seen("add"), watcher.mirror.seen("del")), (1, 1));
}

/// Checks that a gateway that was stopped and continues has removed none of `users`.
async fn all_stay(client: &Client, watcher: &mut Reader, users: &[&str]) {
    let cursor = client.sign_in("lobby", "after").await;
    watcher.caught_up(&cursor).await;
    assert_eq!(watcher.mirror.seen("del"), 0, "{:?}", watcher.last);
    for user in users {
        assert!(client.is_present("lobby", user).await, "{user} was removed");
    }
}

/// Bytes that arrived while the process was stopped are read before deadlines are enforced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_stopped_for_a_while_removes_no_member() {
    let options = ["--keep-alive", "200ms", "--send-within", "400ms", "--grace", "1s"];
    let asks = ["--alive-every", "200ms", "--alive-within", "400ms"];
    let gateway = Binary::start(&[&options[..], &asks].concat()).await;
    let mut watcher = Reader::open(gateway.addr, Transport::Ws, "lobby").await.begun().await;
    let mut live = Talker::open(gateway.addr, "room=lobby&as=live").await;
    let answers = tokio::spawn(async move {
        // Answers pings until the end of the test.
        while live.hear().await["user"] != "after" {}
        live
    });
    let mut session = Session::open(gateway.addr).await;
    session.join("lobby", "asked").await;
    came(&mut watcher, "asked").await;
    let posts = tokio::spawn(async move {
        // Answers asks until the end of the test.
        loop {
            let frame = session.stream.next().await.expect("the stream goes on");
            if frame.data.contains("ask") {
                session.send(&json!([{"action": "alive"}])).await;
            }
        }
    });
    let away = Talker::open(gateway.addr, &format!("room=lobby&as=away&client={CLIENT}")).await;
    came(&mut watcher, "live").await;
    came(&mut watcher, "away").await;
    gateway.send_json("PUT", "/api/rooms/lobby/users/lease", &json!({"ttl": 2})).await.expect(201);
    came(&mut watcher, "lease").await;
    gateway.signal("STOP").await;
    // Longer than any of the times above: the stop itself, and no synchronisation.
    tokio::time::sleep(Duration::from_secs(3)).await;
    away.part(Parting::Reset).await;
    let renews = tokio::spawn({
        let client = gateway.client();
        async move { client.send_json("PUT", "/api/rooms/lobby/users/lease", &json!({"ttl": 60})).await.expect(200) }
    });
    gateway.signal("CONT").await;
    let _back = Talker::open(gateway.addr, &format!("room=lobby&as=away&client={CLIENT}")).await;
    within("the renewal", renews).await.expect("no panic");
    all_stay(&gateway, &mut watcher, &["live", "away", "lease", "asked"]).await;
    assert!(!posts.is_finished());
    posts.abort();
    drop(within("the live one", answers).await.expect("no panic"));
}

#[tokio::test]
async fn grace_periods_end_also_after_a_panic_of_the_timekeeper() {
    let server = TestServer::with(|config| {
        let failed = std::sync::atomic::AtomicBool::new(false);
        config.grace = Duration::from_millis(100);
        config.faults = presently::Faults::new(move |point| {
            if point == "time" && !failed.swap(true, std::sync::atomic::Ordering::Relaxed) {
                panic!("a fault in the timekeeper");
            }
        });
    })
    .await;
    let mut watcher = Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await;
    let talker = Talker::open(server.addr, "room=lobby&as=ann").await;
    came(&mut watcher, "ann").await;
    talker.part(Parting::Reset).await;
    gone(&mut watcher, "ann", "timeout").await;
    assert_eq!(server.restarts().await, 1);
}

/// A connection whose task panics leaves no member behind.
#[tokio::test]
async fn a_panic_of_a_connections_task_is_a_loss_of_the_connection() {
    let server = TestServer::with(|config| {
        config.grace = Duration::from_millis(50);
        config.faults = presently::Faults::new(|point| assert_ne!(point, "read", "a fault in reading"));
    })
    .await;
    let mut watcher = Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await;
    let mut ann = RawWs::request(server.addr, upgrade("/ws?room=lobby&as=ann")).await;
    came(&mut watcher, "ann").await;
    ann.send(frame(FIN | 0x9, "")).await;
    gone(&mut watcher, "ann", "timeout").await;
}
