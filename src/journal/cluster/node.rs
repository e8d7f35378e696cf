//! A node without its network: what it appends to the log, and what it makes of what it reads.

mod again;
mod asking;
mod filling;
pub mod kept;
mod reading;
mod restoring;
pub mod survey;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use crate::journal::bytes::Unreadable;
use crate::journal::cluster::attendance::{Attendance, Key};
use crate::journal::cluster::curtain::Curtain;
use crate::journal::cluster::figures::Figures;
use crate::journal::cluster::fold::{LeaseKey, Shared};
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::judge::Judge;
use crate::journal::cluster::lag::Lag;
use crate::journal::cluster::leases::Leases;
use crate::journal::cluster::node::asking::Asking;
use crate::journal::cluster::node::restoring::Restoration;
use crate::journal::cluster::record::Record;
use crate::journal::cluster::reread::{Reread, Ring};
use crate::journal::cluster::snapshot::Snapshot;
use crate::journal::cluster::timing::{FRESH, SILENT};
use crate::journal::cluster::window::{Ask, Ticket, Window};
use crate::journal::entry::Rules;
use crate::model::command::{Action, Command, SignIn};
use crate::model::cursor::{Cursor, Position};
use crate::model::event::DelReason;
use crate::model::id::{ClientId, ConnectionId};
use crate::model::info::Info;
use crate::model::moment::Moment;
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::refusal::Refusal;
use crate::model::roster::Roster;
use crate::model::statement::Statement;

/// How a node is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The version of the program.
    pub version: Box<str>,
    /// The rules, unless the log has others.
    pub rules: Rules,
    /// How often a node writes a snapshot, in milliseconds.
    pub snapshot_every: u64,
    /// Faults, for tests.
    pub faults: Faults,
}

/// Faults, by which tests see that they would find them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Others are judged by the time of this node alone.
    pub local_time: bool,
    /// Batches of any number count.
    pub any_number: bool,
    /// Nobody compares running hashes.
    pub no_hash: bool,
    /// What the log says of own holds is never compared with what is meant.
    pub no_reconcile: bool,
}

/// Why a node can read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Others took it for lost: it begins another life.
    Reaped,
    /// Somebody read another history.
    Differs,
    /// The log ends before what was read, or is another log.
    Lost,
    /// The log begins behind what was read.
    Behind,
    /// This node began with its own snapshot, and has not reached the log yet.
    Away,
    /// A gateway of a later version wrote what this one can't read.
    Newer,
}

impl Trouble {
    /// A word for it.
    pub fn word(self) -> &'static str {
        match self {
            Trouble::Reaped => "reaped",
            Trouble::Differs => "differs",
            Trouble::Lost => "lost",
            Trouble::Behind => "behind",
            Trouble::Away => "away",
            Trouble::Newer => "newer",
        }
    }
}

/// What a caller hears.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The commands were applied.
    Done(Outcome),
    /// They were refused.
    Refused(Refusal),
    /// The ticket was used: whether it was there.
    Used(bool),
    /// The fact is in the log.
    Recorded,
    /// Nobody knows: the log was read anew, and the fact may be in it.
    Unknown,
}

/// How others ended a connection's hold.
#[derive(Clone, Debug)]
pub enum Cause {
    /// The client came back, here or on another node.
    Replaced,
    /// The client left, by a request to any node.
    Left,
    /// The user was signed out.
    SignedOut(DelReason),
    /// The hold was refused.
    Refused(Refusal),
}

/// What a node tells its owner.
#[derive(Clone, Debug)]
pub enum Told {
    /// The answer to a caller, and the position in the log.
    Answer(Ticket, u64, Answer),
    /// A room has news, unless the curtain is down.
    Changed(Name, Outcome),
    /// A connection does not hold the user any more.
    Ended(Key, ConnectionId, Cause),
    /// All that this node wished about the user so far is in the log, or was refused.
    Settled(Key),
    /// A fact about passes or clients is in the log.
    Fact(Record),
    /// An incarnation became suspect, or is no longer.
    Suspected(Incarnation, bool, Position),
    /// An incarnation is no more.
    Gone(Incarnation),
    /// Cursors from before mean nothing.
    Restarted,
    /// The curtain is lifted: readers of these rooms go on from these places at once.
    Lifted(Vec<(Name, Option<Cursor>)>),
}

