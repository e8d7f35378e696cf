//! Changes: the netted difference between two places in a room's order of events.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::cursor::Cursor;
use crate::model::event::DelReason;
use crate::model::history::{Brief, Kind};
use crate::model::moment::{Taken, Timestamp};
use crate::model::name::Name;
use crate::model::roster::{Member, Roster};

/// The difference between a reader's old set and the present set. A user who came and went in between is in neither
/// list.
#[derive(Clone, Debug)]
pub struct Changes {
    room: Name,
    cursor: Cursor,
    taken: Taken,
    gone: Vec<Gone>,
    set: Vec<Set>,
}

/// A departed member, to be removed from the reader's set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The user.
    pub user: Name,
    /// The reason of the last `del`.
    pub reason: DelReason,
    /// When the user left.
    pub at: Timestamp,
}

/// A present member, to be put into the reader's set.
#[derive(Clone, Debug)]
pub struct Set {
    /// The member.
    pub member: Arc<Member>,
    /// Whether the reader's set lacks the member.
    pub new: bool,
    /// When the member came or changed last.
    pub at: Timestamp,
    /// Whether the member is suspect, for readers who ask.
    pub suspect: bool,
    /// Whether readers who do not ask saw any of it.
    pub seen: bool,
}

/// The way from a reader's old set to the present set, event by event. Netting takes time, so a gap is taken from the room
/// and netted without the room's lock.
#[derive(Debug)]
pub struct Gap {
    /// The room.
    pub room: Name,
    /// The place behind the gap.
    pub cursor: Cursor,
    /// The events of the gap.
    pub briefs: Vec<Brief>,
    /// The present set.
    pub roster: Roster,
}

/// What happened to one user in a gap.
struct Way {
    /// Whether the reader's set has the user.
    had: bool,
    /// The reason of the last `del`.
    went: Option<DelReason>,
    /// The time of the last change that all readers saw, or else of the last one.
    at: Timestamp,
    /// Whether readers who do not ask for suspects saw a change.
    seen: bool,
}

impl Gap {
    /// Nets the gap, which was `taken` just now.
    pub fn net(self, taken: Taken) -> Changes {
        Changes::net(self.room, self.cursor, taken, self.briefs.into_iter(), &self.roster)
    }
}

impl Changes {
    /// Nets the events `briefs`, in order, into the present set: `roster` at `cursor`.
    pub fn net(room: Name, cursor: Cursor, taken: Taken, briefs: impl Iterator<Item = Brief>, roster: &Roster) -> Self {
        let mut users: HashMap<Name, Way> = HashMap::new();
        for Brief { user, kind, at } in briefs {
            let way = users.entry(user).or_insert(Way { had: kind != Kind::Add, went: None, at, seen: false });
            match kind {
                Kind::Suspect if way.seen => continue,
                Kind::Suspect => {}
                Kind::Add | Kind::Update => way.seen = true,
                Kind::Del(reason) => (way.went, way.seen) = (Some(reason), true),
            }
            way.at = at;
        }
        // In order of names, each lookup is close in memory to the one before.
        let mut users: Vec<_> = users.into_iter().collect();
        users.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut changes = Changes { room, cursor, taken, gone: Vec::new(), set: Vec::new() };
        for (user, Way { had, went, at, seen }) in users {
            match (roster.get(&user), went) {
                (Some(member), _) => {
                    let (member, suspect) = (member.clone(), roster.is_suspect(&user));
                    changes.set.push(Set { member, new: !had, at, suspect, seen });
                }
                (None, Some(reason)) if had => changes.gone.push(Gone { user, reason, at }),
                (None, _) => {}
            }
        }
        changes
    }

    /// The number of users in both lists.
    pub fn len(&self) -> usize {
        self.gone.len() + self.set.len()
    }

    /// Whether both lists are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The room.
    pub fn room(&self) -> &Name {
        &self.room
    }

    /// The place that the changes lead to.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// When the changes were taken.
    pub fn taken(&self) -> Taken {
        self.taken
    }

    /// Users to remove.
    pub fn gone(&self) -> &[Gone] {
        &self.gone
    }

    /// Members to put.
    pub fn set(&self) -> &[Set] {
        &self.set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cursor::{Epoch, Offset};
    use crate::model::hold::Holds;
    use crate::model::info::Info;
    use crate::model::meta::Meta;

    #[test]
    fn a_user_who_came_and_went_is_in_neither_list() {
        let name = |user: &str| user.parse::<Name>().unwrap();
        let mut roster = Roster::default();
        for user in ["new", "back", "changed"] {
            let (meta, info) = (Meta::default(), Info::default());
            let member = Member { user: name(user), meta, info, joined: Timestamp(7) };
            roster.put(Arc::new(member), Holds::plain(&Meta::default()));
        }
        let del = Kind::Del(DelReason::SignedOut);
        let story = [
            ("guest", Kind::Add),
            ("guest", del),
            ("left", Kind::Update),
            ("left", del),
            ("left", Kind::Add),
            ("left", del),
            ("back", del),
            ("back", Kind::Add),
            ("changed", Kind::Update),
            ("new", Kind::Add),
        ];
        let briefs = (1..).zip(story).map(|(at, (user, kind))| Brief { user: name(user), kind, at: Timestamp(at) });
        let cursor = Cursor { epoch: Epoch(1), offset: Offset(10) };
        let changes = Changes::net(Name::lobby(), cursor, Taken::default(), briefs, &roster);
        let set: Vec<_> = changes.set().iter().map(|set| (&*set.member.user, set.new, set.at.0)).collect();
        assert_eq!(set, [("back", false, 8), ("changed", false, 9), ("new", true, 10)]);
        assert_eq!(changes.gone(), [Gone { user: name("left"), reason: DelReason::SignedOut, at: Timestamp(6) }]);
    }
}
