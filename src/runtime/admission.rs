//! Admission: bounds on connections, in all and from one address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use dashmap::DashMap;
use tracing::warn;

use crate::runtime::process;

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
    each: DashMap<IpAddr, usize>,
}

/// One connection's admission, given back when dropped.
#[derive(Debug)]
pub struct Admission {
    admissions: Arc<Admissions>,
    address: Option<IpAddr>,
}

impl Admissions {
    /// Admits at most `most` connections (0: as many as there may be open files), and `most_each` from one address (0: no
    /// bound).
    pub fn new(most: usize, most_each: usize) -> Arc<Self> {
        let files = usize::try_from(beyond_reserve(process::max_open_files())).unwrap_or(usize::MAX);
        let most = if most == 0 { files } else { most };
        if most > files {
            warn!(most, files, "more connections are allowed than there may be open files; see ulimit -n");
        }
        let (open, refused) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Admissions { most, most_each, open, refused, each: DashMap::new() })
    }

    /// Admits a connection from `address`; `None`, counted, when a bound is reached.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admission> {
        if self.open.fetch_add(1, Relaxed) >= self.most {
            self.open.fetch_sub(1, Relaxed);
            return self.refuse();
        }
        // From here on dropping the admission takes back what was counted.
        let mut admission = Admission { admissions: self.clone(), address: None };
        if self.most_each > 0 {
            let mut here = self.each.entry(address).or_insert(0);
            if *here >= self.most_each {
                drop(here);
                return self.refuse();
            }
            *here += 1;
            admission.address = Some(address);
        }
        Some(admission)
    }

    fn refuse(&self) -> Option<Admission> {
        // The 1st, 2nd, 4th, 8th …: a flood of connections is no flood of logs.
        let refused = self.refused.fetch_add(1, Relaxed) + 1;
        if refused.is_power_of_two() {
            warn!(refused, open = self.open(), most = self.most, "connections refused");
        }
        None
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// The number of refused connections.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.admissions.open.fetch_sub(1, Relaxed);
        if let Some(address) = self.address {
            self.admissions.each.remove_if_mut(&address, |_, here| {
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
        let first = admissions.admit(HERE).unwrap();
        let _second = admissions.admit(HERE).unwrap();
        assert!(admissions.admit(HERE).is_none(), "a third from one address");
        let _third = admissions.admit(THERE).unwrap();
        assert!(admissions.admit(THERE).is_none(), "a fourth in all");
        assert_eq!((admissions.open(), admissions.refused()), (3, 2));
        drop(first);
        let _again = admissions.admit(HERE).unwrap();
        assert_eq!((admissions.open(), admissions.refused()), (3, 2));
    }
}
