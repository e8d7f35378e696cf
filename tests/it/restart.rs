//! With `--data`, what was answered outlasts the process, and a restart is no event for whoever comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Binary, Client, Dialogue, Mirror, Reader, Talker, Transport, member_path, within};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A gateway on the directory. `more` are further arguments.
async fn start(dir: &Path, more: &[&str]) -> Binary {
    let data = dir.to_str().expect("a path in UTF-8");
    Binary::start(&[&["--data", data], more].concat()).await
}

async fn stop(mut gateway: Binary) {
    gateway.signal("TERM").await;
    assert_eq!(gateway.exit().await.code(), Some(0), "{:#?}", gateway.log());
}

async fn kill(mut gateway: Binary) {
    gateway.signal("KILL").await;
    gateway.exit().await;
}

/// The rooms as the gateway tells of them, with their cursors.
async fn told(gateway: &Client, rooms: &[&str]) -> Vec<Value> {
    let mut told = Vec::new();
    for room in rooms {
        let mut members = gateway.get(&format!("/api/rooms/{room}/users")).await.expect(200).json();
        let users: Vec<_> = members["users"].as_array().expect("users").clone();
        for (at, member) in users.iter().enumerate() {
            let path = member_path(room, member["user"].as_str().expect("a name"));
            let mut all = gateway.get(&path).await.expect(200).json();
            all.as_object_mut().expect("an object").remove("cursor");
            // A lease's end is told by the wall clock, which goes on while no gateway runs.
            for hold in all["holds"].as_array_mut().expect("holds") {
                hold.as_object_mut().expect("an object").remove("expires");
            }
            members["users"][at] = all;
        }
        told.push(members);
    }
    told
}

/// The same without the cursors: after a crash, rooms go on behind all that readers may know.
fn without_cursors(mut rooms: Vec<Value>) -> Vec<Value> {
    for room in &mut rooms {
        room.as_object_mut().expect("an object").remove("cursor");
    }
    rooms
}

/// A past bug: the numbers after a restart left out whoever was kept.
#[tokio::test]
async fn members_who_were_kept_are_counted() {
    let dir = folder();
    let gateway = start(dir.path(), &[]).await;
    gateway.sign_in("lobby", "ann").await;
    gateway.sign_in("den", "bob").await;
    kill(gateway).await;
    let gateway = start(dir.path(), &[]).await;
    assert_eq!(gateway.get("/api/gateway").await.expect(200).json()["members"], 2);
    gateway.send("DELETE", &member_path("den", "bob"), &[], "").await.expect(204);
    assert_eq!(gateway.get("/api/gateway").await.expect(200).json()["members"], 1);
}

#[tokio::test]
async fn members_what_is_said_of_them_and_cursors_are_the_same_after_a_restart() {
    for clean in [true, false] {
        let dir = folder();
        let gateway = start(dir.path(), &[]).await;
        gateway.sign_in_as("lobby", "ann", &json!({"status": "here"})).await;
        let says = json!({"meta": {"n": 1}, "rank": 2, "ttl": 3600, "info": {"role": "host"}, "hold": "server 7"});
        gateway.send_json("PUT", &member_path("lobby", "bob"), &says).await.expect(201);
        gateway
            .send_json("PATCH", &member_path("lobby", "bob"), &json!({"meta": {"n": 2}, "rank": 3}))
            .await
            .expect(200);
        gateway.sign_in("den", "cyd").await;
        gateway.sign_in("den", "dan").await;
        gateway.sign_out("den", "dan").await;
        gateway.batch("den", &json!({"add": [{"user": "eve"}, {"user": "fay"}], "del": ["cyd"]})).await;
        let mut readers = Vec::new();
        for transport in Transport::ALL {
            readers.push((transport, Reader::open(gateway.addr, transport, "den").await.begun().await));
        }
        let before = told(&gateway, &["lobby", "den"]).await;
        if clean {
            stop(gateway).await
        } else {
            kill(gateway).await
        }

        let gateway = start(dir.path(), &[]).await;
        let after = told(&gateway, &["lobby", "den"]).await;
        match clean {
            true => assert_eq!(after, before),
            false => assert_eq!(without_cursors(after), without_cursors(before)),
        }
        for (transport, reader) in readers {
            let mut resumed = Reader::resume(gateway.addr, transport, reader.mirror).await.begun().await;
            assert_eq!(resumed.mirror.seen("resumed"), 1, "{transport:?}: {:?}", resumed.last);
            let cursor = gateway.sign_in("den", &format!("{transport:?}")).await;
            resumed.caught_up(&cursor).await;
            assert_eq!(resumed.mirror.users, gateway.held("den").await.users);
        }
        stop(gateway).await;
    }
}

