//! `presently bench`: what it measures is told in full, and it leaves nobody behind.

use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::harness::{Binary, Finished, Reader, TestServer, Transport, within};

/// Runs a bench that must end well, and sees that its rooms are empty afterwards.
async fn measured(server: &TestServer, args: &[&str]) -> Value {
    let url = format!("http://{}", server.addr);
    let finished = Binary::run(&[&["bench", &url, "--json", "--settle", "0s"], args].concat(), &[]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    assert_eq!(finished.stdout.trim().lines().count(), 1, "{finished:?}");
    assert_eq!((&report["faults"], &report["interrupted"]), (&Value::Array(vec![]), &Value::Bool(false)), "{report}");
    assert_eq!(report["url"], url, "{report}");
    nobody_is_left(server).await;
    report
}

async fn nobody_is_left(server: &TestServer) {
    for room in server.get("/api/rooms?limit=10000").await.expect(200).json()["rooms"].as_array().expect("rooms") {
        assert_eq!(room["count"], 0, "{room}");
    }
}

/// Sees percentiles of so many times, in order.
fn ordered(report: &Value, series: &str, count: u64) {
    let times = &report["latency_ms"][series];
    let at = |name: &str| times[name].as_f64().unwrap_or_else(|| panic!("{series} {name} in {report}"));
    let percentiles = [at("p50"), at("p90"), at("p99"), at("max")];
    assert!(percentiles[0] > 0.0 && percentiles.is_sorted(), "{times}");
    assert_eq!(times["count"], count, "{series} in {report}");
}

/// Sees figures that are known before.
fn shows(report: &Value, figures: &[(&str, u64)]) {
    for (name, figure) in figures {
        assert_eq!(report[*name], *figure, "{name} in {report}");
    }
}

/// The gateway is this very process, so it can be weighed.
fn weighed(report: &Value, figures: &[&str]) {
    for figure in figures {
        assert!(report[*figure].is_f64(), "{figure} in {report}");
    }
}

#[tokio::test]
async fn fanout_counts_and_times_every_delivery_on_both_transports() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--readers", "10", "--rate", "0", "--events", "30"]).await;
    shows(&report, &[("readers", 10), ("events", 30), ("expected", 300), ("delivered", 300), ("readers_equal", 10)]);
    shows(&report, &[("resyncs", 0), ("netted", 0), ("members", 0)]);
    ordered(&report, "sse", 150);
    ordered(&report, "ws", 150);
    weighed(&report, &["cpu_us_per_delivery", "pss_kib_per_connection", "delivered_per_s"]);
}

#[tokio::test]
async fn fanout_keeps_to_a_rate_and_to_one_transport() {
    let server = TestServer::start().await;
    for (transport, other) in [("sse", "ws"), ("ws", "sse")] {
        let args = ["--readers", "3", "--rate", "100", "--for", "200ms", "--transport", transport];
        let report = measured(&server, &args).await;
        shows(&report, &[("events", 20), ("delivered", 60)]);
        ordered(&report, transport, 60);
        assert!(report["latency_ms"].get(other).is_none(), "{report}");
    }
}

#[tokio::test]
async fn fanout_as_fast_as_many_publishers_go_loses_nothing() {
    let server = TestServer::start().await;
    let args = ["--readers", "20", "--rate", "0", "--events", "2000", "--publishers", "4"];
    let report = measured(&server, &args).await;
    shows(&report, &[("events", 2_000), ("expected", 40_000), ("readers_equal", 20)]);
}

#[tokio::test]
async fn a_resync_is_not_a_loss() {
    // Whoever is two events behind gets changes or a snapshot in their place.
    let server = TestServer::with(|config| config.history = 1).await;
    let args = ["--work", "slow", "--readers", "6", "--slow", "3", "--rate", "2000", "--for", "300ms"];
    let report = measured(&server, &args).await;
    shows(&report, &[("readers_equal", 6), ("slow", 3)]);
    assert!(report["resyncs"].as_u64() > Some(0), "{report}");
}

#[tokio::test]
async fn join_leaves_no_member_missing_anywhere() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--work", "join", "--readers", "25", "--for", "1s"]).await;
    shows(&report, &[("events", 25), ("delivered", 625), ("members", 25), ("readers_equal", 25)]);
    assert_eq!(report["transport"], "ws");
    ordered(&report, "ws", 625);
}

#[tokio::test]
async fn reconnect_brings_everybody_back_with_the_whole_set() {
    let server = TestServer::start().await;
    for (args, cursors, resyncs) in [(&[][..], "kept", 0), (&["--lost-cursor"], "lost", 10)] {
        let args = [&["--work", "reconnect", "--readers", "10", "--members", "2000"], args].concat();
        let report = measured(&server, &args).await;
        shows(&report, &[("readers_equal", 10), ("members", 2_001), ("resyncs", resyncs)]);
        assert_eq!(report["cursors"], cursors);
        ordered(&report, "back", 10);
        weighed(&report, &["back_s", "pss_ratio"]);
    }
}

