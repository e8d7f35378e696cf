//! Dialects: how an event, a snapshot or changes become messages for one kind of reader.
//!
//! A new dialect is a new variant here and the functions for it; readers, hubs and events need no change.

use bytes::Bytes;
use serde::Serialize;

use crate::model::changes::Changes;
use crate::model::count::{CountChange, Prefix};
use crate::model::cursor::Cursor;
use crate::model::event::{Change, Event};
use crate::model::moment::Taken;
use crate::model::name::Name;
use crate::model::snapshot::Snapshot;
use crate::wire::framing::{FRAMINGS, Frames, Framing};
use crate::wire::object;
use crate::wire::part::{self, ChangesMark, SnapshotMark};

/// The messages that a kind of reader understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The objects of PROTOCOL.
    Native,
    /// The exercise: `add` and `del` with two keys. All else comes under an SSE event type of its own, out of sight of
    /// an `onmessage` handler. Changes come as the `add` and `del` events that lead to the same set.
    Exercise,
    /// The objects of PROTOCOL, of many rooms in one event stream: without ids, because each room has its own cursors.
    Session,
}

/// A dialect in a framing. All readers of one format share their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The messages.
    pub dialect: Dialect,
    /// Whether members who are suspect are shown as such.
    pub suspects: bool,
    /// The bytes around them.
    pub framing: Framing,
}

/// The number of formats.
pub const FORMATS: usize = 2 * 3 * FRAMINGS;

/// When a reader behind the history gets changes instead of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Netting {
    /// Never: nothing needs to be netted.
    Never,
    /// When the changes name no more users than a snapshot has members.
    IfShorter,
    /// Whenever the changes are known.
    Always,
}

impl Dialect {
    /// When a reader gets changes; `at_start` before the first message of its stream.
    pub fn netting(self, at_start: bool) -> Netting {
        match (self, at_start) {
            (Dialect::Native | Dialect::Session, _) => Netting::IfShorter,
            // The exercise has no message to mark a stream's first events as netted.
            (Dialect::Exercise, true) => Netting::Never,
            // Events are better than a snapshot that an `onmessage` handler does not see.
            (Dialect::Exercise, false) => Netting::Always,
        }
    }

    /// `is_end` is false for an event that is complete only together with later events: no reader may resume there.
    fn push_event(self, suspects: bool, frames: &mut Frames, event: &Event, is_end: bool) {
        let id = is_end.then_some(event.cursor).filter(|_| self.has_ids());
        match (self, &event.change) {
            (Dialect::Native | Dialect::Session, Change::Suspect(suspect)) if suspects => {
                frames.push(&object::suspect(event, suspect.is), id, None);
            }
            (Dialect::Native | Dialect::Session, change) if change.is_seen() => {
                frames.push(object::event(event), id, None);
            }
            (Dialect::Native | Dialect::Session, _) => {}
            (Dialect::Exercise, _) => {
                if let Some(json) = exercise_json(&event.change) {
                    frames.push(&json, id, None);
                }
            }
        }
    }

    fn push_object(self, frames: &mut Frames, json: &str, id: Option<Cursor>, event: &str) {
        frames.push(json, id.filter(|_| self.has_ids()), (self == Dialect::Exercise).then_some(event));
    }

    fn has_ids(self) -> bool {
        self != Dialect::Session
    }
}

impl Format {
    /// WebSocket messages as PROTOCOL has them.
    pub const WEBSOCKET: Format = Format { dialect: Dialect::Native, suspects: false, framing: Framing::WebSocket };

    /// A number below [`FORMATS`] for each format.
    pub fn index(self) -> usize {
        (usize::from(self.suspects) * 3 + self.dialect as usize) * FRAMINGS + self.framing.index()
    }

