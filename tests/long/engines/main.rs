//! Shared logs by hand: figures of each engine, and a cluster of NATS whose leader is killed.
//!
//! `cargo test --release --test engines-by-hand -- figures`, `… -- leader [runs] [old]`

#[path = "../../it/engines/servers.rs"]
#[allow(dead_code, reason = "the integration tests use all of it")]
mod servers;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use presently::engine::address::ClusterName;
use presently::engine::memory::Memory;
use presently::engine::open::{Opened, open};
use presently::engine::options::Options;
use presently::engine::reader::Reader;
use presently::engine::seam::{Engine, Trouble};
use servers::{Program, Server, free_port};
use tokio::sync::watch;
use tokio::time::sleep;

/// The batches in flight.
const IN_FLIGHT: usize = 4;

/// The appends that are measured, and their bytes.
const APPENDS: (usize, usize) = (5_000, 200);

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let program = if arguments.iter().any(|argument| argument == "old") { Program::OldNats } else { Program::NewNats };
    let runs = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(5);
    match arguments.first().map(String::as_str) {
        Some("figures") => figures().await,
        Some("leader") => leader(program, runs).await,
        _ => println!("say figures, or leader [runs] [old]"),
    }
}

/// Three servers of NATS that form a cluster.
fn cluster(program: Program) -> Vec<Server> {
    let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
    let routes = ports.iter().map(|(_, port)| format!("nats://127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let start = |(place, (port, route)): (usize, &(u16, u16))| {
        let more = format!("-n n{place} --cluster_name c --cluster nats://127.0.0.1:{route} --routes {routes}");
        let more: Vec<_> = more.split(' ').map(str::to_owned).collect();
        Server::start_at(program, *port, &more).expect("a free port")
    };
    ports.iter().enumerate().map(start).collect()
}

fn options(scheme: &str, servers: &[&Server]) -> Options {
    let servers = servers.iter().map(|server| server.addr().to_string()).collect::<Vec<_>>().join(",");
    let mut options = Options::new(format!("{scheme}://{servers}").parse().expect("addresses"), ClusterName::default());
    options.patience = Duration::from_secs(60);
    options
}

async fn opened(options: &Options) -> Arc<dyn Engine> {
    let Opened { engine, warnings } = open(options).await.expect("a log");
    warnings.iter().for_each(|warning| println!("  {warning}"));
    engine
}

fn milliseconds(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 1_000].as_secs_f64() * 1_000.0;
    format!("p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", at(500), at(990), at(1_000))
}

/// Appends a number of batches, so many in flight, and reads them back with another reader.
async fn measure(engine: &Arc<dyn Engine>, in_flight: usize) {
    let from = engine.extent().await.expect("an extent").last;
    let mut reader = engine.read(from);
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < APPENDS.0 {
            reader.next().await.expect("an entry");
            seen.push(Instant::now());
        }
        seen
    });
    let (begun, mut sent, mut took, mut flying) = (Instant::now(), Vec::new(), Vec::new(), VecDeque::new());
    for number in 0..APPENDS.0 {
        if flying.len() == in_flight {
            let (at, appending): (Instant, presently::engine::appends::Appending) = flying.pop_front().expect("one");
            appending.await.expect("a position");
            took.push(at.elapsed());
        }
        let at = Instant::now();
        flying
            .push_back((at, engine.append(Bytes::from(vec![u8::try_from(number % 256).expect("a byte"); APPENDS.1]))));
        sent.push(at);
    }
    for (at, appending) in flying {
        appending.await.expect("a position");
        took.push(at.elapsed());
    }
    let rate = APPENDS.0 as f64 / begun.elapsed().as_secs_f64();
    let echoes = reading.await.expect("no panic").into_iter().zip(sent).map(|(seen, sent)| seen - sent).collect();
    println!("  {in_flight} in flight: {}, {rate:.0}/s; read back {}", milliseconds(took), milliseconds(echoes));
}

async fn figure(name: &str, engine: Arc<dyn Engine>) {
    println!("{name}");
    measure(&engine, 1).await;
    measure(&engine, IN_FLIGHT).await;
}

async fn figures() {
    figure("memory", Arc::new(Memory::default())).await;
    for (name, program) in [("NATS of Debian, one server", Program::OldNats), ("NATS, one server", Program::NewNats)] {
        let server = Server::start(program);
        figure(name, opened(&options("nats", &[&server])).await).await;
    }
    for (name, program) in
        [("NATS of Debian, three servers", Program::OldNats), ("NATS, three servers", Program::NewNats)]
    {
        let servers = cluster(program);
        figure(name, opened(&options("nats", &servers.iter().collect::<Vec<_>>())).await).await;
    }
    let server = Server::start(Program::Redis);
    figure("Redis, appendfsync always", opened(&options("redis", &[&server])).await).await;
    let replica = format!("--replicaof 127.0.0.1 {}", server.addr().port());
    let replica: Vec<_> = replica.split(' ').map(str::to_owned).collect();
    let _replica = Server::start_at(Program::Redis, free_port(), &replica).expect("a free port");
    let copied = loop {
        let opened = open(&options("redis", &[&server])).await.expect("a log");
        match opened.warnings.iter().any(|warning| warning.contains("no replica")) {
            true => sleep(Duration::from_millis(100)).await,
            false => break opened.engine,
        }
    };
    figure("Redis, appendfsync always, a replica", copied).await;
    let everysec = Server::start_at(Program::Redis, free_port(), &["--appendfsync".to_owned(), "everysec".to_owned()]);
    let everysec = everysec.expect("a free port");
    figure("Redis, appendfsync everysec", opened(&options("redis", &[&everysec])).await).await;
}

