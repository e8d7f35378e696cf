//! Restoring a state from a checkpoint's parts.

use crate::journal::bytes::Unreadable;
use crate::journal::checkpoint::{self, Header, Item, Place};
use crate::journal::entry::Stamp;
use crate::journal::fold::{Fold, Memory};
use crate::model::cursor::{Cursor, Offset, Position};
use crate::model::identity::Identity;
use crate::model::name::Name;
use crate::model::presence::Presence;
use crate::model::roster::Roster;

/// A state of which some parts were read.
#[derive(Debug)]
pub struct Restore {
    fold: Fold,
    began: bool,
    /// The room whose members are being read.
    room: Option<(Name, Offset, Place, Position, Roster)>,
    /// The rooms and members so far.
    counts: (u64, u64),
    ended: bool,
}

impl Restore {
    /// No part so far of a checkpoint of the journal of this identity.
    pub fn new(identity: Identity, memory: Memory) -> Self {
        Restore { fold: Fold::new(identity, memory), began: false, room: None, counts: (0, 0), ended: false }
    }

    /// Reads the next part.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] unless it is the next part of a checkpoint.
    pub fn part(&mut self, part: &[u8]) -> Result<(), Unreadable> {
        checkpoint::read(part, |item| self.item(item))
    }

    /// The restored state, to which the entries from the checkpoint's position on are to be folded.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] unless all parts were read.
    pub fn done(self) -> Result<Fold, Unreadable> {
        if self.ended { Ok(self.fold) } else { Err(Unreadable::Checkpoint("has no end")) }
    }

    fn item(&mut self, item: Item) -> Result<(), Unreadable> {
        if self.ended || self.began == matches!(item, Item::Header(_)) {
            return Err(Unreadable::Checkpoint("does not begin with its header and end with its counts"));
        }
        let Fold { state, included, .. } = &mut self.fold;
        match item {
            Item::Header(header) => self.begin(header),
            Item::Room(room, last, applied) => {
                self.finish_room()?;
                self.room = Some((room, last, Place::default(), applied, Roster::default()));
            }
            Item::Place(place) => {
                let room = self.room.as_mut().ok_or(Unreadable::Checkpoint("has a place of no room"))?;
                room.2 = place;
            }
            Item::Member(member, holds) => {
                let roster = self.room.as_mut().map(|(.., roster)| roster);
                let roster = roster.ok_or(Unreadable::Checkpoint("has a member of no room"))?;
                self.counts.1 += 1;
                if !roster.append(member, holds) {
                    return Err(Unreadable::Checkpoint("has members out of order"));
                }
            }
            Item::Absent(room, until) => drop(included.absent.insert(room, until)),
            Item::Denial(denial) => state.denylist.put(denial),
            Item::Revocations(until) => included.revocations = until,
            Item::Revoked(revoked, before, until) => state.revocations.put(revoked, before, until),
            Item::Cookies(until) => included.cookies = until,
            Item::Cookie(id, pass, end) => state.cookies.put(id, pass, end),
            Item::End(rooms, members) => {
                self.finish_room()?;
                if self.counts != (rooms, members) {
                    return Err(Unreadable::Checkpoint("has other numbers of rooms and members than it says"));
                }
                self.ended = true;
            }
        }
        Ok(())
    }

    fn begin(&mut self, header: Header) {
        self.began = true;
        self.fold.state.last = Stamp { position: header.at, moment: header.moment };
        self.fold.state.incarnation = Some(header.incarnation);
        self.fold.rule(header.rules);
        self.fold.included.listed = header.listed;
    }

    fn finish_room(&mut self) -> Result<(), Unreadable> {
        let Some((name, offset, place, applied, roster)) = self.room.take() else {
            return Ok(());
        };
        self.counts.0 += 1;
        let fold = &mut self.fold;
        let last = (Cursor { epoch: fold.identity.epoch(&name), offset }, place.time);
        let mut room = Presence::kept(name.clone(), last, applied, roster, fold.bounds());
        place.restart.into_iter().for_each(|place| room.restart(place));
        let last = &mut fold.state.last.position;
        *last = (*last).max(applied).max(Position(room.head().offset.0));
        match fold.state.rooms.insert(name, Box::new(room)) {
            None => Ok(()),
            Some(_) => Err(Unreadable::Checkpoint("has a room twice")),
        }
    }
}
