//! A participant: one node on its engine. Reads the log into the node, appends what the node has to say, reads the log anew after
//! trouble, and writes snapshots.
//!
//! ```text
//!  callers -> Participant::with, ask -> Node -> tick -> Engine::append
//!                                        ^                    |
//!             Audience <- told <---------+---- entry <- Reader
//! ```
//!
//! The audience hears of an entry before any caller gets an answer that depends on the entry.

mod opening;
mod rereading;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use uuid::Uuid;

use crate::journal::cluster::Memory;
use crate::journal::cluster::attendance::Key;
use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::node::{Answer, Asked, Cause, Fresh, Node, Options, Told, Trouble};
use crate::journal::cluster::record::Record;
use crate::journal::cluster::snapshot::Snapshot;
use crate::journal::cluster::window::Ticket;
use crate::journal::engine::appends::Appending;
use crate::journal::engine::reader::{Break, Reader};
use crate::journal::engine::seam::Engine;
use crate::journal::participant::opening::begin;
use crate::journal::participant::rereading::{Anew, newer, reread};
use crate::model::id::ConnectionId;
use crate::model::moment::Moment;

pub use opening::Opening;

/// The node looks at its clock this often.
const EVERY: Duration = Duration::from_millis(50);

/// The entries that are folded before the node says something.
const AT_ONCE: usize = 256;

/// The node's clock.
pub type Now = Box<dyn Fn() -> Moment + Send + Sync>;

/// Who hears what a node tells, but for the answers to callers.
pub trait Audience: Send {
    /// All that the node told since the last call, in order. Called under the node's lock, so that nothing happens in between.
    fn hear(&mut self, node: &mut Node, told: Vec<Told>);
}

/// Hears nothing.
impl Audience for () {
    fn hear(&mut self, _: &mut Node, _: Vec<Told>) {}
}

/// A node that has read the log to its end, and has said nothing yet.
pub struct Joining {
    opening: Opening,
    memory: Memory,
    now: Now,
    node: Node,
    engine: Arc<dyn Engine>,
    reader: Reader,
}

/// What tells when the log has what a node was asked to hold, or why it never will.
pub type Settling = oneshot::Receiver<Result<(), Cause>>;

/// The other end of a [`Settling`].
type Waits = oneshot::Sender<Result<(), Cause>>;

/// One node on its engine. Dropped, it falls silent, as a process does that is killed.
pub struct Participant {
    desk: Arc<Desk>,
    _task: AbortOnDropHandle<()>,
}

/// What callers and the task share.
struct Desk {
    inner: Mutex<Inner>,
    news: Notify,
    now: Now,
    /// The log as it is open now.
    engine: watch::Sender<Arc<dyn Engine>>,
}

struct Inner {
    node: Node,
    waiting: HashMap<Ticket, oneshot::Sender<(u64, Answer)>>,
    settling: HashMap<Key, Vec<(ConnectionId, Waits)>>,
}

/// The work of a participant.
struct Task {
    desk: Arc<Desk>,
    opening: Arc<Opening>,
    memory: Memory,
    engine: Arc<dyn Engine>,
    reader: Reader,
    /// Set while the log is read anew; the node goes on meanwhile.
    rereading: Option<Rereading>,
    /// Batches on their way. What comes of them is told by the log.
    appending: FuturesUnordered<Appending>,
    audience: Box<dyn Audience>,
    /// The position until which the audience has heard.
    heard: u64,
    /// Whether readers see older rooms.
    curtained: bool,
    snapshots: Snapshots,
}

type Rereading = Pin<Box<dyn Future<Output = Anew> + Send>>;

impl Joining {
    /// Reads the log to its end. Needs a runtime of tokio.
    ///
    /// # Errors
    ///
    /// A sentence: the log can't be opened or read.
    pub async fn read(opening: Opening, options: Options, memory: Memory, now: Now) -> Result<Joining, String> {
        let (engine, mut shared) = begin(&opening, memory).await?;
        let mut reader = engine.read(shared.roll.seen.position);
        let end = engine.extent().await.map_err(|trouble| trouble.to_string())?.last;
        while shared.roll.seen.position < end {
            let (position, bytes) = reader.next().await.map_err(|end| format!("reading the log ended: {end:?}"))?;
            if shared.fold(position, &bytes).is_newer {
                return Err(newer());
            }
        }
        let node = Node::new(incarnation(), shared, options, now());
        Ok(Joining { opening, memory, now, node, engine, reader })
    }

    /// The first life of the node.
    pub fn id(&self) -> Incarnation {
        self.node.id()
    }

    /// What the log makes so far.
    pub fn shared(&self) -> &Shared {
        self.node.shared()
    }

