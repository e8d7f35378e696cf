//! What readers and publishers share: when events went out, and how long they took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::bench::sight::Event;

/// Events whose sending is remembered; far more than can be under way.
const STAMPS: usize = 1 << 20;

/// The longest time told apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// Whose latencies are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Readers of server-sent events.
    Sse,
    /// Readers over WebSocket.
    Ws,
    /// Readers that are to be slow.
    Slow,
}

/// What readers and publishers share.
#[derive(Debug)]
pub struct Board {
    started: Instant,
    /// When events went out, in nanoseconds since the start.
    stamps: Box<[AtomicU64]>,
    next: AtomicU64,
    objects: AtomicU64,
    times: [Mutex<Times>; 3],
}

/// How long something took, in microseconds, to three digits.
pub type Times = Histogram<u64>;

/// Nothing yet.
pub fn no_times() -> Times {
    // These bounds are right for any histogram; were they not, the default is only larger.
    Histogram::new_with_bounds(1, LONGEST, 3).unwrap_or_else(|_| unreachable!("the bounds are constants"))
}

/// Counts one more.
pub fn count(times: &mut Times, time: Duration) {
    times.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST).max(1));
}

impl Default for Board {
    fn default() -> Self {
        Board {
            started: Instant::now(),
            stamps: (0..STAMPS).map(|_| AtomicU64::new(0)).collect(),
            next: AtomicU64::new(0),
            objects: AtomicU64::new(0),
            times: std::array::from_fn(|_| Mutex::new(no_times())),
        }
    }
}

impl Board {
    /// Numbers of users nobody has had.
    pub fn fresh(&self, count: u64) -> std::ops::Range<u64> {
        let first = self.next.fetch_add(count, Relaxed);
        first..first + count
    }

    /// Notes that the sign-in (or the sign-out) of user `number` goes out now.
    pub fn sending(&self, number: u64, out: bool) {
        let since = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.stamp(number, out).store(since, Relaxed);
    }

    fn stamp(&self, number: u64, out: bool) -> &AtomicU64 {
        &self.stamps[(number as usize * 2 + usize::from(out)) % STAMPS]
    }

    /// How long `event` was under way when it arrived at `now`; `None` for who was not announced.
    pub fn took(&self, event: Event<'_>, now: Instant) -> Option<Duration> {
        let (user, out) = match event {
            Event::Add(user) => (user, false),
            Event::Del(user) => (user, true),
        };
        let number = str::from_utf8(user.strip_prefix(b"u")?).ok()?.parse().ok()?;
        let since = Duration::from_nanos(self.stamp(number, out).load(Relaxed));
        (!since.is_zero()).then(|| now.saturating_duration_since(self.started + since))
    }

    /// Where times of this class are counted.
    pub fn times(&self, class: Class) -> &Mutex<Times> {
        &self.times[class as usize]
    }

    /// Begins the counting of times anew; what was counted of this class.
    pub fn take_times(&self, class: Class) -> Times {
        std::mem::replace(&mut *self.times(class).lock(), no_times())
    }

    /// Notes that objects have arrived somewhere.
    pub fn arrived(&self, objects: u64) {
        self.objects.fetch_add(objects, Relaxed);
    }

    /// Objects that have arrived anywhere.
    pub fn objects(&self) -> u64 {
        self.objects.load(Relaxed)
    }
}
