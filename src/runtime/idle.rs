//! HTTP connections that wait for a request, by the time for which they have waited: when places run short, the one that has
//! waited longest gives way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Connections looked at for one that gives way. More would hold up accepting where thousands are amid a request; the next
/// look goes on with others.
const LOOKS: usize = 256;

/// A request is under way.
const BUSY: u64 = u64::MAX;

/// The connection was chosen to give way.
const CHOSEN: u64 = u64::MAX - 1;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The HTTP connections of one kind of places.
///
/// A request changes only its connection's [`Activity`]. The queue may therefore have connections at an older moment than
/// they should have, and moves them only when it meets them.
#[derive(Debug, Default)]
pub struct IdleQueue {
    queue: Mutex<BTreeMap<Key, Arc<Activity>>>,
    entered: AtomicU64,
}

/// A moment, and a number to tell the connections of one moment apart.
type Key = (u64, u64);

/// What one connection does.
#[derive(Debug)]
pub struct Activity {
    number: u64,
    /// Idle since this moment, or [`BUSY`], or [`CHOSEN`].
    since: AtomicU64,
    /// The moment in the queue's key. Changed under the queue's lock only.
    queued: AtomicU64,
    chosen: Notify,
}

/// A connection's entry in the queue, removed when dropped.
#[derive(Debug)]
pub struct Entry {
    queue: Arc<IdleQueue>,
    activity: Arc<Activity>,
}

impl IdleQueue {
    /// Adds a connection, which waits for its first request.
    pub fn enter(self: &Arc<Self>) -> Entry {
        let (number, now) = (self.entered.fetch_add(1, Relaxed), now());
        let (since, queued) = (AtomicU64::new(now), AtomicU64::new(now));
        let activity = Arc::new(Activity { number, since, queued, chosen: Notify::new() });
        self.queue.lock().insert((now, number), activity.clone());
        Entry { queue: self.clone(), activity }
    }

    /// Ends the connection that has waited longest for a request; false if none was found.
    pub fn give_way(&self) -> bool {
        let mut queue = self.queue.lock();
        for _ in 0..LOOKS {
            let Some(((queued, number), activity)) = queue.pop_first() else {
                return false;
            };
            let since = activity.since.load(Relaxed);
            if since == queued && activity.since.compare_exchange(since, CHOSEN, Relaxed, Relaxed).is_ok() {
                activity.chosen.notify_one();
                return true;
            }
            let again = if since >= CHOSEN { now() } else { since };
            activity.queued.store(again, Relaxed);
            queue.insert((again, number), activity);
        }
        false
    }
}

impl Activity {
    /// A request has arrived. False if the connection has to give way, and the request is not to be served.
    pub fn begin(&self) -> bool {
        self.since.swap(BUSY, Relaxed) != CHOSEN
    }

    /// The answer is written, and the connection waits for another request.
    pub fn rest(&self) {
        if self.since.load(Relaxed) == BUSY {
            self.since.store(now(), Relaxed);
        }
    }

    /// Resolves when the connection has to give way.
    pub async fn chosen(&self) {
        self.chosen.notified().await;
    }
}

impl Entry {
    /// The connection's activity.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut queue = self.queue.queue.lock();
        queue.remove(&(self.activity.queued.load(Relaxed), self.activity.number));
    }
}

fn now() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(CHOSEN - 1).min(CHOSEN - 1)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_chosen(entry: &Entry) -> bool {
        entry.activity.chosen().now_or_never().is_some()
    }

    #[test]
    fn the_connection_that_has_waited_longest_gives_way() {
        let queue = Arc::<IdleQueue>::default();
        let entries: Vec<_> = (0..4).map(|_| queue.enter()).collect();
        // The first is in the middle of a request, and the second has just had one.
        assert!(entries[0].activity.begin() && entries[1].activity.begin());
        entries[1].activity.rest();
        let order: Vec<_> =
            std::iter::from_fn(|| queue.give_way().then(|| entries.iter().position(is_chosen))).collect();
        assert_eq!(order, [Some(2), Some(3), Some(1)]);
        assert!(!entries[3].activity.begin(), "a request that comes too late");
        entries[0].activity.rest();
        assert!(queue.give_way() && is_chosen(&entries[0]));
        drop(entries);
        assert!(queue.queue.lock().is_empty());
    }

    #[test]
    fn connections_that_left_do_not_give_way() {
        let queue = Arc::<IdleQueue>::default();
        let (busy, left) = (queue.enter(), queue.enter());
        assert!(busy.activity.begin() && !queue.give_way() || !is_chosen(&busy));
        drop(left);
        drop(busy);
        assert!(!queue.give_way() && queue.queue.lock().is_empty());
    }

    #[test]
    fn an_idle_connection_behind_many_busy_ones_is_found_by_and_by() {
        let queue = Arc::<IdleQueue>::default();
        let busy: Vec<_> = (0..LOOKS + 1).map(|_| queue.enter()).collect();
        assert!(busy.iter().all(|entry| entry.activity.begin()));
        let idle = queue.enter();
        assert!(!queue.give_way() && queue.give_way());
        assert!(is_chosen(&idle));
    }
}
