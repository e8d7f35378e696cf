//! What one reader has seen of its room, in so little that 20,000 of them fit beside the gateway.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::LazyLock;
use std::time::Instant;

use memchr::memchr;
use memchr::memmem::{Finder, find};

static CURSOR: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"cursor\":\""));
static USER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"user\":\""));

/// A set of members, as its size and the sum of its members' hashes: equal sets are equal here, in
/// whatever order they came about, and others differ but for one chance in 2^64.
///
/// It follows `changes` only where nobody's `meta` changes and nobody comes back, since it cannot
/// tell who was there before: so the names of a bench are used once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// How many members.
    pub count: u64,
    sum: u64,
}

impl Set {
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

/// What one reader has seen.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Its set.
    pub set: Set,
    /// How far it has read: the offset in its cursor.
    pub offset: u64,
    /// Its cursor's epoch.
    pub epoch: String,
    /// Events that came as themselves.
    pub events: u64,
    /// Events that came as entries of `changes`.
    pub netted: u64,
    /// Snapshots and `changes` that came in the place of events: all but a snapshot at the very beginning.
    pub resyncs: u64,
    /// When it had its first frame whole, after it last connected.
    pub whole: Option<Instant>,
    /// When it last saw anything.
    pub last: Option<Instant>,
    /// Why it is not connected.
    pub ended: Option<String>,
    /// What broke the protocol's promises.
    pub broken: Option<String>,
    parts: Set,
}

/// An event that came as itself: whether it was an `add` or a `del`, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// This user came.
    Add(&'a [u8]),
    /// This user went.
    Del(&'a [u8]),
}

impl Sight {
    /// Takes in one object that arrived at `now`.
    pub fn take<'a>(&mut self, object: &'a [u8], now: Instant) -> Option<Event<'a>> {
        self.last = Some(now);
        let action = object.strip_prefix(b"{\"action\":\"").unwrap_or_default();
        match action {
            [b'a', ..] | [b'd', ..] => return self.take_event(action),
            [b'u', ..] => {
                self.take_event(action);
            }
            [b's', ..] => self.take_snapshot(action, now),
            [b'c', ..] => self.take_changes(action, now),
            [b'r', b'e', b's', ..] => {
                self.stand_at(action);
                self.whole = Some(now);
            }
            // The answer to a join: what comes of it is an event.
            [b'o', b'k', ..] => {}
            [b'r', b'e', b'f', ..] => self.ended = Some(format!("refused: {}", String::from_utf8_lossy(object))),
            _ => self.broken = Some(format!("an object without a place came: {}", String::from_utf8_lossy(object))),
        }
        None
    }

    fn take_event<'a>(&mut self, event: &'a [u8]) -> Option<Event<'a>> {
        let (epoch, offset, rest) = cursor(event)?;
        if offset <= self.offset || epoch != self.epoch.as_bytes() {
            let at = String::from_utf8_lossy(epoch);
            self.broken = Some(format!("{at}.{offset} came after {}.{}", self.epoch, self.offset));
        }
        self.offset = offset;
        self.events += 1;
        let (user, _) = text(rest, &USER)?;
        match event[0] {
            b'a' => {
                self.set.add(user);
                Some(Event::Add(user))
            }
            b'd' => {
                self.set.remove(user);
                Some(Event::Del(user))
            }
            _ => None,
        }
    }

    fn take_snapshot(&mut self, part: &[u8], now: Instant) {
        if find(part, b"\"part\":0,").is_some() {
            self.parts = Set::default();
        }
        let entries = find(part, b"\"users\":[").unwrap_or(part.len());
        users(&part[entries..], |user| self.parts.add(user));
        if is_last(&part[..entries]) {
            self.set = self.parts;
            self.resync(part, now);
        }
    }

    fn take_changes(&mut self, part: &[u8], now: Instant) {
        let set = find(part, b"\"set\":[").unwrap_or(part.len());
        let gone = find(part, b"\"gone\":[").unwrap_or(part.len()).max(set);
        users(&part[set..gone], |user| {
            self.set.add(user);
            self.netted += 1;
        });
        users(&part[gone..], |user| {
            self.set.remove(user);
            self.netted += 1;
        });
        if is_last(&part[..set]) {
            self.resync(part, now);
        }
    }

    /// Stands for several events, unless it is the first thing ever seen.
    fn resync(&mut self, object: &[u8], now: Instant) {
        self.resyncs += u64::from(!self.epoch.is_empty());
        self.stand_at(object);
        self.whole.get_or_insert(now);
    }

    fn stand_at(&mut self, object: &[u8]) {
        if let Some((epoch, offset, _)) = cursor(object) {
            self.offset = offset;
            self.epoch = String::from_utf8_lossy(epoch).into_owned();
        }
    }

    /// Its cursor, to come back with.
    pub fn cursor(&self) -> String {
        format!("{}.{}", self.epoch, self.offset)
    }
}