    /// Begins a life. The audience hears what happens from here on.
    pub fn begin(self, audience: Box<dyn Audience>) -> Participant {
        let Joining { opening, memory, now, node, engine, reader } = self;
        let inner = Mutex::new(Inner { node, waiting: HashMap::new(), settling: HashMap::new() });
        let desk = Arc::new(Desk { inner, news: Notify::new(), now, engine: watch::Sender::new(engine.clone()) });
        let task = Task {
            desk: desk.clone(),
            opening: Arc::new(opening),
            memory,
            engine,
            reader,
            rereading: None,
            appending: FuturesUnordered::new(),
            audience,
            heard: 0,
            curtained: false,
            snapshots: Snapshots::default(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(task.run()));
        Participant { desk, _task: task }
    }
}

impl Participant {
    /// Does something with the node, which then says what it has to say.
    pub fn with<T>(&self, work: impl FnOnce(&mut Node, Moment) -> T) -> T {
        let done = work(&mut self.desk.inner.lock().node, (self.desk.now)());
        self.desk.news.notify_one();
        done
    }

    /// The log as it is open now, and each time that it is opened anew.
    pub fn engines(&self) -> watch::Receiver<Arc<dyn Engine>> {
        self.desk.engine.subscribe()
    }

    /// Asks another node, beside the log.
    ///
    /// # Errors
    ///
    /// As [`Engine::call`].
    pub async fn call(
        &self,
        node: &str,
        question: Bytes,
        within: Duration,
    ) -> Result<Option<Bytes>, crate::journal::engine::seam::Trouble> {
        let engine = self.desk.engine.borrow().clone();
        engine.call(node, question, within).await
    }

    /// Reads something of the node.
    pub fn look<T>(&self, read: impl FnOnce(&Node) -> T) -> T {
        read(&self.desk.inner.lock().node)
    }

    /// Asks for a record in the log, from now on. The answer comes later: the position, and what came of the record.
    pub fn ask(&self, record: Record) -> impl Future<Output = (u64, Answer)> + Send + use<> {
        let (sender, answer) = oneshot::channel();
        {
            let Inner { node, waiting, .. } = &mut *self.desk.inner.lock();
            match node.ask(record) {
                Asked::Waits(ticket) => drop(waiting.insert(ticket, sender)),
                Asked::Done => drop(sender.send((node.shared().roll.seen.position, Answer::Recorded))),
            }
        }
        self.desk.news.notify_one();
        answer.map(|answer| answer.unwrap_or((0, Answer::Unknown)))
    }

    /// Changes what a connection holds of a user.
    pub fn hold(&self, key: &Key, connection: ConnectionId, work: impl FnOnce(&mut Node, Moment)) -> Settling {
        let (sender, settling) = oneshot::channel();
        {
            let mut inner = self.desk.inner.lock();
            work(&mut inner.node, (self.desk.now)());
            let waiting = inner.settling.entry(key.clone()).or_default();
            // The callers who have gone would otherwise gather while the log is away.
            waiting.retain(|(_, waits)| !waits.is_closed());
            waiting.push((connection, sender));
        }
        self.desk.news.notify_one();
        settling
    }

    /// Says that this node stops, and waits at most `limit` until that is in the log.
    pub async fn stop(&self, limit: Duration) {
        self.with(|node, _| node.stop());
        let said = async {
            while self.with(|node, _| node.pending()) > 0 {
                sleep(EVERY).await;
            }
        };
        // Without the word, the others find out by themselves.
        let _ = tokio::time::timeout(limit, said).await;
    }
}

impl Inner {
    /// Who waited for what is settled now.
    fn settled(&mut self, told: &[Told]) -> Vec<(Waits, Result<(), Cause>)> {
        let mut settled = Vec::new();
        for told in told {
            if let Told::Settled(key) = told {
                let waiting = self.settling.remove(key).into_iter().flatten();
                settled.extend(waiting.map(|(_, waits)| (waits, Ok(()))));
            } else if let Told::Ended(key, connection, cause) = told
                && let Some(waiting) = self.settling.get_mut(key)
            {
                let own = waiting.extract_if(.., |(waits, _)| waits == connection);
                settled.extend(own.map(|(_, waits)| (waits, Err(cause.clone()))));
            }
        }
        settled
    }
}

impl Task {
    async fn run(mut self) {
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let reads = self.rereading.is_none();
            tokio::select! {
                entry = self.reader.next(), if reads => self.read(entry),
                anew = done(&mut self.rereading) => self.adopt(anew),
                Some(appended) = self.appending.next() => self.appended(appended),
                () = self.desk.news.notified() => {}
                _ = beat.tick() => {}
            }
            self.turn();
        }
    }

    /// Reads an entry, and those that are there already. In trouble the node ignores entries, so the next one waits in the reader.
    fn read(&mut self, first: Result<(u64, Bytes), Break>) {
        let now = (self.desk.now)();
        let mut inner = self.desk.inner.lock();
        let mut next = Some(first);
        for left in (0..AT_ONCE).rev() {
            match next {
                Some(Ok((position, bytes))) => inner.node.entry(position, &bytes, now),
                Some(Err(end)) => return inner.node.is_troubled(broken(end)),
                None => return,
            }
            if left == 0 || inner.node.trouble().is_some() {
                return;
            }
            next = self.reader.next().now_or_never();
        }
    }

    /// The log answered an append; what comes of the batch is told by the log itself.
    fn appended(&mut self, answer: Result<u64, crate::journal::engine::seam::Trouble>) {
        if let Ok(position) = answer {
            self.desk.inner.lock().node.appended(position, (self.desk.now)());
        }
    }

