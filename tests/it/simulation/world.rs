//! A world of nodes, one log, clients and readers.

mod checks;
mod trouble;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use presently::cluster::Rules;
use presently::cluster::batch::Batch;
use presently::cluster::fold::Shared;
use presently::cluster::incarnation::Incarnation;
use presently::cluster::node::kept::Turn;
use presently::cluster::node::{self, Faults, Fresh, Node, Options, Told, Trouble};
use presently::cluster::snapshot::Snapshot;
use presently::model::moment::{Moment, Tick, Timestamp};
use presently::model::name::Name;
use uuid::Uuid;

use super::Mode;
use super::clients::{self, ROOMS, Tabs};
use super::engine::{Engine, MEMORY};
use super::readers::{Names, Reader};
use super::truth::Truth;

const STEP: u64 = 50;
const START: u64 = 10_000;
/// How long things go wrong, and how long until all is to be well again.
const TROUBLE: u64 = 45_000;
const PEACE: u64 = 30_000;

/// A machine with a node.
struct Seat {
    node: Option<Node>,
    cut: bool,
    asleep: bool,
    /// When it is well again, in a blip.
    back: u64,
    born: u64,
    troubled: u64,
    /// How far its clocks are from those of others.
    skew: u64,
    /// Its own last snapshot.
    kept: Option<Vec<Vec<u8>>>,
    /// The last position of what it appended that arrived, so that most of it arrives in order.
    line: u64,
}

/// What was seen in all worlds of a mode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub entries: u64,
    pub events: u64,
    pub netted: u64,
    pub snapshots: u64,
    pub answers: u64,
    pub refused: u64,
    pub reaps: u64,
    pub rereads: u64,
    pub lives: u64,
    pub losses: u64,
    pub away: u64,
    pub suspects: u64,
}

struct World {
    rng: Rng,
    /// For what readers ask, so that the rest goes on as without it.
    asking: Rng,
    /// For when nodes write own snapshots.
    keeping: Rng,
    mode: Mode,
    now: u64,
    engine: Engine,
    /// When the log is back.
    engine_back: u64,
    engine_troubled: u64,
    lost_at: u64,
    seats: Vec<Seat>,
    /// What is on its way to the log.
    fly: Vec<(u64, usize, Arc<[u8]>)>,
    tabs: Tabs,
    truth: Truth,
    /// One for each seat and room, then those that go from node to node.
    readers: Vec<Reader>,
    names: Names,
    hashes: HashMap<u64, u64>,
    tickets: u64,
    faults: Faults,
    tally: Tally,
    trace: bool,
    flickers: bool,
}

/// Runs the world of a seed.
///
/// # Errors
///
/// What went wrong.
pub fn run(seed: u64, mode: Mode, faults: Faults) -> Result<Tally, String> {
    let mut world = World::new(seed, mode, faults);
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.live()));
    let at = world.now - START;
    let result = run.unwrap_or_else(|_| Err("a panic".into()));
    result.map_err(|what| format!("seed {seed} of {mode:?} at {at} ms: {what}"))?;
    Ok(world.tally)
}

impl World {
    fn new(seed: u64, mode: Mode, faults: Faults) -> Self {
        let rng = Rng::with_seed(seed);
        let nodes = 2 + (seed % 4) as usize;
        let readers = (0..nodes).flat_map(|seat| (0..ROOMS).map(move |room| (seat, room)));
        let hopping = (0..6).map(|n| (n % nodes, n % ROOMS));
        let reader = |(seat, room)| Reader::new(seat, Name::kept(&format!("room{room}")));
        let readers = readers.chain(hopping).map(reader).collect();
        let mut world = World {
            rng,
            asking: Rng::with_seed(seed.wrapping_add(1 << 32)),
            keeping: Rng::with_seed(seed.wrapping_add(2 << 32)),
            mode,
            now: START,
            engine: Engine::new(1),
            engine_back: 0,
            engine_troubled: 0,
            lost_at: 0,
            seats: Vec::new(),
            fly: Vec::new(),
            tabs: Tabs::default(),
            truth: Truth::default(),
            readers,
            names: Names::default(),
            hashes: HashMap::new(),
            tickets: 0,
            faults,
            tally: Tally::default(),
            flickers: seed % 8 >= 4,
            trace: std::env::var("PRESENTLY_TRACE").is_ok(),
        };
        for _ in 0..nodes {
            let skew = world.rng.u64(..100_000);
            let seat = Seat {
                node: None,
                cut: false,
                asleep: false,
                back: 0,
                born: START,
                troubled: 0,
                kept: None,
                skew,
                line: 0,
            };
            world.seats.push(seat);
        }
        (0..nodes).for_each(|seat| world.start(seat));
        world
    }

    fn moment(&self, seat: usize) -> Moment {
        let tick = self.now + self.seats[seat].skew;
        Moment { tick: Tick(tick), time: Timestamp(1_700_000_000_000 + tick) }
    }

