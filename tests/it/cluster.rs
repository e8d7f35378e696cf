//! Several gateways with one log: any of them answers anything, and what happens to one of them is no event for whoever comes back.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::engines::servers::{Program, Server};
use crate::harness::{Binary, Client, Dialogue, Parting, Reader, Session, Talker, Transport, member_path, within};

/// The servers of a log, and the gateways that share it.
pub struct Cluster {
    pub server: Server,
    url: String,
    more: Vec<String>,
    pub nodes: Vec<Binary>,
}

impl Cluster {
    pub async fn start(program: Program, nodes: usize, more: &[&str]) -> Cluster {
        let server = Server::start(program);
        let scheme = if program == Program::Redis { "redis" } else { "nats" };
        let url = format!("{scheme}://{}", server.addr());
        let replicas: &[&str] = if program == Program::Redis { &[] } else { &["--cluster-replicas", "1"] };
        let more = [replicas, more].concat().into_iter().map(str::to_owned).collect();
        let mut cluster = Cluster { server, url, more, nodes: Vec::new() };
        for _ in 0..nodes {
            cluster.add().await;
        }
        cluster
    }

    pub async fn add(&mut self) -> &Binary {
        self.add_with(&[]).await
    }

    pub async fn add_with(&mut self, more: &[&str]) -> &Binary {
        self.nodes.push(Binary::start(&[&self.args()[..], more].concat()).await);
        self.nodes.last().expect("a node")
    }

    /// The options by which a gateway belongs to the cluster.
    pub fn args(&self) -> Vec<&str> {
        ["--cluster", &self.url].into_iter().chain(self.more.iter().map(String::as_str)).collect()
    }

    pub fn addr(&self, node: usize) -> SocketAddr {
        self.nodes[node].addr
    }

    pub async fn stop(&mut self, node: usize) {
        let mut node = self.nodes.remove(node);
        node.signal("TERM").await;
        assert_eq!(node.exit().await.code(), Some(0), "{:#?}", node.log());
    }

    pub async fn kill(&mut self, node: usize) {
        let mut node = self.nodes.remove(node);
        node.signal("KILL").await;
        node.exit().await;
    }
}

/// The room as the gateway tells of it.
async fn told(node: &Client, room: &str) -> Value {
    let mut told = node.get(&format!("/api/rooms/{room}/users")).await.expect(200).json();
    told.as_object_mut().expect("an object").remove("at");
    told
}

async fn until_all_tell(cluster: &Cluster, room: &str, users: &[&str]) {
    within(&format!("{users:?} on all nodes"), async {
        loop {
            let mut all = Vec::new();
            for node in &cluster.nodes {
                all.push(told(node, room).await);
            }
            let names = |told: &Value| -> Vec<String> {
                let users = told["users"].as_array().expect("users").iter();
                users.map(|user| user["user"].as_str().expect("a name").to_owned()).collect()
            };
            if all.iter().all(|one| names(one) == users && one["cursor"] == all[0]["cursor"]) {
                return;
            }
        }
    })
    .await;
}

async fn watch(cluster: &Cluster, room: &str) -> Vec<Reader> {
    let mut readers = Vec::new();
    for (node, transport) in cluster.nodes.iter().zip(Transport::ALL.into_iter().cycle()) {
        readers.push(Reader::open(node.addr, transport, room).await.begun().await);
    }
    readers
}

/// A WebSocket client of a node.
pub async fn joined(addr: SocketAddr, room: &str, user: &str, client: &str) -> Talker {
    let mut talker = Talker::open(addr, &format!("client={client}")).await;
    talker.does(json!({ "action": "join", "room": room, "user": user })).await;
    talker
}

pub const CLIENT: &str = "0b0e3b0e-5f0a-4f7e-9a70-0123456789ab";

