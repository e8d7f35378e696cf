//! All readers, on a thread of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bench::board::Board;
use crate::bench::options::Transport;
use crate::bench::reader::{Joins, Reader, Visit};
use crate::bench::sight::Sight;
use crate::bench::target::Target;
use crate::bench::trouble::Trouble;

/// Connections that are being opened at a time, where a work does not want all at once.
const AT_ONCE: usize = 128;

/// When nothing arrives for so long, nothing more will.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often readers are looked at. What is measured does not depend on it: they note times themselves.
const LOOK: Duration = Duration::from_millis(10);

/// All readers. One thread serves them, so that it takes one processor from the gateway at most and
/// their counters never travel between two.
#[derive(Debug)]
pub struct Crowd {
    /// What they share with the publishers.
    pub board: Arc<Board>,
    /// The readers.
    pub readers: Vec<Arc<Reader>>,
    target: Arc<Target>,
    room: Arc<str>,
    runtime: Handle,
    tasks: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    reads: watch::Sender<bool>,
    joins: watch::Sender<Option<Instant>>,
    /// From one reader's join to the next, if they join.
    pause: Option<Duration>,
    _ends: oneshot::Sender<()>,
}

impl Crowd {
    /// Starts the thread; it ends with this value.
    pub fn start(target: Arc<Target>, room: Arc<str>, stop: CancellationToken) -> Result<Self, Trouble> {
        let failed = |error: std::io::Error| Trouble::Options(format!("cannot start a thread: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (ends, ended) = oneshot::channel::<()>();
        let run = move || drop(runtime.block_on(ended));
        std::thread::Builder::new().name("readers".into()).spawn(run).map_err(failed)?;
        Ok(Crowd {
            board: Arc::default(),
            readers: Vec::new(),
            target,
            room,
            runtime: handle,
            tasks: Vec::new(),
            stop,
            reads: watch::Sender::new(true),
            joins: watch::Sender::new(None),
            pause: None,
            _ends: ends,
        })
    }

    /// Makes `count` readers, the first `slow` of which can be told to stop reading.
    pub fn gather(&mut self, count: usize, slow: usize, transport: Transport) {
        let reader = |index| {
            let ws = match transport {
                Transport::Sse => false,
                Transport::Ws => true,
                Transport::Both => index % 2 == 1,
            };
            Arc::new(Reader::new(index, ws, index < slow, self.board.clone()))
        };
        self.readers = (0..count).map(reader).collect();
    }

    /// Opens all connections, a few at a time, and waits until each reader has its first frame.
    pub async fn connect(&mut self) -> bool {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let (_start, start) = watch::channel(true);
        for reader in self.readers.clone() {
            let (turns, mut visit) = (turns.clone(), self.visit(&reader, None, &start));
            self.tasks.push(self.runtime.spawn(async move {
                visit.turn = turns.acquire_owned().await.ok();
                reader.follow(visit).await;
            }));
        }
        self.until(|sight| sight.whole.is_some()).await
    }

    /// Opens all connections at once, with what `since` says of each reader; they send their requests
    /// when the sender says `true`.
    pub fn rush(&mut self, since: impl Fn(&Sight) -> Option<String>) -> watch::Sender<bool> {
        let (start, started) = watch::channel(false);
        self.tasks.clear();
        for reader in self.readers.clone() {
            let brought = {
                let mut sight = reader.sight().lock();
                (sight.whole, sight.ended) = (None, None);
                since(&sight)
            };
            let visit = self.visit(&reader, brought, &started);
            self.tasks.push(self.runtime.spawn(reader.follow(visit)));
        }
        start
    }

    fn visit(&self, reader: &Reader, since: Option<String>, start: &watch::Receiver<bool>) -> Visit {
        Visit {
            target: self.target.clone(),
            room: self.room.clone(),
            since,
            turn: None,
            start: start.clone(),
            reads: reader.is_slow().then(|| self.reads.subscribe()),
            joins: self.pause.map(|pause| Joins { start: self.joins.subscribe(), pause }),
        }
    }

    /// Has all readers that connect from now on join within `time`, once they are told to.
    pub fn will_join_within(&mut self, time: Duration) {
        self.pause = Some(time / self.readers.len().max(1) as u32);
    }

    /// Has all readers join.
    pub fn join(&mut self) {
        self.pause = None;
        self.joins.send_replace(Some(Instant::now()));
    }

    /// Cuts all connections at once, by resets.
    pub async fn cut(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        for task in self.tasks.drain(..) {
            // Only whether it ended matters, and it did.
            let _ = task.await;
        }
    }

    /// Lets the slow readers read, or not.
    pub fn let_slow_ones_read(&self, read: bool) {
        self.reads.send_replace(read);
    }

    /// A reader apart from the others, which has read from a snapshot up to `offset` at least, and how
    /// long the snapshot took.
    pub async fn newcomer(&self, offset: u64) -> Option<(Sight, Duration)> {
        let reader = Arc::new(Reader::new(0, false, false, self.board.clone()));
        let (_start, start) = watch::channel(true);
        let began = Instant::now();
        let task = self.runtime.spawn(reader.clone().follow(self.visit(&reader, None, &start)));
        let whole = self.wait(std::slice::from_ref(&reader), |s| s.whole.is_some() && s.offset >= offset).await;
        task.abort();
        let sight = reader.sight().lock().clone();
        let took = sight.whole.filter(|_| whole)?.saturating_duration_since(began);
        Some((sight, took))
    }

    /// Waits until `what` holds of all readers that are connected; `false` when nothing arrives any
    /// more, or the bench is stopped, or a reader's stream ended before.
    pub async fn until(&self, what: impl Fn(&Sight) -> bool) -> bool {
        self.wait(&self.readers, what).await
    }

    async fn wait(&self, readers: &[Arc<Reader>], what: impl Fn(&Sight) -> bool) -> bool {
        let (mut at, mut all) = (0, true);
        let (mut seen, mut since) = (self.board.objects(), Instant::now());
        while at < readers.len() {
            let (holds, ended) = {
                let sight = readers[at].sight().lock();
                (what(&sight), sight.ended.is_some())
            };
            if holds || ended {
                all &= holds;
                at += 1;
                continue;
            }
            if self.board.objects() != seen {
                (seen, since) = (self.board.objects(), Instant::now());
            }
            if since.elapsed() > PATIENCE || self.stop.run_until_cancelled(sleep(LOOK)).await.is_none() {
                return false;
            }
        }
        all
    }

    /// The sum of a number over all readers.
    pub fn sum(&self, number: impl Fn(&Sight) -> u64) -> u64 {
        self.readers.iter().map(|reader| number(&reader.sight().lock())).sum()
    }

    /// When the last reader saw anything for the last time.
    pub fn last(&self) -> Option<Instant> {
        self.readers.iter().filter_map(|reader| reader.sight().lock().last).max()
    }

    /// How many readers something holds of.
    pub fn count(&self, what: impl Fn(&Sight) -> bool) -> usize {
        self.readers.iter().filter(|reader| what(&reader.sight().lock())).count()
    }

    /// The first reader's reason among those there are.
    pub fn first(&self, why: impl Fn(&Sight) -> Option<String>) -> Option<String> {
        self.readers.iter().find_map(|reader| why(&reader.sight().lock()))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
