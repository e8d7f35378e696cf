//! Snapshots and changes as JSON, in parts of bounded size.

use serde::Serialize;

use crate::model::changes::{self, Changes, Set};
use crate::model::count::Prefix;
use crate::model::cursor::Cursor;
use crate::model::event::{Change, DelReason};
use crate::model::hold::Holds;
use crate::model::moment::Taken;
use crate::model::name::Name;
use crate::model::roster::Mark;
use crate::model::snapshot::Snapshot;
use crate::wire::object::{Instant, MemberObject, RoomObject, to_json};

/// The size in bytes at which a part ends: half of the 64 KiB to which many WebSocket clients bound a message, and small
/// enough that encoding one part delays nothing else.
pub const PART_BYTES: usize = 32 * 1024;

/// The size in bytes of an event in such a part, without the user's name.
const EVENT_BYTES: usize = 32;

/// The size in bytes of a room and its count in a list, without the name.
const ROOM_BYTES: usize = 32;

/// One part, and where the next begins.
#[derive(Debug)]
pub struct Part<Next> {
    /// The frame's JSON.
    pub json: String,
    /// The beginning of the next part; `None` behind the last.
    pub next: Option<Next>,
}

/// The beginning of a snapshot's part.
#[derive(Clone, Copy, Debug, Default)]
pub struct SnapshotMark {
    part: usize,
    mark: Mark,
}

/// The beginning of a part of changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChangesMark {
    part: usize,
    done: usize,
}

#[derive(Serialize)]
struct SnapshotHead<'a> {
    action: &'a str,
    room: &'a Name,
    cursor: Cursor,
    at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh_for: Option<u64>,
    count: usize,
    part: usize,
    last: bool,
}

#[derive(Serialize)]
struct ChangesObject<'a> {
    action: &'a str,
    room: &'a Name,
    cursor: Cursor,
    at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh_for: Option<u64>,
    part: usize,
    last: bool,
    set: Vec<SetObject<'a>>,
    gone: Vec<Gone<'a>>,
}

#[derive(Serialize)]
struct CountsObject<'a> {
    action: &'a str,
    prefix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh_for: Option<u64>,
    part: usize,
    last: bool,
    counts: Vec<RoomObject<'a>>,
}

#[derive(Serialize)]
struct SetObject<'a> {
    #[serde(flatten)]
    member: MemberObject<'a>,
    at: Instant,
}

#[derive(Serialize)]
struct Gone<'a> {
    user: &'a Name,
    reason: DelReason,
    at: Instant,
}