    fn live(&mut self) -> Result<(), String> {
        while self.now < START + TROUBLE + PEACE {
            self.now += STEP;
            if self.now < START + TROUBLE {
                (0..self.rng.usize(0..3)).for_each(|_| self.someone_acts());
                self.something_happens();
                if self.asking.u8(..40) == 0 {
                    let seat = self.asking.usize(..self.seats.len());
                    self.readers_ask(seat);
                }
            } else {
                self.engine.up = true;
                self.seats.iter_mut().for_each(|seat| (seat.cut, seat.asleep) = (false, false));
            }
            if !self.engine.up {
                self.engine_troubled = self.now;
            }
            self.restart_crashed();
            self.arrive();
            for seat in 0..self.seats.len() {
                self.work(seat)?;
            }
            self.read()?;
        }
        self.check()
    }

    /// Prints what happens, where `PRESENTLY_TRACE` says so: for a seed that goes wrong.
    fn trace(&self, line: impl FnOnce(u64) -> String) {
        if self.trace {
            println!("{}", line(self.now - START));
        }
    }

    /// Starts a node with what the log has, if the log is there, or else with its own snapshot.
    fn start(&mut self, seat: usize) {
        let own = self.seats[seat].kept.as_ref().map(|parts| node::restore(parts, MEMORY).expect("a snapshot"));
        let reaches = self.engine.up && !self.seats[seat].cut;
        let (shared, is_away) = match (reaches.then(|| self.read_all(own.as_ref())).flatten(), own) {
            (Some((shared, turn)), own) => match own.filter(|_| [Turn::Forgot, Turn::Emptied].contains(&turn)) {
                Some(own) => (own, true),
                None => (shared, false),
            },
            (None, Some(own)) => (own, true),
            (None, None) => return,
        };
        self.tally.away += u64::from(is_away);
        let members = if self.seats.len() == 3 { 11 } else { 0 };
        let rules = Rules { members, grace: Duration::from_secs(5), max_named: 100 };
        let options = Options { version: "1".into(), rules, snapshot_every: 4_000, faults: self.faults };
        let (id, now) = (self.incarnation(), self.moment(seat));
        let begin = if is_away { Node::away } else { Node::new };
        self.seats[seat].node = Some(begin(id, shared, options, now));
        self.readers_ask(seat);
        self.seats[seat].born = self.now;
        self.tally.lives += 1;
    }

    /// Reads the log, from the own snapshot if that is of this history, and what the log is to that snapshot.
    fn read_all(&self, own: Option<&Shared>) -> Option<(Shared, Turn)> {
        let fits = own.filter(|own| self.engine.has(own)).map(|own| Snapshot::of(own).parts().collect::<Vec<_>>());
        let mut shared = match fits {
            Some(parts) => node::restore(&parts, MEMORY).expect("a snapshot"),
            None => self.engine.state()?,
        };
        shared.any_number = self.faults.any_number;
        for (position, bytes) in self.engine.after(shared.roll.seen.position).unwrap_or(&[]) {
            shared.fold(*position, bytes);
        }
        let turn = own.map_or(Turn::GoesOn, |own| Turn::of(&shared, own, self.engine.lacks(own)));
        Some((shared, turn))
    }

    /// Readers of some rooms ask who is suspect.
    fn readers_ask(&mut self, seat: usize) {
        let rooms = (0..ROOMS).map(|room| Name::kept(&format!("room{room}")));
        let rooms = rooms.filter(|_| self.asking.bool()).collect();
        if let Some(node) = &mut self.seats[seat].node {
            node.ask_suspects(rooms);
        }
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation(Uuid::from_u128(self.rng.u128(1..)))
    }

    /// What is on its way arrives in the log, or is lost, or arrives twice.
    fn arrive(&mut self) {
        self.fly.sort_by_key(|(at, ..)| *at);
        while self.fly.first().is_some_and(|(at, ..)| *at <= self.now) {
            let (_, seat, bytes) = self.fly.remove(0);
            if !self.engine.up || self.seats[seat].cut && self.rng.bool() {
                continue;
            }
            let skip = if self.rng.u8(..10) == 0 { self.rng.u64(..5) } else { 0 };
            self.engine.append(bytes.clone(), skip);
            self.tally.entries += 1;
            if self.mode != Mode::Calm && self.rng.u8(..50) == 0 {
                let late = self.now + self.rng.u64(..10_000);
                self.fly.push((late, seat, bytes.clone()));
                self.engine.append(bytes, 0);
            }
        }
    }

    /// One node reads, writes, and tells.
    fn work(&mut self, seat: usize) -> Result<(), String> {
        if self.seats[seat].asleep {
            self.seats[seat].troubled = self.now;
            return Ok(());
        }
        let cut = self.seats[seat].cut || !self.engine.up;
        if self.seats[seat].cut {
            self.seats[seat].troubled = self.now;
        }
        let now = self.moment(seat);
        let Some(mut node) = self.seats[seat].node.take() else { return Ok(()) };
        if !cut {
            self.follow(&mut node, now)?;
            if let Some(snapshot) = node.snapshot(now) {
                self.engine.keep(snapshot);
            }
            if self.keeping.u8(..40) == 0
                && let Some(picture) = node.picture(now)
            {
                self.seats[seat].kept = Some(picture.parts().collect());
            }
        }
        for bytes in node.tick(now) {
            let peace = self.mode == Mode::Calm || self.now > START + TROUBLE;
            if peace || self.rng.u8(..20) > 0 {
                let late = self.rng.u64(1..if self.mode == Mode::Calm { 20 } else { 250 });
                let in_order = if self.rng.u8(..20) > 0 { self.seats[seat].line } else { 0 };
                let at = (self.now + late).max(in_order);
                self.seats[seat].line = at;
                self.fly.push((at, seat, bytes));
            }
        }
        let told = node.told();
        self.seats[seat].node = Some(node);
        told.into_iter().try_for_each(|told| self.hear(seat, told))
    }

