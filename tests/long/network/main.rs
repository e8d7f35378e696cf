//! Three gateways behind a proxy, in network namespaces, through faults that take too long for `tests/run`.
//!
//! `cargo test --release --test network-by-hand -- [blink] [cut] [slow] [loss] [leader] [engine] [kill] [vanish] [update] [MEMBERS]`: all, without a name.

mod faults;
#[path = "../../network/machines/mod.rs"]
#[allow(dead_code, reason = "the tests of tests/run use all of it")]
mod machines;
mod observer;
mod scene;

use std::future::Future;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

/// Says that the process is in a network of its own.
const INSIDE: &str = "NETWORK_OF_ITS_OWN";

/// The members of a fault, and of an update or the loss of a gateway.
const MEMBERS: (usize, usize) = (300, 3_000);

fn main() -> ExitCode {
    if std::env::var_os(INSIDE).is_none() {
        return in_own_network();
    }
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("more open files");
    machines::host::run("ip link set lo up");
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    match runtime.block_on(run(&arguments)) {
        0 => ExitCode::SUCCESS,
        bad => {
            println!("!!! {bad} failed or not run");
            ExitCode::FAILURE
        }
    }
}

/// Becomes the same program in a namespace in which it may do everything.
fn in_own_network() -> ExitCode {
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    let program = std::env::current_exe().expect("a path");
    println!("no network of its own: {}", command.arg(program).args(std::env::args().skip(1)).env(INSIDE, "").exec());
    ExitCode::FAILURE
}

/// Runs what is named; gives the number of bad ends.
async fn run(arguments: &[String]) -> usize {
    let members: Option<usize> = arguments.iter().find_map(|argument| argument.parse().ok());
    let named: Vec<&str> = arguments.iter().map(String::as_str).filter(|name| name.parse::<usize>().is_err()).collect();
    let known = ["blink", "cut", "slow", "loss", "leader", "engine", "kill", "vanish", "update"];
    assert!(named.iter().all(|name| known.contains(name)), "say {known:?}, or nothing for all");
    let (few, many) = (members.unwrap_or(MEMBERS.0), members.unwrap_or(MEMBERS.1));
    let wants = |name: &str| named.is_empty() || named.contains(&name);
    let mut bad = 0;
    if wants("blink") {
        bad += ends("cut off for 3 s", faults::short_cut(few)).await;
    }
    if wants("cut") {
        bad += ends("cut off for 12 s", faults::long_cut(few)).await;
    }
    if wants("slow") {
        bad += ends("100 ms each way to the log", faults::slow(few)).await;
    }
    if wants("loss") {
        match faults::has_nft() {
            true => bad += ends("1 % of packets lost, each way", faults::loss(few)).await,
            false => {
                println!("NOT RUN: loss: nft is not here (Debian's package nftables)");
                bad += 1;
            }
        }
    }
    if wants("leader") {
        bad += ends("the log's leader killed", faults::leader(few)).await;
    }
    if wants("engine") {
        bad += ends("all servers of the log killed, and back after 5 s", faults::engine(few)).await;
    }
    if wants("kill") {
        bad += ends("a gateway killed", faults::kill(many)).await;
    }
    if wants("vanish") {
        bad += ends("a machine gone", faults::vanish(few)).await;
    }
    if wants("update") {
        bad += ends("a rolling update", faults::update(many)).await;
    }
    bad
}

/// Runs one; 1 if it failed.
async fn ends(what: &str, fault: impl Future<Output = ()> + Send + 'static) -> usize {
    println!("{what}");
    match tokio::spawn(fault).await {
        Ok(()) => 0,
        Err(_) => {
            println!("  FAILED");
            1
        }
    }
}
