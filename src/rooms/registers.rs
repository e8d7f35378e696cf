//! Registers: what all rooms share.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::journal::queue::Journal;
use crate::model::command::Command;
use crate::model::count::Prefix;
use crate::model::denylist::{Denial, Denylist};
use crate::model::moment::{Moment, Taken, Tick};
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::refusal::{Code, Refusal};
use crate::rooms::asked::Asked;
use crate::rooms::histories::Histories;
use crate::rooms::tally::Tally;
use crate::rooms::upkeep::Upkeep;
use crate::runtime::clock::Clock;
use crate::runtime::memory::Memory;
use crate::runtime::meter::Meter;

/// What all rooms share: their upkeep, their index, the memory and the denylist. The locks here are taken under a room's lock, and never
/// the other way round.
#[derive(Debug)]
pub struct Registers<R> {
    /// The rooms that need attention later.
    pub upkeep: Upkeep<R>,
    /// The rooms that exist: those with members or remembered events. A room that is only watched is not among them.
    pub index: Index,
    /// The rooms by the size of their history.
    pub histories: Histories<R>,
    /// The rooms with a changed count, for readers of counts.
    pub tally: Tally,
    /// The rooms whose readers ask who is suspect.
    pub asked: Arc<Asked>,
    /// The memory of the process.
    pub memory: Arc<Memory>,
    /// The gateway's clock.
    pub clock: Arc<Clock>,
    /// The order of all entries.
    pub journal: Arc<Journal>,
    /// The counters.
    pub meter: Arc<Meter>,
    /// The end of the grace period after the gateway's start.
    fresh_until: Tick,
    /// Whether another process has the rooms.
    handed_over: AtomicBool,
    denylist: Mutex<Denylist>,
    /// Whether the denylist may have entries: most gateways have none, and most joins need no lock of all rooms then.
    denies: AtomicBool,
}

impl<R> Registers<R> {
    /// From here on, another process has the rooms.
    pub fn hand_over(&self) {
        self.handed_over.store(true, SeqCst);
    }

    /// Refuses changes of rooms that another process has.
    ///
    /// # Errors
    ///
    /// `stopping`.
    pub fn check_owner(&self) -> Result<(), Refusal> {
        match self.handed_over.load(SeqCst) {
            true => Err(Refusal::new(Code::Stopping, "another process has taken over, and takes changes")),
            false => Ok(()),
        }
    }

    /// Empty registers for at most `most` rooms within `memory`, whose entries `journal` orders. Members of before the start
    /// may be missing for `fresh_for` from now on.
    pub fn new(
        most: usize,
        memory: Arc<Memory>,
        clock: Arc<Clock>,
        journal: Arc<Journal>,
        meter: Arc<Meter>,
        fresh_for: Duration,
    ) -> Self {
        let fresh_until = clock.tick() + fresh_for;
        Registers {
            upkeep: Upkeep::default(),
            index: Index { names: RwLock::default(), most },
            histories: Histories::default(),
            // Each existing room once, and as many that have ended: a reader of counts that is slower begins anew.
            tally: Tally::new(most.saturating_mul(2)),
            asked: Arc::default(),
            memory,
            clock,
            journal,
            meter,
            fresh_until,
            handed_over: AtomicBool::new(false),
            denylist: Mutex::default(),
            denies: AtomicBool::new(false),
        }
    }

    /// The present moment, for whom a place in a room is taken.
    pub fn taken(&self) -> Taken {
        let Moment { time, tick } = self.clock.now();
        Taken { at: time, fresh_for: self.fresh_until.0.checked_sub(tick.0).filter(|rest| *rest > 0) }
    }

    /// Judges `commands` for `room` by the denylist.
    ///
    /// # Errors
    ///
    /// `signed_out` or `kicked`.
    pub fn check_denylist(&self, room: &Name, commands: &[Command], now: Tick) -> Result<(), Refusal> {
        match self.denies.load(Relaxed) {
            true => self.denylist.lock().check(room, commands, now),
            false => Ok(()),
        }
    }

    /// Adds the clients that `outcome` denies `room` to the denylist.
    pub fn record_denied(&self, room: &Name, outcome: &Outcome, now: Tick) {
        if !outcome.denied.is_empty() {
            self.denylist.lock().record(room, outcome, now);
            self.denies.store(true, Relaxed);
        }
    }

    /// All entries of the denylist.
    pub fn denials(&self) -> Vec<Denial> {
        self.denylist.lock().all().collect()
    }

    /// Puts back the denylist that was kept.
    pub fn restore_denylist(&self, denylist: Denylist) {
        self.denies.store(!denylist.is_empty(), Relaxed);
        *self.denylist.lock() = denylist;
    }

    /// Forgets expired entries of the denylist.
    pub fn trim_denylist(&self, now: Tick) {
        if self.denies.load(Relaxed) {
            let mut denylist = self.denylist.lock();
            denylist.forget(now);
            self.denies.store(!denylist.is_empty(), Relaxed);
        }
    }
}

/// The names of the existing rooms, in byte order and bounded.
#[derive(Debug)]
pub struct Index {
    names: RwLock<BTreeSet<Name>>,
    most: usize,
}

impl Index {
    /// The maximum number of rooms.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The number of rooms.
    pub fn len(&self) -> usize {
        self.names.read().len()
    }

    /// Adds `room`.
    ///
    /// # Errors
    ///
    /// `too_many_rooms` at the bound.
    pub fn insert(&self, room: &Name) -> Result<(), Refusal> {
        let mut names = self.names.write();
        if names.len() >= self.most && !names.contains(room) {
            return Err(self.too_many());
        }
        names.insert(room.clone());
        Ok(())
    }

    /// Whether `room` may exist.
    ///
    /// # Errors
    ///
    /// `too_many_rooms` at the bound.
    pub fn admits(&self, room: &Name) -> Result<(), Refusal> {
        let names = self.names.read();
        if names.len() >= self.most && !names.contains(room) {
            return Err(self.too_many());
        }
        Ok(())
    }

    fn too_many(&self) -> Refusal {
        Refusal::new(Code::TooManyRooms, format!("there are {} rooms, the maximum", self.most)).of("room")
    }

    /// Adds `room`, which was kept.
    pub fn restore(&self, room: &Name) {
        self.names.write().insert(room.clone());
    }

    /// Whether `room` exists.
    pub fn contains(&self, room: &Name) -> bool {
        self.names.read().contains(room)
    }

    /// Removes `room`.
    pub fn remove(&self, room: &Name) {
        self.names.write().remove(room);
    }

    /// All names, in byte order.
    pub fn all(&self) -> Vec<Name> {
        self.names.read().iter().cloned().collect()
    }

    /// The names of at most `limit` of the rooms that `prefix` selects, after the name `after`, in byte order.
    pub fn after(&self, prefix: &Prefix, after: Option<&str>, limit: usize) -> Vec<Name> {
        selected(&self.names.read(), prefix, after).take(limit).cloned().collect()
    }

    /// The number of rooms that `prefix` selects, at most `limit`.
    pub fn count(&self, prefix: &Prefix, limit: usize) -> usize {
        selected(&self.names.read(), prefix, None).take(limit).count()
    }
}

fn selected<'a>(names: &'a BTreeSet<Name>, prefix: &Prefix, after: Option<&str>) -> impl Iterator<Item = &'a Name> {
    let after = after.filter(|after| **after >= **prefix);
    let from = after.map_or(Bound::Included(&**prefix), Bound::Excluded);
    names.range::<str, _>((from, Bound::Unbounded)).take_while(|name| prefix.selects(name))
}
