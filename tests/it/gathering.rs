//! Events of a busy room gather for one write; everything else is as if they did not.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Mirror, Reader, TestServer, Transport};

/// Longer than the test: what gathers for so long is written only for another reason.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// More readers than a room needs whose events gather.
const CROWD: usize = 24;

async fn crowd(server: &TestServer, size: usize) -> Vec<Reader> {
    let mut readers = Vec::new();
    for n in 0..size {
        readers.push(Reader::open(server.addr, Transport::BOTH[n % 2], "lobby").await.begun().await);
    }
    readers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_event_of_a_quiet_room_does_not_wait() {
    let server = TestServer::with(|config| config.gather = FOR_EVER).await;
    let mut readers = crowd(&server, CROWD).await;
    let cursor = server.sign_in("lobby", "ann").await;
    for reader in &mut readers {
        reader.caught_up(&cursor).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_does_not_wait_and_neither_do_the_events_around_it() {
    let server = TestServer::with(|config| config.gather = FOR_EVER).await;
    let mut readers = crowd(&server, CROWD).await;
    let first = server.sign_in("lobby", "first").await;
    for reader in &mut readers {
        reader.caught_up(&first).await;
    }
    // These gather on all connections but the one with an answer.
    for n in 0..10 {
        server.sign_in("lobby", &format!("user {n}")).await;
    }
    let mut one = readers.swap_remove(1);
    one.does(json!({"action": "join", "room": "lobby", "user": "last"})).await;
    one.caught_up(&server.cursor("lobby").await).await;
    assert_eq!(one.mirror.users, server.held("lobby").await.users);
    assert_eq!(one.mirror.seen("add"), 12, "each event goes out by itself");
    server.sign_in("lobby", "later").await;
    one.does(json!({"action": "leave", "room": "lobby", "user": "last"})).await;
    let cursor = server.cursor("lobby").await;
    assert!(one.mirror.reached(&cursor), "the answer overtook the member's del: {:?}", one.mirror);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gathered_events_arrive_one_by_one_in_order_whoever_reads() {
    const EVENTS: usize = 300;
    for gather in [50, 1, 0].map(Duration::from_millis) {
        let server = TestServer::with(|config| config.gather = gather).await;
        let mut readers = crowd(&server, CROWD).await;
        let mut cursor = String::new();
        for n in 0..EVENTS {
            cursor = server.sign_in("lobby", &format!("user {n}")).await;
            if n == EVENTS / 2 {
                // Begins between events that have been written and events that gather.
                let late = Reader::open(server.addr, Transport::Ws, "lobby").await;
                readers.push(late.begun().await);
                let held = Reader::resume(server.addr, Transport::Sse, Mirror::of("lobby")).await;
                readers.push(held.begun().await);
            }
        }
        let users = server.held("lobby").await.users;
        for (n, reader) in readers.iter_mut().enumerate() {
            // The mirror refuses repeated cursors and those that step back.
            reader.caught_up(&cursor).await;
            assert_eq!(reader.mirror.users, users, "{gather:?}, reader {n}");
            if n < CROWD {
                assert_eq!(reader.mirror.seen("add"), EVENTS, "{gather:?}, reader {n}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_gathering_and_in_small_rooms_no_event_waits_for_others() {
    for (gather, readers) in [(Duration::ZERO, CROWD), (FOR_EVER, 4)] {
        let server = TestServer::with(|config| config.gather = gather).await;
        let mut readers = crowd(&server, readers).await;
        for n in 0..10 {
            let cursor = server.sign_in("lobby", &format!("user {n}")).await;
            for reader in &mut readers {
                reader.caught_up(&cursor).await;
            }
        }
    }
}
