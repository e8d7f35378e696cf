//! Admission: bounds on connections, in all and from one address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use dashmap::DashMap;
use tracing::warn;

use crate::runtime::process;
use crate::runtime::repeats::Repeats;

/// Open files that are not connections: the listener, the executor's own, logs, and a few for the moments between
/// accepting and refusing a connection.
const RESERVE: u64 = 100;

/// Counts and bounds the open connections.
#[derive(Debug)]
pub struct Admissions {
    most: usize,
    most_each: usize,
    open: AtomicUsize,
    refused: AtomicU64,
    /// The lines about refusals, for either bound.
    refused_in_all: Repeats,
    refused_by_address: Repeats,
    each: DashMap<IpAddr, usize>,
}

/// One connection's admission, given back when dropped.
#[derive(Debug)]
pub struct Admission {
    admissions: Arc<Admissions>,
    /// The client's address, as far as it is counted.
    pub charge: Charge,
}

/// One connection of an address, given back when dropped. Empty where the address is not counted.
#[derive(Debug, Default)]
pub struct Charge(Option<(Arc<Admissions>, IpAddr)>);

impl Admissions {
    /// Admits at most `most` connections (0: as many as there may be open files), and `most_each` from one address (0: no
    /// bound).
    pub fn new(most: usize, most_each: usize) -> Arc<Self> {
        let files = usize::try_from(beyond_reserve(process::max_open_files())).unwrap_or(usize::MAX);
        let most = if most == 0 { files } else { most };
        if most > files {
            warn!(most, files, "more connections are allowed than there may be open files; see ulimit -n");
        }
        Arc::new(Admissions {
            most,
            most_each,
            open: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            refused_in_all: Repeats::new(),
            refused_by_address: Repeats::new(),
            each: DashMap::new(),
        })
    }

    /// Admits a connection, of `address` unless that is a proxy's; `None`, counted, when a bound is reached.
    pub fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Admission> {
        if self.open.fetch_add(1, Relaxed) >= self.most {
            self.open.fetch_sub(1, Relaxed);
            self.refused(&self.refused_in_all, |refused| {
                warn!(refused, open = self.open(), max_connections = self.most, "connections refused");
            });
            return None;
        }
        // From here on, dropping the admission takes back what was counted.
        let mut admission = Admission { admissions: self.clone(), charge: Charge::default() };
        if let Some(address) = address {
            admission.charge = self.charge(address)?;
        }
        Some(admission)
    }

    /// Refuses a connection for want of memory.
    pub fn refuse(&self) -> Option<Admission> {
        self.refused(&self.refused_in_all, |refused| {
            warn!(refused, open = self.open(), "connections refused for want of memory")
        });
        None
    }

    /// Counts a connection of `address`; `None`, counted, when the address has as many as it may have.
    pub fn charge(self: &Arc<Self>, address: IpAddr) -> Option<Charge> {
        if self.most_each == 0 {
            return Some(Charge::default());
        }
        let mut here = self.each.entry(address).or_insert(0);
        if *here >= self.most_each {
            drop(here);
            self.refused(&self.refused_by_address, |refused| {
                warn!(refused, %address, max_per_address = self.most_each, "connections refused");
            });
            return None;
        }
        *here += 1;
        Some(Charge(Some((self.clone(), address))))
    }

    /// Counts a refusal, and logs some of them with their number so far.
    fn refused(&self, repeats: &Repeats, log: impl FnOnce(u64)) {
        let refused = self.refused.fetch_add(1, Relaxed) + 1;
        if repeats.again().is_some() {
            log(refused);
        }
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// The number of refused connections.
    pub fn refusals(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.admissions.open.fetch_sub(1, Relaxed);
    }
}

impl Charge {
    /// Whether no address is counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some((admissions, address)) = &self.0 {
            admissions.each.remove_if_mut(address, |_, here| {
                *here -= 1;
                *here == 0
            });
        }
    }
}

/// The part of `files` for connections: where there are few files, at least half.
fn beyond_reserve(files: u64) -> u64 {
    files - RESERVE.min(files / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn few_files_are_few_connections_and_not_none() {
        let left = [0, 1, 64, 200, 1_024].map(beyond_reserve);
        assert_eq!(left, [0, 1, 32, 100, 924]);
    }

    #[test]
    fn places_are_counted_in_all_and_for_each_address_and_given_back() {
        let admissions = Admissions::new(3, 2);
        let first = admissions.admit(Some(HERE)).unwrap();
        let _second = admissions.admit(Some(HERE)).unwrap();
        assert!(admissions.admit(Some(HERE)).is_none(), "a third from one address");
        let _third = admissions.admit(Some(THERE)).unwrap();
        assert!(admissions.admit(Some(THERE)).is_none(), "a fourth in all");
        assert_eq!((admissions.open(), admissions.refusals()), (3, 2));
        drop(first);
        let _again = admissions.admit(Some(HERE)).unwrap();
        assert_eq!((admissions.open(), admissions.refusals()), (3, 2));
    }

    #[test]
    fn connections_of_a_proxy_count_for_the_addresses_that_they_are_charged_to() {
        let admissions = Admissions::new(10, 1);
        let (mut first, second) = (admissions.admit(None).unwrap(), admissions.admit(None).unwrap());
        first.charge = admissions.charge(HERE).unwrap();
        assert!(admissions.charge(HERE).is_none());
        let _there = admissions.charge(THERE).unwrap();
        drop((first, second));
        assert!(admissions.charge(HERE).is_some());
        assert_eq!((admissions.open(), admissions.refusals()), (0, 1));
    }
}
