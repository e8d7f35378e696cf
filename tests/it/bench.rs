//! `presently bench`: each workload reports all its figures, and signs all its users out in the end.

use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::harness::{Binary, Finished, Reader, TestServer, Transport, within};

/// Runs a bench that must succeed, and checks that its rooms are empty afterwards.
async fn measured(server: &TestServer, args: &[&str]) -> Value {
    let url = format!("http://{}", server.addr);
    let finished = Binary::run(&[&["bench", &url, "--json", "--settle", "0s"], args].concat(), &[]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    assert_eq!(finished.stdout.trim().lines().count(), 1, "{finished:?}");
    assert_eq!((&report["faults"], &report["interrupted"]), (&Value::Array(vec![]), &Value::Bool(false)), "{report}");
    assert_eq!(report["url"], url, "{report}");
    assert_rooms_empty(server).await;
    report
}

async fn assert_rooms_empty(server: &TestServer) {
    for room in server.get("/api/rooms?limit=10000").await.expect(200).json()["rooms"].as_array().expect("rooms") {
        assert_eq!(room["count"], 0, "{room}");
    }
}

/// Checks that the report has percentiles of `count` latencies, in ascending order.
fn assert_percentiles(report: &Value, series: &str, count: u64) {
    let latencies = &report["latency_ms"][series];
    let at = |name: &str| latencies[name].as_f64().unwrap_or_else(|| panic!("{series} {name} in {report}"));
    let percentiles = [at("p50"), at("p90"), at("p99"), at("max")];
    assert!(percentiles[0] > 0.0 && percentiles.is_sorted(), "{latencies}");
    assert_eq!(latencies["count"], count, "{series} in {report}");
}

/// Checks figures that are known in advance.
fn assert_figures(report: &Value, figures: &[(&str, u64)]) {
    for (name, figure) in figures {
        assert_eq!(report[*name], *figure, "{name} in {report}");
    }
}

/// Checks that figures were measured. The gateway runs in this process, so `/proc` shows its usage.
fn assert_measured(report: &Value, figures: &[&str]) {
    for figure in figures {
        assert!(report[*figure].is_f64(), "{figure} in {report}");
    }
}

#[tokio::test]
async fn fanout_counts_and_times_every_delivery_on_both_transports() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--readers", "10", "--rate", "0", "--events", "30"]).await;
    assert_figures(
        &report,
        &[("readers", 10), ("events", 30), ("expected", 300), ("delivered", 300), ("readers_equal", 10)],
    );
    assert_figures(&report, &[("resyncs", 0), ("netted", 0), ("members", 0)]);
    assert_percentiles(&report, "sse", 150);
    assert_percentiles(&report, "ws", 150);
    assert_measured(&report, &["cpu_us_per_delivery", "pss_kib_per_connection", "delivered_per_s"]);
}

#[tokio::test]
async fn fanout_keeps_to_a_rate_and_to_one_transport() {
    let server = TestServer::start().await;
    for (transport, other) in [("sse", "ws"), ("ws", "sse")] {
        let args = ["--readers", "3", "--rate", "100", "--for", "200ms", "--transport", transport];
        let report = measured(&server, &args).await;
        assert_figures(&report, &[("events", 20), ("delivered", 60)]);
        assert_percentiles(&report, transport, 60);
        assert!(report["latency_ms"].get(other).is_none(), "{report}");
    }
}

#[tokio::test]
async fn fanout_at_full_speed_from_several_publishers_loses_nothing() {
    let server = TestServer::start().await;
    let args = ["--readers", "20", "--rate", "0", "--events", "2000", "--publishers", "4"];
    let report = measured(&server, &args).await;
    assert_figures(&report, &[("events", 2_000), ("expected", 40_000), ("readers_equal", 20)]);
}

#[tokio::test]
async fn a_resync_is_not_a_loss() {
    // A reader that is two events behind gets `changes` or a snapshot in their place.
    let server = TestServer::with(|config| config.history = 1).await;
    let args = ["--work", "slow", "--readers", "6", "--slow", "3", "--rate", "2000", "--for", "300ms"];
    let report = measured(&server, &args).await;
    assert_figures(&report, &[("readers_equal", 6), ("slow", 3)]);
    assert!(report["resyncs"].as_u64() > Some(0), "{report}");
}

