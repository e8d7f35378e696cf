//! Readers: a cursor in a room, and the next bytes from there.

use std::sync::Arc;

use bytes::Bytes;

use crate::delivery::batch::Batch;
use crate::delivery::step::{CountTurn, Follower, Step};
use crate::model::cursor::{Cursor, Offset};
use crate::model::name::Name;
use crate::rooms::edition::Edition;
use crate::rooms::netted::Netted;
use crate::rooms::room::Room;
use crate::wire::dialect::Format;
use crate::wire::part::ChangesMark;

/// A follower with steps as bytes. A set is written part by part, and the reader's place is behind the set only after
/// the last part.
#[derive(Debug)]
pub struct Reader {
    follower: Follower,
    /// The rest of a set. Boxed, since few readers are in the middle of one.
    rest: Option<Box<Rest>>,
}

/// A reader's place when its stream is cut or its subscription ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A place to resume from.
    At(Cursor),
    /// In the middle of a set, or before the first: no place to resume from.
    Nowhere,
}

#[derive(Debug)]
enum Rest {
    /// A snapshot from this part on.
    Snapshot(Arc<Edition>, usize),
    /// Changes from this part on.
    Changes(Arc<Netted>, ChangesMark),
}

impl Reader {
    /// Turns the steps of `follower` into bytes.
    pub fn new(follower: Follower) -> Self {
        Reader { follower, rest: None }
    }

    /// Whether only the number of members is read.
    pub fn counts(&self) -> bool {
        self.follower.counts()
    }

    /// Whether the reader is in the middle of a snapshot or of changes.
    pub fn is_amid_set(&self) -> bool {
        self.rest.is_some()
    }

    /// The room.
    pub fn room(&self) -> &Arc<Room> {
        self.follower.room()
    }

    /// Moves to the end of `batch`; false when the reader is not at its beginning.
    pub fn take(&mut self, batch: &Batch) -> bool {
        self.rest.is_none() && self.follower.advance(batch.from(), batch.to())
    }

    /// Whether the event at `offset`, or a set in its place, is written.
    pub fn reached(&self, offset: Offset) -> bool {
        self.rest.is_none() && self.follower.reached(offset)
    }

    /// The place to resume from.
    pub fn place(&self) -> Place {
        let cursor = if self.is_amid_set() { None } else { self.follower.cursor() };
        cursor.map_or(Place::Nowhere, Place::At)
    }

    /// Begins anew, if the reader began early after the gateway's start.
    pub fn settle(&mut self) {
        if self.follower.settle() {
            self.rest = None;
        }
    }

    /// See [`Follower::count`].
    pub fn count(&mut self) -> CountTurn {
        self.follower.count()
    }

    /// The next bytes; `None` when the reader is up to date.
    pub fn next(&mut self, format: Format) -> Option<Bytes> {
        if let Some(rest) = self.rest.take() {
            return self.set_part(*rest, format);
        }
        Some(match self.follower.next(|at_start| format.dialect.netting(at_start))? {
            Step::Events(events) => format.events(events.iter().map(|event| &**event)),
            Step::Resumed(cursor, taken, events, _) => {
                format.resumed(&self.name(), cursor, taken, events.iter().map(|event| &**event))
            }
            Step::Changes(changes) => {
                let (bytes, next) = format.changes_part(&changes, ChangesMark::default());
                self.rest = next.map(|next| Box::new(Rest::Changes(self.room().keep_changes(changes), next)));
                bytes
            }
            Step::Snapshot(edition) => return self.set_part(Rest::Snapshot(edition, 0), format),
            Step::Count(count, fresh_for) => format.count(&self.name(), count, fresh_for),
        })
    }

    fn name(&self) -> Name {
        self.room().read(|presence| presence.room().clone())
    }

    fn set_part(&mut self, rest: Rest, format: Format) -> Option<Bytes> {
        let (bytes, rest) = match rest {
            Rest::Snapshot(edition, number) => {
                let Some((bytes, is_last)) = edition.part(number, format) else {
                    return self.begin_anew(edition.cursor(), format);
                };
                (bytes, (!is_last).then(|| Rest::Snapshot(edition, number + 1)))
            }
            Rest::Changes(netted, from) => {
                let Some(changes) = netted.changes() else {
                    return self.begin_anew(netted.cursor(), format);
                };
                let (bytes, next) = format.changes_part(&changes, from);
                (bytes, next.map(|next| Rest::Changes(netted, next)))
            }
        };
        self.rest = rest.map(Box::new);
        Some(bytes)
    }

