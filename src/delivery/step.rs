//! Steps: the way from a cursor to the present of a room, without bytes.
//!
//! A [`Follower`] needs no socket: any part of the gateway can follow a room step by step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::changes::{Changes, Gap};
use crate::model::cursor::{Cursor, Offset};
use crate::model::event::Event;
use crate::model::moment::Taken;
use crate::model::presence::Presence;
use crate::rooms::edition::Edition;
use crate::rooms::room::Following;
use crate::rooms::room::Room;
use crate::runtime::meter::CatchUp;
use crate::wire::dialect::Netting;

/// The most events of one step, so that a step stays short.
const MAX_EVENTS: usize = 256;

/// The least time between two counts: a person can read two a second.
pub const COUNT_EVERY: Duration = Duration::from_millis(500);

/// One step from a cursor towards the present. Afterwards the follower is behind the step.
#[derive(Debug)]
pub enum Step {
    /// The next events, at least one.
    Events(Vec<Arc<Event>>),
    /// The follower resumes after its cursor, with these events, if any. Without events it is at the room's place, the last value.
    Resumed(Cursor, Taken, Vec<Arc<Event>>, Offset),
    /// The netted changes that lead to the present set.
    Changes(Changes),
    /// The whole set.
    Snapshot(Arc<Edition>),
    /// The number of members, which has changed, and the milliseconds as in [`Taken::fresh_for`].
    Count(usize, Option<u64>),
}

/// Whether a counting follower may get a number now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountTurn {
    /// The follower does not count.
    NotCounting,
    /// The last number is too recent.
    TooEarly,
    /// The next step has the number, if changed.
    Due,
}

/// A cursor that follows a room. Each step is read from the room: an idle follower costs nothing, however many events
/// there are.
#[derive(Debug)]
pub struct Follower {
    following: Following,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Behind all events up to one.
    At(Spot),
    /// Few followers have made no step. The box keeps all others small.
    Start(Box<Start>),
    Count(Box<Count>),
}

/// The place of a follower between two events.
#[derive(Clone, Copy, Debug)]
struct Spot {
    offset: Offset,
    /// Whether the follower began so soon after the gateway's start that members of before may be missing.
    early: bool,
    /// Whether the follower asks who is suspect.
    asks: bool,
}

/// The place of a follower that has made no step.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// The cursor to resume after, if any.
    since: Option<Cursor>,
    /// An event that the first snapshot must include.
    at_least: Offset,
    /// Whether the follower asks who is suspect.
    asks: bool,
}

#[derive(Debug, Default)]
struct Count {
    /// The last step.
    told: Option<(usize, Option<u64>)>,
    /// The time of the last count; `None` when the next is due.
    at: Option<Instant>,
}

/// A step as decided under the room's lock. A gap is netted and a snapshot is taken afterwards.
enum Decision {
    Nothing,
    Step(Step),
    /// The events after the cursor, if any, and the room's place.
    Resume(Cursor, Vec<Arc<Event>>, Offset),
    /// Changes bridge the gap, or a snapshot if it is shorter.
    Bridge(Gap, Netting),
    Snapshot,
}

impl Follower {
    /// Starts after `since`, or from a snapshot when the history does not reach back to it. Nothing in between is lost
    /// or repeated. A snapshot includes the event at `at_least` and all before.
    pub fn resume(following: Following, since: Option<Cursor>, at_least: Offset) -> Self {
        Follower { following, place: Place::Start(Box::new(Start { since, at_least, asks: false })) }
    }

    /// Starts with the next event.
    pub fn from_now_on(following: Following) -> Self {
        let head = following.room().read(|presence| presence.head().offset);
        Follower { following, place: Place::At(Spot { offset: head, early: false, asks: false }) }
    }

    /// Follows the number of members only.
    pub fn counting(following: Following) -> Self {
        Follower { following, place: Place::Count(Box::default()) }
    }

    /// The same for a reader who asks who is suspect, if that is so. Who follows the number alone is not told.
    pub fn for_suspects(mut self, suspects: bool) -> Self {
        let asks = match &mut self.place {
            Place::At(spot) => &mut spot.asks,
            Place::Start(start) => &mut start.asks,
            Place::Count(_) => return self,
        };
        if suspects && !std::mem::replace(asks, true) {
            self.room().ask_suspects(true);
        }
        self
    }

    fn asks(&self) -> bool {
        match &self.place {
            Place::At(spot) => spot.asks,
            Place::Start(start) => start.asks,
            Place::Count(_) => false,
        }
    }

    /// The room.
    pub fn room(&self) -> &Arc<Room> {
        self.following.room()
    }

