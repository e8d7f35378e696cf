//! The gateway's numbers: `/api/gateway` and `/metrics`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::{DEADLINE, Reader, TestServer, Transport};

async fn numbers(server: &TestServer) -> Value {
    server.get("/api/gateway").await.expect(200).json()
}

/// Waits until `holds`: the gateway may still be counting after an answer.
async fn until(server: &TestServer, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let looks = async {
        loop {
            let numbers = numbers(server).await;
            if holds(&numbers) {
                return numbers;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(DEADLINE, looks).await {
        Ok(numbers) => numbers,
        Err(_) => panic!("never {what}: {}", numbers(server).await),
    }
}

#[tokio::test]
async fn members_events_deliveries_and_streams_are_counted() {
    let server = TestServer::start().await;
    let fresh = numbers(&server).await;
    assert_eq!((&fresh["rooms"], &fresh["members"], &fresh["events"]), (&json!(0), &json!(0), &json!(0)));
    assert_eq!((&fresh["deliveries"], &fresh["pass_p99"]), (&json!(0), &json!(null)));
    assert_eq!((&fresh["version"], &fresh["restarts"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(0)));
    assert!(fresh["memory"].as_u64().is_some_and(|bytes| bytes > 1_000_000), "{fresh}");

    let mut readers = Vec::new();
    for transport in [Transport::Sse, Transport::Ws, Transport::Ws] {
        readers.push(Reader::open(server.addr, transport, "lobby").await.begun().await);
    }
    for user in ["ann", "bob"] {
        server.sign_in("lobby", user).await;
    }
    server.sign_in("den", "cyd").await;
    server.sign_out("lobby", "bob").await;
    let crowd = json!([{ "user": "dee" }, { "user": "eve" }, { "user": "fay" }]);
    let last = server.batch("lobby", &json!({ "add": crowd })).await;
    for reader in &mut readers {
        reader.caught_up(&last).await;
    }
    let seen = until(&server, "delivered", |seen| seen["deliveries"] == json!(18)).await;
    assert_eq!((&seen["rooms"], &seen["members"], &seen["events"]), (&json!(2), &json!(5), &json!(7)));
    assert_eq!(seen["streams"], json!({ "sse": 1, "websocket": 2 }));
    assert_eq!((&seen["connections"]["sse"], &seen["connections"]["websocket"]), (&json!(1), &json!(2)));
    assert!(seen["pass_p99"].as_f64().is_some_and(|seconds| seconds > 0.0 && seconds < 1.0), "{seen}");
    drop(readers);
    let left =
        until(&server, "closed", |left| left["connections"]["sse"] == 0 && left["connections"]["websocket"] == 0).await;
    assert_eq!(left["streams"], seen["streams"], "the number of opened streams stays");
}

#[tokio::test]
async fn prometheus_reads_the_same_numbers() {
    let server = TestServer::start().await;
    let _stream = Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await;
    server.sign_in("lobby", "ann").await;
    let numbers = until(&server, "delivered", |numbers| numbers["deliveries"] == json!(1)).await;
    let metrics = server.metrics().await.samples;
    for (metric, number) in [
        ("presently_connections{transport=\"sse\"}", &numbers["connections"]["sse"]),
        ("presently_connections{transport=\"websocket\"}", &numbers["connections"]["websocket"]),
        ("presently_streams_total{transport=\"sse\"}", &numbers["streams"]["sse"]),
        ("presently_streams_total{transport=\"websocket\"}", &numbers["streams"]["websocket"]),
        ("presently_refused_connections_total", &numbers["refused"]),
        ("presently_rooms", &numbers["rooms"]),
        ("presently_count_readers", &numbers["count_readers"]),
        ("presently_members", &numbers["members"]),
        ("presently_events_total", &numbers["events"]),
        ("presently_deliveries_total", &numbers["deliveries"]),
        ("presently_restarts_total", &numbers["restarts"]),
        ("presently_memory_budget_bytes", &numbers["budget"]["bytes"]),
        ("presently_memory_level", &numbers["budget"]["level"]),
        ("presently_memory_held_bytes{kind=\"histories\"}", &numbers["budget"]["histories"]),
        ("presently_memory_held_bytes{kind=\"messages\"}", &numbers["budget"]["messages"]),
        ("presently_memory_held_bytes{kind=\"snapshots\"}", &numbers["budget"]["snapshots"]),
        ("presently_memory_refusals_total", &numbers["budget"]["refusals"]),
        ("presently_pass_seconds_count", &json!(1)),
    ] {
        assert_eq!(metrics.get(metric).copied(), number.as_f64(), "{metric}");
    }
    let built = format!("presently_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(metrics.get(&built), Some(&1.0));
    for some in ["process_resident_memory_bytes", "process_start_time_seconds"] {
        assert!(metrics[some] > 1_000_000.0, "{some}");
    }
}