    /// The node reads the log, or reads it anew.
    fn follow(&mut self, node: &mut Node, now: Moment) -> Result<(), String> {
        let roll = &node.shared().roll;
        let position = roll.seen.position;
        if node.trouble() == Some(Trouble::Away) && self.engine.has(node.shared()) {
            node.reach(self.engine.last(), now);
        } else if roll.identity.journal != self.engine.journal || self.engine.last() < position {
            node.is_troubled(Trouble::Lost);
        } else if self.engine.after(position).is_none() {
            node.is_troubled(Trouble::Behind);
        }
        let most = self.rng.usize(1..30);
        let todo: Vec<_> = self.engine.after(position).unwrap_or(&[]).iter().take(most).cloned().collect();
        for (position, bytes) in todo {
            if node.trouble().is_some() {
                break;
            }
            self.trace(|at| format!("{at} {} reads {position}: {:?}", node.id(), Batch::decode(&bytes)));
            node.entry(position, &bytes, now);
            checks::suspicion(node.shared())?;
            let hash = node.shared().roll.seen.hash;
            if !self.mode.forgets() && *self.hashes.entry(position).or_insert(hash) != hash {
                return Err(format!("two states at {position}"));
            }
        }
        match node.trouble() {
            None => {}
            Some(Trouble::Reaped) => {
                self.tally.lives += 1;
                node.live_again(self.incarnation(), now);
            }
            Some(Trouble::Newer) => return Err("a batch of another version".into()),
            Some(Trouble::Differs | Trouble::Lost | Trouble::Behind | Trouble::Away) => {
                self.tally.rereads += 1;
                let Some(state) = self.engine.state() else { return Err("no snapshot".into()) };
                let mut reread = node.reread(state);
                reread.lacks(self.engine.lacks(node.shared()));
                for (position, bytes) in self.engine.after(reread.position()).unwrap_or(&[]) {
                    reread.entry(*position, bytes);
                }
                let fresh = Fresh { incarnation: self.incarnation(), generation: self.rng.u64(1..) };
                node.adopt(reread, fresh, now);
            }
        }
        Ok(())
    }

    fn hear(&mut self, seat: usize, told: Told) -> Result<(), String> {
        self.trace(|at| format!("{at} node {seat} tells {told:?}"));
        match told {
            Told::Answer(ticket, position, answer) => self.truth.answered(self.now, seat, ticket, position, &answer),
            Told::Ended(_, connection, _) => {
                self.tabs.open.retain(|id, tab| *id != connection || tab.seat != seat);
                Ok(())
            }
            Told::Suspected(who, true, _) if self.mode == Mode::Calm => Err(format!("{who} is suspect")),
            Told::Lifted(rooms) => {
                for (room, cursor) in rooms {
                    let here = |reader: &&mut Reader| reader.seat == seat && reader.room == room;
                    let at = |reader: &mut Reader| reader.nets = reader.cursor == cursor;
                    self.readers.iter_mut().filter(here).for_each(at);
                }
                Ok(())
            }
            Told::Suspected(..) | Told::Changed(..) | Told::Gone(_) | Told::Restarted => Ok(()),
            Told::Settled(_) | Told::Fact(_) => Ok(()),
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let fixed = self.seats.len() * ROOMS;
        if !self.mode.forgets() && !self.names.ambiguous.is_empty() {
            return Err("a cursor names two events".into());
        }
        for at in 0..self.readers.len() {
            if at >= fixed && self.rng.u8(..100) == 0 {
                let seat = self.rng.usize(..self.seats.len());
                self.readers[at].hop(seat);
            }
            let seat = self.readers[at].seat;
            if self.seats[seat].asleep {
                continue;
            }
            let Some(node) = &self.seats[seat].node else { continue };
            let gone = match self.readers[at].read(node, self.now, &mut self.names) {
                Ok(gone) => gone,
                // The cursor is one of what was forgotten: soon, a new generation tells so.
                Err(_) if self.mode.forgets() && at >= fixed && self.now < self.lost_at + 20_000 => {
                    self.readers[at].cursor = None;
                    Vec::new()
                }
                Err(what) => return Err(format!("node {seat}, reader {at}: {what}")),
            };
            // A reader that comes from elsewhere may hear of what was long ago.
            gone.iter().try_for_each(|gone| self.judge(seat, gone, at < fixed))?;
        }
        Ok(())
    }
}
