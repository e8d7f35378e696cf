//! The pool of all readers, on a thread of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bench::error::BenchError;
use crate::bench::options::Transport;
use crate::bench::reader::{JoinTimes, Reader, Subscription};
use crate::bench::room::Room;
use crate::bench::scoreboard::Scoreboard;
use crate::bench::view::View;

/// Readers that connect at a time, unless all connect at once.
const MAX_CONNECTING: usize = 128;

/// A wait ends when no reader has got anything for so long.
const QUIET_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two looks at the views during a wait. Figures do not depend on it, since readers note
/// the times of arrival themselves.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// All readers. They share one thread, so that they leave the gateway all processors but one, and
/// their counters stay in one processor's cache.
#[derive(Debug)]
pub(super) struct ReaderPool {
    readers: Vec<Arc<Reader>>,
    scoreboard: Arc<Scoreboard>,
    room: Arc<Room>,
    runtime: Handle,
    tasks: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    /// Whether slow readers read.
    slow_reading: watch::Sender<bool>,
    /// When the first reader joins.
    first_join: watch::Sender<Option<Instant>>,
    /// The time from one reader's join to the next; `None` if readers do not join.
    join_interval: Option<Duration>,
    /// Ends the thread when dropped.
    _thread: oneshot::Sender<()>,
}

