//! What happened in a room: events, their place in its order, and their JSON.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use crate::model::meta::Meta;
use crate::model::name::Name;
use crate::model::roster::Member;

/// A place in the order of one room's events.
///
/// The epoch belongs to one life of one room, so that a cursor of another room, or of a room that
/// was forgotten meanwhile, is never mistaken for a place in this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which life of which room.
    pub epoch: u64,
    /// How many events were before.
    pub offset: u64,
}

const DIGITS: u32 = 36;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 13];
        let (mut at, mut rest) = (digits.len(), self.epoch);
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % u64::from(DIGITS)) as usize];
            rest /= u64::from(DIGITS);
            if rest == 0 {
                break;
            }
        }
        let epoch = str::from_utf8(&digits[at..]).map_err(|_| fmt::Error)?;
        write!(f, "{epoch}.{}", self.offset)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, offset) = text.split_once('.').ok_or(())?;
        let cursor = Cursor {
            epoch: u64::from_str_radix(epoch, DIGITS).map_err(|_| ())?,
            offset: offset.parse().map_err(|_| ())?,
        };
        // Only what we would have written ourselves: "+1" or "01" is nonsense, not a place.
        if cursor.to_string() == text { Ok(cursor) } else { Err(()) }
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Why a member is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Signed out over HTTP.
    SignedOut,
    /// Left: said so, or closed the connection cleanly.
    Closed,
    /// The connection was lost, and nobody came back within the grace.
    Timeout,
    /// A lease ran out.
    Expired,
    /// Sent away.
    Kicked,
}

/// What an event did to the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The user became a member.
    Add(Member),
    /// A member's `meta` changed.
    Update(Name, Meta),
    /// The user is no member any more.
    Del(Name, Reason),
}

/// One event of a room, encoded once and shared by everyone who reads it.
#[derive(Debug)]
pub struct Event {
    /// Its place: the reader that has seen it stands here.
    pub cursor: Cursor,
    /// What it did.
    pub change: Change,
    json: Box<str>,
    exercise: OnceLock<Option<Box<str>>>,
}

impl Event {
    /// The event of `room` at `cursor`.
    pub fn new(room: &Name, cursor: Cursor, change: Change) -> Self {
        let json = to_json(&Wire::of(room, cursor, &change)).into();
        Event { cursor, change, json, exercise: OnceLock::new() }
    }

    /// The object that rooms' streams carry.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The object as the exercise had it, which knew no `update`.
    pub fn exercise(&self) -> Option<&str> {
        let encode = || {
            let (action, user) = match &self.change {
                Change::Add(member) => ("add", &member.user),
                Change::Del(user, _) => ("del", user),
                Change::Update(..) => return None,
            };
            Some(to_json(&Exercise { action, user }).into())
        };
        self.exercise.get_or_init(encode).as_deref()
    }
}

#[derive(Serialize)]
struct Exercise<'a> {
    action: &'a str,
    user: &'a Name,
}

#[derive(Serialize)]
struct Wire<'a> {
    action: &'a str,
    room: &'a Name,
    cursor: Cursor,
    user: &'a Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a Meta>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

impl<'a> Wire<'a> {
    fn of(room: &'a Name, cursor: Cursor, change: &'a Change) -> Self {
        let bare = |action, user| Wire { action, room, cursor, user, meta: None, joined: None, reason: None };
        match change {
            Change::Add(member) => {
                Wire { meta: Some(&member.meta), joined: Some(Time(member.joined)), ..bare("add", &member.user) }
            }
            Change::Update(user, meta) => Wire { meta: Some(meta), ..bare("update", user) },
            Change::Del(user, reason) => Wire { reason: Some(*reason), ..bare("del", user) },
        }
    }
}

/// Seconds since 1970, written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.0)).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A member as snapshots and answers show it.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    user: &'a Name,
    meta: &'a Meta,
    joined: Time,
}

impl<'a> From<&'a Member> for Shown<'a> {
    fn from(member: &'a Member) -> Self {
        Shown { user: &member.user, meta: &member.meta, joined: Time(member.joined) }
    }
}

/// The JSON of one of our own values.
pub fn to_json(value: &impl Serialize) -> String {
    // Our values have string keys and no failing parts, so this cannot fail; an empty text would
    // at worst be an ignored frame, where a panic would end a room.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(epoch: u64, offset: u64) -> Cursor {
        Cursor { epoch, offset }
    }

    #[test]
    fn cursors_come_back_as_they_went() {
        for c in [cursor(0, 0), cursor(35, 7), cursor(36, 1), cursor(u64::MAX, u64::MAX)] {
            assert_eq!(c.to_string().parse(), Ok(c));
        }
        for nonsense in
            ["", ".", "1", "a.", ".1", "a.01", "A.1", "+a.1", "a.+1", "a.1.2", "a.99999999999999999999", "-1.1"]
        {
            assert_eq!(nonsense.parse::<Cursor>(), Err(()), "{nonsense:?}");
        }
    }

    #[test]
    fn events_have_the_json_of_the_protocol() {
        let (room, user) = (Name::lobby(), "y\"<b>".parse::<Name>().unwrap());
        let object = serde_json::from_str(r#"{"status": "away"}"#).unwrap();
        let meta = Meta::from_value(object).unwrap();
        let json = |change| Event::new(&room, cursor(26_187, 18), change);
        let add = json(Change::Add(Member { user: user.clone(), meta: Meta::default(), joined: 1_795_326_781 }));
        assert_eq!(
            add.json(),
            r#"{"action":"add","room":"lobby","cursor":"k7f.18","user":"y\"<b>","meta":{},"joined":"2026-11-22T05:53:01Z"}"#
        );
        assert_eq!(add.exercise(), Some(r#"{"action":"add","user":"y\"<b>"}"#));
        let update = json(Change::Update(user.clone(), meta));
        assert_eq!(
            update.json(),
            r#"{"action":"update","room":"lobby","cursor":"k7f.18","user":"y\"<b>","meta":{"status":"away"}}"#
        );
        assert_eq!(update.exercise(), None);
        let del = json(Change::Del(user, Reason::SignedOut));
        assert_eq!(
            del.json(),
            r#"{"action":"del","room":"lobby","cursor":"k7f.18","user":"y\"<b>","reason":"signed_out"}"#
        );
        assert_eq!(del.exercise(), Some(r#"{"action":"del","user":"y\"<b>"}"#));
    }
}
