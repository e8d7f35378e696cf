//! A reader's view of a room: the reader's knowledge from the frames read so far.
//!
//! A view has a few hundred bytes, so that 20,000 readers fit beside the gateway: it keeps a digest of
//! the members instead of their names, and finds the fields that it needs without parsing JSON.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::LazyLock;
use std::time::Instant;

use memchr::memchr;
use memchr::memmem::{Finder, find};

use crate::bench::cursor::Cursor;

static CURSOR: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"cursor\":\""));
static USER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"user\":\""));

/// A digest of a set of members: its size and the sum of its members' hashes. Equal sets have equal
/// digests, in whatever order their members came; different sets have different ones, except with a
/// probability of 2^-64.
///
/// A digest does not know its members. So it follows `changes` only if each user of the bench signs in
/// at most once and none changes `meta`: then each entry of `set` is a new member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SetDigest {
    /// The number of members.
    pub(super) count: u64,
    sum: u64,
}

impl SetDigest {
    fn add(&mut self, user: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash(user));
    }

    fn remove(&mut self, user: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash(user));
    }
}

fn hash(user: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(user)
}

/// A reader's view of its room. The default is the view before the first frame.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// The members.
    pub(super) members: SetDigest,
    /// The cursor of the last frame.
    pub(super) cursor: Cursor,
    /// Events that the reader got as events of their own.
    pub(super) events: u64,
    /// Entries of `changes`, each of which replaces one or more events.
    pub(super) netted: u64,
    /// Snapshots and `changes` that replaced events: all but a snapshot at the beginning.
    pub(super) resyncs: u64,
    /// When the current connection got its first complete answer: a snapshot, `changes` or `resumed`.
    pub(super) first_frame_at: Option<Instant>,
    /// When the last object arrived.
    pub(super) last_object_at: Option<Instant>,
    /// Why the connection ended or failed.
    pub(super) ended: Option<String>,
    /// An object that the protocol forbids.
    pub(super) violation: Option<String>,
    /// The members in the parts of an incomplete snapshot.
    partial: SetDigest,
}

/// An event with the name of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// An `add`: the user is a member now.
    Add(&'a [u8]),
    /// A `del`: the user is no member any more.
    Del(&'a [u8]),
}

impl View {
    /// Applies an object that arrived at `now`, and returns the event if it is an `add` or a `del`.
    pub(super) fn apply<'a>(&mut self, object: &'a [u8], now: Instant) -> Option<Event<'a>> {
        self.last_object_at = Some(now);
        let action = object.strip_prefix(b"{\"action\":\"").unwrap_or_default();
        // The first letters tell the actions apart.
        match action {
            [b'a', ..] | [b'd', ..] => return self.apply_event(action),
            [b'u', ..] => {
                self.apply_event(action);
            }
            [b's', ..] => self.apply_snapshot(action, now),
            [b'c', ..] => self.apply_changes(action, now),
            [b'r', b'e', b's', ..] => {
                self.set_cursor(action);
                self.first_frame_at = Some(now);
            }
            // The answer to a join, whose event comes by itself.
            [b'o', b'k', ..] => {}
            [b'r', b'e', b'f', ..] => self.ended = Some(format!("refused: {}", String::from_utf8_lossy(object))),
            _ => self.violation = Some(format!("an unknown object: {}", String::from_utf8_lossy(object))),
        }
        None
    }

    /// Begins a new connection; the view of the room stays.
    pub(super) fn reconnect(&mut self) {
        (self.first_frame_at, self.ended) = (None, None);
    }

    fn apply_event<'a>(&mut self, event: &'a [u8]) -> Option<Event<'a>> {
        let (epoch, offset, rest) = find_cursor(event)?;
        if offset <= self.cursor.offset || epoch != self.cursor.epoch.as_bytes() {
            let epoch = String::from_utf8_lossy(epoch);
            self.violation = Some(format!("event {epoch}.{offset} came after {}", self.cursor));
        }
        self.cursor.offset = offset;
        self.events += 1;
        let (user, _) = find_text(rest, &USER)?;
        match event[0] {
            b'a' => {
                self.members.add(user);
                Some(Event::Add(user))
            }
            b'd' => {
                self.members.remove(user);
                Some(Event::Del(user))
            }
            _ => None,
        }
    }

    fn apply_snapshot(&mut self, part: &[u8], now: Instant) {
        if find(part, b"\"part\":0,").is_some() {
            self.partial = SetDigest::default();
        }
        let entries = find(part, b"\"users\":[").unwrap_or(part.len());
        for_each_user(&part[entries..], |user| self.partial.add(user));
        if is_last(&part[..entries]) {
            self.members = self.partial;
            self.resync(part, now);
        }
    }

    fn apply_changes(&mut self, part: &[u8], now: Instant) {
        let set = find(part, b"\"set\":[").unwrap_or(part.len());
        let gone = find(part, b"\"gone\":[").unwrap_or(part.len()).max(set);
        for_each_user(&part[set..gone], |user| {
            self.members.add(user);
            self.netted += 1;
        });
        for_each_user(&part[gone..], |user| {
            self.members.remove(user);
            self.netted += 1;
        });
        if is_last(&part[..set]) {
            self.resync(part, now);
        }
    }

    /// Ends a snapshot or `changes`, which replaced events unless nothing came before.
    fn resync(&mut self, last_part: &[u8], now: Instant) {
        self.resyncs += u64::from(!self.cursor.epoch.is_empty());
        self.set_cursor(last_part);
        self.first_frame_at.get_or_insert(now);
    }

    fn set_cursor(&mut self, object: &[u8]) {
        if let Some((epoch, offset, _)) = find_cursor(object) {
            self.cursor = Cursor { epoch: String::from_utf8_lossy(epoch).into_owned(), offset };
        }
    }
}