    /// Whether only the number of members is followed.
    pub fn counts(&self) -> bool {
        matches!(self.place, Place::Count(_))
    }

    /// Moves from `from` to `to`; false when the follower is not at `from`.
    pub fn advance(&mut self, from: Offset, to: Offset) -> bool {
        match &mut self.place {
            Place::At(at) if at.offset == from => {
                at.offset = to;
                true
            }
            Place::At(_) | Place::Start(_) | Place::Count(_) => false,
        }
    }

    /// Whether the follower is behind the event at `offset`. A follower that counts reads no events.
    pub fn reached(&self, offset: Offset) -> bool {
        match &self.place {
            Place::At(at) => at.offset >= offset,
            Place::Start(_) => false,
            Place::Count(_) => true,
        }
    }

    /// The cursor to resume from, if there is one.
    pub fn cursor(&self) -> Option<Cursor> {
        match &self.place {
            Place::At(Spot { offset, .. }) => Some(Cursor { offset: *offset, ..self.room().read(Presence::head) }),
            Place::Start(start) => start.since,
            Place::Count(_) => None,
        }
    }

    /// Begins anew, from a snapshot that includes the event at `at_least` and all before.
    pub fn begin_anew(&mut self, at_least: Offset) {
        self.place = Place::Start(Box::new(Start { since: None, at_least, asks: self.asks() }));
    }

    /// Begins anew with the present set or number, if the follower began early after the gateway's start; true then.
    pub fn settle(&mut self) -> bool {
        match &mut self.place {
            Place::At(Spot { offset, early: true, .. }) => {
                let at_least = *offset;
                self.begin_anew(at_least);
                true
            }
            Place::Count(count) if count.told.is_some_and(|(_, fresh_for)| fresh_for.is_some()) => {
                **count = Count::default();
                true
            }
            Place::At(_) | Place::Start(_) | Place::Count(_) => false,
        }
    }

    /// Lets the next step have a number, unless the last is too recent.
    pub fn count(&mut self) -> CountTurn {
        let Place::Count(count) = &mut self.place else {
            return CountTurn::NotCounting;
        };
        if count.at.is_some_and(|at| at.elapsed() < COUNT_EVERY) {
            return CountTurn::TooEarly;
        }
        count.at = None;
        CountTurn::Due
    }

    /// Whether the next step begins at a cursor, and not with nothing.
    fn has_cursor(&self) -> bool {
        match &self.place {
            Place::At(_) => true,
            Place::Start(start) => start.since.is_some(),
            Place::Count(_) => false,
        }
    }

    /// The next step; `None` when the follower is up to date. `netting` decides when changes bridge a gap instead of a
    /// snapshot; the argument is true before the first step.
    pub fn next(&mut self, netting: impl Fn(bool) -> Netting) -> Option<Step> {
        let room = self.following.room();
        let (decision, at_least) = match &mut self.place {
            Place::At(Spot { offset, .. }) => {
                (room.read(|presence| after(presence, *offset, netting(false))), Offset::default())
            }
            Place::Start(start) => (room.read(|presence| first(presence, start.since, netting(true))), start.at_least),
            Place::Count(count) => return count.next(room),
        };
        let step = match decision {
            Decision::Nothing => return None,
            Decision::Step(step) => step,
            Decision::Resume(cursor, events, head) => Step::Resumed(cursor, room.taken(), events, head),
            Decision::Bridge(_, Netting::IfShorter) if room.spares_memory() => Step::Snapshot(room.edition(at_least)),
            Decision::Bridge(gap, netting) => {
                let members = gap.roster.len();
                let changes = gap.net(room.taken());
                match netting == Netting::Always || changes.len() <= members {
                    true => Step::Changes(changes),
                    false => Step::Snapshot(room.edition(at_least)),
                }
            }
            Decision::Snapshot => Step::Snapshot(room.edition(at_least)),
        };
        if self.has_cursor() {
            self.room().meter().caught_up(step.catch_up());
        }
        let (early, asks) = (matches!(self.place, Place::At(Spot { early: true, .. })), self.asks());
        let (offset, early) = match &step {
            Step::Events(events) => (end(events).unwrap_or_default(), early),
            Step::Resumed(_, taken, events, head) => (end(events).unwrap_or(*head), taken.fresh_for.is_some()),
            Step::Changes(changes) => (changes.cursor().offset, early || changes.taken().fresh_for.is_some()),
            Step::Snapshot(edition) => (edition.cursor().offset, edition.is_fresh()),
            Step::Count(..) => return Some(step),
        };
        self.place = Place::At(Spot { offset, early, asks });
        Some(step)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.asks() {
            self.room().ask_suspects(false);
        }
    }
}