    /// Appends what the node says, tells the audience, and then answers callers.
    fn turn(&mut self) {
        let now = (self.desk.now)();
        let mut inner = self.desk.inner.lock();
        match inner.node.trouble() {
            Some(Trouble::Reaped) => {
                info!("the other gateways took this one for lost; it joins anew");
                inner.node.live_again(incarnation(), now);
            }
            Some(trouble) if self.rereading.is_none() => {
                warn!(?trouble, "the shared log is not what was read of it; reading it anew");
                let (desk, opening) = (self.desk.clone(), self.opening.clone());
                let begin_reading = move |shared| desk.inner.lock().node.reread(shared);
                self.rereading = Some(Box::pin(reread(begin_reading, opening, self.memory)));
            }
            Some(_) | None => {}
        }
        if self.snapshots.are_idle()
            && let Some(snapshot) = inner.node.snapshot(now)
        {
            self.snapshots.write(self.engine.clone(), snapshot);
        }
        for batch in inner.node.tick(now) {
            self.appending.push(self.engine.append(Bytes::from_owner(batch)));
        }
        if inner.node.is_curtained() != self.curtained {
            self.curtained = !self.curtained;
            match self.curtained {
                true => info!("the shared log was away; readers stay where they are until this node has caught up"),
                false => info!("this node has caught up with the shared log"),
            }
        }
        let told = inner.node.told();
        let (answers, told): (Vec<_>, Vec<_>) = told.into_iter().partition(|told| matches!(told, Told::Answer(..)));
        let settled = inner.settled(&told);
        let position = inner.node.shared().roll.seen.position;
        if !told.is_empty() || position != self.heard {
            self.heard = position;
            self.audience.hear(&mut inner.node, told);
        }
        // Whoever asked may have gone.
        settled.into_iter().for_each(|(waits, settled)| drop(waits.send(settled)));
        for told in answers {
            if let Told::Answer(ticket, position, answer) = told
                && let Some(caller) = inner.waiting.remove(&ticket)
            {
                let _ = caller.send((position, answer));
            }
        }
    }

    fn adopt(&mut self, Anew { engine, reader, reread }: Anew) {
        self.rereading = None;
        self.desk.engine.send_replace(engine.clone());
        (self.engine, self.reader) = (engine, reader);
        self.appending.clear();
        let fresh = Fresh { incarnation: incarnation(), generation: fastrand::u64(1..) };
        let read = reread.position();
        let mut inner = self.desk.inner.lock();
        inner.node.adopt(reread, fresh, (self.desk.now)());
        let stands = inner.node.shared().roll.seen.position;
        if stands != read {
            // It was right, and goes on from where it was.
            self.reader = self.engine.read(stands);
        }
        info!("the shared log was read anew");
    }
}

/// The log that was read anew, if it is being read.
async fn done(rereading: &mut Option<Rereading>) -> Anew {
    match rereading {
        Some(rereading) => rereading.await,
        None => std::future::pending().await,
    }
}

/// The snapshots that this node writes, one at a time.
#[derive(Default)]
struct Snapshots {
    writing: Option<AbortOnDropHandle<()>>,
    /// The position of the last one that is whole.
    last: Arc<Mutex<Option<u64>>>,
}

impl Snapshots {
    fn are_idle(&self) -> bool {
        self.writing.as_ref().is_none_or(AbortOnDropHandle::is_finished)
    }

    fn write(&mut self, engine: Arc<dyn Engine>, snapshot: Snapshot) {
        let last = self.last.clone();
        let writing = async move {
            let at = snapshot.position();
            let before = *last.lock();
            match write(&*engine, snapshot, before).await {
                Ok(()) => *last.lock() = Some(at),
                // Another one is due soon.
                Err(trouble) => warn!(%trouble, "a snapshot of the shared log could not be written"),
            }
        };
        self.writing = Some(AbortOnDropHandle::new(tokio::spawn(writing)));
    }
}

/// Writes a snapshot, and trims the log below the one `before` it.
async fn write(
    engine: &dyn Engine,
    snapshot: Snapshot,
    before: Option<u64>,
) -> Result<(), crate::journal::engine::seam::Trouble> {
    let mut writing = engine.put_snapshot(snapshot.position()).await?;
    for part in snapshot.parts() {
        writing.put(part.into()).await?;
    }
    writing.finish().await?;
    match before {
        // Its last entry stays, by which a reader knows that it fits.
        Some(position) => engine.trim(position).await,
        None => Ok(()),
    }
}

fn incarnation() -> Incarnation {
    Incarnation(Uuid::new_v4())
}

fn broken(end: Break) -> Trouble {
    match end {
        Break::Trimmed { .. } => Trouble::Behind,
        Break::Forgotten { .. } | Break::Other(_) | Break::Closed => Trouble::Lost,
    }
}

impl fmt::Debug for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.desk.inner.lock();
        f.debug_struct("Participant")
            .field("incarnation", &inner.node.id())
            .field("position", &inner.node.shared().roll.seen.position)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
