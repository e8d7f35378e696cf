//! The JSON objects of PROTOCOL.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use crate::model::cursor::Cursor;
use crate::model::event::{Change, DelReason, Event};
use crate::model::meta::Meta;
use crate::model::moment::Timestamp;
use crate::model::name::Name;
use crate::model::roster::Member;

/// The JSON of an event, encoded once for all readers.
pub fn event(event: &Event) -> &str {
    event.encoded(|event| to_json(&EventObject::of(event)))
}

/// The JSON of `resumed`: the stream continues after `cursor`.
pub fn resumed(room: &Name, cursor: Cursor) -> String {
    to_json(&Resumed { action: "resumed", room, cursor })
}

/// The JSON of `cursor`: the stream begins behind `cursor`.
pub fn cursor(room: &Name, cursor: Cursor) -> String {
    to_json(&Resumed { action: "cursor", room, cursor })
}

/// The JSON of the number of members of `room`; `None` when the room no longer exists.
pub fn count(room: &Name, count: Option<usize>) -> String {
    to_json(&Count { action: "count", room, count })
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

/// A member as snapshots and answers show it.
#[derive(Debug, Serialize)]
pub struct MemberObject<'a> {
    user: &'a Name,
    meta: &'a Meta,
    joined: Time,
}

/// A room and its number of members, as lists show it.
#[derive(Debug, Serialize)]
pub struct RoomObject<'a> {
    room: &'a Name,
    count: usize,
}

#[derive(Serialize)]
struct EventObject<'a> {
    action: &'a str,
    room: &'a Name,
    cursor: Cursor,
    user: &'a Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a Meta>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<DelReason>,
}

#[derive(Serialize)]
struct Resumed<'a> {
    action: &'a str,
    room: &'a Name,
    cursor: Cursor,
}

#[derive(Serialize)]
struct Count<'a> {
    action: &'a str,
    room: &'a Name,
    count: Option<usize>,
}

impl<'a> EventObject<'a> {
    fn of(Event { room, cursor, change, .. }: &'a Event) -> Self {
        let bare =
            |action, user| EventObject { action, room, cursor: *cursor, user, meta: None, joined: None, reason: None };
        match change {
            Change::Add(member) => {
                let (meta, joined) = (Some(&member.meta), Some(Time(member.joined)));
                EventObject { meta, joined, ..bare("add", &member.user) }
            }
            Change::Update(user, meta) => EventObject { meta: Some(meta), ..bare("update", user) },
            Change::Del(user, reason) => EventObject { reason: Some(*reason), ..bare("del", user) },
        }
    }
}

impl<'a> From<&'a Member> for MemberObject<'a> {
    fn from(member: &'a Member) -> Self {
        MemberObject { user: &member.user, meta: &member.meta, joined: Time(member.joined) }
    }
}

impl<'a> From<&'a (Name, usize)> for RoomObject<'a> {
    fn from((room, count): &'a (Name, usize)) -> Self {
        RoomObject { room, count: *count }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.0.0)).fmt(f)
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

    use super::*;
    use crate::model::cursor::{Epoch, Offset};

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
        let json = |change| event(&Event::new(Name::lobby(), cursor, change)).to_owned();
        let member = Member { user: user.clone(), meta: Meta::default(), joined: Timestamp(1_795_326_781) };
        assert_eq!(
            json(Change::Add(Arc::new(member))),
            r#"{"action":"add","room":"lobby","cursor":"k7f.18","user":"y\"<b>","meta":{},"joined":"2026-11-22T05:53:01Z"}"#
        );
        let meta = Meta::read(r#"{"status": "away"}"#).unwrap();
        assert_eq!(
            json(Change::Update(user.clone(), meta)),
            r#"{"action":"update","room":"lobby","cursor":"k7f.18","user":"y\"<b>","meta":{"status":"away"}}"#
        );
        assert_eq!(
            json(Change::Del(user, DelReason::SignedOut)),
            r#"{"action":"del","room":"lobby","cursor":"k7f.18","user":"y\"<b>","reason":"signed_out"}"#
        );
    }
}
