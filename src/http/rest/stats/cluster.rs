//! A cluster's nodes, as one of them knows them.

use serde::Serialize;

use crate::journal::cluster::node::survey::{Peer, Recency, Survey};
use crate::rooms::held::Held;

/// The node that answers, and all that it knows of.
#[derive(Debug, Serialize)]
pub struct Cluster {
    incarnation: String,
    /// The last entry of the log that was read.
    position: u64,
    /// Milliseconds since a batch of this node came back.
    echo_age: u64,
    /// Whether the log is away.
    stale: bool,
    /// Whether rooms here are older than the log.
    behind: bool,
    /// Milliseconds by which this node is behind the log.
    lag: u64,
    /// What waits to be appended, or to come back.
    pending: usize,
    nodes: Vec<Node>,
}

/// One incarnation.
#[derive(Debug, Serialize)]
struct Node {
    incarnation: String,
    #[serde(rename = "self")]
    is_self: bool,
    version: Box<str>,
    standing: &'static str,
    full: bool,
    /// The entries by which the last batch was behind; `None` before one was read.
    behind: Option<u64>,
    members: u64,
}

impl Cluster {
    /// What `survey` says, with the members that each node holds.
    pub fn of(survey: Survey, held: &Held) -> Self {
        let me = survey.incarnation;
        let node = |peer: Peer| Node {
            incarnation: peer.incarnation.to_string(),
            is_self: peer.incarnation == me,
            version: peer.version,
            standing: peer.standing.word(),
            full: peer.full,
            behind: peer.behind,
            members: held.get(&peer.incarnation.hold()).copied().unwrap_or_default(),
        };
        let older = match survey.recency {
            Recency::Rereading | Recency::Behind => true,
            Recency::Stale | Recency::Current => survey.is_curtained,
        };
        Cluster {
            incarnation: me.to_string(),
            position: survey.position,
            echo_age: survey.echo_age,
            stale: survey.recency == Recency::Stale,
            behind: older,
            lag: survey.lag,
            pending: survey.pending,
            nodes: survey.nodes.into_iter().map(node).collect(),
        }
    }
}