    /// Begins anew after a set that led to `cursor` was withdrawn, because memory is short. Part 0 of a snapshot replaces the
    /// parts so far.
    fn begin_anew(&mut self, cursor: Cursor, format: Format) -> Option<Bytes> {
        self.follower.begin_anew(cursor.offset);
        self.next(format)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use super::*;
    use crate::model::command::Command;
    use crate::model::history::Bound;
    use crate::model::presence::Bounds;
    use crate::rooms::Rooms;
    use crate::runtime::memory::tests::MadeUp;
    use crate::runtime::memory::{Kind, Memory};
    use crate::wire::dialect::Dialect;
    use crate::wire::framing::Framing;

    const SSE: Format = Format { dialect: Dialect::Native, suspects: false, framing: Framing::Sse { chunked: false } };

    fn rooms() -> Rooms {
        Rooms::within(
            10,
            Bounds { history: Bound { events: 10, bytes: usize::MAX }, members: 0, grace: Duration::ZERO },
        )
    }

    fn sign_in(rooms: &Rooms, user: impl ToString) -> Cursor {
        let user = user.to_string().parse().unwrap();
        rooms.change(&Name::lobby(), &[Command::sign_in(user)]).unwrap().outcome.cursor
    }

    fn reader(rooms: &Rooms) -> Reader {
        Reader::new(Follower::resume(rooms.follow(&Name::lobby()), None, Offset::default()))
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
        let mut reader = reader(&rooms);
        let first = reader.next(SSE).unwrap();
        assert!(!first.starts_with(b"id:"), "a stream cut here must not resume");
        sign_in(&rooms, "late");
        let rest = text(&mut reader);
        let (late, last) = (rest.find("\"late\"").unwrap(), rest.find("\"last\":true").unwrap());
        assert!(last < late && rest.matches("late").count() == 1);
    }

    #[test]
    fn a_snapshot_is_begun_anew_and_shared_when_memory_is_short() {
        let resident = MadeUp::default();
        let memory = Memory::new(1_000_000_000, Box::new(resident.clone()));
        let bounds = Bounds { history: Bound { events: 10, bytes: usize::MAX }, members: 0, grace: Duration::ZERO };
        let rooms = Rooms::with_memory(10, bounds, memory);
        (0..2_000).for_each(|n| assert!(sign_in(&rooms, n).offset > Offset(0)));
        let mut slow = [reader(&rooms), reader(&rooms)];
        for reader in &mut slow {
            assert!(reader.next(SSE).unwrap().starts_with(b"data: ") && reader.is_amid_set());
            for n in 0..500 {
                sign_in(&rooms, format!("late {n}"));
            }
        }
        let held = || rooms.memory().held(Kind::Snapshots);
        assert!(held() > 64 * 1024, "two editions");
        rooms.tick();
        rooms.tick();
        rooms.relieve(Duration::ZERO);
        assert!(held() > 64 * 1024, "memory is not short");
        resident.0.store(800_000_000, Relaxed);
        rooms.relieve(Duration::ZERO);
        assert_eq!(held(), 0, "freed before the readers read on");
        for reader in &mut slow {
            let text = text(reader);
            assert_eq!(text.matches(r#""part":0,"#).count(), 1);
            assert!(
                text.contains(r#""count":2500"#) && text.contains(r#""last":true"#) && !text.contains(r#""changes""#)
            );
        }
        let one = 2_500 * 24 + 2_500 * 60;
        assert!(held() < 2 * one, "the new edition is shared");
    }

    /// A past bug: only snapshots could be withdrawn, and a slow reader kept up to a megabyte of changes.
    #[test]
    fn changes_are_withdrawn_for_a_snapshot_when_memory_is_short() {
        let resident = MadeUp::default();
        let bounds = Bounds { history: Bound { events: 200, bytes: usize::MAX }, members: 0, grace: Duration::ZERO };
        let rooms = Rooms::with_memory(10, bounds, Memory::new(1_000_000_000, Box::new(resident.clone())));
        (0..3_000).for_each(|n| assert!(sign_in(&rooms, n).offset > Offset(0)));
        const EXERCISE: Format = Format { dialect: Dialect::Exercise, ..SSE };
        let mut slow = [reader(&rooms), Reader::new(Follower::from_now_on(rooms.follow(&Name::lobby())))];
        assert!(text(&mut slow[0]).contains(r#""last":true"#));
        (0..2_500).for_each(|n| assert!(sign_in(&rooms, format!("late {n}")).offset > Offset(0)));
        let formats = [SSE, EXERCISE];
        for (reader, format) in slow.iter_mut().zip(formats) {
            let first = reader.next(format).unwrap();
            assert!(!first.starts_with(b"id:") && reader.is_amid_set() && reader.place() == Place::Nowhere);
        }
        let held = || rooms.memory().held(Kind::Snapshots);
        assert!(held() >= 2 * 2_500 * 24, "{}", held());
        resident.0.store(800_000_000, Relaxed);
        rooms.relieve(Duration::ZERO);
        assert!(held() > 0, "begun a moment ago");
        rooms.tick();
        rooms.tick();
        rooms.relieve(Duration::ZERO);
        assert_eq!(held(), 0, "freed before the readers read on");
        sign_in(&rooms, "last");
        for (reader, format) in slow.iter_mut().zip(formats) {
            let next = reader.next(format).unwrap();
            assert!(str::from_utf8(&next).unwrap().contains(r#""action":"snapshot","#), "{format:?}");
            let rest: Vec<_> = std::iter::from_fn(|| reader.next(format)).collect();
            let rest = String::from_utf8(rest.concat()).unwrap();
            assert!(rest.contains(r#""last":true"#) && rest.contains(r#""user":"last""#) && !rest.contains("changes"));
        }
    }

    #[test]
    fn a_reader_behind_history_gets_changes_or_a_snapshot_whichever_is_shorter() {
        let rooms = rooms();
        (0..50).for_each(|n| assert!(sign_in(&rooms, n).offset > Offset(0)));
        let mut late = reader(&rooms);
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
    fn an_exercise_reader_behind_history_gets_events_that_lead_to_the_present_set() {
        const EXERCISE: Format = Format { dialect: Dialect::Exercise, ..SSE };
        let rooms = rooms();
        sign_in(&rooms, "ann");
        let mut late = Reader::new(Follower::from_now_on(rooms.follow(&Name::lobby())));
        (0..9).for_each(|n| assert!(sign_in(&rooms, n).offset > Offset(0)));
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
