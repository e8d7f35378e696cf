//! HTTP connections by the time since their last step, which is to begin or to end a request: when places or memory run short,
//! the one that has done nothing for longest gives way.

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Connections looked at for an idle one that gives way. More would hold up accepting where thousands are amid a request; the next
/// look goes on with others.
const LOOKS: usize = 256;

/// The time that a connection has for its next step, even where others need its memory: newcomers send their request within
/// one round trip.
const PATIENCE: Duration = Duration::from_millis(250);

/// The connection was chosen to give way.
const CHOSEN: u64 = u64::MAX;

/// The part of a step that says whether a request is under way since then. All others are the moment.
const BUSY: u64 = 1;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The HTTP connections of one kind of places.
///
/// A request changes only its connection's [`Activity`]. The queue may therefore have connections at an older moment than
/// they should have, and moves them only when it meets them.
#[derive(Debug, Default)]
pub struct IdleQueue {
    queue: Mutex<BTreeMap<Key, Arc<Activity>>>,
    entered: AtomicU64,
    /// The number of connections, with those that were chosen.
    open: AtomicUsize,
    /// Told when a connection has ended or become a stream.
    left: Notify,
}

/// A step's moment, and a number to tell the connections of one moment apart.
type Key = (u64, u64);

/// What one connection does.
#[derive(Debug)]
pub struct Activity {
    number: u64,
    /// The last step, or [`CHOSEN`].
    step: AtomicU64,
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
        let (step, queued) = (AtomicU64::new(now), AtomicU64::new(now));
        let activity = Arc::new(Activity { number, step, queued, chosen: Notify::new() });
        self.open.fetch_add(1, Relaxed);
        self.queue.lock().insert((now, number), activity.clone());
        Entry { queue: self.clone(), activity }
    }

    /// The number of connections, without those that were chosen to give way.
    pub fn len(&self) -> usize {
        self.queue.lock().len()
    }

    /// The number of connections that were chosen to give way, and have not ended yet.
    pub fn leaving(&self) -> usize {
        let queued = self.len();
        self.open.load(Relaxed).saturating_sub(queued)
    }

    /// The time until the connection whose last step was earliest may give way for another; `None` when it may now.
    pub fn patience(&self) -> Option<Duration> {
        let mut queue = self.queue.lock();
        let (queued, _) = *earliest(&mut queue)?.key();
        PATIENCE.checked_sub(since(queued)).filter(|left| !left.is_zero())
    }

    /// Resolves when a connection has ended or become a stream since the call.
    pub fn left(&self) -> Notified<'_> {
        self.left.notified()
    }

    /// Ends the connection that has waited longest for a request; false if none was found.
    pub fn idle_gives_way(&self) -> bool {
        let mut queue = self.queue.lock();
        for _ in 0..LOOKS {
            let Some(((queued, number), activity)) = queue.pop_first() else {
                return false;
            };
            let step = activity.step.load(Relaxed);
            let (moment, is_busy) = (step & !BUSY, step & BUSY != 0);
            if !is_busy && moment == queued && activity.choose(step) {
                return true;
            }
            let again = if is_busy { now() } else { moment };
            activity.queued.store(again, Relaxed);
            queue.insert((again, number), activity);
        }
        false
    }

    /// Ends the connection whose last step was earliest, whether it waits for a request or has not ended one: a client that
    /// never does would otherwise keep its place. False if no last step was [`PATIENCE`] ago.
    pub fn any_gives_way(&self) -> bool {
        let mut queue = self.queue.lock();
        while let Some(first) = earliest(&mut queue)
            && since(first.key().0) >= PATIENCE
        {
            let ((queued, number), activity) = first.remove_entry();
            let step = activity.step.load(Relaxed);
            if step & !BUSY <= queued && activity.choose(step) {
                return true;
            }
            // It has just made a step.
            queue.insert((queued, number), activity);
        }
        false
    }
}

/// The connection whose last step was earliest. Moves those that have made another step since they were queued, each once for
/// each step; those that looks for idle ones have moved behind their last step stay there.
fn earliest(queue: &mut BTreeMap<Key, Arc<Activity>>) -> Option<OccupiedEntry<'_, Key, Arc<Activity>>> {
    loop {
        let first = queue.first_entry()?;
        let moment = first.get().step.load(Relaxed) & !BUSY;
        if moment <= first.key().0 {
            break;
        }
        let ((_, number), activity) = first.remove_entry();
        activity.queued.store(moment, Relaxed);
        queue.insert((moment, number), activity);
    }
    queue.first_entry()
}

