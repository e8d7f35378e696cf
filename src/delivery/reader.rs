//! A reader: a place in a room, and the bytes that come next from there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;

use crate::delivery::batch::Batch;
use crate::model::changes::{self, Changes};
use crate::rooms::edition::Edition;
use crate::model::event::{Change, Cursor, Event, to_json};
use crate::wire::framing::{Form, Frame, Framing};
use crate::model::name::Name;
use crate::model::presence::Presence;
use crate::rooms::room::{Following, Room};

/// The most events joined in one step for a reader that catches up, so that a step stays short.
const STEP: usize = 256;

/// How long one who only counts waits from one count to the next: two a second are as many as anyone
/// can read.
pub const COUNT_EVERY: Duration = Duration::from_millis(500);

/// A cursor that follows a room. Whatever it is asked for comes from the room itself: a reader
/// that waits for its socket costs nothing, however much happens meanwhile.
#[derive(Debug)]
pub struct Reader {
    following: Following,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Has read all up to this offset.
    At(u64),
    /// Elsewhere in memory too: of many readers few are there, and the others are to be small.
    Amid(Box<Amid>),
}

#[derive(Debug)]
enum Amid {
    /// Has read nothing yet; brought this cursor, and its first snapshot is not from before this event.
    Fresh(Option<Cursor>, u64),
    /// A snapshot, of which this part comes next.
    Snapshot(Arc<Edition>, usize),
    /// Changes, of which this part comes next.
    Changes(Changes, changes::Next),
    /// Reads only how many there are: what it read last, and when. `None` is its turn to read again.
    Count(Option<usize>, Option<Instant>),
}

/// What a reader gets in one step.
enum Step {
    Nothing,
    Resumed(Cursor, Vec<Arc<Event>>),
    Events(Vec<Arc<Event>>),
    Changes(Changes),
    Snapshot,
}

/// Decided under the room's lock; encoding is for afterwards.
impl Step {
    /// For one who has read all up to `offset`.
    fn after(presence: &Presence, offset: u64, form: Form) -> Self {
        match Step::events(presence, offset) {
            Some(events) if events.is_empty() => Step::Nothing,
            Some(events) => Step::Events(events),
            None => Step::changes(presence, offset, form).unwrap_or(Step::Snapshot),
        }
    }

    /// For one who has read nothing yet.
    fn first(presence: &Presence, brought: Option<Cursor>, form: Form) -> Self {
        // A cursor of another life of the room, or of another room, is no place at all.
        let brought = brought.filter(|cursor| cursor.epoch == presence.head().epoch);
        let resumed = || brought.and_then(|cursor| Some(Step::Resumed(cursor, Step::events(presence, cursor.offset)?)));
        // To one of the exercise's readers we could not say that these are changes.
        let old = brought.filter(|_| form != Form::Exercise);
        resumed().or_else(|| Step::changes(presence, old?.offset, form)).unwrap_or(Step::Snapshot)
    }

    fn events(presence: &Presence, offset: u64) -> Option<Vec<Arc<Event>>> {
        Some(presence.after(offset)?.take(STEP).cloned().collect())
    }

    fn changes(presence: &Presence, offset: u64, form: Form) -> Option<Self> {
        // For the exercise's readers a snapshot is out of the way, so changes are better if at all known.
        let better = |changes: &Changes| changes.len() <= presence.roster().len() || form == Form::Exercise;
        presence.changes(offset).filter(better).map(Step::Changes)
    }
}

impl From<Amid> for Place {
    fn from(amid: Amid) -> Self {
        Place::Amid(Box::new(amid))
    }
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
    count: usize,
}

impl Reader {
    /// Starts after `cursor`, or from a snapshot if what followed it is no longer in history. Nothing
    /// in between is lost or repeated. A snapshot has the event at `least` and those before.
    pub fn resume(following: Following, cursor: Option<Cursor>, least: u64) -> Self {
        Reader { following, place: Amid::Fresh(cursor, least).into() }
    }

    /// Reads how many members there are, now and whenever that changes.
    pub fn counting(following: Following) -> Self {
        Reader { following, place: Amid::Count(None, None).into() }
    }

    /// Whether it reads only how many there are.
    pub fn counts(&self) -> bool {
        matches!(&self.place, Place::Amid(amid) if matches!(**amid, Amid::Count(..)))
    }

    /// Whether it is amid a snapshot or changes.
    pub fn is_amid_set(&self) -> bool {
        matches!(&self.place, Place::Amid(amid) if matches!(**amid, Amid::Snapshot(..) | Amid::Changes(..)))
    }

    /// Starts with what happens next.
    pub fn from_now_on(following: Following) -> Self {
        let head = following.room().look(|presence| presence.head().offset);
        Reader { following, place: Place::At(head) }
    }