    /// Events, in order. May be empty: the exercise knows no `update`, and only readers who ask see who is suspect.
    pub fn events<'a>(self, events: impl Iterator<Item = &'a Event>) -> Bytes {
        let mut frames = Frames::new(self.framing);
        events.for_each(|event| self.dialect.push_event(self.suspects, &mut frames, event, true));
        frames.finish()
    }

    /// The message `resumed` of a stream that continues after `cursor`, and the events from there.
    pub fn resumed<'a>(
        self,
        room: &Name,
        cursor: Cursor,
        taken: Taken,
        events: impl Iterator<Item = &'a Event>,
    ) -> Bytes {
        let mut frames = Frames::new(self.framing);
        match self.dialect {
            Dialect::Native | Dialect::Session => {
                self.dialect.push_object(&mut frames, &object::resumed(room, cursor, taken), Some(cursor), "resumed");
            }
            // The exercise has no such message.
            Dialect::Exercise => {}
        }
        events.for_each(|event| self.dialect.push_event(self.suspects, &mut frames, event, true));
        frames.finish()
    }

    /// The message `cursor` of a stream that begins behind `cursor`, for readers that resume by themselves.
    pub fn cursor(self, room: &Name, cursor: Cursor) -> Bytes {
        self.object(&object::cursor(room, cursor), Some(cursor), "cursor")
    }

    /// One part of a snapshot, and where the next begins. Only the last part has a cursor to resume from: a stream that
    /// is cut between parts starts over.
    pub fn snapshot_part(self, snapshot: &Snapshot, from: SnapshotMark) -> (Bytes, Option<SnapshotMark>) {
        let part = part::snapshot(snapshot, from, self.suspects);
        let id = part.next.is_none().then_some(snapshot.cursor);
        (self.object(&part.json, id, "snapshot"), part.next)
    }

    /// One part of changes, and where the next begins. Only the last part has a cursor to resume from.
    pub fn changes_part(self, changes: &Changes, from: ChangesMark) -> (Bytes, Option<ChangesMark>) {
        if self.dialect == Dialect::Exercise {
            let (events, next) = part::events(changes, from);
            return (self.changes_as_events(changes, events, next.is_none()), next);
        }
        let part = part::changes(changes, from, self.suspects);
        let id = part.next.is_none().then_some(changes.cursor());
        (self.object(&part.json, id, "changes"), part.next)
    }

    /// Some of the events that lead to the same set as `changes`. Only the last of all has a cursor to resume from.
    fn changes_as_events(self, changes: &Changes, events: Vec<Change>, are_last: bool) -> Bytes {
        let event = |change| Event::new(changes.room().clone(), changes.cursor(), changes.taken().at, change);
        let mut frames = Frames::new(self.framing);
        let mut events = events.into_iter().map(event).peekable();
        while let Some(event) = events.next() {
            self.dialect.push_event(false, &mut frames, &event, are_last && events.peek().is_none());
        }
        frames.finish()
    }

    /// The number of members.
    pub fn count(self, room: &Name, count: usize, fresh_for: Option<u64>) -> Bytes {
        self.object(&object::count(room, Some(count), fresh_for), None, "count")
    }

    /// Changes of counts, in order. May be empty.
    pub fn count_changes<'a>(self, changes: impl Iterator<Item = &'a CountChange>) -> Bytes {
        let mut frames = Frames::new(self.framing);
        changes.for_each(|change| frames.push(&object::count(&change.room, change.count, None), None, None));
        frames.finish()
    }

    /// One part of the counts of all rooms that `prefix` selects.
    pub fn counts(
        self,
        prefix: &Prefix,
        fresh_for: Option<u64>,
        part: usize,
        last: bool,
        rooms: &[(Name, usize)],
    ) -> Bytes {
        self.object(&part::counts(prefix, fresh_for, part, last, rooms), None, "counts")
    }

    /// An answer to a message: its JSON, framed.
    pub fn answer(self, json: &str) -> Bytes {
        self.object(json, None, "answer")
    }

    fn object(self, json: &str, id: Option<Cursor>, event: &str) -> Bytes {
        let mut frames = Frames::new(self.framing);
        self.dialect.push_object(&mut frames, json, id, event);
        frames.finish()
    }
}

#[derive(Serialize)]
struct ExerciseObject<'a> {
    action: &'a str,
    user: &'a Name,
}

fn exercise_json(change: &Change) -> Option<String> {
    let (action, user) = match change {
        Change::Add(member) => ("add", &member.user),
        Change::Del(user, _) => ("del", user),
        Change::Update(_) | Change::Suspect(_) => return None,
    };
    Some(object::to_json(&ExerciseObject { action, user }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cursor::{Epoch, Offset};
    use crate::model::event::DelReason;
    use crate::model::info::Info;
    use crate::model::meta::Meta;
    use crate::model::moment::Timestamp;
    use crate::model::roster::Member;
    use crate::model::roster::Roster;

    const CURSOR: Cursor = Cursor { epoch: Epoch(10), offset: Offset(2) };
    const SSE: Framing = Framing::Sse { chunked: false };

    fn events() -> [Event; 2] {
        let (user, at): (Name, _) = ("ann".parse().unwrap(), Timestamp::default());
        let of = |change| Event::new(Name::lobby(), CURSOR, at, change);
        let member = Member { user: user.clone(), meta: Meta::default(), info: Info::default(), joined: at };
        [of(Change::Update(member.into())), of(Change::Del(user, DelReason::SignedOut))]
    }

    #[test]
    fn native_events_are_the_objects_of_the_protocol() {
        let events = events();
        let [update, del] = events.each_ref().map(object::event);
        let native = Format { dialect: Dialect::Native, suspects: false, framing: SSE };
        assert_eq!(native.events(events.iter()), format!("id: a.2\ndata: {update}\n\nid: a.2\ndata: {del}\n\n"));
    }

    #[test]
    fn the_frames_of_a_session_have_no_ids() {
        let session = Format { dialect: Dialect::Session, suspects: false, framing: SSE };
        let events = events();
        let [update, del] = events.each_ref().map(object::event);
        assert_eq!(session.events(events.iter()), format!("data: {update}\n\ndata: {del}\n\n"));
        let taken = Taken::default();
        let resumed = object::resumed(&Name::lobby(), CURSOR, taken);
        assert_eq!(session.resumed(&Name::lobby(), CURSOR, taken, [].iter()), format!("data: {resumed}\n\n"));
        let snapshot = Snapshot { room: Name::lobby(), cursor: CURSOR, taken, roster: Roster::default() };
        assert!(session.snapshot_part(&snapshot, SnapshotMark::default()).0.starts_with(b"data: "));
    }

    #[test]
    fn the_exercise_knows_add_and_del_and_no_update() {
        let (exercise, events) = (Format { dialect: Dialect::Exercise, suspects: false, framing: SSE }, events());
        assert_eq!(exercise.events(events.iter()), "id: a.2\ndata: {\"action\":\"del\",\"user\":\"ann\"}\n\n");
        let chunked = Format { framing: Framing::Sse { chunked: true }, ..exercise };
        assert!(chunked.events(events[..1].iter()).is_empty(), "an update is no chunk");
    }

    #[test]
    fn each_format_has_an_index_of_its_own() {
        let framings = [Framing::Sse { chunked: true }, SSE, Framing::WebSocket];
        let formats = [Dialect::Native, Dialect::Exercise, Dialect::Session]
            .into_iter()
            .flat_map(|dialect| framings.map(|framing| Format { dialect, suspects: false, framing }));
        let formats = formats.flat_map(|format| [format, Format { suspects: true, ..format }]);
        let indices: std::collections::BTreeSet<_> = formats.map(Format::index).collect();
        assert!(indices.into_iter().eq(0..FORMATS));
    }
}
