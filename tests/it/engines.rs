//! The logs that several gateways share: whatever keeps a log, it makes the same promises.
//!
//! A failure prints a seed; `PRESENTLY_SEED` repeats it. `journal::disk` runs the same test for the log on a disk.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use presently::engine::address::ClusterName;
use presently::engine::memory::Memory;
use presently::engine::open::open;
use presently::engine::options::Options;
use presently::engine::seam::Engine;

mod calls;
mod conformance;
mod nodes;
mod opening;
mod relay;
pub mod servers;

use calls::{Clusters, answers_calls};
use conformance::{Place, conforms};
use relay::Relay;
use servers::{Program, Server};

fn seed() -> u64 {
    std::env::var("PRESENTLY_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"))
}

/// A log in memory, which forgets when told.
#[derive(Default)]
struct InMemory {
    log: Memory,
    other: Memory,
    kept: u64,
}

impl Place for InMemory {
    const SHARED: bool = true;
    const NETWORK: bool = false;

    async fn open(&mut self) -> Arc<dyn Engine> {
        Arc::new(self.log.open())
    }

    async fn kill(&mut self) {}

    async fn restart(&mut self) {}

    async fn back_up(&mut self) {
        self.kept = self.log.extent().await.expect("an extent").last;
    }

    async fn restore(&mut self) {
        self.log.forget(self.kept);
    }

    async fn remove(&mut self) {
        self.log.replace();
    }
}

impl Clusters for InMemory {
    async fn open_other(&mut self) -> Arc<dyn Engine> {
        Arc::new(self.other.open())
    }
}

/// A server behind a relay.
struct Served {
    program: Program,
    server: Server,
    relay: Relay,
}

impl Served {
    async fn start(program: Program) -> Served {
        let server = Server::start(program);
        let relay = Relay::start(server.addr()).await;
        Served { program, server, relay }
    }

    fn options(&self, addr: SocketAddr) -> Options {
        let scheme = if self.program == Program::Redis { "redis" } else { "nats" };
        let mut options =
            Options::new(format!("{scheme}://{addr}").parse().expect("an address"), ClusterName::default());
        options.within = Duration::from_secs(1);
        options
    }
}

impl Place for Served {
    const SHARED: bool = true;
    const NETWORK: bool = true;

    async fn open(&mut self) -> Arc<dyn Engine> {
        open(&self.options(self.relay.addr)).await.expect("a log").engine
    }

    async fn open_directly(&mut self) -> Arc<dyn Engine> {
        open(&self.options(self.server.addr())).await.expect("a log").engine
    }

    async fn kill(&mut self) {
        self.server.kill();
    }

    async fn restart(&mut self) {
        self.server.restart();
    }

    async fn back_up(&mut self) {
        self.server.back_up();
    }

    async fn restore(&mut self) {
        self.server.restore();
    }

    async fn remove(&mut self) {
        match self.program {
            Program::Redis => self.server.tell("FLUSHALL\r\n", "+OK"),
            Program::OldNats | Program::NewNats => ["log", "snapshots"].iter().for_each(|stream| {
                let what = format!("PUB $JS.API.STREAM.DELETE.presently-{stream} answer 0\r\n\r\n");
                self.server.tell(&format!("CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\n{what}"), "MSG answer");
            }),
        }
    }

    fn mute(&mut self) {
        self.relay.mute();
    }

    async fn cut(&mut self) {
        self.relay.cut().await;
    }

    fn mend(&mut self) {
        self.relay.mend();
    }
}

impl Clusters for Served {
    async fn open_other(&mut self) -> Arc<dyn Engine> {
        let mut options = self.options(self.relay.addr);
        options.name = "other".parse().expect("a name");
        open(&options).await.expect("a log").engine
    }
}

#[tokio::test]
async fn a_log_in_memory_conforms() {
    conforms(&mut InMemory::default(), seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_the_nats_of_debian_conforms() {
    conforms(&mut Served::start(Program::OldNats).await, seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_the_newest_nats_conforms() {
    conforms(&mut Served::start(Program::NewNats).await, seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_redis_conforms() {
    conforms(&mut Served::start(Program::Redis).await, seed()).await;
}

#[tokio::test]
async fn nodes_ask_each_other_in_memory() {
    answers_calls(&mut InMemory::default(), seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_ask_each_other_over_the_nats_of_debian() {
    answers_calls(&mut Served::start(Program::OldNats).await, seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_ask_each_other_over_the_newest_nats() {
    answers_calls(&mut Served::start(Program::NewNats).await, seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_ask_each_other_over_redis() {
    answers_calls(&mut Served::start(Program::Redis).await, seed()).await;
}

#[tokio::test]
async fn databases_of_one_redis_do_not_hear_each_other() {
    let served = Served::start(Program::Redis).await;
    let [one, other] = ["0", "1"].map(|database| format!("redis://{}/{database}", served.server.addr()));
    let [one, other] =
        [one, other].map(|address| Options::new(address.parse().expect("an address"), ClusterName::default()));
    let [one, other] = [open(&one).await.expect("a log").engine, open(&other).await.expect("a log").engine];
    calls::parts(&*one, &*other, &"7".repeat(32)).await;
}
