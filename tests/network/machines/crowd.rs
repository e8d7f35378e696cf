//! Many members, who come through the proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Client;

use super::cluster::Cluster;
use super::line::Transport;
use super::member::Member;
use super::{pause, within};

/// The members that come at a time.
const AT_ONCE: usize = 100;

/// Each tenth says something so often, the others nothing.
const SAYS: Duration = Duration::from_secs(2);

pub type Names = BTreeSet<String>;

/// Members, a third of them by sessions.
pub struct Crowd {
    members: Vec<Member>,
}

impl Crowd {
    pub async fn gather(http: &Client, to: SocketAddr, count: usize) -> Self {
        let mut members = Vec::new();
        for number in 0..count {
            let transport = if number % 3 == 0 { Transport::Events } else { Transport::WebSocket };
            let says = (number % 10 < 2).then_some(SAYS * 2);
            members.push(Member::join(http, to, transport, &format!("user-{number:04}"), says));
            if members.len() % AT_ONCE == 0 {
                all_here(&mut members).await;
            }
        }
        all_here(&mut members).await;
        Crowd { members }
    }

    pub fn names(&self) -> Names {
        self.members.iter().map(|member| member.user.clone()).collect()
    }

    /// Waits until all these are here.
    pub async fn are_back(&self, names: &Names) {
        let here = |member: &Member| member.is_here() || !names.contains(&member.user);
        let coming = async {
            while !self.members.iter().all(here) {
                pause().await;
            }
        };
        within("all members", coming).await;
    }

    /// From now on these do not come back by themselves.
    pub fn stay_away(&self, names: &Names) {
        self.members.iter().filter(|member| names.contains(&member.user)).for_each(Member::stays_away);
    }

    /// Those whom nobody but this incarnation holds.
    pub async fn held_by(&self, cluster: &Cluster, incarnation: &str) -> Names {
        let mut held = Names::new();
        for member in &self.members {
            if cluster.gateways[0].holders(&member.user).await == [incarnation] {
                held.insert(member.user.clone());
            }
        }
        held
    }

    /// How many each incarnation holds, as all gateways tell.
    pub async fn spread(cluster: &Cluster) -> BTreeMap<String, u64> {
        let told = cluster.gateways[0].cluster().await;
        let nodes = told["nodes"].as_array().expect("nodes").iter();
        nodes.map(|node| (node["incarnation"].to_string(), node["members"].as_u64().unwrap_or(0))).collect()
    }
}

async fn all_here(members: &mut [Member]) {
    for member in members {
        within(&format!("{} to join", member.user.clone()), member.comes()).await;
    }
}