fn is_last(head: &[u8]) -> bool {
    find(head, b"\"last\":true").is_some()
}

/// The cursor's epoch and offset, and what stands behind it.
fn cursor(object: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    let (cursor, rest) = text(object, &CURSOR)?;
    let (epoch, digits) = cursor.split_at(memchr(b'.', cursor)?);
    let digits = &digits[1..];
    let number = |so_far: u64, digit: &u8| so_far.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')));
    Some((epoch, digits.iter().fold(0, number), rest))
}

/// The text behind a field's name, and what stands behind that. Names of a bench need no escapes.
fn text<'a>(object: &'a [u8], field: &Finder<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let from = &object[field.find(object)? + field.needle().len()..];
    let end = memchr(b'"', from)?;
    Some((&from[..end], &from[end..]))
}

fn users(mut entries: &[u8], mut each: impl FnMut(&[u8])) {
    while let Some((user, rest)) = text(entries, &USER) {
        each(user);
        entries = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(users: &[&str]) -> Set {
        let mut set = Set::default();
        users.iter().for_each(|user| set.add(user.as_bytes()));
        set
    }

    fn entry(user: &str) -> String {
        format!(r#"{{"user":"{user}","meta":{{}},"joined":"2026-11-22T05:53:00Z"}}"#)
    }

    #[test]
    fn a_reader_follows_what_the_protocol_shows_it() {
        let mut sight = Sight::default();
        let mut take = |object: &str| {
            sight.take(object.as_bytes(), Instant::now());
            sight.clone()
        };
        let (a, b, c) = (entry("a"), entry("b"), entry("c"));
        let head = r#"{"action":"snapshot","room":"r","cursor":"k3f.9","count":2"#;
        assert!(take(&format!(r#"{head},"part":0,"last":false,"users":[{a}]}}"#)).whole.is_none());
        let after = take(&format!(r#"{head},"part":1,"last":true,"users":[{b}]}}"#));
        assert!(after.whole.is_some());
        assert_eq!((after.set, after.cursor(), after.resyncs), (set(&["b", "a"]), "k3f.9".into(), 0));
        let after = take(r#"{"action":"add","room":"r","cursor":"k3f.10","user":"d","meta":{},"joined":"x"}"#);
        assert_eq!((after.set, after.offset, after.events), (set(&["a", "b", "d"]), 10, 1));
        let after = take(r#"{"action":"del","room":"r","cursor":"k3f.11","user":"a","reason":"signed_out"}"#);
        assert_eq!((after.set, after.offset), (set(&["b", "d"]), 11));
        let changes = format!(
            r#"{{"action":"changes","room":"r","cursor":"k3f.40","part":0,"last":true,"set":[{c}],"gone":[{{"user":"b","reason":"signed_out"}}]}}"#
        );
        let after = take(&changes);
        assert_eq!((after.set, after.offset, after.resyncs, after.netted), (set(&["c", "d"]), 40, 1, 2));
        let empty = r#"{"action":"snapshot","room":"r","cursor":"9.1","count":0,"part":0,"last":true,"users":[]}"#;
        let after = take(empty);
        assert_eq!((after.set, after.cursor(), after.resyncs), (Set::default(), "9.1".into(), 2));
        assert_eq!(after.broken, None);
    }

    #[test]
    fn an_event_of_the_past_breaks_the_order() {
        let mut sight = Sight { offset: 9, epoch: "k".into(), ..Sight::default() };
        let del = br#"{"action":"del","room":"r","cursor":"k.9","user":"a","reason":"signed_out"}"#;
        assert_eq!(sight.take(del, Instant::now()), Some(Event::Del(b"a")));
        assert!(sight.broken.is_some());
    }

    #[test]
    fn sets_that_differ_in_two_names_alone_differ() {
        assert_ne!(set(&["u10", "u21"]), set(&["u11", "u20"]));
        assert_eq!(set(&["u10", "u21"]), set(&["u21", "u10"]));
    }
}
