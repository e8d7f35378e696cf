//! Readers: each follows one room on one node by its cursor, and may go on to another node.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use presently::cluster::node::Node;
use presently::model::changes::Changes;
use presently::model::cursor::Cursor;
use presently::model::event::{Change, DelReason, Event};
use presently::model::hold::Holds;
use presently::model::moment::Taken;
use presently::model::name::Name;
use presently::model::roster::{Mark, Member, Roster, Suspect};

/// How long a reader with a cursor of the future waits for its node.
const PATIENCE: u64 = 1_000;

/// Each member, and whether the member is suspect.
type Set = BTreeMap<Name, (Arc<Member>, bool)>;

/// A reader of one room.
pub struct Reader {
    pub seat: usize,
    pub room: Name,
    pub cursor: Option<Cursor>,
    pub set: Set,
    /// Since when its node lacks its place.
    early_since: Option<u64>,
    /// Its node has lifted the curtain from the room: the way from the old set is given at once.
    pub nets: bool,
}

/// The end of a presence, as seen by a reader.
pub struct Gone {
    pub room: Name,
    pub user: Name,
    pub reason: DelReason,
}

/// What each cursor names, for all readers on all nodes.
#[derive(Default)]
pub struct Names {
    events: HashMap<(u64, u64), (Name, Change)>,
    /// The epochs of cursors that name two events.
    pub ambiguous: HashSet<u64>,
    pub count: u64,
    pub suspects: u64,
    pub netted: u64,
    pub snapshots: u64,
}

impl Names {
    fn note(&mut self, event: &Event) {
        self.count += 1;
        self.suspects += u64::from(matches!(event.change, Change::Suspect(_)));
        let Event { cursor, room, change, .. } = event;
        let place = (cursor.epoch.0, cursor.offset.0);
        let (known, its) = self.events.entry(place).or_insert_with(|| (room.clone(), change.clone()));
        if known != room || its != change {
            self.ambiguous.insert(cursor.epoch.0);
        }
    }
}

fn set_of(roster: &Roster) -> Set {
    members(roster).map(|(member, suspect)| (member.user.clone(), (member.clone(), suspect))).collect()
}

fn members(roster: &Roster) -> impl Iterator<Item = (&Arc<Member>, bool)> {
    roster.held_from(Mark::default()).map(|(member, holds)| (member, holds.is_some_and(Holds::are_silent)))
}

fn is_of(set: &Set, roster: &Roster) -> bool {
    set.len() == roster.len() && set.values().map(|(member, suspect)| (member, *suspect)).eq(members(roster))
}

impl Reader {
    pub fn new(seat: usize, room: Name) -> Self {
        Reader { seat, room, cursor: None, set: BTreeMap::new(), early_since: None, nets: false }
    }

    /// Goes on to another node, with its cursor and set.
    pub fn hop(&mut self, seat: usize) {
        (self.seat, self.early_since, self.nets) = (seat, None, false);
    }

    /// Reads what its node has for it, and compares the set with the node's.
    pub fn read(&mut self, node: &Node, now: u64, names: &mut Names) -> Result<Vec<Gone>, String> {
        let (mut gone, mut news) = (Vec::new(), false);
        let nets = std::mem::take(&mut self.nets);
        if node.is_curtained() {
            let room = node.curtained(&self.room).cloned();
            news = self.read_roster(room, now, names);
            return self.compare(node, news).map(|()| gone);
        }
        let Some(presence) = node.shared().room(&self.room) else {
            news = self.read_roster(None, now, names);
            return self.compare(node, news).map(|()| gone);
        };
        match self.cursor {
            Some(cursor) if cursor == presence.head() => {}
            Some(cursor) if presence.place(cursor).is_some() && !nets => {
                news = true;
                for event in presence.after(cursor.offset).into_iter().flatten() {
                    names.note(event);
                    self.apply(&event.change, &mut gone)?;
                    self.cursor = Some(event.cursor);
                }
            }
            Some(cursor) if cursor.epoch == presence.head().epoch && presence.gap(cursor.offset).is_some() => {
                news = true;
                names.netted += 1;
                let gap = presence.gap(cursor.offset).into_iter();
                gap.for_each(|gap| self.net(&gap.net(Taken::default()), &mut gone));
            }
            Some(cursor) if cursor.epoch == presence.head().epoch && cursor.offset > presence.head().offset => {
                let since = *self.early_since.get_or_insert(now);
                if now > since + PATIENCE {
                    news = self.begin(presence.head(), presence.roster(), names);
                }
            }
            Some(_) | None => news = self.begin(presence.head(), presence.roster(), names),
        }
        self.compare(node, news).map(|()| gone)
    }