impl Activity {
    /// A request has arrived. False if the connection has to give way, and the request is not to be served.
    pub fn begin(&self) -> bool {
        self.step.swap(now() | BUSY, Relaxed) != CHOSEN
    }

    /// The answer is written, and the connection waits for another request.
    pub fn rest(&self) {
        let step = self.step.load(Relaxed);
        if step != CHOSEN && step & BUSY != 0 {
            // Fails if the connection was chosen meanwhile.
            let _ = self.step.compare_exchange(step, now(), Relaxed, Relaxed);
        }
    }

    /// Lets the connection give way, if its last step is still `step`.
    fn choose(&self, step: u64) -> bool {
        let is_chosen = self.step.compare_exchange(step, CHOSEN, Relaxed, Relaxed).is_ok();
        if is_chosen {
            self.chosen.notify_one();
        }
        is_chosen
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
        drop(queue);
        self.queue.open.fetch_sub(1, Relaxed);
        self.queue.left.notify_waiters();
    }
}

/// The time since a step.
fn since(step: u64) -> Duration {
    Duration::from_nanos(now().saturating_sub(step) >> 1)
}

/// The present moment, in nanoseconds since the start, as a step of an idle connection.
fn now() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX / 2) << 1
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
            std::iter::from_fn(|| queue.idle_gives_way().then(|| entries.iter().position(is_chosen))).collect();
        assert_eq!(order, [Some(2), Some(3), Some(1)]);
        assert!(!entries[3].activity.begin(), "a request that comes too late");
        entries[0].activity.rest();
        assert!(queue.idle_gives_way() && is_chosen(&entries[0]));
        drop(entries);
        assert!(queue.queue.lock().is_empty());
    }

    #[test]
    fn of_all_connections_the_one_whose_last_step_was_earliest_gives_way() {
        let queue = Arc::<IdleQueue>::default();
        let entries: Vec<_> = (0..4).map(|_| queue.enter()).collect();
        // Amid requests for longest are the third and then the first; the fourth has just had one.
        assert!([2, 0, 3].iter().all(|at| entries[*at].activity.begin()));
        entries[3].activity.rest();
        assert!(queue.patience().is_some() && !queue.any_gives_way());
        while queue.patience().is_some() || since(entries[3].activity.step.load(Relaxed)) < PATIENCE {
            std::thread::yield_now();
        }
        let order: Vec<_> =
            std::iter::from_fn(|| queue.any_gives_way().then(|| entries.iter().position(is_chosen))).collect();
        assert_eq!((order, queue.len(), queue.leaving()), (vec![Some(1), Some(2), Some(0), Some(3)], 0, 4));
        entries[0].activity.rest();
        assert!(!entries[3].activity.begin(), "a request that comes too late");
        drop(entries);
        assert_eq!(queue.leaving(), 0);
    }

    #[test]
    fn however_many_made_a_step_since_they_came_one_is_found() {
        let queue = Arc::<IdleQueue>::default();
        let entries: Vec<_> = (0..4 * LOOKS).map(|_| queue.enter()).collect();
        assert!(entries.iter().all(|entry| entry.activity.begin()));
        while queue.patience().is_some() {
            std::thread::yield_now();
        }
        assert!(queue.any_gives_way() && is_chosen(&entries[0]));
    }

    #[test]
    fn connections_that_left_do_not_give_way() {
        let queue = Arc::<IdleQueue>::default();
        let (busy, left) = (queue.enter(), queue.enter());
        assert!(busy.activity.begin() && !queue.idle_gives_way() || !is_chosen(&busy));
        drop(left);
        drop(busy);
        assert!(!queue.idle_gives_way() && queue.queue.lock().is_empty());
    }

    #[test]
    fn an_idle_connection_behind_many_busy_ones_is_found_by_and_by() {
        let queue = Arc::<IdleQueue>::default();
        let busy: Vec<_> = (0..LOOKS + 1).map(|_| queue.enter()).collect();
        assert!(busy.iter().all(|entry| entry.activity.begin()));
        let idle = queue.enter();
        assert!(!queue.idle_gives_way() && queue.idle_gives_way());
        assert!(is_chosen(&idle));
    }
}
