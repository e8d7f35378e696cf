//! Rates: how often a client may do what costs others something.
//!
//! Each address has a bucket for each kind of work, and so has each connection that sends messages: a tenth of the address's,
//! so that one client cannot use up what all clients behind a router share. A full bucket holds a minute's worth, so that all
//! of them may come back at once after a restart of the gateway.

mod table;

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{InsufficientCapacity, NotUntil, Quota, RateLimiter};
use tracing::warn;

use crate::runtime::repeats::Repeats;
use table::{Key, Table};

/// The part of an address's rates that one connection may have.
const OF_AN_ADDRESS: u32 = 10;

/// The shortest pause in reading: the executor's timers are no finer.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The highest rate a second.
const MAX_A_SECOND: u32 = 1_000_000;

/// A kind of work with a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A new connection; behind a proxy, a new stream.
    Connections,
    /// A message over a WebSocket or a session.
    Messages,
    /// A change of one user.
    Changes,
    /// A room that begins to exist.
    Rooms,
    /// A page of members or rooms, or a stream that begins anew.
    Snapshots,
}

impl Work {
    /// All kinds, in order.
    pub const ALL: [Work; 5] = [Work::Connections, Work::Messages, Work::Changes, Work::Rooms, Work::Snapshots];

    /// The name, as in the option `--rate-NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Work::Connections => "connections",
            Work::Messages => "messages",
            Work::Changes => "changes",
            Work::Rooms => "rooms",
            Work::Snapshots => "snapshots",
        }
    }
}

/// A rate in times a minute, which is also what a full bucket holds; `None` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(Option<NonZeroU32>);

impl Rate {
    /// `times` a second.
    pub const fn a_second(times: u32) -> Self {
        Rate(NonZeroU32::new(times * 60))
    }

    /// The rate of one connection.
    fn of_connection(self) -> Self {
        Rate(self.0.and_then(|times| NonZeroU32::new(times.get().div_ceil(OF_AN_ADDRESS))))
    }
}

impl FromStr for Rate {
    type Err = String;

    /// Reads `50/s`, `90/min` or `off`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mistake = || format!("write 50/s, 90/min or off; at least 1/min, at most {MAX_A_SECOND}/s");
        if text == "off" {
            return Ok(Rate(None));
        }
        let (times, unit) = text.split_once('/').ok_or_else(mistake)?;
        let times: u32 = times.parse().map_err(|_| mistake())?;
        let a_minute = match unit {
            "s" if times <= MAX_A_SECOND => NonZeroU32::new(times * 60),
            "min" if times <= MAX_A_SECOND * 60 => NonZeroU32::new(times),
            _ => None,
        };
        a_minute.map(|times| Rate(Some(times))).ok_or_else(mistake)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.map(NonZeroU32::get) {
            None => f.write_str("off"),
            Some(times) if times.is_multiple_of(60) => write!(f, "{}/s", times / 60),
            Some(times) => write!(f, "{times}/min"),
        }
    }
}

/// A client's address, and whether rates count for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The address.
    pub address: IpAddr,
    /// Whether the address has rates.
    pub is_counted: bool,
}

impl Source {
    /// A client that connects itself. Addresses of this machine and of private networks have no rates: behind them are a
    /// proxy, which is many people, or the operator's own servers.
    pub fn direct(address: IpAddr) -> Self {
        Source { address, is_counted: !address.is_loopback() && !is_private(address) }
    }

    /// A client that a trusted proxy reports. Such an address is one client's, also in a private network.
    pub fn reported(address: IpAddr) -> Self {
        Source { address, is_counted: !address.is_loopback() }
    }

    /// A trusted proxy that reports no client.
    pub fn proxy(address: IpAddr) -> Self {
        Source { address, is_counted: false }
    }
}

/// Whether an address is of a network that is not the internet (RFC 1918, 3927, 4193, 4291 and 6598).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xC0 == 64;
            v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// What has one bucket: an IPv4 address, or the /64 of an IPv6 address, since every subscriber has a whole one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Somebody does something faster than the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFast {
    /// What.
    pub work: Work,
    /// The rate that was passed.
    pub rate: Rate,
    /// Whether the rate is that of the connection, and not of the address.
    pub of_connection: bool,
    /// The time until it may be done again, if nobody else of the address does it before.
    pub wait: Duration,
}

type ByAddress<C> = RateLimiter<Key, Table, C, NoOpMiddleware<<C as Clock>::Instant>>;
type ByConnection<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The rates of all addresses. The table of buckets is bounded, whatever the number of addresses.
#[derive(Debug)]
pub struct Rates<C: Clock = MonotonicClock> {
    rates: [Rate; 5],
    by_address: [Option<ByAddress<C>>; 5],
    /// Random, so that nobody can choose addresses that share a place in the table.
    hashes: RandomState,
    clock: C,
    exceeded: [AtomicU64; 5],
    lines: Repeats,
}

