//! The memory budget: the gateway lives, refuses newcomers, serves who is present, and comes back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::{
    Binary, Conn, Dialogue, Mirror, Parting, Reader, Sse, Talker, Transport, member_path, quoted, raw, within,
};

/// The users of one batch.
const BATCH: usize = 500;

const CLIENT: &str = "client=0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

/// A sample of `/metrics`.
async fn metric(gateway: &Binary, name: &str) -> u64 {
    let answer = gateway.get("/metrics").await.expect(200);
    let line = answer.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {}", answer.text())).parse().expect("a whole number")
}

/// The process takes hardly more than its budget: at most 16 MiB.
async fn check_resident(gateway: &Binary) {
    let resident = metric(gateway, "process_resident_memory_bytes").await >> 20;
    let budget = metric(gateway, "presently_memory_budget_bytes").await >> 20;
    assert!(resident < budget + 16, "{resident} MiB of {budget}");
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
    // The history below takes 33 MiB, all of it in less than the two seconds for which the gateway spares history. The
    // resident code takes 25 MiB in a debug build, where a release build has 11.
    let gateway = Binary::start(&["--max-memory", "80MiB", "--grace", "1min", "--user", "eve"]).await;
    assert_eq!(metric(&gateway, "presently_memory_budget_bytes").await, 80 << 20);
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

    // The refusals, on each transport. Any of them may meet a moment with less memory, and be let in.
    let refused = gateway.send("PUT", &member_path("new", "bob"), &[], "").await;
    if refused.status == 503 {
        assert_eq!((&refused.json()["code"], &refused.json()["retry"]), (&json!("too_much_memory"), &json!(true)));
    }
    for path in ["/api/rooms/quiet/stream", "/api/counts"] {
        let mut stream = Sse::open(gateway.addr, path, &[]).await;
        let first = within("the first event", stream.next()).await.expect("an event");
        let is_refused = first.event.as_deref() == Some("refused");
        assert!(!is_refused || first.data.contains("too_much_memory"), "{path}: {}", first.data);
    }
    let mut newcomer = Talker::open(gateway.addr, "room=quiet&as=bob").await;
    if let Err(closed) = within("a frame or a close", newcomer.next_or_close()).await {
        assert_eq!(closed, (1013, "too_much_memory".to_owned()));
    }
    drop(newcomer);
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

/// Rooms whose members come without `meta`, and say some later.
const SILENT: usize = 60;

/// Users of one batch that leaves hardly any free memory behind.
const FEW: usize = 25;

/// A gateway whose budget is used up by members, who stay. Their memory alone takes all of it: freed memory, which the
/// gateway gives back within a second, does not count.
async fn full(args: &[&str]) -> Binary {
    let gateway = Binary::start(&[&["--max-memory", "64MiB", "--grace", "1min", "--user", "ann"], args].concat()).await;
    let some = |users: std::ops::Range<usize>, meta: &Value| -> Value {
        json!({ "add": users.map(|n| json!({ "user": user(n), "meta": meta })).collect::<Vec<_>>() })
    };
    let (silent, said) = (json!({}), json!({ "a": "x".repeat(1_015) }));
    for turn in 0..SILENT {
        assert_eq!(post(&gateway, &room(turn), &some(0..BATCH, &silent)).await, 200);
    }
    // New members fill the most of the budget, and longer `meta` of the first members all of it.
    let mut turns = SILENT..1_000;
    while post(&gateway, &room(turns.next().expect("more members than fit")), &some(0..BATCH, &said)).await == 200 {}
    for (turn, first) in (0..SILENT).flat_map(|turn| (0..BATCH).step_by(FEW).map(move |first| (turn, first))) {
        let since = Instant::now();
        while post(&gateway, &room(turn), &some(first..first + FEW, &said)).await != 200 {
            if since.elapsed() > Duration::from_secs(3) {
                assert!(metric(&gateway, "presently_memory_level").await >= 90);
                return gateway;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    panic!("all members fit into the budget");
}

/// Requests that never end: none, half a head, and half a body.
const HALVES: [&str; 3] = [
    "",
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
    "PUT /api/rooms/lobby/users/ann HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
];

/// A past bug: with the budget used up, connections were refused before anybody was known, so a client could lose a presence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_gets_in_at_full_memory_however_many_strangers_hold_places() {
    let gateway = full(&[]).await;
    let mut strangers = Vec::new();
    for half in HALVES {
        for transport in Transport::BOTH {
            let query = format!("as=ann&{CLIENT}");
            let held = Reader::with(Conn::open(gateway.addr).await, transport, Mirror::of("lobby"), &query).await;
            held.begun().await.part(Parting::Reset).await;
            let lost = async { while !gateway.holds("lobby", "ann").await.concat().contains("lost") {} };
            within("the loss", lost).await;
            for _ in 0..600 {
                let mut stranger = Conn::open(gateway.addr).await;
                // May be closed already, for another stranger.
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stranger.stream, half.as_bytes()).await;
                strangers.push(stranger);
            }
            let back = Reader::with(Conn::open(gateway.addr).await, transport, Mirror::of("lobby"), &query).await;
            let back = back.begun().await;
            assert!(!gateway.holds("lobby", "ann").await.concat().contains("lost"), "{transport:?} {half:?}");
            let get = "GET /api/rooms/lobby/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
            let refused = within("a refusal, and not a stream", raw(gateway.addr, get)).await.expect(200);
            assert!(refused.text().contains("event: refused") && refused.text().contains("too_much_memory"));
            let counts = gateway.get("/api/counts").await.expect(200);
            assert!(counts.text().contains("event: refused") && counts.text().contains("too_much_memory"));
            let closed = Talker::open(gateway.addr, "room=lobby&as=bob").await.closed().await;
            assert_eq!(closed, (1013, "too_much_memory".to_owned()));
            let open = gateway.get("/healthz").await.expect(200).json()["connections"].as_u64().expect("a number");
            assert!(open < 600, "{open} of {} strangers are there", strangers.len());
            back.part(Parting::Close(None)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_when_memory_and_places_are_short_together() {
    let gateway = full(&["--max-connections", "2"]).await;
    let hold = async || {
        let conn = Conn::open(gateway.addr).await;
        Reader::with(conn, Transport::Sse, Mirror::of("lobby"), "as=ann").await.begun().await
    };
    let _streams = [hold().await, hold().await];
    for path in ["/healthz", "/readyz", "/healthz"] {
        let get = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let told = async {
            loop {
                let (since, mut conn) = (Instant::now(), Conn::open(gateway.addr).await);
                conn.send(&get).await;
                if conn.fill().await.is_ok_and(|more| more) {
                    break conn.answer().await;
                }
                // A connection beyond all places has 2 s. Only a machine that stalls for longer is asked again.
                assert!(since.elapsed() >= Duration::from_secs(2), "{path} ends without an answer");
            }
        };
        within(path, told).await.expect(200);
    }
    let mut other = Conn::open(gateway.addr).await;
    other.send("GET /api/rooms HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    other.ended().await;
}

/// A past bug: the kernel took whole answers, a mebibyte for each client that read nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_are_encoded_while_their_clients_read() {
    const UNREAD: u64 = 30;
    let gateway = Binary::start(&["--max-memory", "1GiB"]).await;
    let users = |first: usize| (first..first + 2_000).map(|n| json!({ "user": user(n) })).collect::<Vec<_>>();
    for first in [0, 2_000, 4_000] {
        assert_eq!(post(&gateway, "large", &json!({ "add": users(first) })).await, 200);
    }
    let get = "GET /api/rooms/large/users?limit=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        let mut client = Conn::narrow(gateway.addr).await;
        client.send(get).await;
        unread.push(client);
    }
    const MESSAGES: &str = "presently_memory_held_bytes{kind=\"messages\"}";
    let begun = async { while metric(&gateway, MESSAGES).await < UNREAD * 32 * 1024 {} };
    within("the beginning of all answers", begun).await;
    let whole = raw(gateway.addr, get).await.expect(200);
    assert!(whole.body.len() > 1 << 20 && whole.json()["users"].as_array().expect("users").len() > 3_000);
    let waiting = metric(&gateway, MESSAGES).await;
    assert!((UNREAD * 32 * 1024..UNREAD * 100 * 1024).contains(&waiting), "{waiting} for {UNREAD}");
    for client in &mut unread {
        assert_eq!(client.answer().await.expect(200).body, whole.body);
    }
    assert_eq!(metric(&gateway, MESSAGES).await, 0);
}
