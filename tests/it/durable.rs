//! What an answer promises with `--data`, and what happens while the disk fails.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{API_KEY, Binary, Client, Dialogue, Finished, Reader, Talker, Transport, member_path, within};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

async fn start(dir: &Path, more: &[&str]) -> Binary {
    Binary::start(&[&["--data", text(dir)], more].concat()).await
}

async fn kill(mut gateway: Binary) {
    gateway.signal("KILL").await;
    gateway.exit().await;
}

/// Tries until a change is accepted. Meanwhile, changes are refused for one reason only.
async fn until_durable(gateway: &Client, user: &str) {
    let tries = async {
        loop {
            let answer = gateway.send("PUT", &member_path("lobby", user), &[], "").await;
            match answer.status {
                200 | 201 => return,
                _ => assert_eq!(answer.json()["code"], "not_durable"),
            }
            tokio::task::yield_now().await;
        }
    };
    within("a change that is accepted", tries).await;
}

#[tokio::test]
async fn while_the_disk_fails_changes_are_refused_and_everything_else_goes_on() {
    // After a flush, the journal writes a note of its own. Where that is the first to fail, the change is refused before it is done;
    // with 10min no flush comes in between.
    for sync in ["50ms", "10min", "always"] {
        let dir = folder();
        let gateway = start(dir.path(), &["--sync", sync]).await;
        gateway.sign_in("lobby", "ann").await;
        let mut bob = Talker::open(gateway.addr, "").await;
        bob.does(json!({"action": "join", "room": "lobby", "user": "bob"})).await;
        let mut reader = Reader::open(gateway.addr, Transport::Sse, "lobby").await.begun().await;

        gateway.fail_writes(true).await;
        let answer = gateway.send("PUT", &member_path("lobby", "cyd"), &[], "").await;
        assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("not_durable")), "{sync}");
        let is_done = gateway.is_present("lobby", "cyd").await;
        assert!(is_done || sync != "10min", "it is done");
        let stay: &[&str] = if is_done { &["ann", "cyd"] } else { &["ann"] };
        let answer = gateway.send("PUT", &member_path("lobby", "dan"), &[], "").await;
        assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("not_durable")), "{sync}");
        assert!(!gateway.is_present("lobby", "dan").await, "refused before it is done");
        let refused =
            bob.ask(json!({"action": "update", "room": "lobby", "user": "bob", "meta": {"n": 1}, "ref": 7})).await;
        assert_eq!((&refused["code"], &refused["retry"]), (&json!("not_durable"), &json!(true)));
        gateway.get("/readyz").await.expect(200);
        let left = bob.ask(json!({"action": "leave", "room": "lobby", "user": "bob", "ref": 8})).await;
        assert_eq!(left["code"], "not_durable", "a leave is done, and may be lost");
        reader.until("bob is gone", |mirror| !mirror.users.contains_key("bob")).await;
        assert_eq!(reader.mirror.names(), stay);

        gateway.fail_writes(false).await;
        until_durable(&gateway, "eve").await;
        kill(gateway).await;
        let gateway = start(dir.path(), &[]).await;
        let users: Vec<_> = gateway.held("lobby").await.users.into_keys().collect();
        assert_eq!(users, [stay, &["eve"]].concat(), "{sync}: the checkpoint has what was done meanwhile");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_used_ends_the_start_with_one_sentence() {
    let dir = folder();
    let mut gateway = start(dir.path(), &[]).await;
    for n in 0..20 {
        gateway.sign_in("lobby", &format!("u{n}")).await;
    }
    // All is flushed. Bytes that were not may be torn by a power cut anywhere, and are cut off.
    gateway.signal("TERM").await;
    gateway.exit().await;
    let segment = newest(dir.path());
    let whole = fs::read(&segment).expect("a segment");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    fs::write(&segment, &damaged).expect("written");
    let args = ["--listen", "127.0.0.1:0", "--data", text(dir.path())];
    let Finished { code, stderr, .. } = Binary::run(&args, &[]).await;
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    let name = segment.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(stderr.contains("--data") && stderr.contains(name) && stderr.contains("damaged at byte"), "{stderr}");

    let inspected = Binary::run(&["inspect", text(dir.path())], &[]).await;
    assert_eq!(inspected.code, Some(1));
    assert!(inspected.stdout.contains(name) || inspected.stderr.contains(name), "{inspected:?}");
    let repaired = Binary::run(&["repair", text(dir.path())], &[]).await;
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    let gateway = start(dir.path(), &[]).await;
    let users = gateway.held("lobby").await.users;
    assert!((1..20).contains(&users.len()) && users.contains_key("u0"), "what came before the damage: {users:?}");

    let copy = folder();
    let backup = Binary::run(&["backup", text(dir.path()), text(&copy.path().join("copy"))], &[]).await;
    assert_eq!(backup.code, Some(0), "{backup:?}");
    let mirror = Reader::open(gateway.addr, Transport::Ws, "lobby").await.begun().await.mirror;
    let other = start(&copy.path().join("copy"), &[]).await;
    assert_eq!(other.held("lobby").await.users, gateway.held("lobby").await.users);
    let reader = Reader::resume(other.addr, Transport::Ws, mirror).await.begun().await;
    assert_eq!(reader.mirror.seen("resumed"), 0, "a cursor of the original resumes nowhere");
}

