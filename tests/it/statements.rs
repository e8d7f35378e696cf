//! Statements: what is said of a member belongs to the hold through which it was said.

use serde_json::{Value, json};

use crate::harness::{Client, Dialogue, Parting, Reader, Talker, TestServer, Transport, member_path, within};

const CLIENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

/// A gateway, a reader of the lobby, and the path of ann there.
struct Stage {
    server: TestServer,
    watcher: Reader,
    path: String,
}

impl Stage {
    async fn new() -> Self {
        Self::with_grace(60_000).await
    }

    async fn with_grace(millis: u64) -> Self {
        let server = TestServer::with(|config| config.grace = std::time::Duration::from_millis(millis)).await;
        let watcher = Reader::open(server.addr, Transport::Ws, "lobby").await.begun().await;
        Self { server, watcher, path: member_path("lobby", "ann") }
    }

    async fn put(&self, body: Value) {
        let answer = self.server.send_json("PUT", &self.path, &body).await;
        assert!([200, 201].contains(&answer.status), "{body}: {answer:?}");
    }

    async fn patch(&self, body: Value) {
        self.server.send_json("PATCH", &self.path, &body).await.expect(200);
    }

    /// What the watcher sees of ann once it has caught up, and the number of updates so far.
    async fn sees(&mut self) -> (Value, usize) {
        let cursor = self.server.cursor("lobby").await;
        self.watcher.caught_up(&cursor).await;
        (self.watcher.mirror.users["ann"].meta.clone(), self.watcher.mirror.seen("update"))
    }

    async fn tab(&self, query: &str) -> Talker {
        Talker::open(self.server.addr, &format!("room=lobby&as=ann{query}")).await
    }
}

fn says(meta: Value) -> Value {
    json!({"action": "update", "room": "lobby", "user": "ann", "meta": meta})
}

fn away() -> Value {
    let mut message = says(json!({"status": "away"}));
    message["rank"] = json!(-1);
    message
}

/// The holds of ann that said something, with what they said.
async fn said(client: &Client) -> Vec<(String, Value, Value)> {
    let shown = client.get(&member_path("lobby", "ann")).await.expect(200).json();
    let holds = shown["holds"].as_array().expect("holds").iter();
    let name = |hold: &Value| hold["hold"].as_str().or(hold["kind"].as_str()).expect("a kind").to_owned();
    holds
        .filter(|hold| hold.get("meta").is_some())
        .map(|hold| (name(hold), hold["meta"].clone(), hold["rank"].clone()))
        .collect()
}

#[tokio::test]
async fn what_was_said_last_among_all_holds_is_seen_and_the_end_of_a_hold_falls_back() {
    let mut stage = Stage::new().await;
    let (mut first, mut second) = (stage.tab("").await, stage.tab("").await);
    assert_eq!(stage.sees().await, (json!({}), 0));
    first.does(says(json!({"n": 1}))).await;
    second.does(says(json!({"n": 2}))).await;
    assert_eq!(stage.sees().await, (json!({"n": 2}), 2));
    second.leave("lobby", "ann").await;
    assert_eq!(stage.sees().await, (json!({"n": 1}), 3));
    second.join("lobby", "ann").await;
    assert_eq!(stage.sees().await, (json!({"n": 1}), 3), "a hold that says nothing is passed over");
    second.does(says(json!({}))).await;
    assert_eq!(stage.sees().await, (json!({}), 4), "an empty object that was said hides the others");
    first.leave("lobby", "ann").await;
    assert_eq!(stage.sees().await, (json!({}), 4), "no difference is no event");
}