/// The place of the server that leads the stream, when all three have all of it.
async fn leads(client: &async_nats::Client) -> usize {
    loop {
        let asked = client.request("$JS.API.STREAM.INFO.presently-log", Bytes::new()).await;
        let said: serde_json::Value =
            asked.ok().and_then(|said| serde_json::from_slice(&said.payload).ok()).unwrap_or_default();
        let others = said["cluster"]["replicas"].as_array().cloned().unwrap_or_default();
        let current =
            others.len() == 2 && others.iter().all(|other| other["current"] == true && other["offline"] != true);
        let place = said["cluster"]["leader"].as_str().and_then(|name| name.strip_prefix('n')?.parse().ok());
        match place {
            Some(place) if current => return place,
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// What was acknowledged, and when.
type Acknowledged = Vec<(u64, Bytes, Instant)>;

/// Appends for ever, each batch until it is acknowledged.
async fn append(engine: Arc<dyn Engine>, lane: usize, acknowledged: watch::Sender<Acknowledged>) {
    for number in 0_u64.. {
        let batch = Bytes::from(format!("{lane} {number}"));
        loop {
            match engine.append(batch.clone()).await {
                Ok(position) => {
                    break acknowledged.send_modify(|all| all.push((position, batch.clone(), Instant::now())));
                }
                Err(Trouble::TooLarge { .. }) => panic!("too large"),
                Err(Trouble::Full | Trouble::Unknown(_)) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// Reads for ever.
async fn read(mut reader: Reader, seen: watch::Sender<Acknowledged>) {
    loop {
        let (position, batch) = reader.next().await.expect("an entry");
        seen.send_modify(|all| all.push((position, batch, Instant::now())));
    }
}

/// The longest time without one after `from`.
fn gap(all: &Acknowledged, from: Instant) -> Duration {
    let times: Vec<_> = all.iter().map(|(_, _, at)| *at).filter(|at| *at >= from).collect();
    let first = times.first().map_or(Duration::ZERO, |first| *first - from);
    times.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default().max(first)
}

/// Kills the leader of the stream while batches are appended.
async fn leader(program: Program, runs: usize) {
    let mut servers = cluster(program);
    let options = options("nats", &servers.iter().collect::<Vec<_>>());
    let (writer, other) = (opened(&options).await, opened(&options).await);
    let addresses: Vec<_> = servers.iter().map(|server| format!("nats://{}", server.addr())).collect();
    for run in 1..=runs {
        let from = writer.extent().await.expect("an extent").last;
        let (acknowledged, seen) = (watch::Sender::new(Vec::new()), watch::Sender::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for lane in 0..IN_FLIGHT {
            tasks.spawn(append(writer.clone(), lane, acknowledged.clone()));
        }
        tasks.spawn(read(other.read(from), seen.clone()));
        let reached = |sender: &watch::Sender<Acknowledged>, count: usize| {
            let mut all = sender.subscribe();
            async move { all.wait_for(|all| all.len() >= count).await.expect("appends").len() }
        };
        reached(&acknowledged, 1_000).await;
        let client = async_nats::connect(&addresses).await.expect("a connection");
        let place = leads(&client).await;
        let killed = Instant::now();
        servers[place].kill();
        // Beyond the election, and some more.
        sleep(Duration::from_secs(2)).await;
        let before = acknowledged.borrow().len();
        reached(&acknowledged, before + 1_000).await;
        let last = acknowledged.borrow().iter().map(|(position, ..)| *position).max().expect("some");
        let mut there = seen.subscribe();
        there.wait_for(|all| all.last().is_some_and(|(position, ..)| *position >= last)).await.expect("a reader");
        let (acknowledged, seen) = (acknowledged.borrow().clone(), seen.borrow().clone());
        let by_place: BTreeMap<u64, Bytes> =
            seen.iter().map(|(position, batch, _)| (*position, batch.clone())).collect();
        let lost = acknowledged
            .iter()
            .filter(|(position, batch, _)| *position <= last && by_place.get(position) != Some(batch));
        let same = writer.identity() == opened(&options).await.identity();
        println!(
            "run {run}: no append for {:.2} s, nothing read for {:.2} s, {} of {} lost, the same log: {same}",
            gap(&acknowledged, killed).as_secs_f64(),
            gap(&seen, killed).as_secs_f64(),
            lost.count(),
            acknowledged.len(),
        );
        tasks.shutdown().await;
        servers[place].restart();
        leads(&client).await;
    }
}
