//! Admission: bounds on connections, in all and from one address, and the reserve for health checks and operators.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::timeout;
use tracing::warn;

use crate::runtime::idle::{Activity, Entry, IdleQueue};
use crate::runtime::process;
use crate::runtime::repeats::Repeats;

/// Open files that are not connections: the listener, the executor's own, logs, and a few for the moments between
/// accepting and refusing a connection.
const RESERVE: u64 = 100;

/// Connections beyond the bound: for operators, or otherwise for health checks while all places are taken.
const RESERVED: usize = 16;

/// Connections that have to give way and are not closed yet: each still has its file and its memory.
const LEAVING: usize = 32;

/// The longest time for which a newcomer waits for others to leave: longer than these may stay.
const SETTLED_WITHIN: Duration = Duration::from_millis(500);

/// Counts and bounds the open connections.
#[derive(Debug)]
pub struct Admissions {
    most: usize,
    most_each: usize,
    open: AtomicUsize,
    refused: AtomicU64,
    /// The HTTP connections among the open ones.
    idle: Arc<IdleQueue>,
    /// The open connections beyond the bound.
    reserved: AtomicUsize,
    reserved_idle: Arc<IdleQueue>,
    /// The lines about idle connections that gave way, and about refusals, for either bound.
    gave_way: Repeats,
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

/// A connection that speaks HTTP: a request may make it a stream.
#[derive(Debug)]
pub struct Visit {
    entry: Entry,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Counted(Admission),
    Reserved { _place: Reserved },
}

/// A place beyond the bound, given back when dropped.
#[derive(Debug)]
struct Reserved(Arc<Admissions>);

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
            idle: Arc::default(),
            reserved: AtomicUsize::new(0),
            reserved_idle: Arc::default(),
            gave_way: Repeats::new(),
            refused_in_all: Repeats::new(),
            refused_by_address: Repeats::new(),
            each: DashMap::new(),
        })
    }

    /// Admits a connection, of `address` unless that is a proxy's. While all places are taken, the connection gets the place
    /// of one that is idle in HTTP, and otherwise one beyond the bound if `spares`. `None`, counted, when a bound is reached.
    ///
    /// There is memory for `most_in_http` connections that are no streams. Any of them gives way for a newcomer: whose presence
    /// a newcomer keeps is not known before its request is read.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>, spares: bool, most_in_http: usize) -> Option<Visit> {
        let charge = address.map_or_else(|| Some(Charge::default()), |address| self.charge(address))?;
        if let Some(admission) = self.place(charge, most_in_http) {
            return Some(Visit { entry: self.idle.enter(), place: Place::Counted(admission) });
        }
        let spare = if spares { self.enter_reserved() } else { None };
        if spare.is_none() {
            self.turn_away();
        }
        spare
    }

    /// Ends those of more than `most` connections that are no streams whose last step was earliest, a bounded number at once;
    /// true when more have to go.
    pub fn shed(&self, most: usize) -> bool {
        (0..LEAVING).all(|_| self.idle.len() > most && self.idle.any_gives_way())
    }

    /// Waits, for a short time, until there are fewer than `most` connections that are no streams or one of them may give way. A
    /// flood of newcomers waits in the kernel, where a connection takes less memory.
    pub async fn settled(&self, most: usize) {
        let settled = async {
            loop {
                let left = self.idle.left();
                let wait = match self.idle.leaving() < LEAVING {
                    true if self.idle.len() < most => return,
                    true => self.idle.patience(),
                    false => Some(SETTLED_WITHIN),
                };
                let Some(wait) = wait else {
                    return;
                };
                let _ = timeout(wait, left).await;
            }
        };
        let _ = timeout(SETTLED_WITHIN, settled).await;
    }

    /// Admits a connection beyond the bound, if need be instead of an idle one there.
    pub fn enter_reserved(self: &Arc<Self>) -> Option<Visit> {
        let open = self.reserved.fetch_add(1, Relaxed);
        // From here on, dropping the place takes back what was counted.
        let place = Place::Reserved { _place: Reserved(self.clone()) };
        let has_place = open < RESERVED || open < RESERVED + LEAVING && self.reserved_idle.idle_gives_way();
        has_place.then(|| Visit { entry: self.reserved_idle.enter(), place })
    }

    fn place(self: &Arc<Self>, charge: Charge, most_in_http: usize) -> Option<Admission> {
        let open = self.open.fetch_add(1, Relaxed);
        // From here on, dropping the admission takes back what was counted.
        let admission = Admission { admissions: self.clone(), charge };
        let is_short = self.idle.len() >= most_in_http;
        if open < self.most && !is_short {
            return Some(admission);
        }
        let gave_way = open < self.most.saturating_add(LEAVING)
            && match is_short {
                true => self.idle.leaving() < 2 * LEAVING && self.idle.any_gives_way(),
                false => self.idle.idle_gives_way(),
            };
        if gave_way && let Some(times) = self.gave_way.again() {
            warn!(
                times,
                max_connections = self.most,
                short_of_memory = is_short,
                "idle connections closed for new ones"
            );
        }
        gave_way.then_some(admission)
    }

    /// Counts a connection that found all places taken.
    pub fn turn_away(&self) {
        self.refused(&self.refused_in_all, |refused| {
            warn!(refused, open = self.open(), max_connections = self.most, "connections refused");
        });
    }

    /// Counts a connection of `address`; `None`, counted, when the address has as many as it may have. Addresses of one
    /// [`network`] count as one.
    pub fn charge(self: &Arc<Self>, address: IpAddr) -> Option<Charge> {
        if self.most_each == 0 {
            return Some(Charge::default());
        }
        let address = network(address);
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

    /// The maximum number of open connections.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The number of open connections, without those beyond the bound.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// The number of refused connections.
    pub fn refusals(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

impl Visit {
    /// What the connection does.
    pub fn activity(&self) -> &Arc<Activity> {
        self.entry.activity()
    }

    /// Whether the connection has a place beyond the bound.
    pub fn is_reserved(&self) -> bool {
        matches!(self.place, Place::Reserved { .. })
    }

    /// The admission of a stream, which never gives way; `None` for a place beyond the bound.
    pub fn into_admission(self) -> Option<Admission> {
        match self.place {
            Place::Counted(admission) => Some(admission),
            Place::Reserved { .. } => None,
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.reserved.fetch_sub(1, Relaxed);
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

/// The addresses that count as one: of IPv6 the /64, because one customer has at least that many (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
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
        let stream = |address| admissions.enter(Some(address), false, usize::MAX).and_then(Visit::into_admission);
        let first = stream(HERE).unwrap();
        let _second = stream(HERE).unwrap();
        assert!(stream(HERE).is_none(), "a third from one address");
        let _third = stream(THERE).unwrap();
        assert!(stream(THERE).is_none(), "a fourth in all");
        assert_eq!((admissions.open(), admissions.refusals()), (3, 2));
        drop(first);
        let _again = stream(HERE).unwrap();
        assert_eq!((admissions.open(), admissions.refusals()), (3, 2));
    }

    #[test]
    fn addresses_of_one_64_count_as_one() {
        let admissions = Admissions::new(10, 1);
        let charge = |address: &str| admissions.charge(address.parse().unwrap());
        let _held = [charge("2001:db8:1::1").unwrap(), charge("192.0.2.1").unwrap()];
        for same in ["2001:db8:1::abcd", "2001:db8:1:0:ffff::1", "::ffff:192.0.2.1"] {
            assert!(charge(same).is_none(), "{same}");
        }
        for other in ["2001:db8:1:1::1", "192.0.2.2", "::ffff:192.0.2.2"] {
            assert!(charge(other).is_some(), "{other}");
        }
    }

    #[test]
    fn idle_connections_give_way_and_streams_and_requests_do_not() {
        let admissions = Admissions::new(2, 0);
        let (asking, idle) =
            (admissions.enter(None, true, usize::MAX).unwrap(), admissions.enter(None, true, usize::MAX).unwrap());
        assert!(asking.activity().begin());
        let new = admissions.enter(None, true, usize::MAX).unwrap();
        assert!(!new.is_reserved() && !idle.activity().begin(), "the idle one gives way");
        drop(idle);
        let _streams = [asking, new].map(|visit| visit.into_admission().unwrap());
        assert!(admissions.enter(None, false, usize::MAX).is_none());
        assert_eq!((admissions.open(), admissions.refusals()), (2, 1));
    }

    #[tokio::test]
    async fn any_connection_that_is_no_stream_gives_way_when_memory_for_them_is_short() {
        let admissions = Admissions::new(10, 0);
        let enter = |most| admissions.enter(None, true, most).unwrap();
        let stream = enter(2).into_admission().unwrap();
        let (asking, idle) = (enter(2), enter(2));
        assert!(asking.activity().begin());
        admissions.settled(2).await;
        let new = enter(2);
        assert!(!new.is_reserved() && !idle.activity().begin(), "the one whose last step was earliest");
        admissions.settled(2).await;
        let newer = enter(2);
        assert!(!newer.is_reserved() && !asking.activity().begin(), "one amid its request");
        let more: Vec<_> = (0..4).map(|_| enter(usize::MAX)).collect();
        assert!(!admissions.shed(1) && admissions.idle.len() == 6, "too young");
        admissions.settled(1).await;
        while admissions.idle.len() > 1 {
            admissions.shed(1);
            std::thread::yield_now();
        }
        assert!(more[3].activity().begin(), "the one whose step was last");
        drop((stream, asking, idle, new, newer, more));
        assert_eq!((admissions.open(), admissions.refusals(), admissions.idle.leaving()), (0, 0, 0));
    }

    #[test]
    fn beyond_the_bound_there_are_places_that_are_no_streams() {
        let admissions = Admissions::new(1, 0);
        let _stream = admissions.enter(None, true, usize::MAX).and_then(Visit::into_admission).unwrap();
        let mut spares: Vec<_> = (0..RESERVED).map(|_| admissions.enter(None, true, usize::MAX).unwrap()).collect();
        assert!(spares.iter().all(|spare| spare.activity().begin() && spare.is_reserved()));
        assert!(admissions.enter(None, true, usize::MAX).is_none(), "all are amid a request");
        assert_eq!((admissions.open(), admissions.refusals()), (1, 1));
        spares[3].activity().rest();
        let new = admissions.enter(None, true, usize::MAX).unwrap();
        assert!(!spares[3].activity().begin(), "idle, so it gives way");
        assert!(spares.remove(0).into_admission().is_none());
        drop((spares, new));
        assert_eq!(admissions.reserved.load(Relaxed), 0);
    }

    #[test]
    fn connections_of_a_proxy_count_for_the_addresses_that_they_are_charged_to() {
        let admissions = Admissions::new(10, 1);
        let proxied = || admissions.enter(None, false, usize::MAX).and_then(Visit::into_admission).unwrap();
        let (mut first, second) = (proxied(), proxied());
        first.charge = admissions.charge(HERE).unwrap();
        assert!(admissions.charge(HERE).is_none());
        let _there = admissions.charge(THERE).unwrap();
        drop((first, second));
        assert!(admissions.charge(HERE).is_some());
        assert_eq!((admissions.open(), admissions.refusals()), (0, 1));
    }
}