/// Others show the idle tab's word over the busy one: Synapse #16057.
#[tokio::test]
async fn a_lower_rank_is_seen_only_while_nothing_of_a_higher_is_said() {
    let mut stage = Stage::new().await;
    let (mut busy, mut idle) = (stage.tab("").await, stage.tab("").await);
    busy.does(says(json!({"status": "here"}))).await;
    idle.does(away()).await;
    assert_eq!(stage.sees().await, (json!({"status": "here"}), 1));
    busy.leave("lobby", "ann").await;
    assert_eq!(stage.sees().await, (json!({"status": "away"}), 2));
    for (rank, text) in [(json!(10), "10"), (json!(1.5), "1.5"), (json!("1"), "\"1\""), (Value::Null, "null")] {
        let mut message = away();
        message["rank"] = rank;
        assert_eq!(idle.is_refused(message).await, "bad_rank", "{text}");
    }
    let refused = stage.server.send_json("PUT", &stage.path, &json!({"rank": 1})).await.expect(400).json();
    assert_eq!((&refused["code"], &refused["field"]), (&json!("bad_rank"), &json!("rank")));
    for query in ["as=ann&rank=1", "as=ann&meta=%7B%7D&rank=10"] {
        let refused = stage.server.get(&format!("/api/rooms/lobby/stream?{query}")).await.expect(400).json();
        assert_eq!((&refused["code"], &refused["field"]), (&json!("bad_rank"), &json!("rank")), "{query}");
    }
    let third = stage.tab("&meta=%7B%22n%22%3A3%7D&rank=-2").await;
    assert_eq!(stage.sees().await, (json!({"status": "away"}), 2), "a stream's URL has a rank too");
    drop(third);
}

#[tokio::test]
async fn a_lost_hold_says_the_same_until_its_grace_is_over() {
    let mut stage = Stage::with_grace(300).await;
    stage.put(json!({"meta": {"n": 1}})).await;
    let mut tab = stage.tab("").await;
    tab.does(says(json!({"typing": true}))).await;
    tab.part(Parting::Fin).await;
    assert_eq!(stage.sees().await, (json!({"typing": true}), 1));
    let falls_back = async {
        while stage.watcher.mirror.users["ann"].meta != json!({"n": 1}) {
            stage.watcher.step().await;
        }
    };
    within("the end of the grace", falls_back).await;
    assert_eq!(stage.watcher.mirror.seen("update"), 2);
}

#[tokio::test]
async fn patch_speaks_for_the_member_until_something_of_its_rank_is_said() {
    let mut stage = Stage::new().await;
    let mut tab = stage.tab("").await;
    tab.does(says(json!({"n": 1}))).await;
    stage.patch(json!({"meta": {"n": 2}})).await;
    assert_eq!(stage.sees().await, (json!({"n": 2}), 2));
    let shown = stage.server.get(&stage.path).await.expect(200).json();
    assert_eq!(shown["patch"], json!({"meta": {"n": 2}, "rank": 0}));
    tab.does(away()).await;
    assert_eq!(stage.sees().await, (json!({"n": 2}), 2), "a lower rank does not end it");
    tab.does(says(json!({"n": 3}))).await;
    assert_eq!(stage.sees().await, (json!({"n": 3}), 3));
    assert_eq!(stage.server.get(&stage.path).await.expect(200).json().get("patch"), None);
    for body in [json!({}), json!({"meta": {}, "ttl": 9}), json!({"meta": {}, "hold": "a"}), json!({"rank": 0})] {
        stage.server.send_json("PATCH", &stage.path, &body).await.expect(400);
    }
}