impl ReaderPool {
    /// A pool without readers; `stop` ends each wait.
    ///
    /// # Errors
    ///
    /// [`BenchError::Options`] if the system has no thread left.
    pub(super) fn start(
        room: Arc<Room>,
        scoreboard: Arc<Scoreboard>,
        stop: CancellationToken,
    ) -> Result<Self, BenchError> {
        let failed = |error: std::io::Error| BenchError::Options(format!("cannot start a thread: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (thread, dropped) = oneshot::channel::<()>();
        let run = move || drop(runtime.block_on(dropped));
        std::thread::Builder::new().name("readers".into()).spawn(run).map_err(failed)?;
        Ok(ReaderPool {
            readers: Vec::new(),
            scoreboard,
            room,
            runtime: handle,
            tasks: Vec::new(),
            stop,
            slow_reading: watch::Sender::new(true),
            first_join: watch::Sender::new(None),
            join_interval: None,
            _thread: thread,
        })
    }

    /// Adds `count` readers, not connected, the first `slow` of which are slow ones.
    pub(super) fn add(&mut self, count: u32, slow: u32, transport: Transport) {
        let reader = |index| {
            let websocket = match transport {
                Transport::Sse => false,
                Transport::Ws => true,
                Transport::Both => index % 2 == 1,
            };
            Arc::new(Reader::new(index, websocket, index < slow as usize, self.scoreboard.clone()))
        };
        self.readers = (0..count as usize).map(reader).collect();
    }

    /// The number of readers.
    pub(super) fn len(&self) -> usize {
        self.readers.len()
    }

    /// The readers' views, each locked while the iterator stands at it.
    pub(super) fn views(&self) -> impl Iterator<Item = MutexGuard<'_, View>> {
        self.readers.iter().map(|reader| reader.view().lock())
    }

    /// The sum of a number over all readers.
    pub(super) fn sum(&self, number: impl Fn(&View) -> u64) -> u64 {
        self.views().map(|view| number(&view)).sum()
    }

    /// The number of readers for which `condition` holds.
    pub(super) fn count(&self, condition: impl Fn(&View) -> bool) -> usize {
        self.views().filter(|view| condition(view)).count()
    }

    /// When the last object arrived at any reader.
    pub(super) fn last_object_at(&self) -> Option<Instant> {
        self.views().filter_map(|view| view.last_object_at).max()
    }

    /// Connects all readers, some at a time, and waits until each has its first frame, or [`wait_until`]
    /// gives up.
    ///
    /// [`wait_until`]: ReaderPool::wait_until
    pub(super) async fn connect(&mut self) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTING));
        let (_start, started) = watch::channel(true);
        for reader in self.readers.clone() {
            let (permits, mut subscription) = (permits.clone(), self.subscription(&reader, None, &started));
            self.tasks.push(self.runtime.spawn(async move {
                subscription.permit = permits.acquire_owned().await.ok();
                reader.follow(subscription).await;
            }));
        }
        self.wait_until(|view| view.first_frame_at.is_some()).await;
    }

    /// Connects all readers at once, each with the cursor that `since` chooses. No reader sends its
    /// request before all have begun to connect.
    pub(super) fn connect_at_once(&mut self, since: impl Fn(&View) -> Option<String>) {
        let (start, started) = watch::channel(false);
        self.tasks.clear();
        for reader in self.readers.clone() {
            let since = {
                let mut view = reader.view().lock();
                view.reconnect();
                since(&view)
            };
            let subscription = self.subscription(&reader, since, &started);
            self.tasks.push(self.runtime.spawn(reader.follow(subscription)));
        }
        start.send_replace(true);
    }

    fn subscription(&self, reader: &Reader, since: Option<String>, start: &watch::Receiver<bool>) -> Subscription {
        Subscription {
            room: self.room.clone(),
            since,
            permit: None,
            start: start.clone(),
            reading: reader.is_slow().then(|| self.slow_reading.subscribe()),
            join_times: self.join_interval.map(|interval| JoinTimes { first: self.first_join.subscribe(), interval }),
        }
    }

    /// Makes all readers that connect from now on join the room, once [`start_joining`] says so.
    ///
    /// [`start_joining`]: ReaderPool::start_joining
    pub(super) fn prepare_joining(&mut self, within: Duration) {
        self.join_interval = Some(within / self.readers.len().max(1) as u32);
    }

    /// Makes the prepared readers join, one after the other.
    pub(super) fn start_joining(&mut self) {
        self.join_interval = None;
        self.first_join.send_replace(Some(Instant::now()));
    }

    /// Resets all connections at once.
    pub(super) async fn disconnect(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        for task in self.tasks.drain(..) {
            // The error says only that the task was aborted.
            let _ = task.await;
        }
    }

    /// Makes the slow readers stop or resume reading.
    pub(super) fn set_slow_reading(&self, reading: bool) {
        self.slow_reading.send_replace(reading);
    }

    /// Reads a new snapshot, over server-sent events, and the events up to `offset`; the view, and the
    /// time until the snapshot was complete.
    pub(super) async fn read_snapshot(&self, offset: u64) -> Option<(View, Duration)> {
        let reader = Arc::new(Reader::new(0, false, false, self.scoreboard.clone()));
        let (_start, started) = watch::channel(true);
        let began = Instant::now();
        let task = self.runtime.spawn(reader.clone().follow(self.subscription(&reader, None, &started)));
        let complete = |view: &View| view.first_frame_at.is_some() && view.cursor.offset >= offset;
        let is_complete = self.wait_for(std::slice::from_ref(&reader), complete).await;
        task.abort();
        let view = reader.view().lock().clone();
        let took = view.first_frame_at.filter(|_| is_complete)?.saturating_duration_since(began);
        Some((view, took))
    }

    /// Waits until `condition` holds for all readers that are still connected; `false` if a reader's
    /// stream ended before, nothing arrived for 10 s, or the bench is to stop.
    pub(super) async fn wait_until(&self, condition: impl Fn(&View) -> bool) -> bool {
        self.wait_for(&self.readers, condition).await
    }

    async fn wait_for(&self, readers: &[Arc<Reader>], condition: impl Fn(&View) -> bool) -> bool {
        let mut all = true;
        let (mut arrivals, mut quiet_since) = (self.scoreboard.arrivals(), Instant::now());
        for reader in readers {
            loop {
                let (holds, ended) = {
                    let view = reader.view().lock();
                    (condition(&view), view.ended.is_some())
                };
                if holds || ended {
                    all &= holds;
                    break;
                }
                if self.scoreboard.arrivals() != arrivals {
                    (arrivals, quiet_since) = (self.scoreboard.arrivals(), Instant::now());
                }
                let quiet = quiet_since.elapsed() > QUIET_TIMEOUT;
                if quiet || self.stop.run_until_cancelled(sleep(POLL_INTERVAL)).await.is_none() {
                    return false;
                }
            }
        }
        all
    }
}

impl Drop for ReaderPool {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
