//! `--data` beside `--cluster`: a gateway keeps a snapshot of its own, and starts where the servers of the log are not.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::engines::servers::Program;
use crate::harness::{API_KEY, Binary, Client, Finished, Reader, TOKEN_SECRET, Token, Transport, member_path, within};

/// Stops soon.
const SOON: [&str; 2] = ["--drain", "100ms"];

const STALE: &str = r#"{"status":"ready","stale":true}"#;
const READY: &str = r#"{"status":"ready"}"#;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn text(dir: &TempDir) -> &str {
    dir.path().to_str().expect("a path in UTF-8")
}

/// The names of the directory's files with this ending, the oldest first.
fn files(dir: &Path, ending: &str) -> Vec<String> {
    let files = fs::read_dir(dir).expect("a directory").map(|file| file.expect("a file").file_name());
    let names = files.map(|name| name.into_string().expect("UTF-8"));
    let mut found: Vec<_> = names.filter(|name| name.starts_with("snapshot-") && name.ends_with(ending)).collect();
    found.sort();
    found
}

/// The whole snapshots of a directory.
fn snapshots(dir: &TempDir) -> Vec<String> {
    files(dir.path(), "").into_iter().filter(|name| !name.contains('.')).collect()
}

/// Waits until the directory has so many whole snapshots.
async fn until_snapshots(dir: &TempDir, count: usize) {
    within("snapshots", async {
        while snapshots(dir).len() < count {
            // Without it, the deadline would never be looked at.
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn until_ready(node: &Client, body: &str) {
    within(body, async { while node.get("/readyz").await.expect(200).text() != body {} }).await;
}

async fn users(node: &Client) -> Vec<String> {
    node.held("lobby").await.users.into_keys().collect()
}

fn has_line(node: &Binary, line: &str) -> bool {
    node.log().iter().any(|logged| logged.contains(line))
}

/// A cluster with one gateway, which has a directory.
async fn one_with(program: Program, dir: &TempDir, more: &[&str]) -> Cluster {
    let mut cluster = Cluster::start(program, 0, &SOON).await;
    cluster.add_with(&[&["--data", text(dir)], more].concat()).await;
    cluster
}

/// Without its servers, a gateway shows who was there. What it is asked for waits, and it goes on when the servers are back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_starts_without_the_servers_and_goes_on_with_them() {
    for program in [Program::NewNats, Program::Redis] {
        let dir = folder();
        let mut cluster = one_with(program, &dir, &[]).await;
        cluster.nodes[0].sign_in_as("lobby", "ann", &json!({ "a": 1 })).await;
        let mirror = Reader::open(cluster.addr(0), Transport::Ws, "lobby").await.begun().await.mirror;
        cluster.stop(0).await;
        cluster.server.kill();
        let node = cluster.add_with(&["--data", text(&dir), "--user", "zoe"]).await;
        assert_eq!(node.get("/readyz").await.expect(200).text(), STALE);
        assert!(has_line(node, "starting from this node's own snapshot"), "{:#?}", node.log());
        assert_eq!(users(node).await, ["ann"]);
        let mut readers = Vec::new();
        for transport in Transport::ALL {
            let reader = Reader::resume(node.addr, transport, mirror.clone()).await.begun().await;
            assert_eq!((reader.mirror.seen("resumed"), reader.mirror.names()), (1, vec!["ann"]), "{transport:?}");
            readers.push(reader);
        }
        let late = node.client();
        let refused = late.send("PUT", &member_path("lobby", "bob"), &[], "").await;
        assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("not_durable")));
        cluster.server.restart();
        cluster.nodes[0].sign_in("lobby", "cyd").await;
        for reader in &mut readers {
            // What was refused may still be done.
            reader.until("all", |mirror| mirror.names() == ["ann", "bob", "cyd", "zoe"]).await;
            assert_eq!((reader.mirror.seen("snapshot"), reader.mirror.seen("del")), (1, 0), "only the first of all");
        }
        until_ready(&cluster.nodes[0], READY).await;
        let other = cluster.add().await;
        assert_eq!(users(other).await, ["ann", "bob", "cyd", "zoe"]);
        let cursors = [cluster.nodes[0].cursor("lobby").await, cluster.nodes[1].cursor("lobby").await];
        assert_eq!(cursors[0], cursors[1]);
        let mirror = readers.remove(0).mirror;
        let snapshots = mirror.seen("snapshot");
        let resumed = Reader::resume(cluster.addr(1), Transport::Sse, mirror).await.begun().await;
        assert_eq!(resumed.mirror.seen("snapshot"), snapshots, "the cursor is good at the other gateway");
    }
}

/// Who was revoked stays so, and cookies stay good, with the servers or without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_are_what_they_were_where_the_servers_are_away() {
    let (dir, keys) = (folder(), folder());
    let write = |name: &str, secret: &str| {
        let path = keys.path().join(name);
        fs::write(&path, secret).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (api_key, key) = (write("api.key", API_KEY), write("key", TOKEN_SECRET));
    let mut cluster = one_with(Program::NewNats, &dir, &["--api-key", &api_key, "--key", &key]).await;
    let token = |sub: &str| Token::of(sub).may("*", &["watch"]).sign();
    let (ann, bob) = (token("ann"), token("bob"));
    let backend = cluster.nodes[0].client().bearing(API_KEY);
    backend.send_json("POST", "/api/revocations", &json!({ "sub": "ann" })).await.expect(201);
    let set = backend.send("POST", "/api/cookie", &[], "").await.expect(204);
    let (_, cookie) = set.headers.iter().find(|(name, _)| *name == "set-cookie").expect("a cookie");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    cluster.stop(0).await;
    cluster.server.kill();
    for is_away in [true, false] {
        if !is_away {
            cluster.kill(0).await;
            cluster.server.restart();
        }
        let node = cluster.add_with(&["--data", text(&dir), "--api-key", &api_key, "--key", &key]).await;
        let refused = node.bearing(&ann).get("/api/rooms/lobby").await.expect(403).json();
        assert_eq!(refused["code"], "revoked", "{is_away}");
        node.bearing(&bob).get("/api/rooms/lobby").await.expect(200);
        node.send("GET", "/api/rooms", &[("cookie", &cookie)], "").await.expect(200);
    }
}

/// All is stopped, the engine is thrown away, and one gateway has what it kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permanent_sign_ins_come_back_from_a_directory_into_an_empty_engine() {
    for program in [Program::NewNats, Program::Redis] {
        let dir = folder();
        let mut cluster = one_with(program, &dir, &[]).await;
        cluster.add().await;
        cluster.nodes[1].sign_in_as("lobby", "ann", &json!({ "a": 1 })).await;
        cluster.nodes[0].sign_in("lobby", "bob").await;
        let mirror = Reader::open(cluster.addr(0), Transport::Ws, "lobby").await.begun().await.mirror;
        cluster.stop(1).await;
        cluster.stop(0).await;
        cluster.server.kill();
        cluster.server.empty();
        cluster.server.restart();
        let node = cluster.add_with(&["--data", text(&dir)]).await;
        assert_eq!(users(node).await, ["ann", "bob"], "from the first moment on");
        until_ready(node, READY).await;
        let epoch = |cursor: &str| cursor.split('.').next().expect("an epoch").to_owned();
        assert_ne!(epoch(&node.cursor("lobby").await), epoch(mirror.cursor.as_deref().expect("a cursor")));
        assert!(has_line(node, "sign-ins come back from this node's own snapshot"), "{:#?}", node.log());
        let reader = Reader::resume(node.addr, Transport::Ws, mirror).await.begun().await;
        assert_eq!((reader.mirror.seen("snapshot"), reader.mirror.names()), (2, vec!["ann", "bob"]), "nowhere resumed");
        let other = cluster.add().await;
        let held = other.held("lobby").await;
        assert_eq!(held.users["ann"].meta, json!({ "a": 1 }));
        assert_eq!(held.users.len(), 2);
    }
}

