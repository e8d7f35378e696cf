//! Three gateways, one or three servers of NATS, and a proxy: each on a host of its own.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Client;

use super::gateway::Gateway;
use super::line::Transport;
use super::mirror::Set;
use super::nats::Nats;
use super::proxy::Proxy;
use super::relay::Relay;
use super::switch::Switch;
use super::watcher::Watcher;
use super::{DEADLINE, pause};

/// The number of gateways, as in the proxy's configuration.
const GATEWAYS: u8 = 3;

/// The machines. The test's own namespace, in which all clients are, is in both networks.
pub struct Cluster {
    pub gateways: Vec<Gateway>,
    pub nats: Vec<Nats>,
    pub proxy: Proxy,
    pub http: Client,
    /// Between the gateways and the log.
    pub back: Switch,
    _front: Switch,
    _relay: Option<Relay>,
}

/// What differs from test to test.
pub struct Wanted {
    /// Different for each test that runs in this namespace.
    pub number: u8,
    pub engines: u8,
    pub drain: &'static str,
    /// How slow the way from the last gateway to the log is.
    pub slow: Option<Duration>,
}

impl Cluster {
    pub async fn start(wanted: Wanted) -> Self {
        let Wanted { number, engines, drain, slow } = wanted;
        let [front, back] = [("front", 91), ("back", 92)]
            .map(|(name, network)| Switch::new(format!("{name}{number}"), (network, number)));
        let http = Client::builder().no_proxy().build().expect("a client");
        let mut nats = Vec::new();
        for place in 0..engines {
            nats.push(Nats::start(&back, place, engines).await);
        }
        let direct = nats.iter().map(|nats| nats.addr.to_string()).collect::<Vec<_>>().join(",");
        let (mut gateways, mut relay) = (Vec::new(), None);
        for place in 0..GATEWAYS {
            let mut servers = direct.clone();
            if let Some(delay) = slow.filter(|_| place == GATEWAYS - 1) {
                let at = back.socket(1, 4222);
                relay = Some(Relay::start(at, nats[0].addr, delay).await);
                servers = at.to_string();
            }
            let options = format!("--cluster nats://{servers} --cluster-replicas {engines} --drain {drain}");
            let options: Vec<_> = options.split(' ').map(str::to_owned).collect();
            gateways.push(Gateway::start((&front, &back), place, &http, &options).await);
        }
        let addresses: Vec<SocketAddr> = gateways.iter().map(|gateway| gateway.addr).collect();
        let proxy = Proxy::start(&front, &addresses).await;
        Cluster { gateways, nats, proxy, http, back, _front: front, _relay: relay }
    }

    /// Watchers of each gateway and of the proxy, over each transport.
    pub async fn watch(&self, of_each: usize) -> Vec<Watcher> {
        let gateways = self.gateways.iter().map(|gateway| (gateway.addr, gateway.name.as_str()));
        let mut watchers = Vec::new();
        for (addr, name) in gateways.chain([(self.proxy.addr, "the proxy")]) {
            for transport in Transport::BOTH.into_iter().cycle().take(of_each) {
                watchers.push(Watcher::open(&self.http, addr, transport, name).await);
            }
        }
        watchers
    }

    /// A watcher of each gateway that asks for suspects.
    pub async fn ask(&self) -> Vec<Watcher> {
        let mut watchers = Vec::new();
        for (gateway, transport) in self.gateways.iter().zip(Transport::BOTH.into_iter().cycle()) {
            watchers.push(Watcher::asking(&self.http, gateway.addr, transport, &gateway.name).await);
        }
        watchers
    }

    /// Waits until all gateways tell the same set at the same cursor, and all watchers have it.
    pub async fn agree(&self, watchers: &[Watcher]) -> Set {
        let last = tokio::sync::watch::Sender::new(String::new());
        let agreeing = async {
            loop {
                match self.set(watchers).await {
                    Ok(set) => return set,
                    Err(differs) => {
                        last.send_replace(differs);
                        pause().await;
                    }
                }
            }
        };
        match tokio::time::timeout(DEADLINE, agreeing).await {
            Ok(set) => set,
            Err(_) => panic!("no agreement: {}", *last.borrow()),
        }
    }

    /// The set of all gateways and watchers, or what differs.
    async fn set(&self, watchers: &[Watcher]) -> Result<Set, String> {
        let (cursor, set) = self.gateways[0].set().await;
        for gateway in &self.gateways[1..] {
            let other = gateway.set().await;
            if other != (cursor.clone(), set.clone()) {
                return Err(format!(
                    "{} stands at {} with {}, not at {cursor} with {}",
                    gateway.name,
                    other.0,
                    other.1.len(),
                    set.len()
                ));
            }
        }
        for watcher in watchers {
            assert!(watcher.seen.has_changed().is_ok(), "{} has ended; a panic above says why", watcher.name);
            let seen = watcher.seen.borrow();
            if !seen.open || seen.mirror.cursor.as_ref() != Some(&cursor) || seen.mirror.users != set {
                let (at, count) = (&seen.mirror.cursor, seen.mirror.users.len());
                return Err(format!(
                    "{} (open: {}) stands at {at:?} with {count}, not at {cursor} with {}",
                    watcher.name,
                    seen.open,
                    set.len()
                ));
            }
        }
        Ok(set)
    }
}
