//! The roll: which incarnations live, and how far the log goes. Decides whether a batch counts.

use std::collections::BTreeMap;

use crate::journal::bytes::{Input, Keep, Unreadable, put_all};
use crate::journal::cluster::batch::{Batch, Seen};
use crate::journal::cluster::digest::{self, mix};
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::origin::Origin;
use crate::journal::cluster::record::Record;
use crate::journal::cluster::timing::{CLAIM, LATE, PER_ECHO};
use crate::journal::values::{fields, put, take};
use crate::model::cursor::Position;
use crate::model::identity::Identity;
use crate::model::moment::{Moment, Tick, Timestamp};

/// The position of the next event before the first batch.
const FIRST: Position = Position(1);

/// How an incarnation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is heard.
    Live,
    /// It is silent, since this position.
    Suspect(u64),
    /// It said that it stops, at this position.
    Down(u64),
    /// This later incarnation of the same process took its place, and may say nothing more of it until it has said all.
    Replaced(Incarnation),
}

impl Standing {
    /// The words for all of them.
    pub const WORDS: [&str; 4] = ["live", "suspect", "stopping", "replaced"];

    /// A word for it.
    pub fn word(self) -> &'static str {
        let [live, suspect, stopping, replaced] = Standing::WORDS;
        match self {
            Standing::Live => live,
            Standing::Suspect(_) => suspect,
            Standing::Down(_) => stopping,
            Standing::Replaced(_) => replaced,
        }
    }
}

/// Whether a batch counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It does not.
    No,
    /// It does.
    Yes,
    /// It does, and its incarnation is no longer suspect.
    Again,
}

/// An incarnation that holds something, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The number of its next batch.
    pub next: u64,
    /// How it stands.
    pub standing: Standing,
    /// The version of its program.
    pub version: Box<str>,
    /// Whether it is short of memory.
    pub full: bool,
    /// The moment of its last batch, on its own clocks.
    pub moment: Moment,
}

/// An incarnation that is no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Dead {
    /// The number of entries at its end.
    entries: u64,
    /// The number of the first batch that did not count.
    next: u64,
}

/// Who restores a log that was empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restorer {
    /// Nobody so far.
    #[default]
    Nobody,
    /// This incarnation, so far, from this state.
    One(Incarnation, Origin),
    /// Somebody who is gone now, and had not restored all of this state.
    Left(Origin),
    /// All is restored, from this state.
    Done(Origin),
}

/// Which incarnations live, and how far the log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// The log's name, and its generation. Both are in every cursor.
    pub identity: Identity,
    /// What was read, and the running hash of the entries and of what they did.
    pub seen: Seen,
    /// The digest of the last entry, which tells whether a snapshot is one of this log.
    pub last: u64,
    /// The position of the next event.
    pub next: Position,
    /// The time of the log: that of the first live incarnation's clock, while its batches come.
    pub clock: Tick,
    /// The wall clock at the last batch.
    pub time: Timestamp,
    /// The incarnations.
    pub lives: BTreeMap<Incarnation, Life>,
    /// Those that are no more, for as long as batches of theirs may come late.
    dead: BTreeMap<Incarnation, Dead>,
    /// Who restores the log.
    pub restorer: Restorer,
    /// Whether rules are in force.
    pub ruled: bool,
}

impl Roll {
    /// The roll before the first entry of the log of this identity.
    pub fn new(identity: Identity) -> Self {
        Roll { identity, next: FIRST, ..Roll::default() }
    }

    /// Goes on to the entry at `position`.
    pub fn read(&mut self, position: u64, bytes: &[u8]) {
        self.last = digest::of(bytes);
        self.seen.position = position;
        self.seen.entries += 1;
        let goes_on = matches!(self.restorer, Restorer::One(..));
        if !self.is_young() && !goes_on && self.names_origin() {
            // Nobody may claim any more, and version 0.1 can read snapshots again.
            self.restorer = Restorer::Nobody;
        }
        self.mix(self.last);
    }

    /// Begins the order of events with the first batch that counts, above all positions of a log that was there before.
    pub fn begin_order(&mut self, time: Timestamp) {
        if self.next == FIRST {
            self.next = Position(time.0.saturating_mul(1_000)).max(FIRST.next());
        }
    }

    /// Mixes what an entry did into the running hash: a node that folds otherwise is found by it.
    pub fn mix(&mut self, number: u64) {
        self.seen.hash = mix(self.seen.hash, number);
    }

