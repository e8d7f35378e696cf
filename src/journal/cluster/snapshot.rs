//! Snapshots: the shared state in parts, as it is between two entries. The first part has the roll and the tickets, the others
//! are those of a checkpoint.

use std::sync::Arc;

use crate::access::pass::Pass;
use crate::access::passbook::{Passbook, SecretId};
use crate::journal::bytes::{Input, Keep, Unreadable, put_all};
use crate::journal::checkpoint::{Captured, Header, Parts, Piece, Place};
use crate::journal::cluster::asks::Asks;
use crate::journal::cluster::digest;
use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::roll::Roll;
use crate::journal::fold::Memory;
use crate::journal::fold::restore::Restore;
use crate::model::identity::Identity;
use crate::model::moment::{Moment, Tick};

/// The latest format of the first part. The earliest one that has all is written, since nodes of two versions share a log: 1 has
/// nothing of who asks, and no name of a log from which this one is restored.
const FORMAT: u8 = 2;

type Passes = Vec<(SecretId, (Arc<Pass>, Tick))>;

/// The shared state at one position. Taken at once, since rosters are cheap to copy; encoded later.
#[derive(Debug)]
pub struct Snapshot {
    roll: Roll,
    tickets: Passes,
    asks: Asks,
    header: Header,
    pieces: Vec<Piece>,
}

impl Snapshot {
    /// The present state.
    pub fn of(shared: &Shared) -> Self {
        let (roll, state) = (shared.roll.clone(), &shared.state);
        let at = roll.next;
        let moment = state.last.moment;
        let header = Header { at, listed: at, moment, rules: state.rules, incarnation: 0 };
        let kept = shared.rooms().filter(|room| !room.roster().is_empty());
        let mut rooms: Vec<_> = kept
            .map(|room| {
                let (name, roster) = (room.room().clone(), room.roster().clone());
                Captured {
                    room: name,
                    last: room.last_event().0,
                    place: Place::default(),
                    applied: room.applied(),
                    roster,
                }
            })
            .collect();
        rooms.sort_unstable_by(|a, b| a.room.cmp(&b.room));
        let mut cookies: Vec<_> = state.cookies.all().map(|(id, pass, end)| (id, pass.clone(), end)).collect();
        in_order(&mut cookies);
        let mut tickets: Vec<_> = shared.tickets.all().map(|(id, pass, end)| (id, pass.clone(), end)).collect();
        in_order(&mut tickets);
        let revoked = state.revocations.all().map(|(revoked, before, until)| (revoked.clone(), before, until));
        let mut pieces: Vec<_> = rooms.into_iter().map(Piece::Room).collect();
        pieces.push(Piece::Denials(state.denylist.all().collect()));
        pieces.push(Piece::Revocations { until: at, all: revoked.collect() });
        pieces.push(Piece::Cookies { until: at, all: cookies });
        let tickets = tickets.into_iter().map(|(id, pass, end)| (id, (pass, end))).collect();
        Snapshot { roll, tickets, asks: shared.asks.clone(), header, pieces }
    }

    /// The position of the last entry that is in it.
    pub fn position(&self) -> u64 {
        self.roll.seen.position
    }

    /// The log's name in cursors.
    pub fn identity(&self) -> Identity {
        self.roll.identity
    }

    /// The moment of the last entry.
    pub fn moment(&self) -> Moment {
        self.header.moment
    }

    /// The parts, in order.
    pub fn parts(self) -> impl Iterator<Item = Vec<u8>> {
        let is_early = self.asks.is_empty() && !self.roll.names_origin();
        let mut first = vec![if is_early { 1 } else { FORMAT }];
        self.roll.put(&mut first);
        put_all(&self.tickets, &mut first);
        if !is_early {
            self.asks.put(&mut first);
        }
        std::iter::once(first).chain(Parts::of(self.header, self.pieces))
    }
}

/// The passes of each user stay in the order in which they were made.
fn in_order(passes: &mut [(SecretId, Arc<Pass>, Tick)]) {
    passes.sort_by_key(|(id, pass, _)| (pass.sub.clone(), pass.sub.is_none().then_some(*id)));
}

/// The position of a snapshot by its first part, and whether it is one of the log in which `entry` stands there: a log that
/// forgot its last entries may have others in their place.
///
/// # Errors
///
/// [`Unreadable`] unless `first` is the first part of a snapshot.
pub fn fits(first: &[u8], entry: impl FnOnce(u64) -> Option<Vec<u8>>) -> Result<Option<u64>, Unreadable> {
    let (roll, ..) = read_first(first)?;
    let same = entry(roll.seen.position).is_some_and(|bytes| digest::of(&bytes) == roll.last);
    Ok(same.then_some(roll.seen.position))
}

fn read_first(first: &[u8]) -> Result<(Roll, Passes, Asks), Unreadable> {
    let mut input = Input::of(first);
    let format = input.format(FORMAT)?;
    let (roll, tickets) = Keep::take(&mut input)?;
    let asks = if format < 2 { Asks::default() } else { Keep::take(&mut input)? };
    input.end()?;
    Ok((roll, tickets, asks))
}

/// The state of a snapshot.
///
/// # Errors
///
/// [`Unreadable`] unless `parts` are all parts of a snapshot, in order.
pub fn restore<'a>(parts: impl IntoIterator<Item = &'a [u8]>, memory: Memory) -> Result<Shared, Unreadable> {
    let mut parts = parts.into_iter();
    let (roll, tickets, asks) = read_first(parts.next().ok_or(Unreadable::Checkpoint("has no parts"))?)?;
    let mut restore = Restore::new(roll.identity, memory);
    for part in parts {
        restore.part(part)?;
    }
    let mut shared = Shared::of(roll, restore.done()?.into_state(), memory);
    let mut book = Passbook::new(usize::MAX);
    tickets.into_iter().for_each(|(id, (pass, end))| book.put(id, pass, end));
    (shared.tickets, shared.asks) = (book, asks);
    Ok(shared)
}