    /// The room it follows.
    pub fn room(&self) -> &Arc<Room> {
        self.following.room()
    }

    /// Goes to the end of `batch`, if it stands at its beginning.
    pub fn take(&mut self, batch: &Batch) -> bool {
        let here = matches!(self.place, Place::At(at) if at == batch.from());
        if here {
            self.place = Place::At(batch.to());
        }
        here
    }

    /// Whether it has read the event at `offset`, or what stands for it.
    pub fn reached(&self, offset: u64) -> bool {
        match self.place {
            Place::At(at) => at >= offset,
            Place::Amid(_) => self.counts(),
        }
    }

    /// Where it could be resumed; nowhere amid a snapshot or changes.
    pub fn cursor(&self) -> Option<Cursor> {
        match &self.place {
            Place::At(offset) => Some(Cursor { offset: *offset, ..self.room().look(Presence::head) }),
            Place::Amid(amid) => match **amid {
                Amid::Fresh(brought, _) => brought,
                Amid::Snapshot(..) | Amid::Changes(..) | Amid::Count(..) => None,
            },
        }
    }

    /// Has one that counts read again; true when it has done so too short a while ago, `None` when it
    /// does not count.
    pub fn count(&mut self) -> Option<bool> {
        let Place::Amid(amid) = &mut self.place else {
            return None;
        };
        let Amid::Count(_, last) = &mut **amid else {
            return None;
        };
        let waits = last.is_some_and(|last| last.elapsed() < COUNT_EVERY);
        if !waits {
            *last = None;
        }
        Some(waits)
    }

    /// The bytes that come next, or `None` when the reader has read all there is.
    pub fn next(&mut self, framing: Framing) -> Option<Bytes> {
        let form = framing.form;
        let (step, least) = match std::mem::replace(&mut self.place, Place::At(0)) {
            Place::At(offset) => {
                self.place = Place::At(offset);
                (self.room().look(|presence| Step::after(presence, offset, form)), 0)
            }
            Place::Amid(amid) => match *amid {
                Amid::Fresh(brought, least) => {
                    (self.room().look(|presence| Step::first(presence, brought, form)), least)
                }
                Amid::Snapshot(edition, number) => return Some(self.snapshot_part(edition, number, framing)),
                Amid::Changes(changes, next) => return Some(self.changes_part(changes, next, framing)),
                Amid::Count(told, at) => return self.count_now(told, at, framing),
            },
        };
        match step {
            Step::Nothing => None,
            Step::Snapshot => Some(self.snapshot_part(self.room().edition(least), 0, framing)),
            Step::Changes(changes) if form == Form::Exercise => Some(self.exercise(&changes, framing)),
            Step::Changes(changes) => Some(self.changes_part(changes, changes::Next::default(), framing)),
            Step::Events(events) => {
                self.move_behind(&events);
                Some(framing.frame(events.iter().map(|event| Frame::Event(event))))
            }
            Step::Resumed(cursor, events) => {
                self.place = Place::At(cursor.offset);
                self.move_behind(&events);
                Some(self.resumed(cursor, &events, framing))
            }
        }
    }

    fn move_behind(&mut self, events: &[Arc<Event>]) {
        if let Some(last) = events.last() {
            self.place = Place::At(last.cursor.offset);
        }
    }

    /// The exercise's readers simply go on: they know no frame that says so.
    fn resumed(&self, cursor: Cursor, events: &[Arc<Event>], framing: Framing) -> Bytes {
        let room = self.following.room().look(|presence| presence.room().clone());
        let json = to_json(&Resumed { action: "resumed", room: &room, cursor });
        let says_so = framing.form != Form::Exercise;
        let first = says_so.then_some(Frame::Object(&json, Some(cursor), "resumed"));
        framing.frame(first.into_iter().chain(events.iter().map(|event| Frame::Event(event))))
    }

    fn count_now(&mut self, told: Option<usize>, at: Option<Instant>, framing: Framing) -> Option<Bytes> {
        self.place = Amid::Count(told, at).into();
        if at.is_some() {
            return None;
        }
        let (room, count) = self.room().look(|presence| (presence.room().clone(), presence.roster().len()));
        self.place = Amid::Count(Some(count), Some(Instant::now())).into();
        let json = to_json(&Count { action: "count", room: &room, count });
        (told != Some(count)).then(|| framing.frame([Frame::Object(&json, None, "count")].into_iter()))
    }

    fn snapshot_part(&mut self, edition: Arc<Edition>, number: usize, framing: Framing) -> Bytes {
        let (bytes, last) = edition.part(number, framing);
        self.place = match last {
            true => Place::At(edition.cursor().offset),
            false => Amid::Snapshot(edition, number + 1).into(),
        };
        bytes
    }