/// The segment that was written last.
fn newest(dir: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let is_segment = |path: &std::path::PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("segment-"))
    };
    let mut segments: Vec<_> = files.filter(is_segment).collect();
    segments.sort();
    segments.pop().unwrap_or_else(|| panic!("no segment in {:?}", fs::read_dir(dir).unwrap().collect::<Vec<_>>()))
}

#[tokio::test]
async fn a_torn_last_change_is_cut_off_and_the_log_says_so() {
    let dir = folder();
    let gateway = start(dir.path(), &[]).await;
    gateway.sign_in("lobby", "ann").await;
    gateway.sign_in("lobby", "bob").await;
    kill(gateway).await;
    let segment = newest(dir.path());
    let whole = fs::read(&segment).expect("a segment");
    fs::write(&segment, &whole[..whole.len() - 3]).expect("written");
    let gateway = start(dir.path(), &[]).await;
    assert!(gateway.is_present("lobby", "ann").await && !gateway.is_present("lobby", "bob").await);
    assert!(gateway.log().iter().any(|line| line.contains("WARN")), "{:?}", gateway.log());
}

#[tokio::test]
async fn cookies_and_revocations_outlast_the_process_and_no_file_has_a_cookie_or_is_read_by_others() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, keys) = (folder(), folder());
    let key = keys.path().join("api.key");
    fs::write(&key, API_KEY).expect("written");
    let args = ["--api-key", text(&key)];
    let gateway = start(dir.path(), &args).await;
    let backend = gateway.client().bearing(API_KEY);
    let set = backend.send("POST", "/api/cookie", &[], "").await.expect(204);
    let (_, cookie) = set.headers.iter().find(|(name, _)| *name == "set-cookie").expect("a cookie");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let revoked = json!({"sub": "ann"});
    backend.send_json("POST", "/api/revocations", &revoked).await.expect(201);
    kill(gateway).await;
    let gateway = start(dir.path(), &args).await;
    let backend = gateway.client().bearing(API_KEY);
    let list = backend.get("/api/revocations").await.expect(200).json();
    assert_eq!(list["revocations"][0]["sub"], "ann");
    let by_cookie = gateway.send("GET", "/api/rooms", &[("cookie", &cookie)], "").await;
    assert_eq!(by_cookie.status, 200);
    let (_, secret) = cookie.split_once('=').expect("a value");
    for file in fs::read_dir(dir.path()).expect("a folder") {
        let path = file.expect("an entry").path();
        // The socket for a takeover has no content.
        if path.is_file() {
            let bytes = fs::read(&path).expect("a file");
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{path:?} has the cookie");
        }
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o077, 0, "{path:?}");
    }
    backend
        .send("DELETE", "/api/cookie", &[("cookie", &cookie), ("sec-fetch-site", "same-origin")], "")
        .await
        .expect(204);
    kill(gateway).await;
    let gateway = start(dir.path(), &args).await;
    gateway.send("GET", "/api/rooms", &[("cookie", &cookie)], "").await.expect(401);
}

/// More than the budget is loaded, and said; nobody who was kept is lost, and newcomers wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_larger_than_the_budget_is_loaded_whole() {
    const ROOMS: usize = 100;
    let dir = folder();
    let gateway = start(dir.path(), &[]).await;
    let meta = json!({ "a": "x".repeat(1_000) });
    for room in 0..ROOMS {
        let add: Vec<_> = (0..500).map(|n| json!({ "user": format!("user {room} {n}"), "meta": meta })).collect();
        gateway.batch(&format!("r{room}"), &json!({ "add": add })).await;
    }
    kill(gateway).await;
    let gateway = start(dir.path(), &["--max-memory", "64MiB"]).await;
    let told = gateway.log().iter().any(|line| line.contains("what was kept takes nearly all of --max-memory"));
    assert!(told, "{:?}", gateway.log());
    for room in 0..ROOMS {
        let count = gateway.get(&format!("/api/rooms/r{room}")).await.expect(200).json()["count"].clone();
        assert_eq!(count, 500, "r{room}");
    }
    let refused = gateway.send("PUT", &member_path("r0", "somebody else"), &[], "").await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("too_much_memory")));
    gateway.send("PUT", &member_path("r0", "user 0 7"), &[], "").await.expect(200);
}
