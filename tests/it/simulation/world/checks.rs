//! What must be so in a world.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use presently::cluster::attendance::Key;
use presently::cluster::fold::Shared;
use presently::cluster::roll::Standing;
use presently::cluster::snapshot::Snapshot;
use presently::model::event::DelReason;
use presently::model::hold::{HoldKind, Holds};
use presently::model::id::ConnectionId;
use presently::model::name::HoldName;
use presently::model::roster::Mark;

use super::*;
use crate::simulation::clients::Tab;
use crate::simulation::readers::Gone;

/// Where readers ask, the holds of suspect nodes are silent, and no others are anywhere.
pub(super) fn suspicion(shared: &Shared) -> Result<(), String> {
    for room in shared.rooms() {
        let held = room.roster().held_from(Mark::default());
        for hold in held.flat_map(|(_, holds)| holds.into_iter().flat_map(Holds::connections)) {
            let node = Incarnation(hold.connection.0);
            let suspect = match shared.roll.lives.get(&node).map(|life| life.standing) {
                Some(Standing::Suspect(_)) => true,
                Some(Standing::Live | Standing::Down(_)) => false,
                // Its holds end at once, or are said again.
                Some(Standing::Replaced(_)) | None => continue,
            };
            if hold.silent != (suspect && shared.is_asked(room.room())) {
                return Err(format!("a hold of {node} in {} is silent or not: {}", room.room(), hold.silent));
            }
        }
    }
    Ok(())
}

impl World {
    /// Nobody leaves who is connected to a node that is well.
    pub(super) fn judge(&mut self, seat: usize, gone: &Gone, is_news: bool) -> Result<(), String> {
        let key: Key = (gone.room.clone(), gone.user.clone());
        self.tally.reaps += u64::from(gone.reason == DelReason::NodeLost);
        let what = format!("{} in {} is gone on node {seat} ({:?})", gone.user, gone.room, gone.reason);
        if self.mode.is_strict() && gone.reason == DelReason::NodeLost {
            return Err(format!("{what}, and no node was lost"));
        }
        let signed_out = self.truth.kicked.get(&key).is_some_and(|at| self.now < at + 15_000);
        if !is_news || signed_out || gone.reason == DelReason::SignedOut || gone.reason == DelReason::Kicked {
            return Ok(());
        }
        for (id, tab) in self.tabs.open.iter().filter(|(_, tab)| tab.key == key) {
            let host = &self.seats[tab.seat];
            let well = |seat: &Seat| self.now > seat.troubled + 15_000;
            let steady = self.now > tab.since + 6_000 && self.now > self.engine_troubled + 15_000;
            let all_well = steady && well(host) && well(&self.seats[seat]) && self.now > host.born + 10_000;
            let counts = all_well || self.mode.is_strict() && self.now > tab.since + 35_000;
            let holds = host.node.as_ref().is_some_and(|node| node.attendance().has(&key, *id));
            if counts && holds && !host.asleep && !host.cut {
                return Err(format!("{what}, held on node {} since {}", tab.seat, tab.since - START));
            }
        }
        Ok(())
    }

