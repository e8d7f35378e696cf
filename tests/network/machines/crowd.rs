//! Many members, who come through the proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Client;
use tokio::time::timeout;

use super::cluster::Cluster;
use super::line::Transport;
use super::member::Member;
use super::{DEADLINE, pause, within};

/// The members that come at a time.
const AT_ONCE: usize = 100;

/// Each fifth says something so often, the others nothing.
const SAYS: Duration = Duration::from_secs(4);

pub type Names = BTreeSet<String>;

/// Members, a third of them by sessions.
pub struct Crowd {
    members: Vec<Member>,
    talks: Arc<AtomicBool>,
}

impl Crowd {
    pub async fn gather(http: &Client, to: SocketAddr, count: usize) -> Self {
        let (mut members, talks) = (Vec::new(), Arc::new(AtomicBool::new(false)));
        for number in 0..count {
            let transport = if number % 3 == 0 { Transport::Events } else { Transport::WebSocket };
            let says = (number % 5 == 0).then(|| (SAYS, talks.clone()));
            members.push(Member::join(http, to, transport, &format!("user-{number:04}"), says));
            if members.len() % AT_ONCE == 0 {
                all_here(&mut members).await;
            }
        }
        all_here(&mut members).await;
        Crowd { members, talks }
    }

    /// Whether some members say something now and then.
    pub fn talk(&self, talks: bool) {
        self.talks.store(talks, Ordering::SeqCst);
    }

    pub fn names(&self) -> Names {
        self.members.iter().map(|member| member.user.clone()).collect()
    }

    /// The longest time between a member's connection and the next hold.
    pub fn absence(&self) -> Duration {
        self.members.iter().map(Member::absence).max().unwrap_or_default()
    }

    /// Waits until all these are here.
    pub async fn are_back(&self, names: &Names) {
        let away = || self.members.iter().filter(|member| !member.is_here() && names.contains(&member.user));
        let coming = async {
            while away().count() > 0 {
                pause().await;
            }
        };
        if timeout(DEADLINE, coming).await.is_err() {
            panic!("these did not come back: {:?}", away().map(|member| &member.user).collect::<Vec<_>>());
        }
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