/// A lease renewed every ten seconds must not override the tab each time.
#[tokio::test]
async fn a_join_and_a_put_that_repeat_themselves_say_nothing_anew_and_an_update_does() {
    let mut stage = Stage::new().await;
    let lease = json!({"meta": {"n": 1}, "ttl": 60});
    stage.put(lease.clone()).await;
    let mut tab = stage.tab("").await;
    tab.does(says(json!({"n": 2}))).await;
    stage.put(lease.clone()).await;
    assert_eq!(stage.sees().await, (json!({"n": 2}), 1));
    let mut again = json!({"action": "join", "room": "lobby", "user": "ann", "meta": {"n": 2}});
    stage.put(json!({"meta": {"n": 3}, "ttl": 60})).await;
    tab.does(again.clone()).await;
    assert_eq!(stage.sees().await, (json!({"n": 3}), 2));
    again["rank"] = json!(1);
    tab.does(again).await;
    assert_eq!(stage.sees().await, (json!({"n": 2}), 3), "another rank is another statement");
    let mut other = stage.tab("").await;
    other.does(says(json!({"n": 4}))).await;
    tab.does(says(json!({"n": 2}))).await;
    assert_eq!(stage.sees().await, (json!({"n": 2}), 3), "the tab says it at 0 now, and last");
    stage.patch(json!({"meta": {"n": 5}})).await;
    tab.does(says(json!({"n": 2}))).await;
    assert_eq!(stage.sees().await, (json!({"n": 2}), 5));
}

/// A reconnecting tab must not put its old word over a newer one.
#[tokio::test]
async fn a_hold_that_takes_anothers_place_takes_over_its_statement_and_the_place_of_it() {
    let mut stage = Stage::new().await;
    let client = format!("&client={CLIENT}");
    let mut old = stage.tab(&client).await;
    old.does(says(json!({"n": 1}))).await;
    let mut other = stage.tab("").await;
    other.does(says(json!({"n": 2}))).await;
    assert_eq!(stage.sees().await, (json!({"n": 2}), 2));
    let silent = stage.tab(&client).await;
    let same = stage.tab(&format!("{client}&meta=%7B%22n%22%3A1%7D")).await;
    assert_eq!(stage.sees().await, (json!({"n": 2}), 2), "nothing new was said");
    assert!(said(&stage.server).await.contains(&("connection".into(), json!({"n": 1}), json!(0))));
    let different = stage.tab(&format!("{client}&meta=%7B%22n%22%3A3%7D")).await;
    assert_eq!(stage.sees().await, (json!({"n": 3}), 3));
    drop((silent, same, different));
}

#[tokio::test]
async fn info_belongs_to_the_member_and_no_client_sets_it() {
    let mut stage = Stage::new().await;
    let mut tab = stage.tab("").await;
    stage.put(json!({"info": {"role": "host"}})).await;
    stage.sees().await;
    let info = |stage: &Stage| stage.watcher.mirror.users["ann"].info.clone();
    assert_eq!(info(&stage), json!({"role": "host"}));
    tab.does(says(json!({"n": 1}))).await;
    assert_eq!(stage.sees().await, (json!({"n": 1}), 2));
    assert_eq!(info(&stage), json!({"role": "host"}), "an update names both as they are");
    stage.put(json!({})).await;
    stage.patch(json!({"info": {"role": "guest"}})).await;
    assert_eq!(stage.sees().await.1, 3);
    stage.patch(json!({"info": {"role": "guest"}})).await;
    assert_eq!(stage.sees().await.1, 3, "the same again is no event");
    let listed = stage.server.get("/api/rooms/lobby/users").await.expect(200).json();
    assert_eq!(listed["users"][0]["info"], json!({"role": "guest"}));
    let late = Reader::open(stage.server.addr, Transport::Sse, "lobby").await.begun().await;
    assert_eq!(late.mirror.users["ann"].info, json!({"role": "guest"}));
    stage.patch(json!({"info": {}})).await;
    stage.sees().await;
    assert_eq!(info(&stage), json!({}));
    let mut message = says(json!({}));
    message["info"] = json!({"role": "host"});
    assert_eq!(tab.is_refused(message).await, "bad_json");
    for body in [json!({"info": []}), json!({"info": null}), json!({"info": {"a": "x".repeat(1_024)}})] {
        let refused = stage.server.send_json("PUT", &stage.path, &body).await.expect(400).json();
        assert_eq!((&refused["code"], &refused["field"]), (&json!("bad_info"), &json!("info")));
    }
    let batch = json!({"add": [{"user": "bob", "info": {"a": 1}, "hold": "a"}, {"user": "cyd", "info": 1}]});
    let refused = stage.server.send_json("POST", "/api/rooms/lobby/users", &batch).await.expect(400).json();
    assert_eq!((&refused["code"], &refused["field"]), (&json!("bad_info"), &json!("add[1].info")));
    stage.put(json!({"info": {"role": "host"}})).await;
    stage.server.sign_out("lobby", "ann").await;
    stage.put(json!({})).await;
    stage.sees().await;
    assert_eq!(info(&stage), json!({}), "it goes with the member");
}

