//! The memory budget: the gateway lives, refuses newcomers, serves who is present, and comes back.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::{Binary, Conn, Parting, Reader, Talker, Transport, member_path, quoted, within};

const BUDGET: u64 = 64 << 20;

/// The users of one batch.
const BATCH: usize = 500;

const CLIENT: &str = "client=0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

/// A sample of `/metrics`.
async fn metric(gateway: &Binary, name: &str) -> u64 {
    let answer = gateway.get("/metrics").await.expect(200);
    let line = answer.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {}", answer.text())).parse().expect("a whole number")
}

async fn check_resident(gateway: &Binary) {
    let resident = metric(gateway, "process_resident_memory_bytes").await;
    assert!(resident < BUDGET / 4 * 5, "{} MiB of {}", resident >> 20, BUDGET >> 20);
}

/// A room with the longest name, whose JSON is twice as long.
fn room(n: usize) -> String {
    format!("{}{n:04}", r"\".repeat(124))
}

fn user(n: usize) -> String {
    format!("{}{n:08}", "\"".repeat(120))
}

async fn post(gateway: &Binary, room: &str, changes: &Value) -> u16 {
    gateway.send_json("POST", &format!("/api/rooms/{}/users", quoted(room)), changes).await.status
}

/// The events of an honest writer reach an honest reader.
async fn honest(gateway: &Binary, readers: &mut [Reader], turn: usize) {
    let cursor = gateway.sign_in_as("quiet", "ann", &json!({ "turn": format!("{turn:06}") })).await;
    for reader in readers {
        reader.caught_up(&cursor).await;
    }
}

/// Waits until nothing is given up any more.
async fn relieved(gateway: &Binary) {
    let relieved = async {
        while metric(gateway, "presently_memory_level").await > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    within("freed memory", relieved).await;
}

/// Waits until a newcomer is accepted.
async fn accepted(gateway: &Binary, user: &str) {
    let accepted = async {
        while gateway.send("PUT", &member_path("quiet", user), &[], "").await.status != 201 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    within("a newcomer's place", accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_on_memory_is_refused_hurts_nobody_who_is_present_and_leaves_nothing_behind() {
    let gateway = Binary::start(&["--max-memory", "64MiB", "--grace", "1min", "--user", "eve"]).await;
    assert_eq!(metric(&gateway, "presently_memory_budget_bytes").await, BUDGET);
    gateway.sign_in_as("quiet", "ann", &json!({ "turn": "000000" })).await;
    let mut readers = Vec::new();
    for transport in Transport::BOTH {
        readers.push(Reader::open(gateway.addr, transport, "quiet").await.begun().await);
    }
    let gone = Talker::open(gateway.addr, &format!("room=quiet&as=cyd&{CLIENT}")).await;
    gone.part(Parting::Reset).await;

    // History of users who came and went, then members, both with long names; and answers that nobody reads.
    let (meta, mut unread) = (json!({ "a": "x".repeat(1_015) }), Vec::new());
    let adds = |first: usize| -> Value {
        json!({ "add": (first..first + BATCH).map(|n| json!({ "user": user(n), "meta": meta })).collect::<Vec<_>>() })
    };
    let dels = |first: usize| json!({ "del": (first..first + BATCH).map(user).collect::<Vec<_>>() });
    for turn in 0..20 {
        assert_eq!(post(&gateway, &room(turn), &adds(0)).await, 200);
        assert_eq!(post(&gateway, &room(turn), &dels(0)).await, 200);
        honest(&gateway, &mut readers, turn).await;
        check_resident(&gateway).await;
    }
    let mut filled = Vec::new();
    for turn in 20.. {
        let status = post(&gateway, &room(turn), &adds(0)).await;
        if status == 503 {
            break;
        }
        assert_eq!(status, 200);
        filled.push(turn);
        for _ in 0..2 {
            let mut client = Conn::narrow(gateway.addr).await;
            let path = format!("/api/rooms/{}/users?limit=10000", quoted(&room(turn)));
            client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
            unread.push(client);
        }
        honest(&gateway, &mut readers, turn).await;
        check_resident(&gateway).await;
        assert!(turn < 200, "more members than fit into the budget");
    }

    // The refusals, on each transport. One of the turns may meet a moment with less memory.
    let refused = gateway.send("PUT", &member_path("new", "bob"), &[], "").await;
    if refused.status == 503 {
        assert_eq!((&refused.json()["code"], &refused.json()["retry"]), (&json!("too_much_memory"), &json!(true)));
        let stream = gateway.get("/api/rooms/quiet/stream").await.expect(200);
        assert!(stream.text().contains("event: refused") && stream.text().contains("too_much_memory"));
        let counts = gateway.get("/api/counts").await.expect(200);
        assert!(counts.text().contains("event: refused") && counts.text().contains("too_much_memory"));
        let closed = Talker::open(gateway.addr, "room=quiet&as=bob").await.closed().await;
        assert_eq!(closed, (1013, "too_much_memory".to_owned()));
    }
    assert!(metric(&gateway, "presently_memory_refusals_total").await > 0);

    // Who is present, and who comes back.
    let mut back = Talker::open(gateway.addr, &format!("room=quiet&as=cyd&{CLIENT}")).await;
    assert_eq!(back.hear().await["action"], "snapshot");
    let mut joins = Talker::open(gateway.addr, "").await;
    joins.join("quiet", "ann").await;
    joins.subscribe("quiet").await;
    honest(&gateway, &mut readers, 1_000).await;
    check_resident(&gateway).await;

    // A large body may be refused until the gateway has noticed that the readers are gone.
    drop(unread);
    for turn in filled {
        within("the departures", async { while post(&gateway, &room(turn), &dels(0)).await != 200 {} }).await;
    }
    accepted(&gateway, "dee").await;
    relieved(&gateway).await;
    honest(&gateway, &mut readers, 1_001).await;
    check_resident(&gateway).await;
}

/// A past bug: an idle gateway kept the memory of bodies that were refused, and then refused everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_bodies_of_many_clients_are_refused_and_their_memory_is_given_back() {
    let gateway = Binary::start(&["--max-memory", "64MiB", "--user", "ann"]).await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        let mut client = Conn::open(gateway.addr).await;
        let head = "POST /api/rooms/lobby/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        client.send(format!("{head}Content-Length: 1000000\r\n\r\n{}", " ".repeat(200_000))).await;
        clients.push(client);
        check_resident(&gateway).await;
    }
    assert!(metric(&gateway, "presently_memory_refusals_total").await > 0);
    drop(clients);
    relieved(&gateway).await;
    gateway.sign_in("lobby", "bob").await;
}
