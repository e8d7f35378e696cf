//! Operators see the nodes of a cluster, and load balancers those that lag.

use serde_json::{Value, json};

use crate::cluster::{CLIENT, Cluster, joined};
use crate::engines::servers::{Program, Server};
use crate::harness::schema::{fault, named};
use crate::harness::{Client, Reader, Transport, member_path, within};

const OTHER: &str = "0b0e3b0e-5f0a-4f7e-9a70-0123456789ac";

/// What a node tells of its cluster, once that is as wanted.
async fn told(node: &Client, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let look = async {
        loop {
            last = node.get("/api/gateway").await.expect(200).json()["cluster"].take();
            if holds(&last) {
                return;
            }
        }
    };
    let done = tokio::time::timeout(crate::harness::DEADLINE, look).await;
    assert!(done.is_ok(), "never {what}: {last}");
    assert_eq!(fault(&named("Cluster"), &last), None, "{last}");
    last
}

/// The nodes, the one that answers first: how each stands, and the members that it holds.
fn nodes(cluster: &Value) -> Vec<(String, u64)> {
    let nodes = cluster["nodes"].as_array().cloned().unwrap_or_default();
    let (own, others): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|node| node["self"] == true);
    assert!(own.iter().all(|own| own["incarnation"] == cluster["incarnation"]), "{cluster}");
    let told = |node: Value| (node["standing"].as_str().unwrap_or_default().to_owned(), node["members"].as_u64());
    own.into_iter().chain(others).map(told).map(|(standing, members)| (standing, members.expect("a number"))).collect()
}

fn are(wanted: &[(&str, u64)]) -> impl Fn(&Value) -> bool {
    let wanted: Vec<_> = wanted.iter().map(|(standing, members)| ((*standing).to_owned(), *members)).collect();
    move |cluster| nodes(cluster) == wanted
}

async fn until_ready(node: &Client, body: &str) {
    within(body, async { while node.get("/readyz").await.expect(200).text() != body {} }).await;
}