#[tokio::test]
async fn a_reader_behind_the_head_gets_the_missed_events_after_a_restart() {
    let dir = folder();
    let gateway = start(dir.path(), &[]).await;
    let mirror = Reader::open(gateway.addr, Transport::Ws, "lobby").await.begun().await.mirror;
    gateway.sign_in("lobby", "ann").await;
    gateway.sign_out("lobby", "ann").await;
    let cursor = gateway.sign_in("lobby", "bob").await;
    kill(gateway).await;
    let gateway = start(dir.path(), &[]).await;
    let mut reader = Reader::resume(gateway.addr, Transport::Ws, mirror).await;
    reader.caught_up(&cursor).await;
    assert_eq!((reader.mirror.seen("add"), reader.mirror.seen("del"), reader.mirror.seen("snapshot")), (2, 1, 1));
}

/// A client's id, and a hold of it over a WebSocket.
async fn joins(gateway: &Client, user: &str, client: &str) -> Talker {
    let mut talker = Talker::open(gateway.addr, "").await;
    talker.does(json!({"action": "join", "room": "lobby", "user": user, "client": client})).await;
    talker
}

const ANN: &str = "0190a5d2-7c1e-4b7a-9f54-3c2d1e0f9a8b";
const BOB: &str = "0190a5d2-7c1e-4b7a-9f54-3c2d1e0f9a8c";

#[tokio::test]
async fn who_comes_back_after_a_restart_causes_no_event_and_who_does_not_leaves_in_the_end() {
    let dir = folder();
    let short = ["--grace", "300ms", "--drain", "300ms"];
    let gateway = start(dir.path(), &short).await;
    let ann = joins(&gateway, "ann", ANN).await;
    let bob = joins(&gateway, "bob", BOB).await;
    let mirror = Reader::open(gateway.addr, Transport::Sse, "lobby").await.begun().await.mirror;
    kill(gateway).await;
    drop((ann, bob));
    let gateway = start(dir.path(), &short).await;
    let mut reader = Reader::resume(gateway.addr, Transport::Sse, mirror).await;
    let _ann = joins(&gateway, "ann", ANN).await;
    reader.until("bob is gone", |mirror| !mirror.users.contains_key("bob")).await;
    assert_eq!((reader.mirror.seen("add"), reader.mirror.seen("del"), reader.mirror.seen("resumed")), (0, 1, 1));
    assert_eq!(reader.last["reason"], "timeout");
    assert_eq!(reader.mirror.names(), ["ann"]);
}

/// Each start would otherwise give an abandoned hold its time anew.
#[tokio::test]
async fn a_gateway_that_crashes_again_and_again_keeps_no_ghost() {
    let dir = folder();
    let short = ["--grace", "1s", "--drain", "1s"];
    let mut gateway = start(dir.path(), &short).await;
    drop(joins(&gateway, "ann", ANN).await);
    gateway.sign_in("den", "bob").await;
    for crash in 0.. {
        kill(gateway).await;
        gateway = start(dir.path(), &short).await;
        if !gateway.is_present("lobby", "ann").await {
            break;
        }
        assert!(crash < 100, "ann is still there");
        // A while of the gateway's own time, in which it notes that time goes on.
        let until = tokio::time::Instant::now() + std::time::Duration::from_millis(600);
        while tokio::time::Instant::now() < until && gateway.is_present("lobby", "ann").await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    assert!(gateway.is_present("den", "bob").await);
}

#[tokio::test]
async fn options_decide_what_is_accepted_and_not_what_is_kept() {
    let dir = folder();
    let gateway = start(dir.path(), &[]).await;
    let add: Vec<_> = (0..20).map(|n| json!({"user": format!("u{n}"), "meta": {"n": n}})).collect();
    gateway.batch("lobby", &json!({ "add": add })).await;
    gateway.sign_in("den", "ann").await;
    let before = told(&gateway, &["lobby"]).await;
    stop(gateway).await;
    let gateway = start(dir.path(), &["--max-members", "10", "--max-rooms", "1"]).await;
    assert_eq!(told(&gateway, &["lobby"]).await, before);
    assert!(gateway.is_present("den", "ann").await);
    let refused = gateway.send("PUT", &member_path("lobby", "one more"), &[], "").await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("too_many_members")));
    gateway.send("PUT", &member_path("lobby", "u7"), &[], "").await.expect(200);
    stop(gateway).await;
    let gateway = start(dir.path(), &[]).await;
    assert_eq!(told(&gateway, &["lobby"]).await, before);
    gateway.sign_in("lobby", "one more").await;
}