async fn any_node_answers_anything(program: Program) {
    let mut cluster = Cluster::start(program, 3, &[]).await;
    let mut readers = watch(&cluster, "lobby").await;
    cluster.nodes[0].sign_in("lobby", "ann").await;
    cluster.nodes[1].sign_in_as("lobby", "bob", &json!({ "a": 1 })).await;
    let mut cyd = joined(cluster.addr(2), "lobby", "cyd", CLIENT).await;
    assert!(cluster.nodes[2].is_present("lobby", "cyd").await, "answered when it is here");
    cyd.does(json!({"action": "update", "room": "lobby", "user": "cyd", "meta": {"b": 2}})).await;
    until_all_tell(&cluster, "lobby", &["ann", "bob", "cyd"]).await;
    let out = cluster.nodes[2].send("DELETE", &member_path("lobby", "ann"), &[], "").await;
    assert_eq!(out.status, 204);
    cyd.does(json!({"action": "leave", "room": "lobby", "user": "cyd"})).await;
    for reader in &mut readers {
        reader.until("only bob is left", |mirror| mirror.names() == ["bob"]).await;
    }
    let cursors: Vec<_> = readers.iter().map(|reader| reader.mirror.cursor.clone()).collect();
    assert!(cursors.iter().all(|cursor| *cursor == cursors[0]), "{cursors:?}");
    let seen = |reader: &Reader| ["add", "update", "del"].map(|action| reader.mirror.seen(action));
    assert!(readers.iter().all(|reader| seen(reader) == [3, 1, 2]), "each reader sees each event once");

    // A late node has it all, and a reader of another node goes on there.
    cluster.add().await;
    until_all_tell(&cluster, "lobby", &["bob"]).await;
    let mirror = readers.swap_remove(0).mirror;
    cluster.nodes[1].sign_in("lobby", "dan").await;
    let mut reader = Reader::resume(cluster.addr(2), Transport::Ws, mirror).await.begun().await;
    reader.until("dan", |mirror| mirror.names() == ["bob", "dan"]).await;
    assert_eq!((reader.mirror.seen("resumed"), reader.mirror.seen("snapshot")), (1, 1), "the events themselves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_answers_anything_with_nats() {
    any_node_answers_anything(Program::NewNats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_answers_anything_with_redis() {
    any_node_answers_anything(Program::Redis).await;
}

/// A cursor may come to a node before the event does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_another_node_is_waited_for() {
    let cluster = Cluster::start(Program::NewNats, 2, &[]).await;
    cluster.nodes[0].sign_in("lobby", "ann").await;
    let mut mirror = Reader::open(cluster.addr(0), Transport::Ws, "lobby").await.begun().await.mirror;
    for (n, transport) in (0..20).zip(Transport::ALL.into_iter().cycle()) {
        let user = format!("u{n:02}");
        cluster.nodes[n % 2].sign_in("lobby", &user).await;
        let mut reader = Reader::resume(cluster.addr(n % 2), transport, mirror).await;
        reader.until("the new member", |mirror| mirror.users.contains_key(&user)).await;
        let reader = Reader::resume(cluster.addr((n + 1) % 2), transport, reader.mirror).await.begun().await;
        assert_eq!(reader.mirror.seen("snapshot"), 1, "{n} {transport:?}: only the first of all");
        mirror = reader.mirror;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_takes_its_hold_along_to_another_node() {
    let cluster = Cluster::start(Program::NewNats, 2, &[]).await;
    let mut readers = watch(&cluster, "lobby").await;
    let first = joined(cluster.addr(0), "lobby", "ann", CLIENT).await;
    let second = joined(cluster.addr(1), "lobby", "ann", CLIENT).await;
    // The first one is not to be noticed any more, whatever becomes of it.
    first.part(Parting::Close(Some(1000))).await;
    cluster.nodes[0].sign_in("lobby", "bob").await;
    for reader in &mut readers {
        reader.until("bob", |mirror| mirror.names() == ["ann", "bob"]).await;
        assert_eq!((reader.mirror.seen("add"), reader.mirror.seen("del")), (2, 0));
    }
    second.part(Parting::Close(Some(1000))).await;
    for reader in &mut readers {
        reader.until("ann leaves", |mirror| mirror.names() == ["bob"]).await;
    }
}

/// Whoever comes back to another node within the grace is never away; the others are gone, and the readers are told why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_people_of_a_killed_node_come_back_elsewhere_or_are_gone() {
    let mut cluster = Cluster::start(Program::NewNats, 3, &[]).await;
    let mut ann = joined(cluster.addr(2), "lobby", "ann", CLIENT).await;
    let _bob = joined(cluster.addr(2), "lobby", "bob", "0b0e3b0e-5f0a-4f7e-9a70-0123456789ac").await;
    cluster.nodes[2].sign_in("lobby", "zoe").await;
    until_all_tell(&cluster, "lobby", &["ann", "bob", "zoe"]).await;
    let reader = cluster.kill(2);
    reader.await;
    let mut readers = watch(&cluster, "lobby").await;
    ann = {
        drop(ann);
        joined(cluster.addr(0), "lobby", "ann", CLIENT).await
    };
    for reader in &mut readers {
        reader.until("bob is gone", |mirror| !mirror.users.contains_key("bob")).await;
        assert_eq!(reader.last["reason"], "node_lost", "{}", reader.last);
        assert_eq!((reader.mirror.seen("add"), reader.mirror.seen("del")), (0, 1));
        assert_eq!(reader.mirror.names(), ["ann", "zoe"]);
    }
    drop(ann);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_leaves_its_people_the_time_to_come_back() {
    let mut cluster = Cluster::start(Program::NewNats, 2, &["--drain", "300ms"]).await;
    let ann = joined(cluster.addr(1), "lobby", "ann", CLIENT).await;
    let mut reader = Reader::open(cluster.addr(0), Transport::Sse, "lobby").await.begun().await;
    let mut node = cluster.nodes.pop().expect("a node");
    node.signal("TERM").await;
    ann.closed_or_lost().await;
    assert_eq!(node.exit().await.code(), Some(0), "{:#?}", node.log());
    let ann = joined(cluster.addr(0), "lobby", "ann", CLIENT).await;
    cluster.add().await;
    cluster.nodes[1].sign_in("lobby", "bob").await;
    reader.until("bob", |mirror| mirror.names() == ["ann", "bob"]).await;
    assert_eq!((reader.mirror.seen("add"), reader.mirror.seen("del")), (1, 0));
    ann.part(Parting::Close(Some(1000))).await;
    reader.until("ann leaves", |mirror| mirror.names() == ["bob"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_out_on_one_node_ends_the_hold_on_another() {
    let mut cluster = Cluster::start(Program::NewNats, 2, &[]).await;
    let mut ann = joined(cluster.addr(0), "lobby", "ann", CLIENT).await;
    ann.subscribe("lobby").await;
    assert_eq!(ann.hear().await["action"], "snapshot");
    let out = cluster.nodes[1].send("DELETE", &member_path("lobby", "ann"), &[], "").await;
    assert_eq!(out.status, 204);
    let frame = ann.hear().await;
    assert_eq!((&frame["action"], &frame["user"]), (&json!("del"), &json!("ann")), "{frame}");
    let refused = within("the refusal", async {
        loop {
            let mut again = Talker::open(cluster.addr(1), &format!("client={CLIENT}")).await;
            let answer = again.ask(json!({"action": "join", "room": "lobby", "user": "ann", "ref": 1})).await;
            if answer["action"] != "ok" {
                return answer;
            }
            again.does(json!({"action": "leave", "room": "lobby", "user": "ann"})).await;
        }
    });
    assert_eq!(refused.await["code"], "signed_out", "the client may only watch, on all nodes");
    let mut late = Talker::open(cluster.add().await.addr, &format!("client={CLIENT}")).await;
    let refused = late.ask(json!({"action": "join", "room": "lobby", "user": "ann", "ref": 1})).await;
    assert_eq!(refused["code"], "signed_out", "also on one that starts later");
}

/// A batch has more events than a room remembers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_batches_reach_the_readers_of_all_nodes() {
    let mut cluster = Cluster::start(Program::NewNats, 2, &[]).await;
    let mut readers = watch(&cluster, "lobby").await;
    let user = |n: usize| format!("user {n:05}");
    let add: Vec<_> = (0..5_000).map(|n| json!({ "user": user(n) })).collect();
    cluster.nodes[0].batch("lobby", &json!({ "add": add })).await;
    cluster.nodes[1].batch("lobby", &json!({ "del": (0..4_000).map(user).collect::<Vec<_>>() })).await;
    cluster.add().await;
    readers.push(Reader::open(cluster.addr(2), Transport::Ws, "lobby").await.begun().await);
    for reader in &mut readers {
        reader.until("1,000 are left", |mirror| mirror.users.len() == 1_000).await;
        assert!(reader.mirror.users.contains_key("user 04000"));
    }
    for node in &cluster.nodes {
        assert_eq!(node.get("/api/gateway").await.expect(200).json()["members"], 1_000);
    }
}

/// A client leaves by a request, which a balancer may send to any node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_leaves_over_http_whichever_node_it_asks() {
    let cluster = Cluster::start(Program::NewNats, 2, &[]).await;
    for node in [0, 1] {
        let mut watcher = Reader::open(cluster.addr(0), Transport::Ws, "lobby").await.begun().await;
        let _ann = joined(cluster.addr(1), "lobby", "ann", CLIENT).await;
        watcher.until("ann", |mirror| mirror.names() == ["ann"]).await;
        let path = format!("{}?client={CLIENT}", member_path("lobby", "ann"));
        cluster.nodes[node].send("DELETE", &path, &[], "").await.expect(204);
        watcher.until("ann leaves", |mirror| mirror.names().is_empty()).await;
        assert_eq!(watcher.last["reason"], "closed", "{}", watcher.last);
    }
}

/// The log is away for a while: reads go on, a change waits for the log, and nobody leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_log_is_away_readers_read_on_and_nobody_leaves() {
    for program in [Program::NewNats, Program::Redis] {
        let mut cluster = Cluster::start(program, 2, &[]).await;
        let ann = joined(cluster.addr(0), "lobby", "ann", CLIENT).await;
        cluster.nodes[1].sign_in("lobby", "bob").await;
        until_all_tell(&cluster, "lobby", &["ann", "bob"]).await;
        let mut readers = watch(&cluster, "lobby").await;
        cluster.server.kill();
        assert_eq!(told(&cluster.nodes[0], "lobby").await["count"], 2);
        cluster.nodes[0].get("/readyz").await.expect(200);
        let node = cluster.nodes[1].client();
        let asked = tokio::spawn(async move { node.send("PUT", &member_path("lobby", "cyd"), &[], "").await });
        cluster.server.restart();
        let answer = within("an answer", asked).await.expect("no panic");
        assert_eq!(answer.status, 201, "{}", answer.text());
        for reader in &mut readers {
            reader.until("cyd", |mirror| mirror.names() == ["ann", "bob", "cyd"]).await;
            assert_eq!(reader.mirror.seen("del"), 0);
        }
        ann.part(Parting::Close(Some(1000))).await;
        until_all_tell(&cluster, "lobby", &["bob", "cyd"]).await;
    }
}

/// Nobody waits for ever: after 10 s, the client is told to try again, and nothing is held that was not promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_does_not_take_in_time_is_refused() {
    let mut cluster = Cluster::start(Program::NewNats, 1, &[]).await;
    cluster.nodes[0].sign_in("lobby", "zoe").await;
    let mut talker = Talker::open(cluster.addr(0), "").await;
    cluster.server.kill();
    let node = cluster.nodes[0].client();
    let join = json!({"action": "join", "room": "lobby", "user": "bob", "ref": 1});
    let path = member_path("lobby", "zoe");
    let (signed_out, joined, stream) = tokio::join!(
        node.send("DELETE", &path, &[], ""),
        talker.ask(join),
        node.get("/api/rooms/lobby/stream?as=cyd"),
    );
    assert_eq!((signed_out.status, &signed_out.json()["code"]), (503, &json!("not_durable")));
    assert_eq!((&joined["code"], &joined["retry"]), (&json!("not_durable"), &json!(true)), "{joined}");
    assert!(stream.text().contains("event: refused") && stream.text().contains("not_durable"), "{}", stream.text());
    cluster.server.restart();
    cluster.nodes[0].sign_in("lobby", "dan").await;
    // What was asked for may still be done.
    until_all_tell(&cluster, "lobby", &["dan"]).await;
}

/// A failover or a loss of power may undo what was acknowledged. The nodes say it again, and no earlier cursor means anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_forgets_is_said_again() {
    for program in [Program::NewNats, Program::Redis] {
        let mut cluster = Cluster::start(program, 2, &[]).await;
        cluster.nodes[0].sign_in("lobby", "ann").await;
        until_all_tell(&cluster, "lobby", &["ann"]).await;
        cluster.server.kill();
        cluster.server.back_up();
        cluster.server.restart();
        let _cyd = joined(cluster.addr(0), "lobby", "cyd", CLIENT).await;
        cluster.nodes[1].sign_in("lobby", "bob").await;
        until_all_tell(&cluster, "lobby", &["ann", "bob", "cyd"]).await;
        let mut readers = watch(&cluster, "lobby").await;
        let before = readers[0].mirror.clone();
        cluster.server.kill();
        cluster.server.restore();
        cluster.server.restart();
        let epoch =
            |cursor: &Option<String>| cursor.as_ref().and_then(|cursor| Some(cursor.split_once('.')?.0.to_owned()));
        for reader in &mut readers {
            reader.until("another epoch", |mirror| epoch(&mirror.cursor) != epoch(&before.cursor)).await;
            reader.until("all again", |mirror| mirror.names() == ["ann", "bob", "cyd"]).await;
            assert_eq!(reader.mirror.seen("snapshot"), 2, "at the start, and now");
        }
        until_all_tell(&cluster, "lobby", &["ann", "bob", "cyd"]).await;
        let again = Reader::resume(cluster.addr(1), Transport::Ws, before).await.begun().await;
        assert_eq!(again.last["action"], "snapshot", "the cursor resumes nowhere");
    }
}

/// Nothing is left of the log: the gateways have it all in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_log_is_filled_again() {
    for program in [Program::NewNats, Program::Redis] {
        let mut cluster = Cluster::start(program, 2, &[]).await;
        let _cyd = joined(cluster.addr(0), "lobby", "cyd", CLIENT).await;
        cluster.nodes[0].sign_in_as("lobby", "ann", &json!({ "a": 1 })).await;
        cluster.nodes[1].sign_in("den", "bob").await;
        until_all_tell(&cluster, "lobby", &["ann", "cyd"]).await;
        let mut readers = watch(&cluster, "lobby").await;
        let before = readers[0].mirror.cursor.clone();
        cluster.server.kill();
        cluster.server.empty();
        cluster.server.restart();
        let epoch = |cursor: &Option<String>| cursor.as_ref().map(|cursor| cursor.split('.').next().map(str::to_owned));
        for reader in &mut readers {
            reader.until("another epoch", |mirror| epoch(&mirror.cursor) != epoch(&before)).await;
            reader.until("all again", |mirror| mirror.names() == ["ann", "cyd"]).await;
        }
        until_all_tell(&cluster, "den", &["bob"]).await;
        cluster.nodes[1].sign_in("lobby", "dan").await;
        until_all_tell(&cluster, "lobby", &["ann", "cyd", "dan"]).await;
        cluster.add().await;
        until_all_tell(&cluster, "lobby", &["ann", "cyd", "dan"]).await;
    }
}

/// What a hold would break is refused by the log, and the client is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_hold_for_all_nodes() {
    let cluster = Cluster::start(Program::NewNats, 2, &["--max-members", "2"]).await;
    let _ann = joined(cluster.addr(0), "lobby", "ann", CLIENT).await;
    cluster.nodes[1].sign_in("lobby", "bob").await;
    let mut cyd = Talker::open(cluster.addr(1), "").await;
    let refused = cyd.ask(json!({"action": "join", "room": "lobby", "user": "cyd", "ref": 1})).await;
    assert_eq!(refused["code"], "too_many_members", "{refused}");
    let refused = cluster.nodes[0].send("PUT", &member_path("lobby", "cyd"), &[], "").await;
    assert_eq!(refused.json()["code"], "too_many_members");
    let closed = Talker::open(cluster.addr(0), "room=lobby&as=dan").await.closed().await;
    assert_eq!(closed.1, "too_many_members");
    let stream = cluster.nodes[0].get("/api/rooms/lobby/stream?as=dan").await;
    assert!(stream.text().contains("too_many_members"), "{}", stream.text());
    until_all_tell(&cluster, "lobby", &["ann", "bob"]).await;
}

