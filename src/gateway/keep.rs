//! What lasts: the journal is opened and folded at the start, and gets its checkpoints.

use std::iter::once_with;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};
use uuid::Uuid;

use crate::gateway::cluster;
use crate::gateway::passes::Passes;
use crate::journal::checkpoint::{Header, Parts, Piece};
use crate::journal::codec;
use crate::journal::disk;
use crate::journal::disk::own::Own;
use crate::journal::entry::{Entry, Rules, Stamp};
use crate::journal::error::OpenError;
use crate::journal::fold::restore::Restore;
use crate::journal::fold::{Fold, Memory, State};
use crate::journal::log::{Read, Source};
use crate::journal::participant::keeper::Keeper;
use crate::journal::participant::{Joining, Opening};
use crate::journal::position::{First, Position};
use crate::journal::queue::Journal;
use crate::journal::queue::options::{Options, SyncMode};
use crate::journal::ticket::{Given, NotDurable};
use crate::model::hold::MAX_NAMED;
use crate::model::identity::Identity;
use crate::model::moment::{Moment, Tick};
use crate::rooms::Rooms;
use crate::runtime::clock::Clock;
use crate::runtime::config::Config;
use crate::runtime::config::data::Sync;

/// How long a start waits for the process that has the directory: an orchestrator starts the next process while the earlier
/// one drains.
const LOCK_WITHIN: Duration = Duration::from_secs(30);

/// The pause before another try after a checkpoint that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// All histories take at most this share of the memory budget while a journal is folded, as they do later.
const HISTORIES: u64 = 4;

/// While nothing else is noted, time is noted this often: after a crash, a lease may last longer by as much.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// The same after a start, while holds wait for their clients: a process that crashes again soon must not give these holds
/// their time anew.
const MARK_SOON: Duration = Duration::from_millis(250);

/// The journal of a gateway that starts, and what it tells.
pub struct Opened {
    /// The journal, in which the process has begun.
    pub journal: Arc<Journal>,
    /// The journal's name.
    pub identity: Identity,
    /// The gateway's clock, which goes on where the earlier process ended.
    pub clock: Arc<Clock>,
    /// What was kept; `None` where nothing is.
    pub state: Option<State>,
    /// The rules in force.
    pub rules: Rules,
    /// Names the process.
    pub incarnation: u128,
    /// The node that this process becomes, in a cluster.
    pub joining: Option<Joining>,
}

/// Opens the journal of `config`, or the log of a cluster, and folds what it has.
///
/// # Errors
///
/// A sentence that names the directory.
pub async fn open(config: &Config, opening: Option<Opening>) -> Result<Opened, String> {
    let bounds = config.bounds(config.budget());
    let rules = Rules { members: bounds.members, grace: bounds.grace, max_named: MAX_NAMED };
    let bytes = usize::try_from(config.budget() / HISTORIES).unwrap_or(usize::MAX);
    let memory = Memory { history: bounds.history, bytes };
    let dir = match (opening, config.data.dir.clone()) {
        (None, Some(dir)) => dir,
        (opening, dir) => {
            let (journal, identity) =
                (Journal::memory(Position(1)), Identity { journal: Uuid::new_v4(), generation: 0 });
            let (journal, clock) = (Arc::new(journal), Arc::<Clock>::default());
            let joining = match opening {
                Some(opening) => Some(cluster::read(opening, keeper(dir).await?, memory, rules, clock.clone()).await?),
                None => None,
            };
            return Ok(Opened { journal, identity, clock, state: None, rules, incarnation: 0, joining });
        }
    };
    let hold_for = hold_for(config);
    let sync = match config.data.sync {
        Sync::Within(time) => SyncMode::Every(time),
        Sync::Always => SyncMode::Always,
    };
    let queue = usize::try_from(config.data.journal_queue).unwrap_or(usize::MAX);
    let options = Options { sync, queue, ..Options::default() };
    let opened = spawn_blocking(move || read(&dir, options, rules, memory, hold_for)).await;
    opened.map_err(|panic| format!("--data: {panic}")).flatten()
}