    /// Whether `batch` counts: it is the next one of a living incarnation, or the first of a new one. `any_number` is a fault.
    pub fn admit(&mut self, batch: &Batch, any_number: bool) -> Admitted {
        let keeps_time = self.live().next() == Some(batch.incarnation);
        let Some(life) = self.lives.get_mut(&batch.incarnation) else {
            return self.begin(batch, any_number);
        };
        let is_next = life.next == batch.number || any_number;
        let (standing, admitted) = match life.standing {
            Standing::Replaced(_) => return Admitted::No,
            Standing::Suspect(_) => (Standing::Live, Admitted::Again),
            Standing::Live | Standing::Down(_) => (life.standing, Admitted::Yes),
        };
        if !is_next {
            return Admitted::No;
        }
        let since = batch.moment.tick.0.saturating_sub(life.moment.tick.0);
        self.clock.0 += if keeps_time { since.min(PER_ECHO) } else { 0 };
        (life.next, life.moment, life.full, life.standing) = (batch.number + 1, batch.moment, batch.full, standing);
        self.time = batch.moment.time;
        admitted
    }

    /// Admits an incarnation with its first batch.
    fn begin(&mut self, batch: &Batch, any_number: bool) -> Admitted {
        let Some(Record::Up { version, replaces, .. }) = batch.records.first() else { return Admitted::No };
        if !self.may_begin(batch, any_number) {
            return Admitted::No;
        }
        let Batch { incarnation, number, moment, full, .. } = *batch;
        let (next, standing, version) = (number + 1, Standing::Live, version.clone());
        self.lives.insert(incarnation, Life { next, standing, version, full, moment });
        if let Some(older) = replaces.filter(|older| *older != incarnation).and_then(|older| self.lives.get_mut(&older))
        {
            older.standing = Standing::Replaced(incarnation);
        }
        self.time = moment.time;
        Admitted::Yes
    }

    /// A first batch that comes late, or again after its incarnation is gone, is nobody's.
    fn may_begin(&self, batch: &Batch, any_number: bool) -> bool {
        let in_time = batch.seen.entries + LATE > self.seen.entries;
        any_number || batch.number == 1 && in_time && !self.dead.contains_key(&batch.incarnation)
    }

    /// The incarnations that live and mean to.
    pub fn live(&self) -> impl Iterator<Item = Incarnation> {
        self.lives.iter().filter(|(_, life)| life.standing == Standing::Live).map(|(who, _)| *who)
    }

    /// Whether the programs of all incarnations read batches of this format.
    pub fn all_read(&self, format: u8) -> bool {
        self.lives.values().all(|life| latest_format(&life.version) >= format)
    }

    /// Whether a node is short of memory.
    pub fn is_full(&self) -> bool {
        self.lives.values().any(|life| life.full)
    }

    /// Makes an incarnation suspect, unless its batch of the number `next` came meanwhile.
    pub fn suspect(&mut self, who: Incarnation, next: u64) -> bool {
        let position = self.seen.position;
        let life = self.lives.get_mut(&who).filter(|life| life.standing == Standing::Live && life.next == next);
        life.map(|life| life.standing = Standing::Suspect(position)).is_some()
    }

    /// Notes that an incarnation stops.
    pub fn stop(&mut self, who: Incarnation) {
        if let Some(life) = self.lives.get_mut(&who) {
            life.standing = Standing::Down(self.seen.position);
        }
    }

    /// Whether an incarnation is suspect or down since this position.
    pub fn is_silent_since(&self, who: Incarnation, since: u64) -> bool {
        self.lives.get(&who).is_some_and(|life| match life.standing {
            Standing::Suspect(position) | Standing::Down(position) => position == since,
            Standing::Live | Standing::Replaced(_) => false,
        })
    }

    /// Takes an incarnation from the roll, and earlier ones of the same process.
    pub fn remove(&mut self, who: Incarnation) -> Vec<(Incarnation, Standing)> {
        let entries = self.seen.entries;
        self.dead.retain(|_, dead| dead.entries + LATE > entries);
        let is_gone =
            |(other, life): &(&Incarnation, &Life)| **other == who || life.standing == Standing::Replaced(who);
        let gone: Vec<_> = self.lives.iter().filter(is_gone).map(|(other, life)| (*other, life.standing)).collect();
        for (gone, _) in &gone {
            let next = self.lives.remove(gone).map_or(0, |life| life.next);
            self.dead.insert(*gone, Dead { entries, next });
        }
        if let Restorer::One(one, origin) = self.restorer
            && gone.iter().any(|(gone, _)| *gone == one)
        {
            // As version 0.1 does, which only knows unnamed ones.
            let of_old = if one == who { Restorer::Nobody } else { self.restorer };
            self.restorer = if origin.is_named() { Restorer::Left(origin) } else { of_old };
        }
        gone
    }

    /// The number of the first batch of an incarnation that did not count; `None` for one that is not remembered.
    pub fn counted(&self, who: Incarnation) -> Option<u64> {
        let dead = || self.dead.get(&who).map(|dead| dead.next);
        self.lives.get(&who).map(|life| life.next).or_else(dead)
    }

    /// Lets an incarnation restore the log, if the log is young and nobody does who had read more.
    pub fn claim(&mut self, who: Incarnation, origin: Origin) {
        if self.may_claim(origin) {
            self.restorer = Restorer::One(who, origin);
        }
    }

