//! Memory: the budget of the process, the part of it in use, and what takes it.
//!
//! The resident set decides, because only it counts for the system that would kill the process. The counts by kind tell
//! what to give up.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::warn;

use crate::model::refusal::{Code, Refusal};
use crate::runtime::idle::Quota;
use crate::runtime::repeats::Repeats;
use crate::runtime::tasks::Tasks;

/// The longest time between two readings of the resident set.
const EVERY: Duration = Duration::from_millis(100);

/// The share of the budget that may be allocated, by the counts of those who allocate, before the next reading comes at
/// once. Attackers on the same machine allocate 200 MB a second.
const GROWTH: u64 = 64;

/// The share of the budget for all histories: a quarter.
const HISTORIES: u64 = 4;

/// The share of the budget for bodies that are being read, and for answers that their clients have not read yet: an eighth.
const MESSAGES: u64 = 8;

/// A message takes at most this part of what is left of that share: the more messages wait, the shorter the next.
const WAITING: u64 = 16;

/// The same for bodies as long as newcomers are accepted: most arrive within milliseconds, so with a budget of 64 MiB several
/// of a mebibyte may come at once.
const BODIES: u64 = 4;

/// A body of this size is read however short memory is.
const SMALL_BODY: usize = 4 * 1024;

/// A shorter list is refused.
const SHORTEST_LIST: usize = 16 * 1024;

/// The time between two collections, see [`Memory::give_back`].
const COLLECTED_EVERY: Duration = Duration::from_secs(1);

/// The same below [`Level::History`], where memory is not short.
const COLLECTED_AT_REST: Duration = Duration::from_secs(15);

/// The change of the resident set after which there may be free memory to give back.
const CHANGED: u64 = 4 << 20;

/// Allocations after which mimalloc collects the memory of a thread (its option `generic_collect`, and some more).
const COLLECTED_AFTER: usize = 12_000;

/// The size of these allocations: larger than those for which mimalloc takes a shorter way.
const COLLECTED_BY: usize = 4_096;

/// How long the threads wait for each other, so that each gets its turn.
const TURN: Duration = Duration::from_millis(2);

/// The memory of a connection without a stream, at most, about: hyper's buffers, a head and a small body.
const CONNECTION: u64 = 32 * 1024;

/// The share of the budget for such connections, a half, and the least time that each has for its next step.
const CONNECTIONS: (u64, Duration) = (2, Duration::from_secs(1));

/// The same when newcomers are refused.
const FEWER_CONNECTIONS: (u64, Duration) = (4, Duration::from_millis(250));

/// A level of use, with the percentage of the budget from which it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing is given up.
    Normal = 0,
    /// The oldest history of the largest rooms goes.
    History = 70,
    /// Snapshots of slow readers are begun anew.
    Snapshots = 80,
    /// New members, rooms and streams are refused.
    Refuse = 90,
    /// Larger `meta` is refused too.
    Full = 100,
}

const LEVELS: [Level; 5] = [Level::Full, Level::Refuse, Level::Snapshots, Level::History, Level::Normal];

/// What takes memory, as far as it is counted in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The rooms' histories.
    Histories = 0,
    /// Requests' bodies that are being read, and answers that are being written.
    Messages = 1,
    /// Encoded snapshots.
    Snapshots = 2,
}

/// Tells the resident set of a process.
pub trait Resident: fmt::Debug + Send + Sync {
    /// The resident set in bytes; `None` where the system does not tell.
    fn bytes(&self) -> Option<u64>;
}

/// The memory of the process. Where the system tells no resident set, the level is always normal.
#[derive(Debug)]
pub struct Memory {
    budget: u64,
    resident: Box<dyn Resident>,
    level: AtomicU8,
    /// Bytes allocated since the last reading, about.
    grown: AtomicU64,
    held: [AtomicU64; 3],
    refusals: AtomicU64,
    risen: Notify,
    /// The time of the last collection.
    /// When free memory was given back last, and the resident set then.
    collected: Mutex<Option<(Instant, u64)>>,
    /// The lines about refusals.
    shortages: Repeats,
}

/// Counted bytes, given back when dropped.
#[derive(Debug)]
pub struct Held {
    memory: Arc<Memory>,
    kind: Kind,
    bytes: u64,
}

