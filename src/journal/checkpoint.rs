//! Checkpoints: the whole state in parts, captured while the gateway works on.
//!
//! A checkpoint is fuzzy: it begins at a position, and each of its pieces is captured later, under a lock of its own. So each piece
//! says which entries it has in it already; all others from the beginning on are folded on top. A room says so by the last entry
//! that was applied to it, whatever else by the next position at its capture. A room that is not in the checkpoint
//! did not exist when the names were listed, so it was empty then, whatever entries about it came before.

use std::sync::Arc;

use crate::access::pass::{Pass, UnixTime};
use crate::access::passbook::SecretId;
use crate::access::revocations::Revoked;
use crate::journal::bytes::{Input, Keep, Unreadable};
use crate::journal::entry::Rules;
use crate::journal::values::{put, take};
use crate::model::cursor::{Offset, Position};
use crate::model::denylist::Denial;
use crate::model::hold::{Hold, HoldKind, Holds, Maker};
use crate::model::moment::{Moment, Tick};
use crate::model::name::Name;
use crate::model::presence::Presence;
use crate::model::roster::{Mark, Member, Roster};

/// The format that is written.
const FORMAT: u8 = 2;

/// A part ends with the first item beyond these bytes: small enough for one checksum and one write, and the memory that a
/// checkpoint needs beside the state.
pub const PART: usize = 256 * 1024;

/// What a checkpoint begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The first position whose entry may be missing in the pieces.
    pub at: Position,
    /// The next position just before the rooms were listed by their names, and not before `at`.
    pub listed: Position,
    /// When the checkpoint began.
    pub moment: Moment,
    /// The rules in force at `at`.
    pub rules: Rules,
    /// The process that wrote it.
    pub incarnation: u128,
}

/// What is captured under one lock.
#[derive(Clone, Debug)]
pub enum Piece {
    /// A room that exists. A roster's copy is cheap.
    Room(Captured),
    /// A room that was listed, and no longer existed when it was to be captured.
    Absent {
        /// The room.
        room: Name,
        /// The next position just before the room was not found.
        until: Position,
    },
    /// The denylist. Its entries may be folded twice.
    Denials(Vec<Denial>),
    /// The revocations.
    Revocations {
        /// The next position at the capture.
        until: Position,
        /// What was revoked, until when issued, and kept until when.
        all: Vec<(Revoked, UnixTime, UnixTime)>,
    },
    /// The cookies, those of each user in the order in which they were made.
    Cookies {
        /// The next position at the capture.
        until: Position,
        /// The passes, each with its end.
        all: Vec<(SecretId, Arc<Pass>, Tick)>,
    },
}

/// A room as captured.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The room's name.
    pub room: Name,
    /// The last event.
    pub last: Offset,
    /// The place of a restart since then, if there was one, and when the last event happened: a room without members is
    /// remembered for some time.
    pub place: Place,
    /// The last entry that was applied.
    pub applied: Position,
    /// The members with their holds.
    pub roster: Roster,
}

/// Where readers of a room stand, beside the last event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The place of a restart after the last event.
    pub restart: Option<Offset>,
    /// When the last event happened, if that is remembered.
    pub time: Option<Tick>,
}

/// One item of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The first item.
    Header(Header),
    /// A room: the last event, and the last entry that was applied. Its members follow.
    Room(Name, Offset, Position),
    /// Where readers of the room before stand. Absent in the first format.
    Place(Place),
    /// A member of the room before, with the holds unless these are plain.
    Member(Arc<Member>, Option<Holds>),
    /// A room that was listed and then absent, until this position.
    Absent(Name, Position),
    /// An entry of the denylist.
    Denial(Denial),
    /// The next position when the revocations were captured.
    Revocations(Position),
    /// What was revoked, until when issued, and kept until when.
    Revoked(Revoked, UnixTime, UnixTime),
    /// The next position when the cookies were captured.
    Cookies(Position),
    /// A cookie and its end.
    Cookie(SecretId, Arc<Pass>, Tick),
    /// The last item: the number of rooms and of members.
    End(u64, u64),
}

