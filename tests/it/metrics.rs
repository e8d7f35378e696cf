//! Each metric moves with what it counts. What `/api/gateway` also tells is tested in `stats`, rates and tokens with their promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use presently::Faults;
use serde_json::json;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::harness::{
    Binary, Client, KeyServer, Mirror, Parting, RawWs, Reader, Talker, TestServer, Transport, quoted, raw, upgrade,
    within,
};

const CLIENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

/// Starts a gateway that keeps `history` events in each room, with 50 members in the lobby.
async fn with_history(history: u64) -> TestServer {
    let server = TestServer::with(|config| {
        config.history = history;
        config.keep_alive = Duration::from_secs(60);
    })
    .await;
    let add: Vec<_> = (0..50).map(|n| json!({ "user": format!("member{n}") })).collect();
    server.batch("lobby", &json!({ "add": add })).await;
    server
}

/// Signs `count` users in, each with an event.
async fn crowd(client: &Client, name: &str, count: usize) -> String {
    let add: Vec<_> = (0..count).map(|n| json!({ "user": format!("{name}{n}") })).collect();
    client.batch("lobby", &json!({ "add": add })).await
}

#[tokio::test]
async fn readers_that_come_back_are_counted_by_what_they_get() {
    let server = with_history(10).await;
    let mut mirror = Reader::open(server.addr, Transport::Ws, "lobby").await.begun().await.part(Parting::Fin).await;
    let fresh = server.metrics().await;
    assert_eq!(fresh.of("presently_history_lookups_total{result=\"miss\"}"), 0.0, "a first snapshot is no resync");
    for (events, hits, changes, snapshots) in [(5, 1.0, 0.0, 0.0), (11, 1.0, 1.0, 0.0), (300, 1.0, 1.0, 1.0)] {
        let cursor = crowd(&server, &format!("{events} "), events).await;
        let mut back = Reader::resume(server.addr, Transport::Ws, mirror).await;
        back.caught_up(&cursor).await;
        mirror = back.part(Parting::Fin).await;
        let seen = server.metrics().await;
        assert_eq!(seen.of("presently_history_lookups_total{result=\"hit\"}"), hits, "{events}");
        assert_eq!(seen.of("presently_history_lookups_total{result=\"miss\"}"), changes + snapshots, "{events}");
        assert_eq!(seen.of("presently_resyncs_total{kind=\"changes\"}"), changes, "{events}");
        assert_eq!(seen.of("presently_resyncs_total{kind=\"snapshot\"}"), snapshots, "{events}");
    }
}

/// Waits until `user` is held by a lost connection only.
async fn lost(client: &Client, user: &str) {
    let lost = async { while client.holds("lobby", user).await != ["connection websocket lost"] {} };
    within("a noticed loss", lost).await;
}

#[tokio::test]
async fn a_client_that_comes_back_to_its_hold_within_the_grace_is_a_save() {
    const GRACE: Duration = Duration::from_secs(30);
    let server = TestServer::with(|config| config.grace = GRACE).await;
    let hold = format!("room=lobby&as=ann&client={CLIENT}");
    let mut ann = Talker::open(server.addr, &hold).await;
    ann.hear().await;
    for saves in [1.0, 2.0] {
        ann.part(Parting::Reset).await;
        lost(&server, "ann").await;
        ann = Talker::open(server.addr, &hold).await;
        ann.hear().await;
        let seen = server.metrics().await;
        assert_eq!(seen.of("presently_grace_saves_total"), saves);
        assert_eq!((seen.of("presently_events_total"), seen.of("presently_loss_to_del_seconds_count")), (1.0, 0.0));
    }
    // One that takes the place of an open connection saves nothing.
    let mut newer = Talker::open(server.addr, &hold).await;
    newer.hear().await;
    assert_eq!(server.metrics().await.of("presently_grace_saves_total"), 2.0);
}