/// How long the holds of an earlier process's connections last after a start.
pub fn hold_for(config: &Config) -> Duration {
    config.drain + config.grace
}

/// Opens the directory `dir`, when the process that has it ends.
fn acquire<T>(dir: &Path, open: impl Fn(&Path, Duration) -> Result<T, OpenError>) -> Result<T, OpenError> {
    match open(dir, Duration::ZERO) {
        Err(OpenError::InUse(_)) => {
            info!("waiting for another process to leave the directory of --data");
            open(dir, LOCK_WITHIN)
        }
        opened => opened,
    }
}

/// The keeper of a node's own snapshots, if it is to have any.
async fn keeper(dir: Option<PathBuf>) -> Result<Option<Arc<Keeper>>, String> {
    let Some(dir) = dir else { return Ok(None) };
    let opened = spawn_blocking(move || match acquire(&dir, Own::open) {
        Ok(own) => Ok(Some(Arc::new(Keeper::new(own, &dir)))),
        Err(error) => Err(error.sentence("--data", &dir)),
    });
    opened.await.map_err(|panic| format!("--data: {panic}")).flatten()
}

/// Folds the journal in `dir`, and begins. Connections of an earlier process hold on for `hold_for`. Blocks.
fn read(dir: &Path, options: Options, rules: Rules, memory: Memory, hold_for: Duration) -> Result<Opened, String> {
    let began = Instant::now();
    let sentence = |error: OpenError| error.sentence("--data", dir);
    let mut opening = acquire(dir, disk::open).map_err(sentence)?;
    let identity = opening.identity();
    let mut folding = Folding::Parts(Box::new(Restore::new(identity, memory)), false);
    let end = opening.read(&mut |read| folding.take(read, identity, memory)).map_err(sentence)?;
    let is_fresh = opening.is_fresh();
    let mut fold = folding.done(identity, memory).map_err(|error| format!("--data {}: {error}", dir.display()))?;
    let clock = Arc::new(Clock::starting(end.moment.tick, Instant::now()));
    let first = First::after(end.last, clock.now().time, fastrand::u64(..));
    if let First::ByStep(position) = first {
        warn!(%position, "the wall clock is not above the journal's last position; positions go on a random step above it");
    }
    let journal = Arc::new(Journal::start(Box::new(opening), first.position(), options).map_err(sentence)?);
    let (rooms, clean, known) = (fold.state().rooms.len(), fold.state().ended, fold.state().rules == rules);
    let mut note = |entry: Entry| {
        let moment = clock.now();
        let Given { position, .. } = journal.append(1, false, moment, |out| codec::encode(&entry, out));
        fold.fold(Stamp { position, moment }, entry);
    };
    if is_fresh || !known {
        note(Entry::Rules(rules));
    }
    let incarnation = Uuid::new_v4().as_u128();
    note(Entry::Begin { incarnation, hold_for });
    if !is_fresh {
        info!(rooms, clean, took = ?began.elapsed(), "the rooms that were kept are here again");
    }
    let state = (!is_fresh).then(|| fold.into_state());
    Ok(Opened { journal, identity, clock, state, rules, incarnation, joining: None })
}

/// A journal that is being read: first the parts of a checkpoint, if there is one, and then the entries after it.
enum Folding {
    /// The parts so far, and whether there were any.
    Parts(Box<Restore>, bool),
    Entries(Box<Fold>),
}

impl Folding {
    fn take(&mut self, read: Read<'_>, identity: Identity, memory: Memory) -> Result<(), String> {
        match (&mut *self, read) {
            (Folding::Parts(restore, some), Read::Part(part)) => {
                *some = true;
                restore.part(part).map_err(|error| error.to_string())
            }
            (Folding::Entries(_), Read::Part(_)) => Err("a part of a checkpoint follows an entry".to_owned()),
            (Folding::Parts(..), Read::Record(_)) => {
                let parts = std::mem::replace(self, Folding::Entries(Box::new(Fold::new(identity, memory))));
                *self = Folding::Entries(Box::new(parts.done(identity, memory)?));
                self.take(read, identity, memory)
            }
            (Folding::Entries(fold), Read::Record(record)) => {
                let entry = codec::decode(record.payload).map_err(|error| error.to_string())?;
                fold.fold(Stamp { position: record.position, moment: record.moment }, entry);
                Ok(())
            }
        }
    }