    /// As with a snapshot, only the last part has a cursor to resume from.
    fn changes_part(&mut self, changes: Changes, next: changes::Next, framing: Framing) -> Bytes {
        let part = changes.part(next);
        let cursor = part.next.is_none().then_some(changes.cursor());
        let bytes = framing.frame([Frame::Object(&part.json, cursor, "changes")].into_iter());
        self.place = match part.next {
            Some(next) => Amid::Changes(changes, next).into(),
            None => Place::At(changes.cursor().offset),
        };
        bytes
    }

    /// The exercise's readers know no changes: for them they are the events that lead there.
    fn exercise(&mut self, changes: &Changes, framing: Framing) -> Bytes {
        let (room, cursor) = (changes.room(), changes.cursor());
        let gone = changes.gone().iter().map(|(user, reason)| Change::Del(user.clone(), *reason));
        let new = changes.set().iter().filter(|set| set.new).map(|set| Change::Add(set.member.as_ref().clone()));
        let events: Vec<_> = gone.chain(new).map(|change| Event::new(room, cursor, change)).collect();
        self.place = Place::At(cursor.offset);
        let last = events.len().saturating_sub(1);
        let place = |(n, event)| if n < last { Frame::Midway(event) } else { Frame::Event(event) };
        framing.frame(events.iter().enumerate().map(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::command::Command;
    use crate::model::presence::Bounds;
    use crate::rooms::Rooms;

    const SSE: Framing = Framing { form: Form::Sse, chunked: false };

    fn rooms() -> Rooms {
        Rooms::new(10, Bounds { history: 10, members: 0, grace: 0 })
    }

    fn sign_in(rooms: &Rooms, user: impl ToString) -> Cursor {
        let user = user.to_string().parse().unwrap();
        rooms.change(&Name::lobby(), &[Command::sign_in(user, None)]).unwrap().cursor
    }

    fn text(reader: &mut Reader) -> String {
        let mut all = String::new();
        while let Some(bytes) = reader.next(SSE) {
            all.push_str(str::from_utf8(&bytes).unwrap());
        }
        all
    }

    #[test]
    fn an_event_between_the_parts_of_a_snapshot_comes_after_them() {
        let rooms = rooms();
        for n in 0..1_000 {
            sign_in(&rooms, n);
        }
        let mut reader = Reader::resume(rooms.follow(&Name::lobby()).unwrap(), None, 0);
        let first = reader.next(SSE).unwrap();
        assert!(!first.starts_with(b"id:"), "a stream cut here must not resume");
        sign_in(&rooms, "late");
        let rest = text(&mut reader);
        let (late, last) = (rest.find("\"late\"").unwrap(), rest.find("\"last\":true").unwrap());
        assert!(last < late && rest.matches("late").count() == 1);
    }

    #[test]
    fn a_reader_behind_history_gets_what_is_shorter_and_goes_on() {
        let rooms = rooms();
        (0..50).for_each(|n| assert!(sign_in(&rooms, n).offset > 0));
        let mut late = Reader::resume(rooms.follow(&Name::lobby()).unwrap(), None, 0);
        assert!(text(&mut late).contains("\"snapshot\""));
        for (events, frame) in [(10, "\"add\""), (11, "\"changes\""), (200, "\"snapshot\"")] {
            for n in 0..events {
                sign_in(&rooms, format!("{events} {n}"));
            }
            let caught_up = text(&mut late);
            let expected = if frame == "\"add\"" { events } else { 1 };
            assert_eq!(caught_up.matches(frame).count(), expected, "after {events}");
            assert_eq!(caught_up.matches("\"action\"").count(), expected, "after {events}");
        }
    }

    #[test]
    fn an_exercise_reader_behind_history_gets_the_events_that_lead_there() {
        const EXERCISE: Framing = Framing { form: Form::Exercise, chunked: false };
        let rooms = rooms();
        sign_in(&rooms, "ann");
        let mut late = Reader::from_now_on(rooms.follow(&Name::lobby()).unwrap());
        (0..9).for_each(|n| assert!(sign_in(&rooms, n).offset > 0));
        let out = Command::sign_out("ann".parse().unwrap());
        rooms.change(&Name::lobby(), &[out]).unwrap();
        let head = sign_in(&rooms, "bob");
        let bytes = late.next(EXERCISE).unwrap();
        let text = str::from_utf8(&bytes).unwrap();
        assert!(text.starts_with("data: {\"action\":\"del\",\"user\":\"ann\"}\n\n"), "{text}");
        let last = format!("id: {head}\ndata: {{\"action\":\"add\",\"user\":\"bob\"}}\n\n");
        assert!(text.ends_with(&last) && text.matches("id:").count() == 1, "only the last can be resumed from: {text}");
        assert_eq!(text.matches("\"add\"").count(), 10);
        assert!(late.next(EXERCISE).is_none());
    }
}