/// A balancer that deals requests out in turn sends those of a session to any node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_requests_of_a_session_may_come_to_any_node() {
    for program in [Program::NewNats, Program::Redis] {
        let mut cluster = Cluster::start(program, 3, &[]).await;
        let mut session = Session::open(cluster.addr(2)).await;
        for number in 1..=9 {
            let post = session.post.through(cluster.addr(number as usize % 3));
            let join = json!([{"action": "join", "room": "lobby", "user": format!("u{number}"), "ref": number}]);
            post.number(number, &join).await.expect(204);
            // Sent again, wherever, it is not done again.
            session.post.through(cluster.addr((number as usize + 1) % 3)).number(number, &join).await.expect(204);
            let ok = session.hear().await;
            assert_eq!((&ok["action"], &ok["ref"]), (&json!("ok"), &json!(number)), "{ok}");
        }
        until_all_tell(&cluster, "lobby", &["u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9"]).await;
        let elsewhere = session.post.through(cluster.addr(0));
        let refused = elsewhere.number(20, &json!([{"action": "alive"}])).await;
        assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("out_of_order")));
        let mut unknown = elsewhere.clone();
        unknown.secret.replace_range(60.., "0000");
        let refused = unknown.number(10, &json!([{"action": "alive"}])).await;
        assert_eq!((refused.status, &refused.json()["code"]), (404, &json!("no_session")));
        cluster.kill(2).await;
        // Until the log has found the node lost, it may come back.
        let mut seen = std::collections::BTreeSet::new();
        within("the end of the session", async {
            while !seen.contains("no_session") {
                let refused = elsewhere.number(10, &json!([{"action": "alive"}])).await;
                seen.insert(refused.json()["code"].as_str().expect("a code").to_owned());
            }
        })
        .await;
        assert!(seen.iter().all(|code| ["busy", "no_session"].contains(&&**code)), "{seen:?}");
    }
}