    /// When all is quiet: every node has what is true.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let nodes: Vec<_> = self.seats.iter().map(|seat| seat.node.as_ref().unwrap()).collect();
        self.check_nodes(&nodes)?;
        let epochs: HashSet<_> = nodes[0].shared().rooms().map(|room| room.head().epoch.0).collect();
        let witnessed = !self.truth.lacks_witnesses();
        if witnessed && self.names.ambiguous.iter().any(|epoch| epochs.contains(epoch)) {
            return Err("a cursor of the last generation names two events".into());
        }
        let steady = self.seats.len() * ROOMS;
        for reader in self.readers.iter().take(if witnessed { usize::MAX } else { steady }) {
            reader.check(nodes[reader.seat])?;
        }
        if let Some(what) = self.truth.unanswered() {
            return Err(format!("no answer: {what}"));
        }
        let (signed, unsure, nothing) = self.truth.sign_ins();
        let held: BTreeSet<_> = self.tabs.open.values().map(|tab| tab.key.clone()).collect();
        let known = |key: &Key| !nothing && !unsure.contains(key);
        let ghost = |(id, tab): &(&ConnectionId, &Tab)| !nodes[tab.seat].attendance().has(&tab.key, **id);
        if let Some(tab) = self.tabs.open.iter().find(ghost) {
            return Err(format!("{tab:?} believes that it holds"));
        }
        let set = members(nodes[0]);
        if let Some(key) = held.iter().find(|key| !set.contains_key(*key)) {
            return Err(format!("{key:?} is held, and not in the set"));
        }
        for (key, (connections, sign_ins, meta)) in &set {
            let expected: Vec<_> = signed.get(key).into_iter().flat_map(|of| of.keys().cloned()).collect();
            if known(key) && expected != *sign_ins {
                return Err(format!("{key:?} has the sign-ins {sign_ins:?} and not {expected:?}"));
            }
            let seats: BTreeSet<_> =
                self.tabs.open.values().filter(|tab| tab.key == *key).map(|tab| tab.seat).collect();
            let ids: BTreeSet<_> = seats.iter().map(|seat| nodes[*seat].id().hold()).collect();
            if *connections != ids {
                return Err(format!("{key:?} is held by {connections:?} and not by {ids:?}"));
            }
            let (Some(meta), Some(seat), true) = (meta, seats.first(), sign_ins.is_empty()) else { continue };
            let said = self.tabs.top(*seat, key).map_or("{}", |(statement, _)| statement.meta.as_str());
            if seats.len() == 1 && said != meta {
                return Err(format!("{key:?} says {meta} and not {said}"));
            }
        }
        if let Some(key) = signed.keys().find(|key| known(key) && !set.contains_key(*key)) {
            return Err(format!("the sign-in of {key:?} is gone"));
        }
        self.tally.events += self.names.count;
        self.tally.suspects += self.names.suspects;
        self.tally.netted += self.names.netted;
        self.tally.snapshots += self.names.snapshots;
        self.tally.answers += self.truth.answers;
        self.tally.refused += self.truth.refused;
        Ok(())
    }

    fn check_nodes(&self, nodes: &[&Node]) -> Result<(), String> {
        let first: Vec<_> = Snapshot::of(nodes[0].shared()).parts().collect();
        let longest = nodes.iter().map(|node| node.shared().roll.seen.position).max();
        for (seat, node) in nodes.iter().enumerate() {
            let roll = &node.shared().roll;
            if Some(roll.seen.position) == longest && longest == Some(nodes[0].shared().roll.seen.position) {
                let parts: Vec<_> = Snapshot::of(node.shared()).parts().collect();
                if parts != first {
                    return Err(format!("node {seat} has another state"));
                }
            }
            if node.is_stale(self.moment(seat)) || node.is_curtained() || node.trouble().is_some() {
                return Err(format!("node {seat} is not well: {:?} {:?}", node.trouble(), node.is_curtained()));
            }
            let live = roll.lives.values().filter(|life| life.standing == Standing::Live).count();
            if live != nodes.len() || roll.lives.len() != live {
                return Err(format!("the roll has {:?}", roll.lives));
            }
        }
        Ok(())
    }
}

type Holders = (BTreeSet<ConnectionId>, Vec<Option<HoldName>>, Option<String>);

/// All members: the nodes that hold each, the sign-ins, and the `meta` unless something was said for the member.
fn members(node: &Node) -> BTreeMap<Key, Holders> {
    let mut all = BTreeMap::new();
    for room in node.shared().rooms() {
        for member in room.roster().iter_from(Mark::default()) {
            let holds = room.roster().holds(&member.user).unwrap();
            let (mut connections, mut sign_ins) = (BTreeSet::new(), Vec::new());
            for hold in holds.iter() {
                match &hold.kind {
                    HoldKind::Connection(hold) => drop(connections.insert(hold.connection)),
                    HoldKind::SignIn { name, .. } => sign_ins.push(name.clone()),
                }
            }
            sign_ins.sort_unstable();
            let meta = holds.of_member().is_none().then(|| member.meta.as_str().to_owned());
            all.insert((room.room().clone(), member.user.clone()), (connections, sign_ins, meta));
        }
    }
    all
}
