//! The gateway as a node of a cluster: it reads the shared log before it serves, and says when it stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gateway::passes::Passes;
use crate::journal::cluster::node::{Faults, Options};
use crate::journal::entry::Rules;
use crate::journal::fold::Memory;
use crate::journal::participant::{Joining, Opening};
use crate::model::moment::{Moment, Tick};
use crate::rooms::Rooms;
use crate::rooms::cluster::Cluster;
use crate::rooms::mirror::Mirror;
use crate::runtime::clock::Clock;

/// How often one of the nodes writes a snapshot, in milliseconds: a node that starts reads at most as much of the log.
const SNAPSHOT_EVERY: u64 = 60_000;

/// Reads the log of a cluster to its end.
///
/// # Errors
///
/// A sentence: the log can't be opened or read.
pub async fn read(opening: Opening, memory: Memory, rules: Rules, clock: Arc<Clock>) -> Result<Joining, String> {
    let version = env!("CARGO_PKG_VERSION").into();
    let options = Options { version, rules, snapshot_every: SNAPSHOT_EVERY, faults: Faults::default() };
    // The gateway's clock leaves out the time in which the process is stopped, and the node has to notice that.
    let start = Instant::now();
    let now = move || Moment { tick: Tick(1) + start.elapsed(), time: clock.now().time };
    Joining::read(opening, options, memory, Box::new(now)).await
}

/// Makes the process a node: rooms and passes begin with what was read, and follow the log.
pub fn join(joining: Joining, rooms: &Arc<Rooms>, passes: &Arc<Passes>) {
    rooms.begin_with(joining.shared());
    passes.begin_with(joining.shared());
    let noted = Arc::downgrade(passes);
    let facts = Box::new(move |fact, log| {
        if let Some(passes) = noted.upgrade() {
            passes.take(fact, log);
        }
    });
    let mirror = Mirror::new(rooms, facts);
    let shown = mirror.shown();
    rooms.join_cluster(Cluster::new(joining.begin(Box::new(mirror)), shown));
    drop(tokio::spawn(Rooms::tell_asked(Arc::downgrade(rooms))));
}

/// Says that the node stops, within `limit`.
pub async fn leave(rooms: &Rooms, limit: Duration) {
    if let Some(cluster) = rooms.cluster() {
        cluster.participant().stop(limit).await;
    }
}