const API_KEY: &str = "0123456789abcdef0123456789abcdef0123456789a";

/// What one node gave, others take: cookies, tickets once, and what was revoked nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_tickets_and_revocations_are_those_of_all_nodes() {
    let keys = tempfile::tempdir().expect("a folder");
    let key = keys.path().join("api.key");
    std::fs::write(&key, API_KEY).expect("written");
    let mut cluster = Cluster::start(Program::NewNats, 2, &["--api-key", key.to_str().expect("UTF-8")]).await;
    let [first, second] = [0, 1].map(|node: usize| cluster.nodes[node].client().bearing(API_KEY));
    let set = first.send("POST", "/api/cookie", &[], "").await.expect(204);
    let (_, cookie) = set.headers.iter().find(|(name, _)| *name == "set-cookie").expect("a cookie");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    cluster.nodes[1].send("GET", "/api/rooms", &[("cookie", &cookie)], "").await.expect(200);
    for turn in 0..10 {
        let maker = [&first, &second][turn % 2];
        let asked = json!({ "room": "lobby", "can": ["watch"] });
        let ticket = maker.send_json("POST", "/api/tickets", &asked).await.expect(201).json()["ticket"].clone();
        let path = format!("room=lobby&ticket={}", ticket.as_str().expect("a ticket"));
        // Both at once, on both nodes: one of them gets in.
        let [mut one, mut other] =
            [Talker::open(cluster.addr(0), &path).await, Talker::open(cluster.addr(1), &path).await];
        let heard = tokio::join!(one.next_or_close(), other.next_or_close());
        let let_in = [&heard.0, &heard.1].iter().filter(|heard| heard.is_ok()).count();
        assert_eq!(let_in, 1, "{turn}: {heard:?}");
    }
    first.send_json("POST", "/api/revocations", &json!({ "sub": "ann" })).await.expect(201);
    within("the revocation", async {
        while second.get("/api/revocations").await.expect(200).json()["revocations"][0]["sub"] != "ann" {}
    })
    .await;
    let sent = [("cookie", &*cookie), ("sec-fetch-site", "same-origin")];
    cluster.nodes[1].send("DELETE", "/api/cookie", &sent, "").await.expect(204);
    cluster.add().await;
    for node in [0, 2] {
        within("the end of the cookie", async {
            while cluster.nodes[node].send("GET", "/api/rooms", &[("cookie", &cookie)], "").await.status != 401 {}
        })
        .await;
    }
}