#[tokio::test]
async fn slow_readers_end_equal_to_the_gateways_set() {
    let server = TestServer::start().await;
    let args = ["--work", "slow", "--readers", "10", "--slow", "2", "--rate", "1000", "--for", "500ms"];
    let report = measured(&server, &args).await;
    shows(&report, &[("readers_equal", 10), ("slow", 2)]);
    let (without, with) = (&report["latency_ms"]["without_slow_readers"], &report["latency_ms"]["with_slow_readers"]);
    for times in [without, with] {
        assert!(times["count"].as_u64() > Some(0), "{report}");
    }
    weighed(&report, &["p99_ratio", "pss_kib_per_slow_reader"]);
}

#[tokio::test]
async fn snapshot_times_a_sign_in_and_a_whole_snapshot() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--work", "snapshot", "--members", "6000"]).await;
    shows(&report, &[("members", 6_200)]);
    ordered(&report, "sign_in", 200);
    weighed(&report, &["sign_in_us", "snapshot_s", "pss_bytes_per_member"]);
}

#[tokio::test]
async fn connect_serves_everybody() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--work", "connect", "--readers", "50"]).await;
    shows(&report, &[("served", 50)]);
    ordered(&report, "first_frame", 50);
    assert!(report["listen_overflows"].is_u64(), "{report}");
}

#[tokio::test]
async fn idle_weighs_a_connection() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--work", "idle", "--readers", "50"]).await;
    shows(&report, &[("readers", 50), ("readers_equal", 50)]);
    weighed(&report, &["pss_kib_per_connection"]);
}

#[tokio::test]
async fn rooms_are_weighed_and_taken_away() {
    let server = TestServer::start().await;
    let report = measured(&server, &["--work", "rooms", "--rooms", "30"]).await;
    shows(&report, &[("rooms", 30)]);
    weighed(&report, &["pss_bytes_per_room", "pss_bytes_per_room_beyond_names"]);
}

#[tokio::test]
async fn a_table_is_for_people() {
    let server = TestServer::start().await;
    let url = format!("http://{}", server.addr);
    let finished = Binary::run(&["bench", &url, "--readers", "4", "--rate", "0", "--events", "10"], &[]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "no bar where nobody looks: {finished:?}");
    for word in ["fanout", "p50", "p90", "p99", "max", "processor time per delivery", "memory per connection"] {
        assert!(finished.stdout.contains(word), "{word} in {}", finished.stdout);
    }
}

#[tokio::test]
async fn an_interrupt_ends_it_with_what_was_measured_and_nobody_left() {
    let server = TestServer::start().await;
    let url = format!("http://{}", server.addr);
    let mut command = Command::new(env!("CARGO_BIN_EXE_presently"));
    command.args(["bench", &url, "--json", "--readers", "4", "--rate", "200", "--for", "1h", "--limit", "1h"]);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the program starts");
    let room = within("a room", bench_room(&server)).await;
    let mut reader = Reader::open(server.addr, Transport::Sse, &room).await.begun().await;
    // The first of two has been answered: one publisher does one thing after the other.
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
    nobody_is_left(&server).await;
}

/// The room that a bench works in, once somebody is in it.
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
async fn the_limit_ends_it_and_is_a_failure() {
    let server = TestServer::start().await;
    let url = format!("http://{}", server.addr);
    let args = ["bench", &url, "--json", "--readers", "2", "--for", "1h", "--limit", "300ms"];
    let finished = Binary::run(&args, &[]).await;
    complains(&finished, 1, "--limit");
    nobody_is_left(&server).await;
}

/// Sees one sentence about it on standard error.
fn complains(finished: &Finished, code: i32, about: &str) {
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
        complains(&finished, 2, about);
        assert_eq!(finished.stdout, "");
    }
}

#[tokio::test]
async fn more_readers_than_files_exit_2_and_name_the_limit() {
    let server = TestServer::start().await;
    let url = format!("http://{}", server.addr);
    let finished = Binary::run(&["bench", &url, "--readers", "1000000"], &[]).await;
    complains(&finished, 2, "ulimit -n");
}

#[tokio::test]
async fn no_gateway_exits_1_and_names_the_url() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address");
    let url = format!("http://{free}");
    let finished = Binary::run(&["bench", &url], &[]).await;
    complains(&finished, 1, &url);
    assert_eq!(finished.stdout, "");
}

#[tokio::test]
async fn lost_readers_exit_1_and_say_why() {
    let server = TestServer::with(|config| config.max_rooms = 1).await;
    server.sign_in("lobby", "ann").await;
    let url = format!("http://{}", server.addr);
    let args = ["bench", &url, "--json", "--work", "connect", "--readers", "3", "--settle", "0s"];
    complains(&Binary::run(&args, &[]).await, 1, "3 connections");
}
