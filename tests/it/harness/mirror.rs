//! A model of a room, built from frames. A frame that breaks the protocol fails the test.

use std::collections::BTreeMap;
use std::mem;

use serde_json::{Value, json};

/// The reasons of a `del`.
const REASONS: [&str; 6] = ["signed_out", "closed", "timeout", "expired", "kicked", "node_lost"];

/// A member's data.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub meta: Value,
    /// `{}` where a frame has none.
    pub info: Value,
    pub joined: String,
    /// False where a frame does not say so.
    pub suspect: bool,
}

/// The members of a room by name.
pub type Set = BTreeMap<String, Member>;

impl Member {
    /// Parses an object with `user`, `meta` and `joined`.
    pub fn parse(told: &Value) -> (String, Self) {
        assert!(told["meta"].is_object(), "no meta: {told}");
        let joined = text(told, "joined");
        assert!(joined.len() == 20 && joined.ends_with('Z'), "whole seconds, UTC: {told}");
        (
            text(told, "user").to_owned(),
            Self { meta: told["meta"].clone(), info: info(told), joined: joined.to_owned(), suspect: suspect(told) },
        )
    }
}

/// A member's `info`, which is left out where it is empty.
fn info(told: &Value) -> Value {
    assert_ne!(told["info"], json!({}), "an empty info: {told}");
    told.get("info").cloned().unwrap_or_else(|| json!({}))
}

/// Whether a member is suspect, which is left out where it is not so.
fn suspect(told: &Value) -> bool {
    assert_ne!(told["suspect"], false, "left out: {told}");
    told.get("suspect").is_some_and(|suspect| suspect.as_bool().expect("a boolean"))
}

fn check_time(told: &Value) {
    let at = text(told, "at");
    assert!(at.len() == 24 && at.ends_with('Z'), "milliseconds, UTC: {told}");
}

/// The offset of a cursor.
pub fn offset(cursor: &str) -> u64 {
    let (_, offset) = cursor.rsplit_once('.').expect("epoch.offset");
    offset.parse().expect("an offset")
}

fn epoch(cursor: &str) -> &str {
    cursor.rsplit_once('.').expect("epoch.offset").0
}

fn text<'a>(told: &'a Value, key: &str) -> &'a str {
    told[key].as_str().unwrap_or_else(|| panic!("no {key}: {told}"))
}

/// A reader's model of a room.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub room: String,
    pub users: Set,
    /// The cursor of the set; `None` before the first snapshot.
    pub cursor: Option<String>,
    /// The number of frames of each action.
    seen: BTreeMap<String, usize>,
    /// The parts of an incomplete snapshot, or of incomplete changes.
    parts: Vec<Value>,
    /// Whether the first frame of this connection was applied.
    begun: bool,
}

impl Mirror {
    pub fn of(room: &str) -> Self {
        Self {
            room: room.to_owned(),
            users: Set::new(),
            cursor: None,
            seen: BTreeMap::new(),
            parts: Vec::new(),
            begun: false,
        }
    }

    /// Prepares for a new connection: forgets the parts of an incomplete snapshot, and keeps the rest.
    pub fn reconnected(mut self) -> Self {
        self.parts.clear();
        self.begun = false;
        self
    }

    pub fn seen(&self, action: &str) -> usize {
        self.seen.get(action).copied().unwrap_or_default()
    }

    /// Whether the first frame was applied, and no set is incomplete.
    pub fn is_set(&self) -> bool {
        self.begun && self.parts.is_empty()
    }

    /// The members who are suspect.
    pub fn suspects(&self) -> Vec<&str> {
        self.users.iter().filter(|(_, member)| member.suspect).map(|(user, _)| user.as_str()).collect()
    }

    pub fn names(&self) -> Vec<&str> {
        self.users.keys().map(String::as_str).collect()
    }

    /// Whether the model is at `cursor` or later, in the same epoch.
    pub fn reached(&self, cursor: &str) -> bool {
        let here = self.cursor.as_deref().filter(|_| self.is_set());
        here.is_some_and(|here| epoch(here) == epoch(cursor) && offset(here) >= offset(cursor))
    }