    fn done(self, identity: Identity, memory: Memory) -> Result<Fold, String> {
        match self {
            Folding::Parts(restore, true) => restore.done().map_err(|error| error.to_string()),
            Folding::Parts(_, false) => Ok(Fold::new(identity, memory)),
            Folding::Entries(fold) => Ok(*fold),
        }
    }
}

/// Notes in the journal that time goes on, as long as a hold ends by itself and nothing else is noted.
pub struct Marks {
    journal: Arc<Journal>,
    /// The next position when something was noted last, and when that was.
    seen: (Position, Tick),
    /// Until then, time is noted more often.
    soon: Tick,
}

impl Marks {
    /// Marks in `journal`, more often until `soon`.
    pub fn new(journal: Arc<Journal>, soon: Tick) -> Self {
        Marks { journal, seen: Default::default(), soon }
    }

    /// Notes the time, if that is due and `is_needed`.
    pub fn pass(&mut self, now: Moment, is_needed: impl FnOnce() -> bool) {
        let every = if now.tick < self.soon { MARK_SOON } else { MARK_EVERY };
        let next = self.journal.last().next();
        if next != self.seen.0 {
            self.seen = (next, now.tick);
        } else if now.tick >= self.seen.1 + every && is_needed() {
            self.journal.append(1, false, now, |out| codec::encode(&Entry::Mark, out));
        }
    }
}

/// Writes checkpoints of the whole state.
pub struct Checkpoints {
    journal: Arc<Journal>,
    rooms: Arc<Rooms>,
    passes: Arc<Passes>,
    clock: Arc<Clock>,
    rules: Rules,
    incarnation: u128,
}

impl Checkpoints {
    /// Checkpoints of `rooms` and `passes`, by a process with this number that goes by `rules`.
    pub fn of(
        (journal, clock): (Arc<Journal>, Arc<Clock>),
        rooms: Arc<Rooms>,
        passes: Arc<Passes>,
        (rules, incarnation): (Rules, u128),
    ) -> Self {
        Checkpoints { journal, rooms, passes, clock, rules, incarnation }
    }

    /// Writes a checkpoint each time that the journal wants one.
    pub async fn keep(self: Arc<Self>) {
        loop {
            self.journal.snapshot_wanted().await;
            let checkpoints = self.clone();
            let written = spawn_blocking(move || checkpoints.write()).await;
            // The journal has logged why, and wants another one in time.
            if !matches!(written, Ok(Ok(()))) {
                sleep(AGAIN_AFTER).await;
            }
        }
    }

    /// Captures one thing after the other, each under its own lock, while the gateway works on.
    fn write(&self) -> Result<(), NotDurable> {
        let mut snapshot = self.journal.snapshot()?;
        let (at, moment) = (snapshot.at(), self.clock.now());
        let header =
            Header { at, listed: self.journal.last().next(), moment, rules: self.rules, incarnation: self.incarnation };
        let revocations = || {
            let (until, all) = self.passes.capture_revocations();
            Piece::Revocations { until, all }
        };
        let cookies = || {
            let (until, all) = self.passes.capture_cookies();
            Piece::Cookies { until, all }
        };
        for part in Parts::of(header, self.rooms.pieces().chain(once_with(revocations)).chain(once_with(cookies))) {
            snapshot.put(&part)?;
        }
        snapshot.finish(moment)
    }
}

/// Ends the journal cleanly: all is flushed, and the directory is free for another process.
pub async fn close(journal: Arc<Journal>, now: Moment) {
    journal.append(1, false, now, |out| codec::encode(&Entry::End, out));
    // Nothing is left to do about a failure, which the journal has logged.
    let _ = spawn_blocking(move || journal.close()).await;
}
