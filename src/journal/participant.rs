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

mod beginning;
mod desk;
pub mod keeper;
mod opening;
mod rereading;
mod snapshots;

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
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use uuid::Uuid;

use crate::journal::cluster::Memory;
use crate::journal::cluster::attendance::Key;
use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::node::kept::Turn;
use crate::journal::cluster::node::{Answer, Asked, Fresh, Node, Options, Told, Trouble};
use crate::journal::cluster::record::Record;
use crate::journal::engine::appends::Appending;
use crate::journal::engine::away::Away;
use crate::journal::engine::reader::{Break, Reader};
use crate::journal::engine::seam::Engine;
use crate::journal::participant::beginning::{Beginning, Log, tell};
use crate::journal::participant::desk::{Desk, Inner};
use crate::journal::participant::keeper::{Keeper, Keeping};
use crate::journal::participant::rereading::{Anew, Found, reread};
use crate::journal::participant::snapshots::Snapshots;
use crate::model::id::ConnectionId;
use crate::model::moment::Moment;

pub use desk::{Now, Settling};
pub use opening::Opening;

/// The node looks at its clock this often.
const EVERY: Duration = Duration::from_millis(50);

/// The entries that are folded before the node says something.
const AT_ONCE: usize = 256;

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
    keeper: Option<Arc<Keeper>>,
    /// The log that takes the place of the own snapshot with which the node begins.
    anew: Option<Anew>,
}

/// One node on its engine. Dropped, it falls silent, as a process does that is killed.
pub struct Participant {
    desk: Arc<Desk>,
    _task: AbortOnDropHandle<()>,
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
    keeping: Keeping,
}

type Rereading = Pin<Box<dyn Future<Output = Anew> + Send>>;

impl Joining {
    /// Reads the log to its end, from the newest snapshot on. With a `keeper`, that may be one of the node's own; and where the log is
    /// away, the node begins with that. Needs a runtime of tokio.
    ///
    /// # Errors
    ///
    /// A sentence: the log can't be opened or read, or the keeper's directory.
    pub async fn read(
        opening: Opening,
        keeper: Option<Arc<Keeper>>,
        options: Options,
        memory: Memory,
        now: Now,
    ) -> Result<Joining, String> {
        let id = incarnation();
        let (node, engine, reader, anew) = match Beginning::of(&opening, keeper.clone(), memory).await? {
            Beginning::Log(log) => {
                let Log { engine, reader, shared, .. } = *log;
                (Node::new(id, shared, options, now()), engine, reader, None)
            }
            Beginning::Turned(own, log) => {
                let Log { engine, reader, shared, lacks } = *log;
                let node = Node::away(id, *own, options, now());
                let mut reread = node.reread(shared);
                reread.lacks(lacks);
                let anew = Anew { engine: engine.clone(), reader, found: Found::Read(Box::new(reread)) };
                (node, engine, Away.read(0), Some(anew))
            }
            Beginning::Away(own) => (Node::away(id, *own, options, now()), Arc::new(Away) as _, Away.read(0), None),
        };
        Ok(Joining { opening, memory, now, node, engine, reader, keeper, anew })
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
        let Joining { opening, memory, now, node, engine, reader, keeper, anew } = self;
        let keeping = Keeping::new(keeper.clone(), node.snapshot_every());
        let inner = Mutex::new(Inner { node, waiting: HashMap::new(), settling: HashMap::new() });
        let sender = watch::Sender::new(engine.clone());
        let desk = Arc::new(Desk { inner, news: Notify::new(), now, engine: sender, keeper });
        let task = Task {
            desk: desk.clone(),
            opening: Arc::new(opening),
            memory,
            engine,
            reader,
            rereading: anew.map(|anew| Box::pin(std::future::ready(anew)) as Rereading),
            appending: FuturesUnordered::new(),
            audience,
            heard: 0,
            curtained: false,
            snapshots: Snapshots::default(),
            keeping,
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
        self.desk.look(read)
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
            while self.with(|node, _| node.trouble() != Some(Trouble::Away) && node.pending() > 0) {
                sleep(EVERY).await;
            }
        };
        // Without the word, the others find out by themselves.
        let _ = timeout(limit, said).await;
        self.keep(limit).await;
    }

    /// Writes the last of the own snapshots, and lets go of their directory.
    async fn keep(&self, limit: Duration) {
        let Some(keeper) = self.desk.keeper.clone() else { return };
        let picture = self.with(|node, now| node.picture(now));
        let written = spawn_blocking(move || {
            picture.into_iter().for_each(|picture| keeper.write(picture));
            keeper.release();
        });
        // One that is not whole is none.
        let _ = timeout(limit, written).await;
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
                if trouble != Trouble::Away {
                    warn!(?trouble, "the shared log is not what was read of it; reading it anew");
                }
                let (desk, opening) = (self.desk.clone(), self.opening.clone());
                self.rereading = Some(Box::pin(reread(desk, opening, self.memory)));
            }
            Some(_) | None => {}
        }
        if self.snapshots.are_idle()
            && let Some(snapshot) = inner.node.snapshot(now)
        {
            self.snapshots.write(self.engine.clone(), snapshot);
        }
        if self.keeping.is_due(now.tick.0)
            && let Some(picture) = inner.node.picture(now)
        {
            self.keeping.write(picture, now.tick.0);
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

    fn adopt(&mut self, Anew { engine, reader, found }: Anew) {
        self.rereading = None;
        self.desk.engine.send_replace(engine.clone());
        (self.engine, self.reader) = (engine, reader);
        self.appending.clear();
        self.keeping.hurry();
        let mut inner = self.desk.inner.lock();
        let was_away = inner.node.trouble() == Some(Trouble::Away);
        match found {
            Found::Same(end) => {
                tell(Turn::GoesOn, inner.node.shared());
                inner.node.reach(end, (self.desk.now)());
            }
            Found::Read(reread) => {
                let turn = inner.node.turn(&reread);
                if was_away {
                    tell(turn, inner.node.shared());
                }
                let fresh = Fresh { incarnation: incarnation(), generation: fastrand::u64(1..) };
                let (read, log) = (reread.position(), reread.identity());
                inner.node.adopt(*reread, fresh, (self.desk.now)());
                if turn == Turn::Other && !inner.node.is_restoring() {
                    self.keeping.set_aside(log);
                }
                // A node whose state was right goes on from where it stands.
                let position = inner.node.shared().roll.seen.position;
                if position != read {
                    self.reader = self.engine.read(position);
                }
                info!("the shared log was read anew");
            }
        }
    }
}

/// The log that was read anew, if it is being read.
async fn done(rereading: &mut Option<Rereading>) -> Anew {
    match rereading {
        Some(rereading) => rereading.await,
        None => std::future::pending().await,
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