/// Encodes the part of `snapshot` that begins at `from`, with `suspects` for a reader who asks for them.
pub fn snapshot(snapshot: &Snapshot, from: SnapshotMark, suspects: bool) -> Part<SnapshotMark> {
    let Snapshot { room, cursor, taken, roster } = snapshot;
    let mut users = String::new();
    let mut members = 0;
    let mut rest = roster.held_from(from.mark).peekable();
    while users.len() < PART_BYTES
        && let Some((member, holds)) = rest.next()
    {
        let separator = if members == 0 { "" } else { "," };
        let suspect = suspects && holds.is_some_and(Holds::are_silent);
        users.push_str(separator);
        users.push_str(&to_json(&MemberObject::from(&**member).suspect(suspect)));
        members += 1;
    }
    let last = rest.peek().is_none();
    let (cursor, count, part) = (*cursor, roster.len(), from.part);
    let (at, fresh_for) = (Instant(taken.at), taken.fresh_for);
    let head = to_json(&SnapshotHead { action: "snapshot", room, cursor, at, fresh_for, count, part, last });
    let open = head.strip_suffix('}').unwrap_or(&head);
    let mark = roster.advance(from.mark, members);
    Part {
        json: format!(r#"{open},"users":[{users}]}}"#),
        next: (!last).then_some(SnapshotMark { part: from.part + 1, mark }),
    }
}

/// The part of `changes` that begins at `from`, as `add` and `del` that lead to the same set; empty only if all of it is. The
/// reader's set has the others already.
pub fn events(changes: &Changes, from: ChangesMark) -> (Vec<Change>, Option<ChangesMark>) {
    let gone = changes.gone().iter().map(|gone| Some(Change::Del(gone.user.clone(), gone.reason)));
    let new = changes.set().iter().map(|set| set.new.then(|| Change::Add(set.member.clone())));
    let mut rest =
        gone.chain(new).enumerate().skip(from.done).filter_map(|(at, change)| Some((at, change?))).peekable();
    let (mut events, mut bytes) = (Vec::new(), 0);
    while bytes < PART_BYTES
        && let Some((_, change)) = rest.next()
    {
        bytes += EVENT_BYTES + change.user().len();
        events.push(change);
    }
    (events, rest.peek().map(|(done, _)| ChangesMark { part: from.part + 1, done: *done }))
}

/// Encodes the part of `changes` that begins at `from`, with `suspects` for a reader who asks for them.
pub fn changes(changes: &Changes, from: ChangesMark, suspects: bool) -> Part<ChangesMark> {
    let (mut gone, mut set) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    let mut done = from.done;
    while bytes < PART_BYTES && done < changes.len() {
        if let Some(changes::Gone { user, reason, at }) = changes.gone().get(done) {
            bytes += user.len() + 64;
            gone.push(Gone { user, reason: *reason, at: Instant(*at) });
        } else if let Some(Set { member, at, suspect, seen, .. }) = changes.set().get(done - changes.gone().len())
            && (suspects || *seen)
        {
            bytes += member.user.len() + member.meta.as_str().len() + member.info.len() + 96;
            let member = MemberObject::from(&**member).suspect(suspects && *suspect);
            set.push(SetObject { member, at: Instant(*at) });
        }
        done += 1;
    }
    let last = done == changes.len();
    let (room, cursor, part) = (changes.room(), changes.cursor(), from.part);
    let Taken { at, fresh_for } = changes.taken();
    let at = Instant(at);
    let json = to_json(&ChangesObject { action: "changes", room, cursor, at, fresh_for, part, last, set, gone });
    Part { json, next: (!last).then_some(ChangesMark { part: part + 1, done }) }
}

/// The number of `rooms` that fit into `bytes`, at least one.
pub fn rooms_within(rooms: &[(Name, usize)], bytes: usize) -> usize {
    let mut sum = 0;
    let fits = |(room, _): &&(Name, usize)| {
        sum += room.len() + ROOM_BYTES;
        sum <= bytes
    };
    rooms.iter().take_while(fits).count().max(1)
}

/// Encodes part `part` of the counts of all rooms that `prefix` selects.
pub fn counts(prefix: &Prefix, fresh_for: Option<u64>, part: usize, last: bool, rooms: &[(Name, usize)]) -> String {
    let counts = rooms.iter().map(RoomObject::from).collect();
    to_json(&CountsObject { action: "counts", prefix, fresh_for, part, last, counts })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::cursor::{Epoch, Offset};
    use crate::model::history::{Brief, Kind};
    use crate::model::info::Info;
    use crate::model::meta::Meta;
    use crate::model::moment::Timestamp;
    use crate::model::roster::{Member, Roster};

    const CURSOR: Cursor = Cursor { epoch: Epoch(1), offset: Offset(9) };
    const TAKEN: Taken = Taken { at: Timestamp(7), fresh_for: Some(42) };

    fn roster(names: impl Iterator<Item = String>) -> Roster {
        let mut roster = Roster::default();
        for name in names {
            let (meta, info) = (Meta::default(), Info::default());
            let member = Member { user: name.parse().unwrap(), meta, info, joined: Timestamp(0) };
            roster.put(Arc::new(member), Holds::plain(&Meta::default()));
        }
        roster
    }

    /// All parts, each parsed, from `encode`.
    fn all<Next: Default>(encode: impl Fn(Next) -> Part<Next>) -> Vec<serde_json::Value> {
        let (mut parts, mut next) = (Vec::new(), Some(Next::default()));
        while let Some(from) = next {
            let part = encode(from);
            assert!(part.json.len() < 2 * PART_BYTES);
            let json: serde_json::Value = serde_json::from_str(&part.json).unwrap();
            assert_eq!((&json["part"], &json["last"]), (&parts.len().into(), &part.next.is_none().into()));
            parts.push(json);
            next = part.next;
        }
        parts
    }

    fn names(parts: &[serde_json::Value], list: &str) -> Vec<String> {
        let users = parts.iter().flat_map(|part| part[list].as_array().unwrap());
        users.map(|user| user["user"].as_str().unwrap().to_owned()).collect()
    }

    fn snapshot_parts(members: usize) -> Vec<serde_json::Value> {
        let roster = roster((0..members).map(|n| format!("{n:05}")));
        let taken = Snapshot { room: Name::lobby(), cursor: CURSOR, taken: TAKEN, roster };
        all(|from| snapshot(&taken, from, false))
    }

    #[test]
    fn an_empty_room_is_one_last_part() {
        let expected = serde_json::json!({"action":"snapshot","room":"lobby","cursor":"1.9","at":"1970-01-01T00:00:00.007Z","fresh_for":42,"count":0,"part":0,"last":true,"users":[]});
        assert_eq!(snapshot_parts(0), [expected]);
    }

    #[test]
    fn the_parts_of_a_snapshot_together_are_the_set() {
        let parts = snapshot_parts(3_000);
        assert!(parts.len() > 3 && parts.iter().all(|part| part["count"] == 3_000));
        assert_eq!(names(&parts, "users"), (0..3_000).map(|n| format!("{n:05}")).collect::<Vec<_>>());
    }

    #[test]
    fn changes_have_the_json_of_the_protocol() {
        let brief = |user: &str, kind| Brief { user: user.parse().unwrap(), kind, at: Timestamp(3) };
        let del = Kind::Del(DelReason::SignedOut);
        let briefs = [brief("left", Kind::Update), brief("left", del), brief("new", Kind::Add)];
        let netted =
            Changes::net(Name::lobby(), CURSOR, TAKEN, briefs.into_iter(), &roster(["new".to_owned()].into_iter()));
        let expected = serde_json::json!({
            "action": "changes", "room": "lobby", "cursor": "1.9", "at": "1970-01-01T00:00:00.007Z", "fresh_for": 42,
            "part": 0, "last": true,
            "set": [{"user": "new", "meta": {}, "joined": "1970-01-01T00:00:00Z", "at": "1970-01-01T00:00:00.003Z"}],
            "gone": [{"user": "left", "reason": "signed_out", "at": "1970-01-01T00:00:00.003Z"}],
        });
        assert_eq!(all(|from| changes(&netted, from, false)), [expected]);
    }

    #[test]
    fn large_changes_come_in_parts_and_lose_nobody() {
        let brief = |user: String, kind| Brief { user: user.parse().unwrap(), kind, at: Timestamp(3) };
        let came = (0..1_500).map(|n| brief(format!("in {n}"), Kind::Add));
        let went = (0..1_500).map(|n| brief(format!("out {n}"), Kind::Del(DelReason::SignedOut)));
        let now = roster((0..1_500).map(|n| format!("in {n}")));
        let netted = Changes::net(Name::lobby(), CURSOR, TAKEN, came.chain(went), &now);
        let (mut events_of, mut from, mut count) = (Vec::new(), Some(ChangesMark::default()), 0);
        while let Some(mark) = from {
            let (some, next) = events(&netted, mark);
            assert!(some.len() * 32 < 2 * PART_BYTES);
            events_of.extend(some);
            (from, count) = (next, count + 1);
        }
        let users: Vec<_> = events_of.iter().map(|event| event.user().to_string()).collect();
        assert!(count > 2 && users.len() == 3_000 && users[..1_500].is_sorted() && users[1_500..].is_sorted());
        let parts = all(|from| changes(&netted, from, false));
        let (set, gone) = (names(&parts, "set"), names(&parts, "gone"));
        assert!(parts.len() > 2 && set.is_sorted() && gone.is_sorted());
        assert_eq!((set.len(), gone.len()), (1_500, 1_500));
    }
}