#[tokio::test]
async fn the_time_from_a_loss_to_the_del_is_at_least_the_grace() {
    const GRACE: Duration = Duration::from_millis(300);
    let server = TestServer::with(|config| config.grace = GRACE).await;
    // A departure that is said is no loss, and the end of a lease is not a connection's.
    let mut cyd = Talker::open(server.addr, "room=lobby&as=cyd").await;
    cyd.hear().await;
    cyd.part(Parting::Close(Some(1000))).await;
    for user in ["ann", "bob"] {
        let mut talker = Talker::open(server.addr, &format!("room=lobby&as={user}")).await;
        talker.hear().await;
        talker.part(Parting::Reset).await;
    }
    let seen = server.metrics_when("two absences", |seen| seen.of("presently_loss_to_del_seconds_count") > 1.0).await;
    assert!(seen.of("presently_loss_to_del_seconds_sum") >= 2.0 * GRACE.as_secs_f64(), "{}", seen.text);
    assert_eq!(seen.of("presently_loss_to_del_seconds_bucket{le=\"0.25\"}"), 0.0);
    assert_eq!(seen.of("presently_grace_saves_total"), 0.0);
    assert!(!server.is_present("lobby", "ann").await && !server.is_present("lobby", "cyd").await);
}

#[tokio::test]
async fn refusals_are_counted_by_code_whichever_way_they_came() {
    let server = TestServer::start().await;
    let mut talker = Talker::open(server.addr, "").await;
    talker.send(&json!({ "action": "leave", "room": "lobby", "user": "ann" })).await;
    assert_eq!(talker.hear().await["code"], "not_joined");
    server.get("/nothing").await.expect(404);
    server.get("/nothing/either").await.expect(404);
    // A handshake is refused by a close code, and an event stream by an event.
    let handshake = RawWs::request(server.addr, upgrade("/ws?since=x")).await;
    assert_eq!(handshake.closed().await.1, "bad_parameter");
    raw(server.addr, "NONSENSE\r\n\r\n").await.expect(400);
    let seen = server.metrics().await;
    for (code, count) in [("not_joined", 1.0), ("not_found", 2.0), ("bad_parameter", 1.0), ("too_fast", 0.0)] {
        assert_eq!(seen.of(&format!("presently_refusals_total{{code=\"{code}\"}}")), count, "{code}");
    }
}

#[tokio::test]
async fn written_bytes_are_those_that_clients_receive() {
    let server = with_history(1_000).await;
    let sse = format!("GET /api/rooms/{}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n", quoted("lobby"));
    for (transport, request) in [("sse", sse), ("websocket", upgrade("/ws?room=lobby"))] {
        let mut client = TcpStream::connect(server.addr).await.expect("a connection");
        client.write_all(request.as_bytes()).await.expect("an open connection");
        let (mut received, mut rounds) = (0, 0);
        let sent = format!("presently_sent_bytes_total{{transport=\"{transport}\"}}");
        let mut buffer = vec![0; 64 * 1024];
        let equal = async {
            loop {
                let sent = server.metrics().await.of(&sent);
                if received > 1_000 && rounds > 2 && sent == f64::from(received) {
                    return;
                }
                rounds += 1;
                server.sign_in("lobby", &format!("{transport}{rounds}")).await;
                // More may come than the last event: what is left is read in the next round.
                let read = within("bytes", client.read(&mut buffer)).await.expect("an open connection");
                received += i32::try_from(read).expect("few bytes");
            }
        };
        within("as many bytes as were received", equal).await;
    }
}