#[tokio::test]
async fn join_brings_each_user_to_each_reader() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--work", "join", "--readers", "25", "--for", "1s"]).await;
    assert_figures(&report, &[("events", 25), ("delivered", 625), ("members", 25), ("readers_equal", 25)]);
    assert_eq!(report["transport"], "ws");
    assert_percentiles(&report, "ws", 625);
}

#[tokio::test]
async fn reconnect_brings_all_readers_back_with_the_whole_set() {
    let server = TestServer::start().await;
    for (args, cursors, resyncs) in [(&[][..], "kept", 0), (&["--lost-cursor"], "lost", 10)] {
        let args = [&["--work", "reconnect", "--readers", "10", "--members", "2000"], args].concat();
        let report = measured(&server, &args).await;
        assert_figures(&report, &[("readers_equal", 10), ("members", 2_001), ("resyncs", resyncs)]);
        assert_eq!(report["cursors"], cursors);
        assert_percentiles(&report, "back", 10);
        assert_measured(&report, &["back_s", "pss_ratio"]);
    }
}

#[tokio::test]
async fn slow_readers_end_with_the_gateways_set() {
    let server = TestServer::start().await;
    let args = ["--work", "slow", "--readers", "10", "--slow", "2", "--rate", "1000", "--for", "500ms"];
    let report = measured(&server, &args).await;
    assert_figures(&report, &[("readers_equal", 10), ("slow", 2)]);
    let (without, with) = (&report["latency_ms"]["without_slow_readers"], &report["latency_ms"]["with_slow_readers"]);
    for latencies in [without, with] {
        assert!(latencies["count"].as_u64() > Some(0), "{report}");
    }
    assert_measured(&report, &["p99_ratio", "pss_kib_per_slow_reader"]);
}

#[tokio::test]
async fn snapshot_times_a_sign_in_and_a_whole_snapshot() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--work", "snapshot", "--members", "6000"]).await;
    assert_figures(&report, &[("members", 6_200)]);
    assert_percentiles(&report, "sign_in", 200);
    assert_measured(&report, &["sign_in_us", "snapshot_s", "pss_bytes_per_member"]);
}

#[tokio::test]
async fn connect_serves_all_readers() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--work", "connect", "--readers", "50"]).await;
    assert_figures(&report, &[("served", 50)]);
    assert_percentiles(&report, "first_frame", 50);
    assert!(report["listen_overflows"].is_u64(), "{report}");
}

#[tokio::test]
async fn idle_measures_the_memory_of_a_connection() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--work", "idle", "--readers", "50"]).await;
    assert_figures(&report, &[("readers", 50), ("readers_equal", 50)]);
    assert_measured(&report, &["pss_kib_per_connection"]);
}

#[tokio::test]
async fn rooms_are_measured_and_removed() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--work", "rooms", "--rooms", "30"]).await;
    assert_figures(&report, &[("rooms", 30)]);
    assert_measured(&report, &["pss_bytes_per_room", "pss_bytes_per_room_beyond_names"]);
}

#[tokio::test]
async fn without_json_the_report_is_a_table() {
    let server = TestServer::start().await;
    let url = format!("http://{}", server.addr);
    let finished = Binary::run(&["bench", &url, "--readers", "4", "--rate", "0", "--events", "10"], &[]).await;
    assert_eq!(
        (finished.code, finished.stderr.as_str()),
        (Some(0), ""),
        "no progress bar without a terminal: {finished:?}"
    );
    for word in ["fanout", "p50", "p90", "p99", "max", "processor time per delivery", "memory per connection"] {
        assert!(finished.stdout.contains(word), "{word} in {}", finished.stdout);
    }
}