impl Memory {
    /// A budget of `budget` bytes for the process of `resident`.
    pub fn new(budget: u64, resident: Box<dyn Resident>) -> Self {
        let memory = Memory {
            budget,
            resident,
            level: AtomicU8::default(),
            grown: AtomicU64::default(),
            held: Default::default(),
            refusals: AtomicU64::default(),
            risen: Notify::new(),
            collected: Mutex::default(),
            shortages: Repeats::new(),
        };
        memory.look();
        memory
    }

    /// The budget in bytes.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// The resident set in bytes, read now.
    pub fn resident(&self) -> Option<u64> {
        self.resident.bytes()
    }

    /// The level at the last reading.
    pub fn level(&self) -> Level {
        let percent = self.level.load(Relaxed);
        LEVELS.into_iter().find(|level| *level as u8 <= percent).unwrap_or(Level::Normal)
    }

    /// Reads the resident set.
    pub fn look(&self) -> Level {
        self.grown.store(0, Relaxed);
        let used = self.resident().unwrap_or_default();
        let percent = u8::try_from(used.saturating_mul(100) / self.budget.max(1)).unwrap_or(u8::MAX);
        let before = self.level();
        self.level.store(percent, Relaxed);
        let level = self.level();
        if level > before {
            self.risen.notify_one();
        }
        if level >= Level::Refuse
            && before < Level::Refuse
            && let Some(times) = self.shortages.again()
        {
            warn!(percent, budget = self.budget, times, "memory is short; newcomers are refused, see --max-memory");
        }
        level
    }

    /// Notes that about `bytes` were allocated. Reads the resident set if that is much since the last reading.
    pub fn grew(&self, bytes: u64) {
        if self.grown.fetch_add(bytes, Relaxed) + bytes > self.budget / GROWTH {
            self.look();
        }
    }

    /// Waits until the level has risen, or for the time between two readings.
    pub async fn next_look(&self) {
        let _ = timeout(EVERY, self.risen.notified()).await;
    }

    /// Lets each thread of the executor return its free memory to the system: once a second from [`Level::History`] on, and
    /// otherwise now and then, while the resident set changes. mimalloc does this by itself, but only on the thread that
    /// owns the memory and while that thread allocates: a gateway that became idle after an attack would keep all of it.
    pub fn give_back(&self, tasks: &Tasks) {
        let (mut collected, resident) = (self.collected.lock(), self.resident().unwrap_or_default());
        if let Some((at, then)) = *collected {
            let is_due = match self.level() >= Level::History {
                true => at.elapsed() >= COLLECTED_EVERY,
                false => at.elapsed() >= COLLECTED_AT_REST && resident.abs_diff(then) >= CHANGED,
            };
            if !is_due {
                return;
            }
        }
        *collected = Some((Instant::now(), resident));
        let threads = Handle::current().metrics().num_workers();
        let begun = Arc::new(AtomicUsize::new(0));
        for _ in 0..threads {
            let begun = begun.clone();
            tasks.spawn(async move {
                for _ in 0..COLLECTED_AFTER {
                    drop(black_box(Vec::<u8>::with_capacity(COLLECTED_BY)));
                }
                begun.fetch_add(1, Relaxed);
                // A thread that was ready at once would take the other threads' turns.
                let since = Instant::now();
                while begun.load(Relaxed) < threads && since.elapsed() < TURN {
                    std::thread::yield_now();
                }
            });
        }
    }

    /// The connections without a stream for which there is memory.
    pub fn connections(&self) -> Quota {
        let (share, patience) = if self.level() < Level::Refuse { CONNECTIONS } else { FEWER_CONNECTIONS };
        Quota { most: usize::try_from(self.budget / share / CONNECTION).unwrap_or(usize::MAX).max(1), patience }
    }

    /// Notes that a connection was accepted.
    pub fn accepted(&self) {
        self.grew(CONNECTION);
    }

    /// Refuses what would take more memory.
    ///
    /// # Errors
    ///
    /// `too_much_memory` at `level` and above.
    pub fn refuses_at(&self, level: Level) -> Result<(), Refusal> {
        if self.level() < level { Ok(()) } else { Err(self.refusal()) }
    }

    /// A refusal, counted.
    pub fn refusal(&self) -> Refusal {
        self.refusals.fetch_add(1, Relaxed);
        let message = format!("the gateway takes {} % of its memory budget; try again later", self.level.load(Relaxed));
        Refusal::new(Code::TooMuchMemory, message)
    }