    /// Whether somebody with this state may restore the log.
    pub fn may_claim(&self, origin: Origin) -> bool {
        self.is_young() && self.has_more(origin)
    }

    /// Whether the log from which this one is restored is named, which version 0.1 can't read.
    pub fn names_origin(&self) -> bool {
        match self.restorer {
            Restorer::Nobody => false,
            Restorer::One(_, origin) | Restorer::Left(origin) | Restorer::Done(origin) => origin.is_named(),
        }
    }

    /// Whether the log has so few entries that somebody may still claim to restore it.
    pub fn is_young(&self) -> bool {
        self.seen.entries < CLAIM
    }

    /// Whether somebody else is restoring the log, who may leave before all is there.
    pub fn is_restored_by_another(&self, who: Incarnation) -> bool {
        matches!(self.restorer, Restorer::One(one, _) if one != who)
    }

    /// Whether a state is newer than the one of the same log from which this one was restored, if it was.
    pub fn has_more(&self, origin: Origin) -> bool {
        match self.restorer {
            Restorer::Nobody => true,
            Restorer::Left(older) => origin.is_of(older),
            Restorer::One(_, older) | Restorer::Done(older) => origin.is_of(older) && origin.entries > older.entries,
        }
    }

    /// The state here, as one from which another log is restored.
    pub fn origin(&self) -> Origin {
        Origin { journal: self.identity.journal, entries: self.seen.entries }
    }

    /// Whether this incarnation restores the log.
    pub fn is_restorer(&self, who: Incarnation) -> bool {
        matches!(self.restorer, Restorer::One(one, _) if one == who)
    }

    /// All is restored.
    pub fn restored(&mut self, by: Incarnation) {
        if let Restorer::One(who, origin) = self.restorer
            && who == by
        {
            self.restorer = Restorer::Done(origin);
        }
    }
}

/// The latest format of a batch that a version reads.
fn latest_format(version: &str) -> u8 {
    let mut numbers = version.split('.').map(|number| number.parse::<u64>().unwrap_or_default());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if version < (0, 2) { 1 } else { 2 }
}

fields! {
    Life { next, standing, version, full, moment }
    Dead { entries, next }
    Identity { journal, generation }
}

impl Keep for Standing {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Standing::Live => put!(to: 0),
            Standing::Suspect(since) => put!(to: 1, since),
            Standing::Down(since) => put!(to: 2, since),
            Standing::Replaced(by) => put!(to: 3, by),
        }
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => Ok(Standing::Live),
            1 => take!(from: Standing::Suspect(since)),
            2 => take!(from: Standing::Down(since)),
            3 => take!(from: Standing::Replaced(by)),
            _ => Err(from.malformed("an unknown standing")),
        }
    }
}

impl Keep for Restorer {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Restorer::Nobody => put!(to: 0),
            Restorer::One(who, origin) if origin.is_named() => put!(to: 3, who, origin),
            Restorer::Done(origin) if origin.is_named() => put!(to: 4, origin),
            Restorer::Left(origin) => put!(to: 5, origin),
            Restorer::One(who, Origin { entries, .. }) => put!(to: 1, who, entries),
            Restorer::Done(Origin { entries, .. }) => put!(to: 2, entries),
        }
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => Ok(Restorer::Nobody),
            1 => Keep::take(from).map(|(who, entries)| Restorer::One(who, Origin::unnamed(entries))),
            2 => Keep::take(from).map(|entries| Restorer::Done(Origin::unnamed(entries))),
            3 => Keep::take(from).map(|(who, origin)| Restorer::One(who, origin)),
            4 => take!(from: Restorer::Done(origin)),
            5 => take!(from: Restorer::Left(origin)),
            _ => Err(from.malformed("an unknown restorer")),
        }
    }
}

impl Keep for Roll {
    fn put(&self, to: &mut Vec<u8>) {
        let Roll { identity, seen, last, next, clock, time, lives, dead, restorer, ruled } = self;
        identity.put(to);
        seen.put(to);
        last.put(to);
        next.put(to);
        clock.put(to);
        time.put(to);
        put_all(&lives.iter().map(|(who, life)| (*who, life.clone())).collect::<Vec<_>>(), to);
        put_all(&dead.iter().map(|(who, dead)| (*who, *dead)).collect::<Vec<_>>(), to);
        restorer.put(to);
        ruled.put(to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        let ((identity, seen), (last, (next, (clock, time)))) = Keep::take(from)?;
        let lives: Vec<(Incarnation, Life)> = Keep::take(from)?;
        let dead: Vec<(Incarnation, Dead)> = Keep::take(from)?;
        let (restorer, ruled) = Keep::take(from)?;
        let (lives, dead) = (lives.into_iter().collect(), dead.into_iter().collect());
        Ok(Roll { identity, seen, last, next, clock, time, lives, dead, restorer, ruled })
    }
}
