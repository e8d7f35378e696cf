//! What changed between two places of a room, netted, and its JSON in parts of bounded size.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::model::event::{Cursor, Reason, Shown, to_json};
use crate::model::history::{Brief, Kind};
use crate::model::name::Name;
use crate::model::roster::{Member, Roster};
use crate::model::snapshot::PART_BYTES;

/// What a reader has to do to its old set to have the new one. Who came and went meanwhile is in
/// neither list.
#[derive(Clone, Debug)]
pub struct Changes {
    room: Name,
    cursor: Cursor,
    gone: Vec<(Name, Reason)>,
    set: Vec<Set>,
}

/// A member as they are now: to be put into the set.
#[derive(Clone, Debug)]
pub struct Set {
    /// Who.
    pub member: Arc<Member>,
    /// Whether the reader did not have them.
    pub new: bool,
}

/// One part, as JSON, and how much of the changes is done with it.
#[derive(Debug)]
pub struct Part {
    /// The frame's object.
    pub json: String,
    /// What follows; `None` behind the last part.
    pub next: Option<Next>,
}

/// Which part comes next, and how many changes were in those before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Next {
    part: usize,
    done: usize,
}

#[derive(Serialize)]
struct Wire<'a> {
    action: &'a str,
    room: &'a Name,
    cursor: Cursor,
    part: usize,
    last: bool,
    set: Vec<Shown<'a>>,
    gone: Vec<Gone<'a>>,
}

#[derive(Serialize)]
struct Gone<'a> {
    user: &'a Name,
    reason: Reason,
}

impl Changes {
    /// Nets what happened (`briefs`, in order) into what is now (`roster`, at `cursor`).
    pub fn net(room: Name, cursor: Cursor, briefs: impl Iterator<Item = Brief>, roster: &Roster) -> Self {
        // For each user: whether the reader has them, and why they went last.
        let mut users: HashMap<Name, (bool, Option<Reason>)> = HashMap::new();
        for Brief { user, kind } in briefs {
            let (_, last) = users.entry(user).or_insert((kind != Kind::Add, None));
            if let Kind::Del(reason) = kind {
                *last = Some(reason);
            }
        }
        // In order: what is looked up next lies beside what was looked up last.
        let mut users: Vec<_> = users.into_iter().collect();
        users.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut changes = Changes { room, cursor, gone: Vec::new(), set: Vec::new() };
        for (user, (had, went)) in users {
            match (roster.get(&user), went) {
                (Some(member), _) => changes.set.push(Set { member: member.clone(), new: !had }),
                (None, Some(reason)) if had => changes.gone.push((user, reason)),
                (None, _) => {}
            }
        }
        changes
    }

    /// How many members it speaks of.
    pub fn len(&self) -> usize {
        self.gone.len() + self.set.len()
    }

    /// Whether all is as it was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whose they are.
    pub fn room(&self) -> &Name {
        &self.room
    }

    /// Where it leads.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Who is gone.
    pub fn gone(&self) -> &[(Name, Reason)] {
        &self.gone
    }

    /// Who is to be put.
    pub fn set(&self) -> &[Set] {
        &self.set
    }

    /// Encodes one part.
    pub fn part(&self, next: Next) -> Part {
        let (mut gone, mut set) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        let mut done = next.done;
        while bytes < PART_BYTES && done < self.len() {
            if let Some((user, reason)) = self.gone.get(done) {
                bytes += user.len() + 32;
                gone.push(Gone { user, reason: *reason });
            } else if let Some(Set { member, .. }) = self.set.get(done - self.gone.len()) {
                bytes += member.user.len() + member.meta.as_str().len() + 64;
                set.push(Shown::from(&**member));
            }
            done += 1;
        }
        let last = done == self.len();
        let (room, cursor, part) = (&self.room, self.cursor, next.part);
        let json = to_json(&Wire { action: "changes", room, cursor, part, last, set, gone });
        Part { json, next: (!last).then_some(Next { part: part + 1, done }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hold::{Hold, Holds};
    use crate::model::meta::Meta;

    fn brief(user: &str, kind: Kind) -> Brief {
        Brief { user: user.parse().unwrap(), kind }
    }

    const DEL: Kind = Kind::Del(Reason::SignedOut);

    #[test]
    fn who_came_and_went_is_in_neither_list() {
        let mut roster = Roster::default();
        for user in ["new", "back", "changed"] {
            roster.put(
                Member { user: user.parse().unwrap(), meta: Meta::default(), joined: 7 },
                Holds::of(Hold::SignIn(None)),
            );
        }
        let story = [
            brief("guest", Kind::Add),
            brief("guest", DEL),
            brief("left", Kind::Update),
            brief("left", DEL),
            brief("left", Kind::Add),
            brief("left", DEL),
            brief("back", DEL),
            brief("back", Kind::Add),
            brief("changed", Kind::Update),
            brief("new", Kind::Add),
        ];
        let cursor = Cursor { epoch: 1, offset: 10 };
        let changes = Changes::net(Name::lobby(), cursor, story.into_iter(), &roster);
        let part = changes.part(Next::default());
        assert!(part.next.is_none());
        let expected = serde_json::json!({
            "action": "changes", "room": "lobby", "cursor": "1.10", "part": 0, "last": true,
            "set": [
                {"user": "back", "meta": {}, "joined": "1970-01-01T00:00:07Z"},
                {"user": "changed", "meta": {}, "joined": "1970-01-01T00:00:07Z"},
                {"user": "new", "meta": {}, "joined": "1970-01-01T00:00:07Z"},
            ],
            "gone": [{"user": "left", "reason": "signed_out"}],
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&part.json).unwrap(), expected);
        let new: Vec<_> = changes.set().iter().map(|set| set.new).collect();
        assert_eq!(new, [false, false, true]);
    }

    #[test]
    fn large_changes_come_in_parts_and_lose_nobody() {
        let mut roster = Roster::default();
        for n in 0..1_500 {
            roster.put(
                Member { user: format!("in {n}").parse().unwrap(), meta: Meta::default(), joined: 0 },
                Holds::of(Hold::SignIn(None)),
            );
        }
        let came = (0..1_500).map(|n| brief(&format!("in {n}"), Kind::Add));
        let went = (0..1_500).map(|n| brief(&format!("out {n}"), DEL));
        let changes = Changes::net(Name::lobby(), Cursor { epoch: 1, offset: 1 }, came.chain(went), &roster);
        assert!(changes.gone().is_sorted() && changes.set().is_sorted_by_key(|set| &set.member.user));
        let (mut next, mut parts, mut set, mut gone) = (Some(Next::default()), 0, 0, 0);
        while let Some(at) = next {
            let part = changes.part(at);
            let json: serde_json::Value = serde_json::from_str(&part.json).unwrap();
            assert_eq!((&json["part"], &json["last"]), (&parts.into(), &part.next.is_none().into()));
            assert!(part.json.len() < 2 * PART_BYTES);
            set += json["set"].as_array().unwrap().len();
            gone += json["gone"].as_array().unwrap().len();
            (next, parts) = (part.next, parts + 1);
        }
        assert!(parts > 2);
        assert_eq!((set, gone), (1_500, 1_500));
    }
}
