//! The leases that this node owns, and their ends by the time of the log: a lease goes on while nobody could renew it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::journal::cluster::fold::LeaseKey;
use crate::journal::cluster::timing::{BEAT, SILENT};
use crate::model::hold::Lease;

/// A lease and its end.
#[derive(Debug)]
struct Own {
    lease: Arc<Lease>,
    end: u64,
    /// Its end was told: a renewal has to come behind that.
    told: bool,
}

/// The leases of one node.
#[derive(Debug, Default)]
pub struct Leases {
    own: HashMap<LeaseKey, Own>,
    ends: BTreeSet<(u64, LeaseKey)>,
}

impl Leases {
    /// Takes note of a lease of this node, from `clock` on for its whole term; or for as long as before, if `goes_on`.
    pub fn take(&mut self, key: LeaseKey, lease: Arc<Lease>, clock: u64, goes_on: bool) {
        let older = self.drop_one(&key);
        let term = clock + u64::try_from(lease.ttl.as_millis()).unwrap_or(u64::MAX >> 1);
        let end = older.filter(|_| goes_on).map_or(term, |older| older.end);
        self.ends.insert((end, key.clone()));
        self.own.insert(key, Own { lease, end, told: false });
    }

    /// Takes note of a lease that was known until `older`, if it was.
    pub fn take_until(&mut self, key: LeaseKey, lease: Arc<Lease>, clock: u64, older: Option<u64>) {
        self.take(key.clone(), lease, clock, false);
        if let (Some(end), Some(own)) = (older, self.own.get_mut(&key)) {
            self.ends.remove(&(own.end, key.clone()));
            own.end = end;
            self.ends.insert((end, key));
        }
    }

    /// Forgets a lease, and returns its end.
    pub fn remove(&mut self, key: &LeaseKey) -> Option<u64> {
        self.drop_one(key).map(|own| own.end)
    }

    /// Renews the lease without a record; false if that takes one.
    pub fn renew(&mut self, key: &LeaseKey, lease: &Arc<Lease>, clock: u64) -> bool {
        let is_own = self.own.get(key).is_some_and(|own| own.lease == *lease && !own.told);
        if is_own {
            self.take(key.clone(), lease.clone(), clock, false);
        }
        is_own
    }

    /// Forgets a lease that another node owns now.
    pub fn give_up(&mut self, key: &LeaseKey) {
        self.drop_one(key);
    }

    fn drop_one(&mut self, key: &LeaseKey) -> Option<Own> {
        let own = self.own.remove(key)?;
        self.ends.remove(&(own.end, key.clone()));
        Some(own)
    }

    /// The leases whose term is over. Those are told again after a while, since the record may be lost.
    pub fn due(&mut self, clock: u64) -> Vec<(LeaseKey, Arc<Lease>)> {
        let mut due = Vec::new();
        while self.ends.first().is_some_and(|(end, _)| *end <= clock) {
            let Some((_, key)) = self.ends.pop_first() else { break };
            let Some(own) = self.own.get_mut(&key) else { continue };
            (own.end, own.told) = (clock + SILENT + BEAT, true);
            due.push((key.clone(), own.lease.clone()));
            self.ends.insert((own.end, key));
        }
        due
    }

    /// All of them, each with its end.
    pub fn all(&self) -> impl Iterator<Item = (&LeaseKey, &Arc<Lease>, u64)> {
        self.own.iter().map(|(key, own)| (key, &own.lease, own.end))
    }
}