/// What came of a caller's wish.
#[derive(Debug)]
pub enum Asked {
    /// Done: a renewal that needs no record.
    Done,
    /// The answer comes later.
    Waits(Ticket),
}

/// Ids for a node that reads the log anew, drawn at random.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// For another life.
    pub incarnation: Incarnation,
    /// For another generation.
    pub generation: u64,
}

/// What waits to be appended.
#[derive(Clone, Debug)]
enum Item {
    /// A caller's wish.
    Ask(Ask),
    /// Whatever is to be told of this user then.
    Key(Key),
    /// This client came here.
    Came(Key, ClientId),
    /// A fact of this node's own.
    Record(Record),
}

/// One node.
#[derive(Debug)]
pub struct Node {
    id: Incarnation,
    options: Options,
    shared: Shared,
    attendance: Attendance,
    window: Window,
    judge: Judge,
    leases: Leases,
    queue: VecDeque<Item>,
    /// The users in the queue.
    queued: HashSet<Key>,
    asking: Asking,
    /// What this node has for an empty log, from memory or disk.
    restoration: Option<Restoration>,
    curtain: Option<Curtain>,
    ring: Ring,
    trouble: Option<Trouble>,
    told: Vec<Told>,
    tickets: u64,
    full: bool,
    /// When an own batch came back last.
    echo: u64,
    /// When own batches began to come back again.
    fresh_since: u64,
    /// When an own batch was made last.
    beat: u64,
    /// Until then, signs of another history are known to be others' mistakes.
    verified: u64,
    /// The position of this life's first batch; 0 until that came back.
    begun: u64,
    /// This node says nothing before it has read the entry at this position.
    until: u64,
    /// When this node read an entry last.
    read_at: u64,
    /// The log, which this node has not reached, has something of a later version.
    outdated: bool,
    /// An own batch of after the curtain came back.
    caught_up: bool,
    snapshot_at: u64,
    lag: Lag,
    figures: Figures,
}

impl Node {
    /// A node that begins a life at `shared`, as far as it has read the log.
    pub fn new(id: Incarnation, mut shared: Shared, options: Options, now: Moment) -> Self {
        let now = now.tick.0;
        shared.any_number = options.faults.any_number;
        let mut ring = Ring::default();
        ring.push(shared.roll.seen);
        let mut node = Node {
            id,
            options,
            shared,
            attendance: Attendance::default(),
            window: Window::new(now),
            judge: Judge::default(),
            leases: Leases::default(),
            queue: VecDeque::new(),
            queued: HashSet::new(),
            asking: Asking::default(),
            restoration: None,
            curtain: None,
            ring,
            trouble: None,
            told: Vec::new(),
            tickets: 0,
            full: false,
            echo: now,
            fresh_since: 0,
            beat: now,
            verified: 0,
            begun: 0,
            until: 0,
            read_at: now,
            outdated: false,
            caught_up: true,
            snapshot_at: now,
            lag: Lag::default(),
            figures: Figures::default(),
        };
        node.queue.push_back(Item::Record(node.up(None)));
        node
    }

    /// This life.
    pub fn id(&self) -> Incarnation {
        self.id
    }

    /// The shared state, as far as this node has read.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Forgets the events of a room, which its readers have.
    pub fn forget_events(&mut self, room: &Name) {
        self.shared.forget_events(room);
    }

    /// Who is connected here.
    pub fn attendance(&self) -> &Attendance {
        &self.attendance
    }

    /// Whether this node knows nothing of the present: callers should wait.
    pub fn is_stale(&self, now: Moment) -> bool {
        self.echo == 0 || now.tick.0.saturating_sub(self.echo) > FRESH
    }