    fn begin(&mut self, cursor: Cursor, roster: &Roster, names: &mut Names) -> bool {
        names.snapshots += 1;
        (self.cursor, self.set, self.early_since) = (Some(cursor), set_of(roster), None);
        true
    }

    /// Takes the set of a room behind the curtain, or of one that is not there, unless it is the same or older.
    fn read_roster(&mut self, room: Option<(Cursor, Roster)>, now: u64, names: &mut Names) -> bool {
        let place = room.as_ref().map(|(cursor, _)| *cursor);
        if self.cursor == place {
            return false;
        }
        let since = *self.early_since.get_or_insert(now);
        if self.cursor.is_some() && now <= since + PATIENCE {
            return false;
        }
        self.early_since = None;
        match room {
            Some((cursor, roster)) => self.begin(cursor, &roster, names),
            None => {
                (self.cursor, self.set) = (None, BTreeMap::new());
                true
            }
        }
    }

    fn apply(&mut self, change: &Change, gone: &mut Vec<Gone>) -> Result<(), String> {
        match change {
            Change::Add(member) => match self.set.insert(member.user.clone(), (member.clone(), false)) {
                None => Ok(()),
                Some(_) => Err(format!("add of the member {}", member.user)),
            },
            Change::Update(member) => match self.set.insert(member.user.clone(), (member.clone(), false)) {
                Some((_, false)) => Ok(()),
                Some((_, true)) => Err(format!("a suspect's update without a word of that: {}", member.user)),
                None => Err(format!("update of nobody: {}", member.user)),
            },
            Change::Suspect(Suspect { member, is, changed }) => {
                match self.set.insert(member.user.clone(), (member.clone(), *is)) {
                    Some(before) if *changed || before == (member.clone(), !is) => Ok(()),
                    before => Err(format!("{} is suspect or not, {is}, who was {before:?}", member.user)),
                }
            }
            Change::Del(user, reason) => {
                gone.push(Gone { room: self.room.clone(), user: user.clone(), reason: *reason });
                self.set.remove(user).map(drop).ok_or(format!("del of nobody: {user}"))
            }
        }
    }

    fn net(&mut self, changes: &Changes, gone: &mut Vec<Gone>) {
        for one in changes.gone() {
            self.set.remove(&one.user);
            let (room, user) = (self.room.clone(), one.user.clone());
            gone.push(Gone { room, user, reason: one.reason });
        }
        for one in changes.set() {
            self.set.insert(one.member.user.clone(), (one.member.clone(), one.suspect));
        }
        self.cursor = Some(changes.cursor());
    }

    /// Whoever stands where the node stands has the node's set.
    fn compare(&self, node: &Node, news: bool) -> Result<(), String> {
        if !news {
            return Ok(());
        }
        let none = Roster::default();
        let (cursor, roster) = match (node.curtained(&self.room), node.shared().room(&self.room)) {
            (Some((cursor, roster)), _) => (Some(*cursor), roster),
            (None, Some(room)) if !node.is_curtained() => (Some(room.head()), room.roster()),
            (None, _) => (None, &none),
        };
        match cursor == self.cursor && !is_of(&self.set, roster) {
            true => Err(format!("a reader of {} at {cursor:?} has {}", self.room, self.other(roster))),
            false => Ok(()),
        }
    }

    /// At the end: the set of the node, and no other.
    pub fn check(&self, node: &Node) -> Result<(), String> {
        let none = Roster::default();
        let roster = node.shared().room(&self.room).map_or(&none, |room| room.roster());
        match is_of(&self.set, roster) {
            true => Ok(()),
            false => Err(format!("a reader of {} ends with {}", self.room, self.other(roster))),
        }
    }

    /// What is other in its set and in the node's.
    fn other(&self, roster: &Roster) -> String {
        let theirs = set_of(roster);
        let has: Vec<_> = self.set.iter().filter(|(user, its)| theirs.get(*user) != Some(its)).collect();
        let lacks: Vec<_> = theirs.iter().filter(|(user, its)| self.set.get(*user) != Some(its)).collect();
        format!("{has:?} and not {lacks:?}")
    }
}