const READY: &str = r#"{"status":"ready"}"#;
const STALE: &str = r#"{"status":"ready","stale":true}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_tells_of_all_and_of_what_becomes_of_them() {
    let mut cluster = Cluster::start(Program::NewNats, 3, &["--drain", "100ms"]).await;
    let _ann = joined(cluster.addr(0), "lobby", "ann", CLIENT).await;
    let _again = joined(cluster.addr(0), "lobby", "ann", OTHER).await;
    let _bob = joined(cluster.addr(1), "lobby", "bob", CLIENT).await;
    let _den = joined(cluster.addr(1), "den", "ann", CLIENT).await;
    cluster.nodes[2].sign_in("lobby", "zoe").await;
    let here = told(&cluster.nodes[0], "all", |told| {
        nodes(told)[0] == ("live".into(), 1) && nodes(told).iter().map(|(_, members)| members).sum::<u64>() == 3
    });
    let here = here.await;
    let there = told(&cluster.nodes[1], "all", |told| nodes(told).first() == Some(&("live".into(), 2))).await;
    let ids = |told: &Value| -> Vec<_> {
        told["nodes"].as_array().expect("nodes").iter().map(|node| node["incarnation"].clone()).collect()
    };
    assert_eq!((ids(&here).len(), ids(&here)), (3, ids(&there)), "in one order");
    assert_ne!(here["incarnation"], there["incarnation"]);
    for node in here["nodes"].as_array().expect("nodes") {
        assert_eq!((&node["version"], &node["full"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(false)), "{node}");
        assert!(node["behind"].as_u64().is_some_and(|entries| entries < 100), "{node}");
    }
    assert!(here["position"].as_u64().is_some_and(|position| position > 5), "{here}");
    assert_eq!((&here["stale"], &here["behind"]), (&json!(false), &json!(false)));
    let ann = cluster.nodes[2].get(&member_path("lobby", "ann")).await.expect(200).json();
    assert_eq!(ann["holds"][0]["connection"], here["incarnation"], "one hold for both connections: {ann}");

    // One stops, and is no loss.
    let mut node = cluster.nodes.pop().expect("a node");
    node.signal("TERM").await;
    assert_eq!(node.exit().await.code(), Some(0));
    let is_stopping = |told: &Value| nodes(told).contains(&("stopping".to_owned(), 0));
    told(&cluster.nodes[0], "stopping", is_stopping).await;
    told(&cluster.nodes[0], "two", are(&[("live", 1), ("live", 2)])).await;
    assert_eq!(cluster.nodes[0].metrics().await.of("presently_cluster_nodes_lost_total"), 0.0);

    // One is lost.
    cluster.kill(1).await;
    told(&cluster.nodes[0], "suspect", are(&[("live", 1), ("suspect", 2)])).await;
    let metrics = cluster.nodes[0].metrics().await;
    let standing = |standing: &str| metrics.of(&format!("presently_cluster_nodes{{standing=\"{standing}\"}}"));
    assert_eq!(["live", "suspect", "stopping", "replaced"].map(standing), [1.0, 1.0, 0.0, 0.0]);
    told(&cluster.nodes[0], "one", are(&[("live", 1)])).await;
    assert_eq!(cluster.nodes[0].metrics().await.of("presently_cluster_nodes_lost_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_through_the_log_is_measured() {
    let cluster = Cluster::start(Program::NewNats, 2, &[]).await;
    let node = &cluster.nodes[0];
    let before = node.metrics().await;
    node.sign_in("lobby", "ann").await;
    let batches = |more: f64| {
        let least = before.of("presently_cluster_batches_total") + more;
        move |metrics: &crate::harness::Metrics| metrics.of("presently_cluster_batches_total") >= least
    };
    let after = node.metrics_when("five more", batches(5.0)).await;
    let risen = |name: &str| after.of(name) - before.of(name);
    assert!(risen("presently_cluster_position") > risen("presently_cluster_batches_total") - 1.0, "those of both");
    assert!(risen("presently_cluster_echo_seconds_count") >= 4.0, "{}", after.text);
    let mean = after.of("presently_cluster_echo_seconds_sum") / after.of("presently_cluster_echo_seconds_count");
    assert!(mean > 0.0 && mean < 5.0, "{mean}");
    assert_eq!(after.of("presently_cluster_stale_seconds"), 0.0);
    assert!(after.of("presently_cluster_lag_seconds") < 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_ready_but_stale_while_the_log_is_away() {
    let mut cluster = Cluster::start(Program::NewNats, 2, &[]).await;
    cluster.nodes[0].sign_in("lobby", "ann").await;
    until_ready(&cluster.nodes[0], READY).await;
    cluster.server.kill();
    let node = cluster.nodes[0].client();
    let asked = tokio::spawn(async move { node.send("PUT", &member_path("lobby", "bob"), &[], "").await });
    until_ready(&cluster.nodes[0], STALE).await;
    let away = told(&cluster.nodes[0], "stale", |told| told["stale"] == true).await;
    assert!(away["echo_age"].as_u64().is_some_and(|age| age > 2_000), "{away}");
    assert_eq!((&away["lag"], &away["behind"]), (&json!(0), &json!(false)), "nobody has newer rooms");
    let metrics = cluster.nodes[0].metrics().await;
    assert!(metrics.of("presently_cluster_stale_seconds") > 2.0);
    assert_eq!(metrics.of("presently_ready"), 1.0);
    cluster.server.restart();
    assert_eq!(asked.await.expect("no panic").status, 201);
    until_ready(&cluster.nodes[0], READY).await;
    let back = told(&cluster.nodes[0], "back", |told| told["stale"] == false && told["pending"] == 0).await;
    assert!(back["position"].as_u64() > away["position"].as_u64(), "{back}");
}

/// A pause of a process is no event, unless it is so long that nobody can tell it from a crash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_is_suspect_then_lost_and_joins_anew() {
    let cluster = Cluster::start(Program::NewNats, 2, &[]).await;
    let _ann = joined(cluster.addr(1), "lobby", "ann", CLIENT).await;
    cluster.nodes[0].sign_in("lobby", "zoe").await;
    let mut readers = Vec::new();
    for node in [0, 1] {
        readers.push(Reader::open(cluster.addr(node), Transport::Ws, "lobby").await.begun().await);
        readers[node].until("both", |mirror| mirror.names() == ["ann", "zoe"]).await;
    }
    let dels = |readers: &[Reader]| readers.iter().map(|reader| reader.mirror.seen("del")).sum::<usize>();
    cluster.nodes[1].signal("STOP").await;
    told(&cluster.nodes[0], "suspect", |told| nodes(told).contains(&("suspect".to_owned(), 1))).await;
    cluster.nodes[1].signal("CONT").await;
    told(&cluster.nodes[0], "live again", are(&[("live", 0), ("live", 1)])).await;
    cluster.nodes[0].sign_in("lobby", "bob").await;
    for reader in &mut readers {
        reader.until("bob", |mirror| mirror.names() == ["ann", "bob", "zoe"]).await;
    }
    assert_eq!(dels(&readers), 0, "a short pause is no event");

    cluster.nodes[1].signal("STOP").await;
    readers[0].until("ann is lost", |mirror| mirror.names() == ["bob", "zoe"]).await;
    assert_eq!(readers[0].last["reason"], "node_lost");
    cluster.nodes[0].sign_in("lobby", "cyd").await;
    cluster.nodes[1].signal("CONT").await;
    for reader in &mut readers {
        reader.until("all", |mirror| mirror.names() == ["ann", "bob", "cyd", "zoe"]).await;
    }
    assert_eq!(readers[1].mirror.seen("del"), 0, "the paused node's readers are told how it is now, and not what was");
    told(&cluster.nodes[0], "one life each", are(&[("live", 0), ("live", 1)])).await;
}

/// Sends requests to JetStream, and waits for the answer to the last of them.
fn jetstream(server: &Server, requests: &[(&str, &str)]) {
    let mut lines = "CONNECT {\"verbose\":false}\r\nSUB answers 1\r\n".to_owned();
    for (request, body) in requests {
        lines += &format!("PUB $JS.API.STREAM.{request} answers {}\r\n{body}\r\n", body.len());
    }
    let (last, _) = requests.last().expect("a request");
    let kind = last.split('.').next().expect("a verb").to_lowercase();
    server.tell(&lines, &format!("{{\"type\":\"io.nats.jetstream.api.v1.stream_{kind}_response\""));
}

/// The log is gone, and something else has its subjects: nobody can make another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reads_the_log_anew_is_not_ready() {
    let cluster = Cluster::start(Program::NewNats, 1, &[]).await;
    let node = &cluster.nodes[0];
    node.sign_in("lobby", "ann").await;
    until_ready(node, READY).await;
    let other = r#"{"name":"other","subjects":["presently.>"],"retention":"limits","storage":"memory"}"#;
    jetstream(
        &cluster.server,
        &[("DELETE.presently-log", ""), ("DELETE.presently-snapshots", ""), ("CREATE.other", other)],
    );
    let unready = within("unready", async {
        loop {
            let answer = node.get("/readyz").await;
            if answer.status == 503 {
                return answer.json();
            }
        }
    });
    assert_eq!(unready.await["code"], "not_ready");
    assert_eq!(node.metrics().await.of("presently_ready"), 0.0);
    told(node, "behind", |told| told["behind"] == true && told["stale"] == false).await;
    assert!(node.is_present("lobby", "ann").await, "reads go on");
    jetstream(&cluster.server, &[("DELETE.other", "")]);
    let ready = async { while node.get("/readyz").await.status != 200 {} };
    within("another log", ready).await;
    until_ready(node, READY).await;
    assert!(node.is_present("lobby", "ann").await);
    assert_eq!(node.metrics().await.of("presently_cluster_rereads_total{why=\"lost\"}"), 1.0);
}