impl Step {
    /// How the step leads on from a cursor.
    fn catch_up(&self) -> CatchUp {
        match self {
            Step::Events(_) | Step::Resumed(..) | Step::Count(..) => CatchUp::Events,
            Step::Changes(_) => CatchUp::Changes,
            Step::Snapshot(_) => CatchUp::Snapshot,
        }
    }
}

impl Count {
    fn next(&mut self, room: &Room) -> Option<Step> {
        if self.at.is_some() {
            return None;
        }
        self.at = Some(Instant::now());
        let count = room.read(|presence| presence.roster().len());
        let fresh_for = room.taken().fresh_for;
        let told = self.told.replace((count, fresh_for));
        (told.map(|(count, _)| count) != Some(count)).then_some(Step::Count(count, fresh_for))
    }
}

fn end(events: &[Arc<Event>]) -> Option<Offset> {
    events.last().map(|event| event.cursor.offset)
}

/// The step of a follower that is behind all events up to `offset`.
fn after(presence: &Presence, offset: Offset, netting: Netting) -> Decision {
    match events(presence, offset) {
        Some(events) if events.is_empty() => Decision::Nothing,
        Some(events) => Decision::Step(Step::Events(events)),
        None => bridged(presence, offset, netting),
    }
}

/// The first step of a follower with the cursor `since`.
fn first(presence: &Presence, since: Option<Cursor>, netting: Netting) -> Decision {
    // A cursor of another room, or of another life of this room, is no place here.
    let Some(since) = since.filter(|cursor| cursor.epoch == presence.head().epoch) else {
        return Decision::Snapshot;
    };
    match events(presence, since.offset) {
        Some(events) => Decision::Resume(since, events, presence.head().offset),
        None => bridged(presence, since.offset, netting),
    }
}

fn events(presence: &Presence, offset: Offset) -> Option<Vec<Arc<Event>>> {
    Some(presence.after(offset)?.take(MAX_EVENTS).cloned().collect())
}

fn bridged(presence: &Presence, offset: Offset, netting: Netting) -> Decision {
    let gap = match netting {
        Netting::Never => None,
        Netting::IfShorter | Netting::Always => presence.gap(offset),
    };
    gap.map_or(Decision::Snapshot, |gap| Decision::Bridge(gap, netting))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::command::Command;
    use crate::model::event::Change;
    use crate::model::history::Bound;
    use crate::model::name::Name;
    use crate::model::presence::Bounds;
    use crate::model::roster::{Mark, Roster};
    use crate::rooms::Rooms;

    fn names(roster: &Roster) -> BTreeSet<Name> {
        roster.iter_from(Mark::default()).map(|member| member.user.clone()).collect()
    }

    /// Applies `step` to `set`.
    fn fold(set: &mut BTreeSet<Name>, step: Step) {
        match step {
            Step::Events(events) | Step::Resumed(_, _, events, _) => {
                for event in events {
                    match &event.change {
                        Change::Add(member) => assert!(set.insert(member.user.clone())),
                        Change::Del(user, _) => assert!(set.remove(user)),
                        Change::Update(..) | Change::Suspect(..) => {}
                    }
                }
            }
            Step::Changes(changes) => {
                changes.gone().iter().for_each(|gone| assert!(set.remove(&gone.user)));
                set.extend(changes.set().iter().map(|put| put.member.user.clone()));
            }
            Step::Snapshot(edition) => *set = names(&edition.snapshot().expect("not withdrawn").roster),
            Step::Count(..) => panic!("this follower does not count"),
        }
    }

    /// Seeded: after all steps, a follower without a socket has the room's set, however rare the steps are.
    #[test]
    fn a_follower_without_a_socket_mirrors_a_room() {
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let rooms = Rooms::within(
                1,
                Bounds { history: Bound { events: 10, bytes: usize::MAX }, members: 0, grace: Duration::ZERO },
            );
            let room = Name::lobby();
            let mut follower = Follower::resume(rooms.follow(&room), None, Offset::default());
            let mut set = BTreeSet::new();
            for _ in 0..50 {
                let most = [5, 20, 300][rng.usize(..3)];
                for _ in 0..rng.usize(..most) {
                    let user: Name = rng.u8(..40).to_string().parse().unwrap();
                    let command = if rng.bool() { Command::sign_in(user) } else { Command::sign_out(user) };
                    rooms.change(&room, &[command]).unwrap();
                }
                while let Some(step) = follower.next(|_| Netting::IfShorter) {
                    fold(&mut set, step);
                }
                assert_eq!(set, rooms.read(&room, |presence| names(presence.roster())), "seed {seed}");
            }
        }
    }
}