/// Lets a hub pause at each delivery.
fn pausing(pause: Duration) -> (Faults, Arc<AtomicUsize>) {
    let (pauses, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = counted.clone();
    let faults = Faults::new(move |point| {
        if point == "hub" && pauses.fetch_add(1, Relaxed) == 0 {
            std::thread::sleep(pause);
            count.fetch_add(1, Relaxed);
        }
    });
    (faults, counted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_lag_of_a_hub_counts_from_the_event_and_a_pass_does_not() {
    const PAUSE: Duration = Duration::from_millis(300);
    let (faults, paused) = pausing(PAUSE);
    let server = TestServer::with(|config| config.faults = faults).await;
    let mut reader = Reader::open(server.addr, Transport::Ws, "lobby").await.begun().await;
    let cursor = server.sign_in("lobby", "ann").await;
    reader.caught_up(&cursor).await;
    let seen = server.metrics_when("a counted pass", |seen| seen.of("presently_pass_seconds_count") > 0.0).await;
    assert_eq!((paused.load(Relaxed), seen.of("presently_hub_lag_seconds_count")), (1, 1.0));
    assert!(seen.of("presently_hub_lag_seconds_sum") >= PAUSE.as_secs_f64(), "{}", seen.text);
    assert!(seen.of("presently_pass_seconds_sum") < seen.of("presently_hub_lag_seconds_sum"), "{}", seen.text);
    assert_eq!(seen.of("presently_hub_lag_seconds_bucket{le=\"0.262144\"}"), 0.0);
    // The next event does not wait for the one before.
    let cursor = server.sign_in("lobby", "bob").await;
    reader.caught_up(&cursor).await;
    let seen = server.metrics_when("a second pass", |seen| seen.of("presently_hub_lag_seconds_count") > 1.0).await;
    assert_eq!(seen.of("presently_deliveries_total"), 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waits_for_a_rooms_lock_are_counted_only_where_threads_meet() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    assert_eq!(server.metrics().await.of("presently_lock_wait_seconds_count"), 0.0);
    // Large batches hold the lock for milliseconds.
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let client = Client::of(server.addr);
            tokio::spawn(async move {
                for round in 0.. {
                    let names: Vec<_> = (0..1_000).map(|n| format!("{writer} {n}")).collect();
                    let add: Vec<_> = names.iter().map(|user| json!({ "user": user })).collect();
                    client.batch("lobby", &json!({ "add": add })).await;
                    client.batch("lobby", &json!({ "del": names })).await;
                    assert!(round < 10_000, "nobody met");
                }
            })
        })
        .collect();
    let waited = server.metrics_when("a wait", |seen| seen.of("presently_lock_wait_seconds_count") > 0.0).await;
    assert!(waited.of("presently_lock_wait_seconds_sum") > 0.0);
    writers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn places_left_are_those_that_nobody_has_taken() {
    let server = TestServer::with(|config| (config.max_connections, config.max_rooms) = (50, 3)).await;
    let mut readers = Vec::new();
    for transport in Transport::BOTH {
        readers.push(Reader::open(server.addr, transport, "lobby").await.begun().await);
    }
    server.sign_in("lobby", "ann").await;
    // The client's own connection takes a place, too.
    let left = server.metrics_when("three taken", |seen| seen.of("presently_places_left{of=\"connections\"}") == 47.0);
    let seen = left.await;
    assert_eq!(seen.of("presently_places{of=\"connections\"}"), 50.0);
    assert_eq!((seen.of("presently_places{of=\"rooms\"}"), seen.of("presently_places_left{of=\"rooms\"}")), (3.0, 2.0));
    assert!(seen.of("presently_memory_held_bytes{kind=\"histories\"}") > 0.0);
}

#[tokio::test]
async fn open_files_and_the_time_of_processors_are_those_of_the_process() {
    let gateway = Binary::start(&[]).await;
    let before = gateway.metrics().await;
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(Reader::open(gateway.addr, Transport::Ws, "lobby").await.begun().await);
    }
    let after = gateway.metrics().await;
    let more = after.of("process_open_fds") - before.of("process_open_fds");
    assert!((19.0..=25.0).contains(&more), "{more}");
    assert!(after.of("process_max_fds") >= after.of("process_open_fds"));
    assert!(after.of("process_cpu_seconds_total") > before.of("process_cpu_seconds_total"));
}

#[tokio::test]
async fn a_journal_tells_its_entries_flushes_and_sizes() {
    let folder = tempdir().expect("a folder");
    let dir = folder.path().join("data");
    let server = TestServer::with(|config| config.data.dir = Some(dir)).await;
    let before = server.metrics().await;
    assert!(before.of("presently_journal_queue_limit_bytes") > 1_000_000.0, "{}", before.text);
    server.sign_in("lobby", "ann").await;
    let entries = before.of("presently_journal_entries_total");
    let flushes = before.of("presently_journal_flush_seconds_count");
    let flushed = server.metrics_when("a flushed entry", |seen| {
        seen.of("presently_journal_entries_total") > entries
            && seen.of("presently_journal_flush_seconds_count") > flushes
            && seen.of("presently_journal_queue_bytes") == 0.0
    });
    let seen = flushed.await;
    assert!(seen.of("presently_journal_flush_seconds_sum") > 0.0);
    assert!(seen.of("presently_journal_size_bytes{part=\"all\"}") > 0.0);
    for none in ["presently_journal_failing", "presently_journal_failures_total", "presently_journal_dropped_total"] {
        assert_eq!(seen.of(none), 0.0, "{none}");
    }
    server.stop().await;
}

#[tokio::test]
async fn restarts_of_tasks_are_counted() {
    let armed = Arc::new(AtomicUsize::new(1));
    let faults = Faults::new(move |point| {
        let goes_off = point == "hub" && armed.swap(0, Relaxed) > 0;
        assert!(!goes_off, "sabotage");
    });
    let server = TestServer::with(|config| config.faults = faults).await;
    let mut reader = Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await;
    assert_eq!(server.metrics().await.of("presently_restarts_total"), 0.0);
    let cursor = server.sign_in("lobby", "ann").await;
    reader.caught_up(&cursor).await;
    server.metrics_when("a restart", |seen| seen.of("presently_restarts_total") == 1.0).await;
}

#[tokio::test]
async fn a_gateway_alone_has_no_nodes() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    let samples = server.metrics().await.samples;
    let of_nodes: Vec<_> = samples.iter().filter(|(name, _)| name.starts_with("presently_cluster_")).collect();
    assert!(of_nodes.len() > 20 && of_nodes.iter().all(|(_, value)| **value == 0.0), "{of_nodes:?}");
    assert!(server.get("/api/gateway").await.expect(200).json().get("cluster").is_none());
    assert_eq!(server.get("/readyz").await.expect(200).text(), r#"{"status":"ready"}"#);
}

#[tokio::test]
async fn a_gateway_without_its_keys_is_not_ready() {
    let keys = KeyServer::start().await;
    let url = keys.url();
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("api.key");
    std::fs::write(&path, "an-operator's-own-secret-of-40-bytes-or-so\n").expect("a written file");
    let server = TestServer::with(|config| {
        config.jwks = Some(url);
        config.api_keys.push(path);
    })
    .await;
    let operator = server.bearing("an-operator's-own-secret-of-40-bytes-or-so");
    let seen = operator.metrics().await;
    assert_eq!((seen.of("presently_ready"), seen.of("presently_draining")), (0.0, 0.0));
}

/// `/metrics` over the socket at `path`.
async fn over(path: &std::path::Path) -> String {
    let mut socket = within("a connection", UnixStream::connect(path)).await.expect("somebody listens");
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await.expect("an open connection");
    let mut answer = String::new();
    within("an answer", socket.read_to_string(&mut answer)).await.expect("text");
    answer
}

#[tokio::test]
async fn a_gateway_that_stops_is_draining_and_not_ready() {
    let folder = tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock");
    let mut gateway = Binary::start(&["--admin", &format!("unix:{}", socket.display())]).await;
    let says = |text: &str, state: [&str; 2]| state.iter().all(|line| text.contains(&format!("\n{line}\n")));
    assert!(says(&over(&socket).await, ["presently_ready 1", "presently_draining 0"]));
    // Stopping waits for a while for such a reader.
    let _stuck = Reader::narrow(gateway.addr, Transport::Ws, Mirror::of("lobby")).await.begun().await;
    gateway.flood("lobby").await;
    gateway.signal("TERM").await;
    let stopping = async { while !says(&over(&socket).await, ["presently_ready 0", "presently_draining 1"]) {} };
    timeout(Duration::from_secs(4), stopping).await.expect("seen while it stops");
    assert_eq!(gateway.exit().await.code(), Some(0));
}