    /// The number of refusals so far.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Relaxed)
    }

    /// Changes a count of bytes from `old` to `new`.
    pub fn recount(&self, kind: Kind, old: u64, new: u64) {
        // The sum is never less than what is added later, so it does not wrap for a reader.
        let held = &self.held[kind as usize];
        if new > old {
            held.fetch_add(new - old, Relaxed)
        } else {
            held.fetch_sub(old - new, Relaxed)
        };
    }

    /// Counts `bytes` until the returned value is dropped.
    pub fn hold(self: &Arc<Self>, kind: Kind, bytes: u64) -> Held {
        let mut held = Held { memory: self.clone(), kind, bytes: 0 };
        held.grow(bytes);
        held
    }

    /// The counted bytes of one kind.
    pub fn held(&self, kind: Kind) -> u64 {
        self.held[kind as usize].load(Relaxed)
    }

    /// The bytes of history to be forgotten now: what all histories take beyond their share, or what the process takes
    /// beyond [`Level::History`].
    pub fn too_much_history(&self) -> u64 {
        let all = self.held(Kind::Histories);
        let most = self.budget / 100 * Level::History as u64;
        let beyond = self.resident().unwrap_or_default().saturating_sub(most);
        beyond.max(all.saturating_sub(self.budget / HISTORIES)).min(all)
    }

    /// The most bytes of a list, at most `most`: less, the more answers wait for their clients, and at most `part` when
    /// newcomers are refused.
    ///
    /// # Errors
    ///
    /// `too_much_memory` when so many answers wait that the list would be very short.
    pub fn list_bytes(&self, most: usize, part: usize) -> Result<usize, Refusal> {
        // The entries of further parts may belong to the list alone by the time they are read.
        let most = if self.level() < Level::Refuse { most } else { part };
        let bytes = most.min(self.message_bytes(WAITING));
        if bytes < SHORTEST_LIST { Err(self.refusal()) } else { Ok(bytes) }
    }

    /// The most bytes of a request's body, beside its own bound: less, the more bodies are being read. Small ones are always
    /// read, since those who are present still come through: their changes are small, and departures of many at once are
    /// not much larger.
    pub fn body_bytes(&self) -> usize {
        self.message_bytes(if self.level() < Level::Refuse { BODIES } else { WAITING }).max(SMALL_BODY)
    }

    /// The most bytes of a further message, one in `part` of what is left of the share for all.
    fn message_bytes(&self, part: u64) -> usize {
        let left = (self.budget / MESSAGES).saturating_sub(self.held(Kind::Messages));
        usize::try_from(left / part).unwrap_or(usize::MAX)
    }
}

impl Held {
    /// Counts `bytes` more.
    pub fn grow(&mut self, bytes: u64) {
        self.memory.recount(self.kind, self.bytes, self.bytes + bytes);
        self.bytes += bytes;
        self.memory.grew(bytes);
    }

    /// Counts `bytes` less.
    pub fn shrink(&mut self, bytes: u64) {
        self.memory.recount(self.kind, self.bytes, self.bytes.saturating_sub(bytes));
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Gives all bytes back.
    pub fn release(&mut self) {
        self.shrink(self.bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// An amount of memory: bytes, or a share of what the system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// A percentage of the system's memory.
    Percent(u8),
}

impl Amount {
    /// The bytes on a system with `all` bytes.
    pub fn of(self, all: u64) -> u64 {
        match self {
            Amount::Bytes(bytes) => bytes,
            Amount::Percent(percent) => all / 100 * u64::from(percent),
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let hint = || "write 128MiB, 2GiB or 60%".to_owned();
        let number: u64 = number.parse().map_err(|_| hint())?;
        let shift = match unit.trim_start() {
            "%" => {
                let percent = u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent));
                return percent.map(Amount::Percent).ok_or_else(|| "a percentage is 1% to 100%".to_owned());
            }
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(hint()),
        };
        number.checked_mul(1 << shift).map(Amount::Bytes).ok_or_else(hint)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Percent(percent) => write!(f, "{percent}%"),
            Amount::Bytes(bytes) => write!(f, "{}MiB", bytes >> 20),
        }
    }
}

#[cfg(test)]
pub mod tests;