impl From<&Presence> for Piece {
    fn from(presence: &Presence) -> Self {
        let ((last, time), head) = (presence.last_event(), presence.head().offset);
        Piece::Room(Captured {
            room: presence.room().clone(),
            last,
            place: Place { restart: (head > last).then_some(head), time },
            applied: presence.applied(),
            roster: presence.roster().clone(),
        })
    }
}

/// The parts of a checkpoint, made one after the other of pieces that are captured one after the other.
#[derive(Debug)]
pub struct Parts<I> {
    pieces: I,
    /// The first item.
    header: Option<Header>,
    /// The members of the room that is under way.
    members: (Roster, Mark),
    /// The items of another piece that is under way.
    items: std::vec::IntoIter<Item>,
    /// The rooms and members so far.
    counts: (u64, u64),
    ended: bool,
}

impl<I: Iterator<Item = Piece>> Parts<I> {
    /// The checkpoint that begins with `header` and has all of `pieces`.
    pub fn of(header: Header, pieces: impl IntoIterator<IntoIter = I>) -> Self {
        let (header, pieces) = (Some(header), pieces.into_iter());
        Parts {
            pieces,
            header,
            members: Default::default(),
            items: Vec::new().into_iter(),
            counts: (0, 0),
            ended: false,
        }
    }

    /// Appends what is under way, as far as `part` has space; false if there was nothing.
    fn go_on(&mut self, part: &mut Vec<u8>) -> bool {
        let before = part.len();
        let (roster, mark) = &mut self.members;
        let mut put = 0;
        for (member, holds) in roster.held_from(*mark) {
            if part.len() >= PART {
                break;
            }
            Item::Member(member.clone(), holds.cloned()).put(part);
            put += 1;
        }
        *mark = roster.advance(*mark, put);
        self.counts.1 += put as u64;
        while part.len() < PART
            && let Some(item) = self.items.next()
        {
            item.put(part);
        }
        part.len() > before
    }

    fn begin(&mut self, piece: Piece, part: &mut Vec<u8>) {
        match piece {
            Piece::Room(Captured { room, last, place, applied, roster }) => {
                self.counts.0 += 1;
                Item::Room(room, last, applied).put(part);
                Item::Place(place).put(part);
                self.members = (roster, Mark::default());
            }
            Piece::Absent { room, until } => Item::Absent(room, until).put(part),
            Piece::Denials(all) => self.items = items(all, Item::Denial),
            Piece::Revocations { until, all } => {
                Item::Revocations(until).put(part);
                self.items = items(all, |(revoked, before, until)| Item::Revoked(revoked, before, until));
            }
            Piece::Cookies { until, all } => {
                Item::Cookies(until).put(part);
                self.items = items(all, |(id, pass, end)| Item::Cookie(id, pass, end));
            }
        }
    }
}

fn items<T>(all: Vec<T>, item: impl Fn(T) -> Item) -> std::vec::IntoIter<Item> {
    all.into_iter().map(item).collect::<Vec<_>>().into_iter()
}

impl<I: Iterator<Item = Piece>> Iterator for Parts<I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        let mut part = Vec::with_capacity(PART + PART / 16);
        part.push(FORMAT);
        self.header.take().into_iter().for_each(|header| Item::Header(header).put(&mut part));
        while part.len() < PART {
            if self.go_on(&mut part) {
                continue;
            }
            let Some(piece) = self.pieces.next() else {
                Item::End(self.counts.0, self.counts.1).put(&mut part);
                self.ended = true;
                break;
            };
            self.begin(piece, &mut part);
        }
        Some(part)
    }
}