/// Whether this is the last part of a snapshot or of `changes`.
fn is_last(head: &[u8]) -> bool {
    find(head, b"\"last\":true").is_some()
}

/// The epoch and the offset of an object's cursor, and the rest of the object.
fn find_cursor(object: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    let (cursor, rest) = find_text(object, &CURSOR)?;
    let (epoch, digits) = cursor.split_at(memchr(b'.', cursor)?);
    let digits = &digits[1..];
    let number = |so_far: u64, digit: &u8| so_far.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')));
    Some((epoch, digits.iter().fold(0, number), rest))
}

/// The text of the first field with a name, and the rest of the object. The texts of a bench have no
/// escapes.
fn find_text<'a>(object: &'a [u8], field: &Finder<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let from = &object[field.find(object)? + field.needle().len()..];
    let end = memchr(b'"', from)?;
    Some((&from[..end], &from[end..]))
}

/// Calls `each` with the user of each entry.
fn for_each_user(mut entries: &[u8], mut each: impl FnMut(&[u8])) {
    while let Some((user, rest)) = find_text(entries, &USER) {
        each(user);
        entries = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(users: &[&str]) -> SetDigest {
        let mut digest = SetDigest::default();
        users.iter().for_each(|user| digest.add(user.as_bytes()));
        digest
    }

    fn entry(user: &str) -> String {
        format!(r#"{{"user":"{user}","meta":{{}},"joined":"2026-11-22T05:53:00Z"}}"#)
    }

    #[test]
    fn a_view_follows_snapshots_events_and_changes() {
        let mut view = View::default();
        let mut apply = |object: &str| {
            view.apply(object.as_bytes(), Instant::now());
            view.clone()
        };
        let (a, b, c) = (entry("a"), entry("b"), entry("c"));
        let head = r#"{"action":"snapshot","room":"r","cursor":"k3f.9","count":2"#;
        assert!(apply(&format!(r#"{head},"part":0,"last":false,"users":[{a}]}}"#)).first_frame_at.is_none());
        let after = apply(&format!(r#"{head},"part":1,"last":true,"users":[{b}]}}"#));
        assert!(after.first_frame_at.is_some());
        assert_eq!((after.members, after.cursor.to_string(), after.resyncs), (digest(&["b", "a"]), "k3f.9".into(), 0));
        let after = apply(r#"{"action":"add","room":"r","cursor":"k3f.10","user":"d","meta":{},"joined":"x"}"#);
        assert_eq!((after.members, after.cursor.offset, after.events), (digest(&["a", "b", "d"]), 10, 1));
        let after = apply(r#"{"action":"del","room":"r","cursor":"k3f.11","user":"a","reason":"signed_out"}"#);
        assert_eq!((after.members, after.cursor.offset), (digest(&["b", "d"]), 11));
        let changes = format!(
            r#"{{"action":"changes","room":"r","cursor":"k3f.40","part":0,"last":true,"set":[{c}],"gone":[{{"user":"b","reason":"signed_out"}}]}}"#
        );
        let after = apply(&changes);
        assert_eq!((after.members, after.cursor.offset, after.resyncs, after.netted), (digest(&["c", "d"]), 40, 1, 2));
        let empty = r#"{"action":"snapshot","room":"r","cursor":"9.1","count":0,"part":0,"last":true,"users":[]}"#;
        let after = apply(empty);
        assert_eq!((after.members, after.cursor.to_string(), after.resyncs), (SetDigest::default(), "9.1".into(), 2));
        assert_eq!(after.violation, None);
    }

    #[test]
    fn an_event_at_or_before_the_cursor_is_a_violation() {
        let mut view = View { cursor: Cursor { epoch: "k".into(), offset: 9 }, ..View::default() };
        let del = br#"{"action":"del","room":"r","cursor":"k.9","user":"a","reason":"signed_out"}"#;
        assert_eq!(view.apply(del, Instant::now()), Some(Event::Del(b"a")));
        assert!(view.violation.is_some());
    }

    #[test]
    fn sets_of_similar_names_have_different_digests() {
        assert_ne!(digest(&["u10", "u21"]), digest(&["u11", "u20"]));
        assert_eq!(digest(&["u10", "u21"]), digest(&["u21", "u10"]));
    }
}
