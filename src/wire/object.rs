//! The JSON objects of PROTOCOL.

use std::fmt;
use std::ops::Not;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use crate::model::cursor::Cursor;
use crate::model::event::{Change, DelReason, Event};
use crate::model::meta::Meta;
use crate::model::moment::{Taken, Timestamp};
use crate::model::name::Name;
use crate::model::roster::Member;

/// The JSON of an event, encoded once for all readers.
pub fn event(event: &Event) -> &str {
    event.encoded(|event| to_json(&EventObject::of(event)))
}

/// The JSON of an event that only readers get who ask for suspects.
pub fn suspect(event: &Event, suspect: bool) -> String {
    to_json(&EventObject { suspect, ..EventObject::of(event) })
}

/// The JSON of `resumed`: the stream continues after `cursor`.
pub fn resumed(room: &Name, cursor: Cursor, Taken { at, fresh_for }: Taken) -> String {
    to_json(&Place { action: "resumed", room, cursor, at: Some(Instant(at)), fresh_for })
}

/// The JSON of `cursor`: the stream begins behind `cursor`.
pub fn cursor(room: &Name, cursor: Cursor) -> String {
    to_json(&Place { action: "cursor", room, cursor, at: None, fresh_for: None })
}

/// The JSON of the number of members of `room`; `None` when the room no longer exists.
pub fn count(room: &Name, count: Option<usize>, fresh_for: Option<u64>) -> String {
    to_json(&Count { action: "count", room, count, fresh_for })
}

/// The JSON of a value of this program, always one line for every reader.
pub fn to_json(value: &impl Serialize) -> String {
    // The values have string keys and no failing parts, so encoding cannot fail. An empty text would at worst be an
    // ignored frame; a panic would end a room.
    one_line(serde_json::to_string(value).unwrap_or_default())
}

/// Escapes the characters that JSON allows within strings, and that some readers take for the end of a line.
///
/// An event stream's lines end at CR and LF only (WHATWG HTML, 9.2.5), but Python's `splitlines`, which httpx-sse and
/// requests use, also splits here.
fn one_line(json: String) -> String {
    // Most JSON is ASCII, which is quick to tell.
    if json.is_ascii() || !json.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
        return json;
    }
    let escaped = json.replace('\u{85}', r"\u0085");
    escaped.replace('\u{2028}', r"\u2028").replace('\u{2029}', r"\u2029")
}

/// A point in time as RFC 3339 writes it, in UTC and whole seconds.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub Timestamp);

/// A point in time as RFC 3339 writes it, in UTC and milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Instant(pub Timestamp);

/// A member as snapshots and answers show it.
#[derive(Debug, Serialize)]
pub struct MemberObject<'a> {
    user: &'a Name,
    meta: &'a Meta,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a Meta>,
    joined: Time,
    #[serde(skip_serializing_if = "Not::not")]
    suspect: bool,
}

/// A room and its number of members, as lists show it; `null` where the caller may not count.
#[derive(Debug, Serialize)]
pub struct RoomObject<'a> {
    room: &'a Name,
    count: Option<usize>,
}

#[derive(Serialize)]
struct EventObject<'a> {
    action: &'a str,
    room: &'a Name,
    cursor: Cursor,
    at: Instant,
    user: &'a Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a Meta>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a Meta>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined: Option<Time>,
    #[serde(skip_serializing_if = "Not::not")]
    suspect: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<DelReason>,
}

#[derive(Serialize)]
struct Place<'a> {
    action: &'a str,
    room: &'a Name,
    cursor: Cursor,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh_for: Option<u64>,
}

#[derive(Serialize)]
struct Count<'a> {
    action: &'a str,
    room: &'a Name,
    count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh_for: Option<u64>,
}

impl<'a> EventObject<'a> {
    fn of(Event { room, cursor, at, change, .. }: &'a Event) -> Self {
        let (cursor, at, user) = (*cursor, Instant(*at), change.user());
        let (meta, info, joined, suspect, reason) = (None, None, None, false, None);
        let bare = |action| EventObject { action, room, cursor, at, user, meta, info, joined, suspect, reason };
        match change {
            Change::Add(member) => EventObject { joined: Some(Time(member.joined)), ..bare("add").saying(member) },
            Change::Update(member) => bare("update").saying(member),
            Change::Suspect(suspect) => bare("update").saying(&suspect.member),
            Change::Del(_, reason) => EventObject { reason: Some(*reason), ..bare("del") },
        }
    }

    fn saying(self, member: &'a Member) -> Self {
        EventObject { meta: Some(&member.meta), info: member.info.object(), ..self }
    }
}

impl<'a> From<&'a Member> for MemberObject<'a> {
    fn from(member: &'a Member) -> Self {
        let (meta, info) = (&member.meta, member.info.object());
        MemberObject { user: &member.user, meta, info, joined: Time(member.joined), suspect: false }
    }
}

impl MemberObject<'_> {
    /// The same for a reader who asks for suspects.
    pub fn suspect(self, suspect: bool) -> Self {
        MemberObject { suspect, ..self }
    }
}

impl<'a> From<&'a (Name, usize)> for RoomObject<'a> {
    fn from((room, count): &'a (Name, usize)) -> Self {
        RoomObject { room, count: Some(*count) }
    }
}

impl<'a> From<&'a (Name, Option<usize>)> for RoomObject<'a> {
    fn from((room, count): &'a (Name, Option<usize>)) -> Self {
        RoomObject { room, count: *count }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(self.0.0)).fmt(f)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(self.0.0)).fmt(f)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::value::RawValue;

    use super::*;
    use crate::model::cursor::{Epoch, Offset};
    use crate::model::info::Info;

    #[test]
    fn json_is_one_line_for_every_reader() {
        let meta = Meta::read("{\"a\u{2028}\": \"b\u{85}\\\\\u{2029}é\"}").unwrap();
        let json = to_json(&meta);
        assert_eq!(json, r#"{"a\u2028":"b\u0085\\\u2029é"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), serde_json::to_value(&meta).unwrap());
    }

    #[test]
    fn events_have_the_json_of_the_protocol() {
        let user: Name = "y\"<b>".parse().unwrap();
        let cursor = Cursor { epoch: Epoch(26_187), offset: Offset(18) };
        let at = Timestamp(1_795_326_781_042);
        let json = |change| event(&Event::new(Name::lobby(), cursor, at, change)).to_owned();
        let bare = Member { user: user.clone(), meta: Meta::default(), info: Info::default(), joined: at };
        assert_eq!(
            json(Change::Add(Arc::new(bare.clone()))),
            r#"{"action":"add","room":"lobby","cursor":"k7f.18","at":"2026-11-22T05:53:01.042Z","user":"y\"<b>","meta":{},"joined":"2026-11-22T05:53:01Z"}"#
        );
        let meta = Meta::read(r#"{"status": "away"}"#).unwrap();
        let info = Info::try_from(&*RawValue::from_string(r#"{"role":"host"}"#.into()).unwrap()).unwrap();
        assert_eq!(
            json(Change::Update(Arc::new(Member { meta, info, ..bare }))),
            r#"{"action":"update","room":"lobby","cursor":"k7f.18","at":"2026-11-22T05:53:01.042Z","user":"y\"<b>","meta":{"status":"away"},"info":{"role":"host"}}"#
        );
        assert_eq!(
            json(Change::Del(user, DelReason::SignedOut)),
            r#"{"action":"del","room":"lobby","cursor":"k7f.18","at":"2026-11-22T05:53:01.042Z","user":"y\"<b>","reason":"signed_out"}"#
        );
    }
}
