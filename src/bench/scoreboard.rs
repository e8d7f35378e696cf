//! The scoreboard of readers and publishers: the send time of each event, the latencies, and the number of arrivals.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::bench::latencies::Latencies;
use crate::bench::view::Event;

/// Send times that are kept, a power of two; far more than there are events on their way. A later
/// event overwrites the send time of an earlier one.
const SEND_TIMES: usize = 1 << 20;

/// A kind of reader; each has latencies of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReaderKind {
    /// A reader of server-sent events.
    Sse,
    /// A reader over WebSocket.
    Ws,
    /// A reader, over either transport, that stops reading for a while.
    Slow,
}

/// The request that causes an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    SignIn,
    SignOut,
}

/// State shared by readers and publishers.
#[derive(Debug)]
pub(super) struct Scoreboard {
    started: Instant,
    /// When events were sent, in nanoseconds since the start; 0 for never.
    send_times: Box<[AtomicU64]>,
    users: AtomicU64,
    arrivals: AtomicU64,
    latencies: [Mutex<Latencies>; 3],
}

impl Default for Scoreboard {
    fn default() -> Self {
        Scoreboard {
            started: Instant::now(),
            send_times: (0..SEND_TIMES).map(|_| AtomicU64::new(0)).collect(),
            users: AtomicU64::new(0),
            arrivals: AtomicU64::new(0),
            latencies: Default::default(),
        }
    }
}

impl Scoreboard {
    /// Numbers of `count` new users.
    pub(super) fn new_users(&self, count: u64) -> Range<u64> {
        let first = self.users.fetch_add(count, Relaxed);
        first..first + count
    }

    /// The number of users so far.
    pub(super) fn users(&self) -> u64 {
        self.users.load(Relaxed)
    }

    /// Notes that a request about user number `user`, whose name is `u` and the number, is sent now.
    pub(super) fn sending(&self, user: u64, change: Change) {
        let since_start = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.send_time(user, change).store(since_start, Relaxed);
    }

    fn send_time(&self, user: u64, change: Change) -> &AtomicU64 {
        &self.send_times[(user as usize * 2 + usize::from(change == Change::SignOut)) % SEND_TIMES]
    }

    /// The time from the request to `event`, which arrived at `now`; `None` if the request's send time
    /// was not noted.
    pub(super) fn latency(&self, event: Event<'_>, now: Instant) -> Option<Duration> {
        let (user, change) = match event {
            Event::Add(user) => (user, Change::SignIn),
            Event::Del(user) => (user, Change::SignOut),
        };
        let number = str::from_utf8(user.strip_prefix(b"u")?).ok()?.parse().ok()?;
        let since_start = Duration::from_nanos(self.send_time(number, change).load(Relaxed));
        (!since_start.is_zero()).then(|| now.saturating_duration_since(self.started + since_start))
    }

    /// The latencies of one kind of reader.
    pub(super) fn latencies(&self, kind: ReaderKind) -> &Mutex<Latencies> {
        &self.latencies[kind as usize]
    }

    /// Takes the latencies of one kind of reader, so that the next ones are counted anew.
    pub(super) fn take_latencies(&self, kind: ReaderKind) -> Latencies {
        std::mem::take(&mut *self.latencies(kind).lock())
    }

    /// Notes that a reader got `objects` JSON objects.
    pub(super) fn arrived(&self, objects: u64) {
        self.arrivals.fetch_add(objects, Relaxed);
    }

    /// The number of JSON objects received by all readers.
    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals.load(Relaxed)
    }
}