#[tokio::test]
async fn sign_ins_of_different_names_are_holds_of_their_own() {
    let stage = Stage::new().await;
    stage.put(json!({"hold": "worker-a", "ttl": 60, "meta": {"n": 1}})).await;
    stage.put(json!({"hold": "worker-b", "meta": {"n": 2}, "rank": 1})).await;
    stage.put(json!({"ttl": 60})).await;
    let mut expected =
        vec![("worker-a".into(), json!({"n": 1}), json!(0)), ("worker-b".into(), json!({"n": 2}), json!(1))];
    let mut shown = said(&stage.server).await;
    shown.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    assert_eq!(shown, expected);
    let end = |name: &str| format!("{}?hold={name}", stage.path);
    stage.server.send("DELETE", &end("worker-b"), &[], "").await.expect(204);
    stage.server.send("DELETE", &end("unknown"), &[], "").await.expect(204);
    expected.pop();
    assert_eq!(said(&stage.server).await, expected);
    assert_eq!(stage.server.holds("lobby", "ann").await, ["lease", "lease"]);
    let mut lone = Stage::new().await;
    lone.put(json!({"hold": "a", "ttl": 60})).await;
    lone.server.send("DELETE", &format!("{}?hold=a", lone.path), &[], "").await.expect(204);
    let gone = async {
        while lone.watcher.mirror.seen("del") == 0 {
            lone.watcher.step().await;
        }
    };
    within("the del", gone).await;
    assert_eq!(lone.server.held("lobby").await.users.len(), 0);
}

#[tokio::test]
async fn a_member_has_at_most_100_named_sign_ins() {
    let stage = Stage::new().await;
    for n in 0..100 {
        stage.put(json!({"hold": format!("{n}")})).await;
    }
    let over = |name: &str| json!({"hold": name});
    let refused = stage.server.send_json("PUT", &stage.path, &over("more")).await.expect(429).json();
    assert_eq!((&refused["code"], &refused["field"]), (&json!("too_many_holds"), &json!("hold")));
    let batch = json!({"add": [{"user": "bob"}, {"user": "ann", "hold": "more"}]});
    stage.server.send_json("POST", "/api/rooms/lobby/users", &batch).await.expect(429);
    assert_eq!(stage.server.held("lobby").await.users.len(), 1, "all or nothing");
    stage.put(over("7")).await;
    stage.put(json!({})).await;
    let refused = stage.server.send_json("PUT", &stage.path, &over(&"x".repeat(65))).await.expect(400).json();
    assert_eq!((&refused["code"], &refused["field"]), (&json!("bad_name"), &json!("hold")));
}

/// Taken as absent, an empty parameter would sign everybody out.
#[tokio::test]
async fn the_end_of_one_hold_names_exactly_one() {
    let stage = Stage::new().await;
    stage.put(json!({"hold": "a"})).await;
    for query in [
        "client=".to_owned(),
        "hold=".to_owned(),
        "hold=a&reason=kicked".to_owned(),
        format!("client={CLIENT}&reason=signed_out"),
        format!("hold=a&client={CLIENT}"),
    ] {
        let refused = stage.server.send("DELETE", &format!("{}?{query}", stage.path), &[], "").await.expect(400);
        assert_eq!(refused.json()["code"], "bad_parameter", "{query}");
    }
    assert_eq!(stage.server.held("lobby").await.users.len(), 1);
}