/// Reads the items of a part, in order.
///
/// # Errors
///
/// [`Unreadable`] unless `part` is one of this format or an earlier one; the error of `each`.
pub fn read(part: &[u8], mut each: impl FnMut(Item) -> Result<(), Unreadable>) -> Result<(), Unreadable> {
    let mut input = Input::of(part);
    input.format(FORMAT)?;
    while !input.is_empty() {
        each(Item::take(&mut input)?)?;
    }
    Ok(())
}

impl Keep for Header {
    fn put(&self, to: &mut Vec<u8>) {
        let Header { at, listed, moment, rules, incarnation } = self;
        (*at, *listed).put(to);
        moment.put(to);
        (*rules, *incarnation).put(to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        let ((at, listed), (moment, (rules, incarnation))) = Keep::take(from)?;
        Ok(Header { at, listed, moment, rules, incarnation })
    }
}

impl Keep for Item {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Item::Header(header) => put!(to: 0, header),
            Item::Room(room, last, applied) => put!(to: 1, room, last, applied),
            Item::Member(member, None) => {
                let Member { user, meta, info, joined } = &**member;
                put!(to: 2, user, info, joined, meta);
            }
            Item::Member(member, Some(holds)) => {
                let Member { user, meta: _, info, joined } = &**member;
                put!(to: 3, user, info, joined);
                put_holds(holds, to);
            }
            Item::Absent(room, until) => put!(to: 4, room, until),
            Item::Denial(denial) => put!(to: 5, denial),
            Item::Revocations(until) => put!(to: 6, until),
            Item::Revoked(revoked, before, until) => put!(to: 7, revoked, before, until),
            Item::Cookies(until) => put!(to: 8, until),
            Item::Cookie(id, pass, end) => put!(to: 9, id, pass, end),
            Item::End(rooms, members) => put!(to: 10, rooms, members),
            Item::Place(Place { restart, time }) => put!(to: 11, restart, time),
        }
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => take!(from: Item::Header(header)),
            1 => take!(from: Item::Room(room, last, applied)),
            2 => {
                let (user, (info, (joined, meta))) = Keep::take(from)?;
                Ok(Item::Member(Arc::new(Member { user, meta, info, joined }), None))
            }
            3 => {
                let (user, (info, joined)) = Keep::take(from)?;
                let holds = take_holds(&user, from)?;
                Ok(Item::Member(Arc::new(Member { user, meta: holds.shown(), info, joined }), Some(holds)))
            }
            4 => take!(from: Item::Absent(room, until)),
            5 => take!(from: Item::Denial(denial)),
            6 => take!(from: Item::Revocations(until)),
            7 => take!(from: Item::Revoked(revoked, before, until)),
            8 => take!(from: Item::Cookies(until)),
            9 => take!(from: Item::Cookie(id, pass, end)),
            10 => take!(from: Item::End(rooms, members)),
            11 => {
                let (restart, time) = Keep::take(from)?;
                Ok(Item::Place(Place { restart, time }))
            }
            _ => Err(from.malformed("an unknown kind of item")),
        }
    }
}

/// Appends the holds of a member and what was said for the member. What the member shows follows from these.
fn put_holds(holds: &Holds, to: &mut Vec<u8>) {
    holds.iter().len().put(to);
    holds.iter().for_each(|hold| hold.put(to));
    holds.of_member().is_some().put(to);
    holds.of_member().into_iter().for_each(|said| said.put(to));
}

fn take_holds(user: &Name, from: &mut Input<'_>) -> Result<Holds, Unreadable> {
    let (mut holds, of_member): (Vec<Hold>, _) = Keep::take(from)?;
    for hold in &mut holds {
        // Most tokens are the user's own: one text serves both names.
        if let HoldKind::SignIn { maker: Some(maker), .. } = &mut hold.kind
            && maker.sub == *user
        {
            *maker = Arc::new(Maker { sub: user.clone(), ..**maker });
        }
    }
    Holds::kept(holds, of_member).ok_or(from.malformed("a member without a hold"))
}

#[cfg(test)]
mod tests;