impl Rates {
    /// The rates of connections, messages, changes, rooms and snapshots.
    pub fn new(rates: [Rate; 5]) -> Self {
        Rates::with_clock(rates, MonotonicClock)
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock(rates: [Rate; 5], clock: C) -> Self {
        let table = Table::new();
        let limiter = |rate: Rate| Some(RateLimiter::new(quota(rate)?, table.clone(), clock.clone()));
        let (by_address, hashes) = (rates.map(limiter), RandomState::new());
        Rates { rates, by_address, hashes, clock, exceeded: Default::default(), lines: Repeats::new() }
    }

    /// Judges `times` of `work` by `source`, and counts them unless refused.
    ///
    /// # Errors
    ///
    /// [`TooFast`], when that is more than the address's bucket holds now.
    pub fn check(&self, source: Source, work: Work, times: u32) -> Result<(), TooFast> {
        self.check_address(source, work, times).inspect_err(|_| self.count(work))
    }

    fn check_address(&self, source: Source, work: Work, times: u32) -> Result<(), TooFast> {
        let (Some(limiter), true) = (&self.by_address[work as usize], source.is_counted) else {
            return Ok(());
        };
        let key = Key(self.hashes.hash_one((work as usize, network(source.address))));
        let checked = all_or_most(times, |n| limiter.check_key_n(&key, n));
        checked.map_err(|until| self.too_fast(work, self.rates[work as usize], false, &until))
    }

    /// Whether `source` may make a new connection. Logs some of the refusals.
    pub fn admits(&self, source: Source) -> bool {
        let checked = self.check(source, Work::Connections, 1);
        if checked.is_err()
            && let Some(times) = self.lines.again()
        {
            let (address, rate) = (source.address, self.rates[Work::Connections as usize]);
            warn!(times, %address, rate_connections = %rate, "connections refused");
        }
        checked.is_ok()
    }

    /// How often `work` was too fast.
    pub fn exceeded(&self, work: Work) -> u64 {
        self.exceeded[work as usize].load(Relaxed)
    }

    fn count(&self, work: Work) {
        self.exceeded[work as usize].fetch_add(1, Relaxed);
    }

    fn too_fast(&self, work: Work, rate: Rate, of_connection: bool, until: &NotUntil<C::Instant>) -> TooFast {
        TooFast { work, rate, of_connection, wait: until.wait_time_from(self.clock.now()) }
    }
}

/// A bucket that holds a minute's worth.
fn quota(rate: Rate) -> Option<Quota> {
    rate.0.map(Quota::per_minute)
}

/// Takes `times` from a bucket, or all that a full bucket holds, if that is less: otherwise, it could never be done.
fn all_or_most<E>(
    times: u32,
    take: impl Fn(NonZeroU32) -> Result<Result<(), E>, InsufficientCapacity>,
) -> Result<(), E> {
    let Some(times) = NonZeroU32::new(times) else {
        return Ok(());
    };
    let most = |InsufficientCapacity(most)| NonZeroU32::new(most).and_then(|most| take(most).ok());
    take(times).unwrap_or_else(|error| most(error).unwrap_or(Ok(())))
}

/// The rates of one connection, beside those of its address.
///
/// Messages are counted when they have been read. What is then too much has to be paid before more is read.
#[derive(Debug)]
pub struct Pace<C: Clock = MonotonicClock> {
    rates: Arc<Rates<C>>,
    source: Source,
    by_connection: [Option<ByConnection<C>>; 5],
    /// Messages that were read and not counted yet, by the connection and by its address.
    owed: Cell<(u32, u32)>,
    is_paused: Cell<bool>,
    /// Snapshots that are free, because the connection took the place of others.
    free_snapshots: Cell<u32>,
}

impl<C: Clock + Clone> Pace<C> {
    /// The rates of a new connection of `source`.
    pub fn new(rates: &Arc<Rates<C>>, source: Source) -> Self {
        let limiter = |rate: Rate| {
            Some(RateLimiter::new(quota(rate.of_connection())?, InMemoryState::default(), rates.clock.clone()))
        };
        let (owed, free_snapshots) = (Cell::new((0, 0)), Cell::new(0));
        let by_connection = rates.rates.map(limiter);
        Pace { rates: rates.clone(), source, by_connection, owed, is_paused: Cell::new(false), free_snapshots }
    }

    /// Judges `times` of `work`, as [`Rates::check`] for the connection and for its address.
    ///
    /// # Errors
    ///
    /// [`TooFast`].
    pub fn check(&self, work: Work, times: u32) -> Result<(), TooFast> {
        if work == Work::Snapshots && self.free_snapshots.get() > 0 {
            self.free_snapshots.set(self.free_snapshots.get() - 1);
            return Ok(());
        }
        let checked = self.check_connection(work, times);
        let checked = checked.and_then(|()| self.rates.check_address(self.source, work, times));
        checked.inspect_err(|_| self.rates.count(work))
    }

    fn check_connection(&self, work: Work, times: u32) -> Result<(), TooFast> {
        let Some(limiter) = &self.by_connection[work as usize] else {
            return Ok(());
        };
        let rate = self.rates.rates[work as usize].of_connection();
        all_or_most(times, |n| limiter.check_n(n)).map_err(|until| self.rates.too_fast(work, rate, true, &until))
    }

    /// The client.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Notes a message of the client.
    pub fn heard(&self) {
        let (own, shared) = self.owed.get();
        self.owed.set((own.saturating_add(1), shared.saturating_add(1)));
    }

    /// Notes that the last message took the place of the client's own hold: the message is free, and a snapshot.
    pub fn returned(&self) {
        let (own, shared) = self.owed.get();
        self.owed.set((own.saturating_sub(1), shared.saturating_sub(1)));
        self.free_snapshots.set(self.free_snapshots.get().saturating_add(1));
    }

    /// Counts the messages that were read. Returns the time to wait before more are read, if they were too many; ask again
    /// afterwards.
    pub fn pause(&self) -> Option<Duration> {
        let paid = self.pay();
        // A pause that is prolonged is still one pause.
        if paid.is_err() && !self.is_paused.get() {
            self.rates.count(Work::Messages);
        }
        self.is_paused.set(paid.is_err());
        paid.err().map(|too_fast| too_fast.wait.max(SHORTEST_PAUSE))
    }

    fn pay(&self) -> Result<(), TooFast> {
        let (own, shared) = self.owed.get();
        self.check_connection(Work::Messages, own)?;
        self.owed.set((0, shared));
        self.rates.check_address(self.source, Work::Messages, shared)?;
        self.owed.set((0, 0));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
