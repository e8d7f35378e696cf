//! How many members each connection holds: in a cluster, all clients of a node are one connection.

use std::collections::HashMap;

use tokio::task::yield_now;

use crate::model::hold::{HoldKind, Holds};
use crate::model::id::ConnectionId;
use crate::model::roster::Mark;
use crate::rooms::directory::Directory;

/// Members read before other tasks get their turn: less than a millisecond.
const SLICE: usize = 8_192;

/// The number of members held by each connection; a user counts once in each room.
pub type Held = HashMap<ConnectionId, u64>;

/// Reads the rooms, each at a moment of its own and not under its lock.
pub async fn read(directory: &Directory) -> Held {
    let (mut held, mut since) = (Held::new(), 0);
    for name in directory.registers().index.all() {
        let Some(room) = directory.find(&name) else { continue };
        // Copied by references to parts of it.
        let roster = room.read(|presence| presence.roster().clone());
        for (_, holds) in roster.held_from(Mark::default()) {
            holds.into_iter().for_each(|holds| count(holds, &mut held));
            since += 1;
            if since % SLICE == 0 {
                yield_now().await;
            }
        }
        since += 1;
    }
    held
}

fn count(holds: &Holds, held: &mut Held) {
    for hold in holds.iter() {
        match &hold.kind {
            HoldKind::Connection(hold) => *held.entry(hold.connection).or_default() += 1,
            HoldKind::SignIn { .. } => {}
        }
    }
}
