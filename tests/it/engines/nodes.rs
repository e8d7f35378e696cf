//! Three nodes on one server, which is killed and comes back.

use std::sync::Arc;
use std::time::Duration;

use presently::cluster::node::{Answer, Faults, Options as NodeOptions};
use presently::cluster::record::Record;
use presently::cluster::{Memory, Rules};
use presently::engine::open::open;
use presently::model::command::Command;
use presently::model::history::Bound;
use presently::model::id::ConnectionId;
use presently::model::moment::{Moment, Tick, Timestamp};
use presently::model::name::Name;
use presently::model::roster::Mark;
use presently::participant::{Joining, Opening, Participant};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::Served;
use super::servers::Program;

const ROOM: &str = "lobby";

async fn node(served: &Served) -> Participant {
    let (options, start) = (served.options(served.server.addr()), Instant::now());
    let opening: Opening = Box::new(move || {
        let options = options.clone();
        Box::pin(async move { Ok(open(&options).await.map_err(|error| error.to_string())?.engine) })
    });
    let now = move || {
        let tick = 1_000 + u64::try_from(start.elapsed().as_millis()).expect("few milliseconds");
        Moment { tick: Tick(tick), time: Timestamp(1_700_000_000_000 + tick) }
    };
    let rules = Rules { members: 0, grace: Duration::from_secs(5), max_named: 100 };
    let options = NodeOptions { version: "1".into(), rules, snapshot_every: 60_000, faults: Faults::default() };
    let memory = Memory { history: Bound { events: 100, bytes: usize::MAX }, bytes: usize::MAX };
    let joining = Joining::read(opening, None, options, memory, Box::new(now)).await;
    joining.unwrap_or_else(|why| panic!("{why}")).begin(Box::new(()))
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// The members of the room, and its place.
fn members(node: &Participant) -> (Vec<String>, String) {
    node.with(|node, _| match node.shared().room(&name(ROOM)) {
        Some(room) => {
            let users = room.roster().iter_from(Mark::default()).map(|member| member.user.to_string());
            (users.collect(), room.head().to_string())
        }
        None => Default::default(),
    })
}

async fn until_all_have(nodes: &[Arc<Participant>], users: &[&str]) {
    let start = Instant::now();
    loop {
        let all: Vec<_> = nodes.iter().map(|node| members(node)).collect();
        if all.iter().all(|one| one.0 == users && *one == all[0]) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "never {users:?}: {all:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn sign_in(node: Arc<Participant>, user: &str) {
    let record = Record::Change { room: name(ROOM), commands: vec![Command::sign_in(name(user))] };
    let (_, answer) = node.ask(record).await;
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
}

async fn nodes_agree(program: Program) {
    let mut served = Served::start(program).await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Arc::new(node(&served).await));
    }
    for (node, user) in nodes.iter().zip(["ann", "bob", "cyd"]) {
        sign_in(node.clone(), user).await;
    }
    let held = (name(ROOM), name("zoe"));
    nodes[2].with(|node, _| node.join(&held, ConnectionId(Uuid::from_u128(1)), None, None, None));
    until_all_have(&nodes, &["ann", "bob", "cyd", "zoe"]).await;
    served.server.kill();
    let asked = tokio::spawn(sign_in(nodes[0].clone(), "dan"));
    served.server.restart();
    asked.await.expect("an answer, once the server is back");
    until_all_have(&nodes, &["ann", "bob", "cyd", "dan", "zoe"]).await;
    drop(nodes.pop());
    until_all_have(&nodes, &["ann", "bob", "cyd", "dan"]).await;
    let late = Arc::new(node(&served).await);
    assert_eq!(members(&late), members(&nodes[0]), "a node that starts has read all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_agree_on_nats_although_it_is_killed() {
    nodes_agree(Program::NewNats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_agree_on_redis_although_it_is_killed() {
    nodes_agree(Program::Redis).await;
}