#[tokio::test]
async fn an_interrupted_bench_reports_its_figures_and_signs_its_users_out() {
    let server = TestServer::start().await;
    let url = format!("http://{}", server.addr);
    let mut command = Command::new(env!("CARGO_BIN_EXE_presently"));
    command.args(["bench", &url, "--json", "--readers", "4", "--rate", "200", "--for", "1h", "--limit", "1h"]);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the program starts");
    let room = within("a room", bench_room(&server)).await;
    let mut reader = Reader::open(server.addr, Transport::Sse, &room).await.begun().await;
    // At the second event the first request has been answered: a publisher awaits each answer.
    assert!(reader.step().await && reader.step().await);
    let pid = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args(["-s", "INT", &pid]).status().await;
    assert!(sent.expect("kill").success());
    let mut stdout = String::new();
    let mut pipe = child.stdout.take().expect("piped");
    within("its output", pipe.read_to_string(&mut stdout)).await.expect("output in UTF-8");
    assert_eq!(within("its end", child.wait()).await.expect("a status").code(), Some(0), "{stdout}");
    let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    assert_eq!(report["interrupted"], true, "{report}");
    assert!(report["events"].as_u64() > Some(0) && report["delivered"].is_u64(), "{report}");
    assert_rooms_empty(&server).await;
}

/// The name of the bench's room, once the room has a member.
async fn bench_room(server: &TestServer) -> String {
    loop {
        let rooms = server.get("/api/rooms").await.expect(200).json();
        let names = rooms["rooms"].as_array().expect("rooms").iter().map(|room| &room["room"]);
        if let Some(room) = names.filter_map(Value::as_str).find(|room| room.starts_with("bench-")) {
            return room.to_owned();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn reaching_the_limit_ends_the_bench_and_is_a_failure() {
    let server = TestServer::start().await;
    let url = format!("http://{}", server.addr);
    let args = ["bench", &url, "--json", "--readers", "2", "--for", "1h", "--limit", "300ms"];
    let finished = Binary::run(&args, &[]).await;
    assert_fails(&finished, 1, "--limit");
    assert_rooms_empty(&server).await;
}

/// Checks the exit code, and one sentence about the reason on standard error.
fn assert_fails(finished: &Finished, code: i32, about: &str) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    assert!(finished.stderr.contains(about), "{about:?} in {finished:?}");
    assert_eq!(finished.stderr.trim().lines().count(), 1, "{finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
}

#[tokio::test]
async fn a_bad_url_or_option_exits_2_with_one_sentence() {
    for (args, about) in [
        (&["https://127.0.0.1:4000"][..], "http"),
        (&["127.0.0.1:4000"], "http://HOST:PORT"),
        (&["http://127.0.0.1:4000/users"], "http://HOST:PORT"),
        (&["http://127.0.0.1:0"], "port"),
        (&["--work", "nothing"], "nothing"),
        (&["--transport", "pigeon"], "pigeon"),
        (&["--readers", "0"], "--readers"),
        (&["--readers", "many"], "many"),
        (&["--for", "soon"], "soon"),
        (&["--for", "2h"], "1h"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let finished = Binary::run(&[&["bench"], args].concat(), &[]).await;
        assert_fails(&finished, 2, about);
        assert_eq!(finished.stdout, "");
    }
}

#[tokio::test]
async fn too_many_readers_for_the_open_files_exit_2_and_name_the_limit() {
    let server = TestServer::start().await;
    let url = format!("http://{}", server.addr);
    let finished = Binary::run(&["bench", &url, "--readers", "1000000"], &[]).await;
    assert_fails(&finished, 2, "ulimit -n");
}

#[tokio::test]
async fn no_gateway_exits_1_and_names_the_url() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address");
    let url = format!("http://{free}");
    let finished = Binary::run(&["bench", &url], &[]).await;
    assert_fails(&finished, 1, &url);
    assert_eq!(finished.stdout, "");
}

#[tokio::test]
async fn lost_connections_exit_1_and_say_why() {
    let server = TestServer::with(|config| config.max_connections = 1).await;
    let url = format!("http://{}", server.addr);
    let args = ["bench", &url, "--json", "--work", "connect", "--readers", "3", "--settle", "0s"];
    assert_fails(&Binary::run(&args, &[]).await, 1, "2 connections");
}
