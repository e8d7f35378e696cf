//! The reference: naive rooms, and lists; and all that counts of a state.

use std::mem;

use super::*;
use crate::access::pass::Pass;
use crate::access::revocations::Revoked;
use crate::model::denylist::Denial;
use crate::model::event::DelReason;
use crate::model::id::ClientId;
use crate::naive::{Naive, Seen, Shown};

/// Naive rooms, and lists.
#[derive(Default)]
pub struct Reference {
    rooms: BTreeMap<Name, (Naive, Offset)>,
    rules: Rules,
    revoked: BTreeMap<Revoked, (UnixTime, UnixTime)>,
    /// The oldest first.
    cookies: Vec<(SecretId, Arc<Pass>, Tick)>,
    now: Tick,
    ended: bool,
}

impl Reference {
    pub fn fold(&mut self, Stamp { position, moment }: Stamp, entry: &Entry) {
        self.now = moment.tick;
        match entry {
            Entry::Begin { hold_for, .. } => {
                let crashed = !mem::take(&mut self.ended);
                for (room, head) in self.rooms.values_mut() {
                    room.now = moment.tick;
                    room.begin(*hold_for);
                    if crashed {
                        *head = position.offset();
                    }
                }
            }
            Entry::Rules(rules) => self.rules = *rules,
            Entry::Change { room, commands } => self.change(position, room, commands),
            Entry::Mark => {}
            Entry::End => self.ended = true,
            Entry::Revoked { revoked, before, at } => {
                let (old, _) = self.revoked.get(revoked).copied().unwrap_or_default();
                let before = *before.max(&old);
                self.revoked.insert(revoked.clone(), (before, before.max(*at)));
            }
            Entry::Cookie { id, pass, end } => {
                self.cookies.retain(|(.., end)| *end > moment.tick);
                let of_user = |(_, other, _): &(SecretId, Arc<Pass>, Tick)| pass.sub.is_some() && other.sub == pass.sub;
                if self.cookies.iter().filter(|cookie| of_user(cookie)).count() == 100 {
                    let oldest = self.cookies.iter().position(of_user).expect("one of 100");
                    self.cookies.remove(oldest);
                }
                self.cookies.push((*id, pass.clone(), *end));
            }
            Entry::CookieEnded { id } => self.cookies.retain(|(other, ..)| other != id),
        }
    }

    fn change(&mut self, position: Position, name: &Name, commands: &[Command]) {
        let (room, head) = self.rooms.entry(name.clone()).or_default();
        (room.now, room.grace) = (self.now, self.rules.grace);
        let mut next = position.offset();
        for command in commands {
            let seen = match command {
                Command::User(user, action) => room.act(user, action),
                Command::Expire(most) => room.expire(*most),
                Command::Begin(_) | Command::Trim(_) | Command::Shorten(..) => panic!("in no journal: {command:?}"),
            };
            for _ in seen.iter().filter(|seen| matches!(seen, Seen::Add(..) | Seen::Update(..) | Seen::Del(..))) {
                (*head, next) = (next, next.next());
            }
        }
    }

    pub fn content(&self) -> Content {
        let rooms = self.rooms.iter().filter(|(_, (room, _))| !room.users.is_empty());
        let denied = self.rooms.iter().flat_map(|(name, (room, _))| {
            let lasts = room.denied.iter().filter(|(_, _, until, _)| *until > self.now);
            lasts.map(|(user, client, until, reason)| ((name.clone(), user.clone(), *client), (*until, *reason)))
        });
        Content {
            rooms: rooms
                .map(|(name, (room, head))| (name.clone(), (*head, room.shown(), room.next_deadline())))
                .collect(),
            denied: denied.collect(),
            revoked: self.revoked.iter().map(|(revoked, (before, _))| (revoked.clone(), *before)).collect(),
            cookies: cookies(self.cookies.iter().cloned(), self.now),
            rules: self.rules,
        }
    }
}

/// All that counts of a state.
#[derive(Debug, PartialEq)]
pub struct Content {
    /// The last event, the members and the next deadline of each room with members.
    rooms: BTreeMap<Name, RoomContent>,
    denied: BTreeMap<(Name, Name, ClientId), (Tick, DelReason)>,
    revoked: BTreeMap<Revoked, UnixTime>,
    cookies: Cookies,
    rules: Rules,
}

type RoomContent = (Offset, BTreeMap<Name, Shown>, Option<Tick>);

/// Those of each user, the oldest first.
type Cookies = BTreeMap<Option<Name>, Vec<(SecretId, Arc<Pass>, Tick)>>;

fn cookies(all: impl Iterator<Item = (SecretId, Arc<Pass>, Tick)>, now: Tick) -> Cookies {
    let mut of_each = Cookies::new();
    for cookie in all.filter(|(.., end)| *end > now) {
        of_each.entry(cookie.1.sub.clone()).or_default().push(cookie);
    }
    if let Some(nobodys) = of_each.get_mut(&None) {
        nobodys.sort_by_key(|(id, ..)| *id);
    }
    of_each
}

impl State {
    pub fn content(&self) -> Content {
        let now = self.last.moment.tick;
        let rooms = self.rooms.iter().filter(|(_, room)| !room.roster().is_empty());
        let lasting = self.denylist.all().filter(|denial| denial.deadline > now);
        let denied =
            lasting.map(|Denial { client, room, user, deadline, reason }| ((room, user, client), (deadline, reason)));
        Content {
            rooms: rooms
                .map(|(name, room)| (name.clone(), (room.head().offset, naive::shown(room), room.next_deadline())))
                .collect(),
            denied: denied.collect(),
            revoked: self.revocations.all().map(|(revoked, before, _)| (revoked.clone(), before)).collect(),
            cookies: cookies(self.cookies.all().map(|(id, pass, end)| (id, pass.clone(), end)), now),
            rules: self.rules,
        }
    }

    /// Everything, also what has no effect yet: the order of holds and of what was said, and the ends of revocations.
    pub fn everything(&self) -> String {
        let with_members = self.rooms.iter().filter(|(_, room)| !room.roster().is_empty());
        let rooms: BTreeMap<_, _> = with_members
            .map(|(name, room)| {
                let held: Vec<_> = room.roster().held_from(Default::default()).collect();
                let deadlines: Vec<_> = room.roster().deadlines().collect();
                (name, (room.head(), room.applied(), format!("{held:?} {deadlines:?}"), room.next_deadline()))
            })
            .collect();
        let revoked: Vec<_> = self.revocations.all().collect();
        format!(
            "{:?} {rooms:?} {revoked:?} {:?} {:?} {}",
            self.content(),
            self.last.moment,
            self.incarnation,
            self.ended
        )
    }
}
