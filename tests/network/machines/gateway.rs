//! A gateway on a host of its own, with one link to clients and the proxy, and another one to the log.

use std::net::SocketAddr;

use reqwest::Client;
use rustix::process::Signal;
use serde_json::Value;

use super::host::Host;
use super::mirror::{Member, Set};
use super::program::Program;
use super::switch::{Cable, Switch};
use super::{ROOM, pause, within};

/// The first gateway's place in both networks.
const FIRST: u8 = 11;

/// As in `docker/compose.yaml`: longer than the proxy takes to notice.
const DRAIN_DELAY: &str = "7s";

const RATES: [&str; 5] = ["connections", "messages", "changes", "rooms", "snapshots"];

/// One of the gateways.
pub struct Gateway {
    pub name: String,
    pub addr: SocketAddr,
    pub host: Host,
    /// The link to the proxy and to clients.
    pub front: Cable,
    /// The link to the log.
    pub back: Cable,
    http: Client,
    arguments: Vec<String>,
    program: Option<Program>,
}

impl Gateway {
    pub async fn start(networks: (&Switch, &Switch), number: u8, http: &Client, options: &[String]) -> Self {
        let ((front, back), host) = (networks, Host::new());
        let fixed =
            format!("--listen 0.0.0.0:4000 --open --trusted-proxy {} --drain-delay {DRAIN_DELAY}", front.network());
        let mut arguments: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
        // All clients here have one address.
        arguments.extend(RATES.iter().flat_map(|rate| [format!("--rate-{rate}"), "off".to_owned()]));
        arguments.extend_from_slice(options);
        let (name, addr) = (format!("gateway-{}", number + 1), front.socket(FIRST + number, 4000));
        let [front, back] = [front, back].map(|network| network.plug(&host, FIRST + number));
        let mut gateway = Gateway { name, addr, host, front, back, http: http.clone(), arguments, program: None };
        gateway.restart().await;
        gateway
    }

    /// Starts a process, and waits until it is ready.
    pub async fn restart(&mut self) {
        let own = std::env::var("PRESENTLY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_presently").to_owned());
        let mut command = self.host.command(&own);
        command.args(&self.arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let program = self.program.insert(Program::start(&self.name, command));
        program.says("listening on http://").await;
        let ready = async {
            while !self.asks("/readyz").await.is_ok_and(|answer| answer.status() == 200) {
                pause().await;
            }
        };
        within(&format!("{} to be ready", self.name), ready).await;
    }

    /// Ends the gateway as `kill -9` does.
    pub async fn kill(&mut self) {
        self.program.take().expect("it runs").kill().await;
    }

    /// Stops the gateway as a service manager does, and waits for its end.
    pub async fn stop(&mut self) {
        let program = self.program.take().expect("it runs");
        program.signal(Signal::TERM);
        assert_eq!(program.ended().await.code(), Some(0), "{}", self.name);
    }

    pub async fn asks(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        self.http.get(format!("http://{}{path}", self.addr)).send().await
    }

    /// What the gateway answers, which must be 200.
    pub async fn told(&self, path: &str) -> Value {
        let answer = self.asks(path).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{} {path}", self.name);
        answer.json().await.expect("JSON")
    }

    /// The room's cursor, and its members.
    pub async fn set(&self) -> (String, Set) {
        let told = self.told(&format!("/api/rooms/{ROOM}/users?limit=10000")).await;
        assert!(told.get("next").is_none(), "one page has all");
        let users = told["users"].as_array().expect("users");
        (told["cursor"].as_str().expect("a cursor").to_owned(), users.iter().map(Member::parse).collect())
    }

    /// What the gateway tells of its cluster.
    pub async fn cluster(&self) -> Value {
        self.told("/api/gateway").await["cluster"].take()
    }

    /// The id of the process's life.
    pub async fn incarnation(&self) -> String {
        self.cluster().await["incarnation"].as_str().expect("an incarnation").to_owned()
    }

    /// How another incarnation stands, as this gateway sees it.
    pub async fn standing_of(&self, incarnation: &str) -> Option<String> {
        let told = self.cluster().await;
        let nodes = told["nodes"].as_array().expect("nodes");
        let node = nodes.iter().find(|node| node["incarnation"] == incarnation)?;
        Some(node["standing"].as_str().expect("a standing").to_owned())
    }

    /// The incarnations that hold a member.
    pub async fn holders(&self, user: &str) -> Vec<String> {
        let told = self.told(&format!("/api/rooms/{ROOM}/users/{user}")).await;
        let holds = told["holds"].as_array().expect("holds").iter();
        holds.filter_map(|hold| Some(hold["connection"].as_str()?.to_owned())).collect()
    }
}