    pub fn apply(&mut self, frame: &Value) {
        assert_eq!(text(frame, "room"), self.room, "{frame}");
        let action = text(frame, "action").to_owned();
        check_time(frame);
        match action.as_str() {
            "snapshot" => self.snapshot(frame),
            "changes" => self.changes(frame),
            "resumed" => self.resumed(frame),
            "add" | "update" | "del" => self.event(&action, frame),
            other => panic!("nothing that a reader gets: {other}"),
        }
        self.begun = true;
        *self.seen.entry(action).or_default() += 1;
    }

    fn resumed(&mut self, frame: &Value) {
        assert!(!self.begun, "resumed only comes first: {frame}");
        assert_eq!(self.cursor.as_deref(), Some(text(frame, "cursor")), "it goes on after the cursor it brought");
    }

    fn snapshot(&mut self, part: &Value) {
        if part["part"] == 0 {
            // A snapshot may be begun anew when the gateway's memory is short.
            self.parts.clear();
        }
        assert_eq!(part["part"], self.parts.len(), "parts count from 0");
        if let Some(first) = self.parts.first() {
            assert_eq!((&part["cursor"], &part["count"]), (&first["cursor"], &first["count"]), "one moment");
        }
        self.parts.push(part.clone());
        if part["last"].as_bool().expect("last") {
            let parts = mem::take(&mut self.parts);
            self.replace(&parts);
        }
    }

    fn changes(&mut self, part: &Value) {
        assert_eq!(part["part"], self.parts.len(), "parts count from 0");
        self.parts.push(part.clone());
        if part["last"].as_bool().expect("last") {
            for part in mem::take(&mut self.parts) {
                self.change(&part);
            }
            self.advance(text(part, "cursor"));
        }
    }

    fn change(&mut self, part: &Value) {
        for gone in part["gone"].as_array().expect("gone") {
            check_time(gone);
            assert!(REASONS.contains(&text(gone, "reason")), "{part}");
            assert!(self.users.remove(text(gone, "user")).is_some(), "gone only who was there: {part}");
        }
        for put in part["set"].as_array().expect("set") {
            check_time(put);
            let (user, member) = Member::parse(put);
            self.users.insert(user, member);
        }
    }

    fn replace(&mut self, parts: &[Value]) {
        let users = parts.iter().flat_map(|part| part["users"].as_array().expect("users"));
        let members: Vec<_> = users.map(Member::parse).collect();
        let count = members.len();
        self.users = members.into_iter().collect();
        assert_eq!(self.users.len(), count, "a user is in a set at most once");
        assert_eq!(parts[0]["count"], count, "the parts have all");
        let cursor = text(&parts[0], "cursor");
        if let Some(here) = self.cursor.as_deref().filter(|here| epoch(here) == epoch(cursor)) {
            assert!(offset(cursor) >= offset(here), "a snapshot never goes back: {here} to {cursor}");
        }
        self.cursor = Some(cursor.to_owned());
    }

    fn event(&mut self, action: &str, event: &Value) {
        assert!(self.is_set(), "no event comes before or inside a snapshot: {event}");
        let user = text(event, "user");
        let known = self.users.get(user).map(|member| (&member.meta, &member.info, member.suspect));
        match action {
            "add" => assert!(known.is_none(), "add only of who is absent: {event}"),
            "update" => {
                assert!(
                    known.is_some_and(|known| known != (&event["meta"], &info(event), suspect(event))),
                    "update only of what differs: {event}"
                )
            }
            _ => assert!(known.is_some(), "del only of who is present: {event}"),
        }
        self.advance(text(event, "cursor"));
        match action {
            "add" => {
                let (user, member) = Member::parse(event);
                self.users.insert(user, member);
            }
            "update" => {
                let member = self.users.get_mut(user).expect("present");
                (member.meta, member.info, member.suspect) = (event["meta"].clone(), info(event), suspect(event));
            }
            _ => {
                assert!(REASONS.contains(&text(event, "reason")), "{event}");
                self.users.remove(user);
            }
        }
    }

    fn advance(&mut self, cursor: &str) {
        let here = self.cursor.as_deref().expect("set before");
        assert_eq!(epoch(here), epoch(cursor), "only a snapshot begins another epoch");
        assert!(offset(cursor) > offset(here), "events come in order: {here}, {cursor}");
        self.cursor = Some(cursor.to_owned());
    }
}