/// A kill at any moment leaves a snapshot that is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_while_it_writes_has_a_snapshot_to_start_from() {
    let dir = folder();
    let mut cluster = one_with(Program::NewNats, &dir, &[]).await;
    for batch in 0..3 {
        let add: Vec<_> = (0..10_000).map(|n| json!({ "user": format!("u{batch}-{n}") })).collect();
        cluster.nodes[0].batch("lobby", &json!({ "add": add })).await;
    }
    cluster.stop(0).await;
    let last = snapshots(&dir).pop().expect("a snapshot");
    // The first snapshot of a life is written as soon as the log has it.
    cluster.add_with(&["--data", text(&dir)]).await;
    within("a write", async {
        let is_new = || files(dir.path(), ".new").len() + snapshots(&dir).iter().filter(|name| **name > last).count();
        while is_new() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    cluster.kill(0).await;
    cluster.server.kill();
    let node = cluster.add_with(&["--data", text(&dir)]).await;
    assert_eq!(node.get("/api/gateway").await.expect(200).json()["members"], 30_000);
    assert_eq!(files(dir.path(), ".new"), Vec::<String>::new(), "what was not written to its end is removed");
    assert_eq!(files(dir.path(), ".lost"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_left_aside_and_the_one_before_is_used() {
    let dir = folder();
    let mut cluster = one_with(Program::NewNats, &dir, &[]).await;
    cluster.nodes[0].sign_in("lobby", "ann").await;
    cluster.stop(0).await;
    cluster.add_with(&["--data", text(&dir)]).await;
    until_snapshots(&dir, 2).await;
    cluster.stop(0).await;
    cluster.server.kill();
    let [older, newest] = &snapshots(&dir)[..] else { panic!("two are kept: {:?}", snapshots(&dir)) };
    let mut bytes = fs::read(dir.path().join(newest)).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(dir.path().join(newest), bytes).expect("written");
    let inspected = Binary::run(&["inspect", text(&dir)], &[]).await;
    let (said, damaged) = (format!("which starts from {older}."), format!("{newest} is damaged at byte"));
    assert_eq!(inspected.code, Some(0), "{inspected:?}");
    assert!(inspected.stdout.contains(&said) && inspected.stdout.contains(&damaged), "{inspected:?}");
    let node = cluster.add_with(&["--data", text(&dir)]).await;
    assert_eq!(users(node).await, ["ann"]);
    assert!(has_line(node, "this node's snapshot can't be used, and is left aside"), "{:#?}", node.log());
    assert_eq!(files(dir.path(), ".lost"), [format!("{newest}.lost")]);
    // Without any, a start needs the servers.
    cluster.kill(0).await;
    fs::remove_file(dir.path().join(older)).expect("a file");
    let args = [&["--listen", "127.0.0.1:0", "--data", text(&dir)][..], &cluster.args()].concat();
    let Finished { code, stderr, .. } = Binary::run(&args, &[]).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("--cluster") && stderr.contains("no server answers"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_cluster_is_left_aside() {
    let dir = folder();
    let mut cluster = one_with(Program::Redis, &dir, &[]).await;
    cluster.nodes[0].sign_in("lobby", "ann").await;
    cluster.stop(0).await;
    let name = ["--cluster-name", "other"];
    cluster.add_with(&name).await.sign_in("lobby", "bob").await;
    let node = cluster.add_with(&[&name[..], &["--data", text(&dir)]].concat()).await;
    assert_eq!(users(node).await, ["bob"]);
    assert!(has_line(node, "are of another shared log"), "{:#?}", node.log());
    assert!(!files(dir.path(), ".lost").is_empty());
    // Its own cluster has what its log has.
    let node = cluster.add().await;
    assert_eq!(users(node).await, ["ann"]);
}

/// The sentence that ends a start with these options, which are a mistake.
async fn refused(args: &[&str]) -> String {
    let Finished { code, stderr, .. } = Binary::run(&[&["--listen", "127.0.0.1:0"], args].concat(), &[]).await;
    assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
    stderr.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_for_a_gateway_alone_or_for_one_of_a_cluster() {
    let (alone, own) = (folder(), folder());
    let mut gateway = Binary::start(&["--data", text(&alone)]).await;
    gateway.signal("TERM").await;
    gateway.exit().await;
    let mut cluster = one_with(Program::Redis, &own, &[]).await;
    cluster.nodes[0].sign_in("lobby", "ann").await;
    let url = ["--cluster", "redis://127.0.0.1:1"];

    let said = refused(&[&url[..], &["--data", text(&alone)]].concat()).await;
    let why = "the directory has the journal of a gateway without --cluster; with --cluster, choose another directory";
    assert_eq!(said, format!("presently: --data {}: {why}", text(&alone)));
    until_snapshots(&own, 1).await;
    for more in [&[][..], &["--takeover"]] {
        let said = refused(&[&["--data", text(&own)], more].concat()).await;
        let why = "the directory is that of a gateway with --cluster, and has no journal; start with --cluster, or choose \
                   another directory";
        assert_eq!(said, format!("presently: --data {}: {why}", text(&own)));
    }
    for (option, values) in [
        ("--takeover", &["--takeover"][..]),
        ("--sync", &["--sync", "always"]),
        ("--journal-queue", &["--journal-queue", "1MiB"]),
    ] {
        let said = refused(&[&url[..], &["--data", text(&own)], values].concat()).await;
        assert!(said.starts_with(&format!("presently: --cluster does not go with {option}")), "{said}");
    }

    // Also while the gateway runs.
    let inspected = Binary::run(&["inspect", text(&own)], &[]).await;
    assert_eq!(inspected.code, Some(0), "{inspected:?}");
    for said in [
        "parts, all up to entry ",
        "It is that of a gateway with --cluster, which starts from snapshot-",
        "A process uses it.",
    ] {
        assert!(inspected.stdout.contains(said), "{inspected:?}");
    }
    cluster.stop(0).await;
    let repaired = Binary::run(&["repair", text(&own)], &[]).await;
    assert_eq!((repaired.code, &*repaired.stdout), (Some(1), ""), "{repaired:?}");
    assert!(repaired.stderr.contains("has no journal to cut"), "{repaired:?}");
    let copy = folder();
    let backup = Binary::run(&["backup", text(&own), text(&copy)], &[]).await;
    assert_eq!(backup.code, Some(0), "{backup:?}");
    assert!(backup.stdout.starts_with("copied the snapshot of a gateway with --cluster, "), "{backup:?}");
    cluster.server.kill();
    let node = cluster.add_with(&["--data", text(&copy)]).await;
    assert_eq!(users(node).await, ["ann"]);
    let told: Value = node.get("/api/gateway").await.expect(200).json();
    assert_eq!((&told["cluster"]["stale"], &told["cluster"]["behind"]), (&json!(true), &json!(false)), "{told}");
}
