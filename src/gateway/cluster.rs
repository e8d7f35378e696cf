//! The gateway as a node of a cluster: it reads the shared log before it serves, and says when it stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gateway::passes::Passes;
use crate::journal::cluster::node::survey::Recency;
use crate::journal::cluster::node::{Faults, Options};
use crate::journal::cluster::record::Record;
use crate::journal::entry::Rules;
use crate::journal::fold::Memory;
use crate::journal::participant::keeper::Keeper;
use crate::journal::participant::{Joining, Opening};
use crate::model::command::Command;
use crate::model::moment::{Moment, Tick};
use crate::model::name::Name;
use crate::rooms::Rooms;
use crate::rooms::cluster::Cluster;
use crate::rooms::mirror::Mirror;
use crate::runtime::clock::Clock;

/// How often one of the nodes writes a snapshot into the log, and each node one into the directory of `--data`, in milliseconds: a
/// node that starts reads at most as much of the log.
const SNAPSHOT_EVERY: u64 = 60_000;

/// Reads the log of a cluster to its end, or the node's own snapshot from the directory of `keeper`, where the log is away.
///
/// # Errors
///
/// A sentence: the log can't be opened or read.
pub async fn read(
    opening: Opening,
    keeper: Option<Arc<Keeper>>,
    memory: Memory,
    rules: Rules,
    clock: Arc<Clock>,
) -> Result<Joining, String> {
    let version = env!("CARGO_PKG_VERSION").into();
    let options = Options { version, rules, snapshot_every: SNAPSHOT_EVERY, faults: Faults::default() };
    // The gateway's clock leaves out the time in which the process is stopped, and the node has to notice that.
    let start = Instant::now();
    let now = move || Moment { tick: Tick(1) + start.elapsed(), time: clock.now().time };
    Joining::read(opening, keeper, options, memory, Box::new(now)).await
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

/// Whether the node has not reached the log yet. Then it is asked for `commands` in the lobby without a wait for what comes of them.
pub fn begins_later(rooms: &Rooms, commands: &[Command]) -> bool {
    let away = rooms.cluster().filter(|cluster| cluster.recency() == Recency::Stale);
    if let Some(cluster) = away {
        let record = Record::Change { room: Name::lobby(), commands: commands.to_vec() };
        // Whoever may not be a member is none.
        drop(cluster.ask(record));
    }
    away.is_some()
}

/// Says that the node stops, within `limit`.
pub async fn leave(rooms: &Rooms, limit: Duration) {
    if let Some(cluster) = rooms.cluster() {
        cluster.participant().stop(limit).await;
    }
}