    /// Whether readers see an older set for the moment.
    pub fn is_curtained(&self) -> bool {
        self.curtain.is_some()
    }

    /// A room as readers see it while the curtain is down.
    pub fn curtained(&self, room: &Name) -> Option<&(Cursor, Roster)> {
        self.curtain.as_ref()?.room(room)
    }

    /// Why this node can read no further, if so.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// The log ends before what was read, is another one, or begins behind it.
    pub fn is_troubled(&mut self, trouble: Trouble) {
        self.trouble.get_or_insert(trouble);
    }

    /// What happened since the last call.
    pub fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// What waits to be appended, or to come back.
    pub fn pending(&self) -> usize {
        self.queue.len() + usize::from(self.window.has_keys())
    }

    /// The wishes that are not answered.
    pub fn unanswered(&self) -> impl Iterator<Item = &Record> {
        let queued = self.queue.iter().filter_map(|item| if let Item::Ask(ask) = item { Some(ask) } else { None });
        self.window.asks().chain(queued).map(|ask| &ask.record)
    }

    /// A caller wishes that a record be in the log.
    pub fn ask(&mut self, record: Record) -> Asked {
        if let Record::Change { room, commands } = &record
            && let [command] = &commands[..]
            && self.renews(room, command)
        {
            return Asked::Done;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.queue.push_back(Item::Ask(Ask { ticket: Some(ticket), record }));
        Asked::Waits(ticket)
    }

    /// Renews an own lease, if the command does no more than that.
    fn renews(&mut self, room: &Name, command: &Command) -> bool {
        let Command::User(user, Action::SignIn(SignIn { name, ttl, .. })) = command else { return false };
        let Some(presence) = self.shared.room(room).filter(|presence| presence.renews(command)) else { return false };
        let holds = presence.roster().holds(user);
        let Some(lease) = holds.as_ref().and_then(|holds| holds.lease(name.as_ref())) else { return false };
        let key = LeaseKey { room: room.clone(), user: user.clone(), name: name.clone() };
        *ttl == Some(lease.ttl) && self.leases.renew(&key, lease, self.judge.clock())
    }

    /// A connection holds a user from now on.
    pub fn join(
        &mut self,
        key: &Key,
        connection: ConnectionId,
        client: Option<ClientId>,
        statement: Option<Statement>,
        info: Option<Info>,
    ) {
        for older in self.attendance.join(key, connection, client, statement, info) {
            self.told.push(Told::Ended(key.clone(), older, Cause::Replaced));
        }
        self.owe(key);
        if let Some(client) = client {
            self.queue.push_back(Item::Came(key.clone(), client));
        }
    }

    /// A connection says something of a user whom it holds.
    pub fn say(&mut self, key: &Key, connection: ConnectionId, statement: Statement) {
        self.attendance.say(key, connection, statement);
        self.owe(key);
    }

    /// A connection's hold ends.
    pub fn leave(&mut self, key: &Key, connection: ConnectionId, reason: DelReason) {
        if self.attendance.leave(key, connection, reason) {
            self.owe(key);
        }
    }

    /// A connection is lost, which was silent for so many milliseconds. Its hold lasts for the grace since then, by the time of the
    /// log.
    pub fn lose(&mut self, key: &Key, connection: ConnectionId, silent: u64) {
        self.attendance.lose(key, connection, self.judge.clock() + self.grace().saturating_sub(silent));
    }

    /// The grace period, in milliseconds.
    fn grace(&self) -> u64 {
        u64::try_from(self.shared.rules().grace.as_millis()).unwrap_or(u64::MAX >> 1)
    }

    /// Says that this node is, or is not, so short of memory that nobody may add members.
    pub fn is_full(&mut self, full: bool) {
        self.full = full;
    }

    /// This node stops: its holds last for the grace from when this is in the log.
    pub fn stop(&mut self) {
        self.queue.push_back(Item::Record(Record::Down));
    }

    /// Readers of these rooms ask who is suspect, and of no others.
    pub fn ask_suspects(&mut self, rooms: BTreeSet<Name>) {
        self.asking.ask(rooms);
    }

    /// A snapshot, if it is this node's turn to write one.
    pub fn snapshot(&mut self, now: Moment) -> Option<Snapshot> {
        let is_first = self.shared.roll.live().next() == Some(self.id);
        let is_due = now.tick.0.saturating_sub(self.snapshot_at) > self.options.snapshot_every;
        if !(is_first && is_due && self.is_well(now)) {
            return None;
        }
        self.snapshot_at = now.tick.0;
        Some(Snapshot::of(&self.shared))
    }

    /// Begins to read the log anew, from the state of a snapshot or from the log's first entry.
    pub fn reread(&self, mut shared: Shared) -> Reread {
        shared.any_number = self.options.faults.any_number;
        Reread::of(shared, self.ring.clone(), self.shared.roll.seen)
    }

    /// What is to be appended now, in this order. Without other calls, at least each 100 ms.
    pub fn tick(&mut self, now: Moment) -> Vec<Arc<[u8]>> {
        self.expire();
        if self.trouble.is_none() && !self.is_stale(now) && self.shared.roll.lives.contains_key(&self.id) {
            let records = self.judge.judge(&self.shared.roll, self.grace(), self.id);
            self.queue.extend(records.into_iter().map(Item::Record));
        }
        self.lift(now.tick.0);
        self.doubt(now.tick.0);
        if self.is_silent() {
            return Vec::new();
        }
        self.queue.extend(self.asking.owed(&self.shared.roll, now.tick.0).into_iter().map(Item::Record));
        self.fill(now);
        self.window.to_send(now.tick.0)
    }

    fn up(&self, replaces: Option<Incarnation>) -> Record {
        Record::Up { version: self.options.version.clone(), rules: self.options.rules, replaces }
    }

    /// The log is to be told of a user.
    fn owe(&mut self, key: &Key) {
        if self.queued.insert(key.clone()) {
            self.queue.push_back(Item::Key(key.clone()));
        }
    }

    fn expire(&mut self) {
        let clock = self.judge.clock();
        for key in self.attendance.expire(clock) {
            self.owe(&key);
        }
        for (key, lease) in self.leases.due(clock) {
            if !self.shared.is_leased(&key, &lease) {
                self.leases.give_up(&key);
                continue;
            }
            let lapse = crate::model::command::NodeAction::Lapse(key.name, lease);
            let commands = vec![Command::User(key.user, Action::Node(lapse))];
            self.queue.push_back(Item::Record(Record::Change { room: key.room, commands }));
        }
    }

    /// Lowers the curtain, or keeps it down for longer.
    fn lower(&mut self, now: u64, until: u64) {
        self.caught_up = false;
        match &mut self.curtain {
            Some(curtain) => curtain.extend(now, until),
            None => self.curtain = Some(Curtain::of(&self.shared, now, until)),
        }
    }

    /// Lifts the curtain once all is said again, or its time is over.
    fn lift(&mut self, now: u64) {
        let settled = || self.caught_up && self.pending() == 0 && self.restoration.is_none();
        let lifts = |curtain: &Curtain| curtain.is_over(now) || settled() && curtain.since() + SILENT <= now;
        let reads = self.trouble.is_none() && !self.is_silent();
        if reads && self.curtain.as_ref().is_some_and(lifts) {
            let curtain = self.curtain.take();
            self.told.extend(curtain.map(|curtain| Told::Lifted(curtain.lift(&self.shared))));
        }
    }
}

/// Reads the parts of a snapshot.
///
/// # Errors
///
/// [`Unreadable`] unless these are all parts of one.
pub fn restore(parts: &[Vec<u8>], memory: crate::journal::fold::Memory) -> Result<Shared, Unreadable> {
    crate::journal::cluster::snapshot::restore(parts.iter().map(|part| &part[..]), memory)
}