#[tokio::test]
async fn signed_out_clients_only_watch_after_a_restart_too() {
    let dir = folder();
    let gateway = start(dir.path(), &[]).await;
    let _ann = joins(&gateway, "ann", ANN).await;
    gateway.sign_out("lobby", "ann").await;
    kill(gateway).await;
    let gateway = start(dir.path(), &[]).await;
    let mut talker = Talker::open(gateway.addr, "").await;
    let join = json!({"action": "join", "room": "lobby", "user": "ann", "client": ANN, "ref": 1});
    assert_eq!(talker.ask(join).await["code"], "signed_out");
}

/// What one writer was told: the users of its own, and whether each was signed in last. `None` while a change is under way.
type Said = BTreeMap<String, Option<bool>>;

async fn writes(client: Client, writer: usize, stop: Arc<AtomicBool>, said: Arc<Mutex<Said>>) {
    for round in 0.. {
        let (user, room) = (format!("w{writer}u{}", round % 7), format!("r{}", round % 3));
        let (path, key, signs_in) = (member_path(&room, &user), format!("{room}/{user}"), round % 5 != 4);
        said.lock().expect("unpoisoned").insert(key.clone(), None);
        let method = if signs_in { "PUT" } else { "DELETE" };
        match client.try_send(method, &path).await {
            Some(200 | 201 | 204) => drop(said.lock().expect("unpoisoned").insert(key, Some(signs_in))),
            // The gateway was killed meanwhile: nobody knows.
            Some(_) | None => return,
        }
        if stop.load(Relaxed) {
            return;
        }
    }
}

/// The events that readers were given, by cursor. No cursor may ever name two events.
#[derive(Default)]
struct Events(BTreeMap<String, Value>);

impl Events {
    fn note(&mut self, frame: &Value) {
        if let ("add" | "update" | "del", Some(cursor)) =
            (frame["action"].as_str().unwrap_or(""), frame["cursor"].as_str())
        {
            let known = self.0.entry(cursor.to_owned()).or_insert_with(|| frame.clone());
            assert_eq!(known, frame, "one cursor, two events");
        }
    }
}

#[tokio::test]
async fn kill_9_under_load_loses_nothing_that_was_answered() {
    let dir = folder();
    let said = Arc::new(Mutex::new(Said::new()));
    let mut events = Events::default();
    let mut mirrors: Vec<_> = (0..3).map(|room| Mirror::of(&format!("r{room}"))).collect();
    for life in 0..5 {
        let gateway = start(dir.path(), &[]).await;
        let members: Vec<_> = {
            let mut members = Vec::new();
            for room in 0..3 {
                members.push(gateway.held(&format!("r{room}")).await.users);
            }
            members
        };
        for (key, state) in said.lock().expect("unpoisoned").iter() {
            let (room, user) = key.split_once('/').expect("a room and a user");
            let is_present = members[room[1..].parse::<usize>().expect("a number")].contains_key(user);
            assert!(
                state.is_none_or(|state| state == is_present),
                "life {life}: {key} is {is_present}, answered {state:?}"
            );
        }
        let mut readers = Vec::new();
        for mirror in mirrors.drain(..) {
            readers.push(Reader::resume(gateway.addr, Transport::Ws, mirror).await);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> =
            (0..8).map(|writer| tokio::spawn(writes(gateway.client(), writer, stop.clone(), said.clone()))).collect();
        // A hundred events of each room, then the end amid the writes. In turn: who reads nothing answers no pings.
        let told = |reader: &Reader| reader.mirror.seen("add") + reader.mirror.seen("del");
        let begun: Vec<_> = readers.iter().map(told).collect();
        for more in 1..=100 {
            for (reader, begun) in readers.iter_mut().zip(&begun) {
                while told(reader) < begun + more {
                    assert!(reader.step().await, "{:?}", reader.mirror);
                    events.note(&reader.last);
                }
            }
        }
        kill(gateway).await;
        stop.store(true, Relaxed);
        for writer in writers {
            within("a writer", writer).await.expect("no panic");
        }
        for mut reader in readers {
            // What the reader has of the kernel counts as seen.
            while reader.step().await {
                events.note(&reader.last);
            }
            mirrors.push(reader.mirror);
        }
    }
    let gateway = start(dir.path(), &[]).await;
    for mirror in mirrors {
        let room = mirror.room.clone();
        let mut reader = Reader::resume(gateway.addr, Transport::Sse, mirror).await;
        let cursor = gateway.sign_in(&room, "the last").await;
        reader.caught_up(&cursor).await;
        assert_eq!(reader.mirror.users, gateway.held(&room).await.users, "{room}");
    }
}
