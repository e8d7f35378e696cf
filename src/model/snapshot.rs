//! The whole set at a cursor, and its JSON in parts of bounded size.

use serde::Serialize;

use crate::model::event::{Cursor, Shown, to_json};
use crate::model::name::Name;
use crate::model::roster::{Mark, Roster};

/// How large a part grows before the next begins: half of what a WebSocket client may be bound to
/// take in one message, and small enough that encoding one delays nothing else.
pub const PART_BYTES: usize = 32 * 1024;

/// The whole set at a cursor.
#[derive(Clone, Debug)]
pub struct Snapshot {
    room: Name,
    cursor: Cursor,
    roster: Roster,
}

/// Which part of a snapshot comes next, and where it begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Next {
    part: usize,
    mark: Mark,
}

/// One part, as JSON.
#[derive(Debug)]
pub struct Part {
    /// The frame's object.
    pub json: String,
    /// What follows; `None` behind the last part.
    pub next: Option<Next>,
}

#[derive(Serialize)]
struct Head<'a> {
    action: &'a str,
    room: &'a Name,
    cursor: Cursor,
    count: usize,
    part: usize,
    last: bool,
}

impl Snapshot {
    /// The set `roster` of `room` at `cursor`.
    pub fn new(room: Name, cursor: Cursor, roster: Roster) -> Self {
        Snapshot { room, cursor, roster }
    }

    /// Where it was taken.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.roster.len()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.roster.is_empty()
    }

    /// Encodes one part.
    pub fn part(&self, next: Next) -> Part {
        let mut users = String::new();
        let mut members = 0;
        let mut more = self.roster.iter_from(next.mark).peekable();
        while users.len() < PART_BYTES
            && let Some(member) = more.next()
        {
            let separator = if members == 0 { "" } else { "," };
            users.push_str(separator);
            users.push_str(&to_json(&Shown::from(&**member)));
            members += 1;
        }
        let last = more.peek().is_none();
        let (room, cursor, count) = (&self.room, self.cursor, self.roster.len());
        let head = to_json(&Head { action: "snapshot", room, cursor, count, part: next.part, last });
        let open = head.strip_suffix('}').unwrap_or(&head);
        let mark = self.roster.advance(next.mark, members);
        Part {
            json: format!(r#"{open},"users":[{users}]}}"#),
            next: (!last).then_some(Next { part: next.part + 1, mark }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hold::{Hold, Holds};
    use crate::model::meta::Meta;
    use crate::model::roster::Member;

    fn parts(members: usize) -> Vec<serde_json::Value> {
        let mut roster = Roster::default();
        for n in 0..members {
            roster.put(
                Member { user: format!("{n:05}").parse().unwrap(), meta: Meta::default(), joined: 0 },
                Holds::of(Hold::SignIn(None)),
            );
        }
        let snapshot = Snapshot::new(Name::lobby(), Cursor { epoch: 1, offset: 9 }, roster);
        let (mut parts, mut next) = (Vec::new(), Some(Next::default()));
        while let Some(at) = next {
            let part = snapshot.part(at);
            assert!(part.json.len() < PART_BYTES + 2_048);
            parts.push(serde_json::from_str(&part.json).unwrap());
            next = part.next;
        }
        parts
    }

    #[test]
    fn an_empty_room_is_one_last_part() {
        let expected = serde_json::json!({"action":"snapshot","room":"lobby","cursor":"1.9","count":0,"part":0,"last":true,"users":[]});
        assert_eq!(parts(0), [expected]);
    }

    #[test]
    fn the_parts_together_are_the_set() {
        let parts = parts(3_000);
        assert!(parts.len() > 3);
        let mut names = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            assert_eq!((&part["part"], &part["count"]), (&n.into(), &3_000.into()));
            assert_eq!(part["last"], n + 1 == parts.len());
            names.extend(part["users"].as_array().unwrap().iter().map(|u| u["user"].as_str().unwrap().to_owned()));
        }
        assert_eq!(names, (0..3_000).map(|n| format!("{n:05}")).collect::<Vec<_>>());
    }
}
