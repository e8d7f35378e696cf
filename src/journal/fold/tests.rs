use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use uuid::Uuid;

use super::restore::Restore;
use super::*;
use crate::access::pass::{Pass, UnixTime};
use crate::access::passbook::SecretId;
use crate::access::revocations::Revoked;
use crate::journal::checkpoint::{Header, Parts, Piece};
use crate::journal::codec;
use crate::journal::made_up;
use crate::model::command::{Action, SignIn};
use crate::model::denylist::Denial;
use crate::model::event::DelReason;
use crate::model::id::ClientId;
use crate::model::moment::{Moment, Timestamp};
use crate::naive::{self, Naive, Seen, Shown};

const IDENTITY: Identity = Identity { journal: Uuid::from_u128(17), generation: 0 };
const MEMORY: Memory = Memory { history: Bound { events: 20, bytes: usize::MAX }, bytes: 30_000 };

/// Much longer than any hold of these tests lasts; the denylist forgets after it.
const HOUR: Duration = Duration::from_secs(3_600);

fn at(now: Tick) -> Moment {
    Moment { time: Timestamp(now.0), tick: now }
}

fn seconds(now: Tick) -> UnixTime {
    now.0 / 1_000
}

/// A gateway that accepts changes, keeps rooms only while there is something in them, and writes a journal.
struct Live {
    rng: Rng,
    rooms: BTreeMap<Name, Presence>,
    denylist: Denylist,
    revocations: Revocations,
    cookies: Passbook,
    rules: Rules,
    incarnation: u128,
    next: Position,
    now: Tick,
    journal: Vec<(Stamp, Vec<u8>)>,
    /// The checkpoint under way.
    capture: Option<Capture>,
    checkpoints: Vec<Checkpoint>,
}

struct Capture {
    header: Header,
    /// Entries in the journal when it began.
    began: usize,
    rooms: VecDeque<Name>,
    pieces: Vec<Piece>,
}

/// A checkpoint, and the entries in the journal when it began and when it was done.
struct Checkpoint {
    entries: Range<usize>,
    parts: Vec<Vec<u8>>,
}

impl Live {
    fn begin(seed: u64) -> Self {
        let mut live = Live {
            rng: Rng::with_seed(seed),
            rooms: BTreeMap::new(),
            denylist: Denylist::default(),
            revocations: Revocations::default(),
            cookies: Passbook::new(usize::MAX),
            rules: Rules::default(),
            incarnation: 0,
            next: Position(1 << 20),
            now: Tick(1_000),
            journal: Vec::new(),
            capture: None,
            checkpoints: Vec::new(),
        };
        live.restart();
        live
    }

    fn append(&mut self, takes: u64, entry: &Entry) -> Stamp {
        let stamp = Stamp { position: self.next, moment: at(self.now) };
        self.next.0 += takes + self.rng.u64(..3);
        let mut bytes = Vec::new();
        codec::encode(entry, &mut bytes);
        self.journal.push((stamp, bytes));
        stamp
    }

    /// Does something, and appends at most a few entries.
    fn step(&mut self) {
        if self.rng.u8(..4) == 0 {
            let most = if self.rng.u32(..2_000) == 0 { HOUR.as_millis() as u64 } else { 4 };
            self.now = self.now + Duration::from_millis(self.rng.u64(..=most));
        }
        match self.rng.u8(..60) {
            0..=5 => self.expire(),
            6 | 7 => drop(self.append(1, &Entry::Mark)),
            8 | 9 => self.revoke(),
            10 | 11 => self.make_cookie(),
            12 => self.end_cookie(),
            13..=16 => self.forget(),
            17 if self.rng.u8(..4) == 0 => self.restart(),
            18 | 19 => self.batch(),
            _ => {
                let (room, user) = (made_up::room(&mut self.rng), made_up::user(&mut self.rng));
                let action = action(&mut self.rng, &user);
                self.change(room, vec![Command::User(user, action)]);
            }
        }
        self.go_on_capturing();
    }

    fn change(&mut self, name: Name, commands: Vec<Command>) {
        let moment = at(self.now);
        if self.denylist.check(&name, &commands, self.now).is_err() {
            return;
        }
        let bounds = self.bounds();
        let start = Cursor { epoch: IDENTITY.epoch(&name), offset: Offset(self.next.0 - 1) };
        let room = self.rooms.entry(name.clone()).or_insert_with(|| Presence::new(name.clone(), start, bounds));
        if room.check(&commands).is_err() {
            return;
        }
        let takes = room.takes(&commands, self.now);
        let Stamp { position, .. } =
            self.append(takes, &Entry::Change { room: name.clone(), commands: commands.clone() });
        let room = self.rooms.get_mut(&name).expect("made above");
        let outcome = room.fold(&commands, position, moment);
        assert!(outcome.events as u64 <= takes, "{commands:?}");
        self.denylist.record(&name, &outcome, self.now);
    }

    fn batch(&mut self) {
        let room = made_up::room(&mut self.rng);
        let commands = (0..self.rng.usize(1..5)).map(|_| {
            let user = made_up::user(&mut self.rng);
            match self.rng.bool() {
                true => Command::sign_in(user),
                false => Command::User(user, Action::SignOut(made_up::reason(&mut self.rng))),
            }
        });
        let commands = commands.collect();
        self.change(room, commands);
    }

    fn expire(&mut self) {
        let due = |(_, room): &(&Name, &Presence)| room.next_deadline().is_some_and(|ends| ends <= self.now);
        let due: Vec<_> = self.rooms.iter().filter(due).map(|(name, _)| name.clone()).collect();
        for name in due {
            let most = self.rng.usize(1..4);
            self.change(name, vec![Command::Expire(most)]);
        }
    }

    /// Forgets events, and the rooms in which nothing is left.
    fn forget(&mut self) {
        let now = self.now;
        self.rooms.values_mut().for_each(|room| room.forget(&Command::Trim(now)));
        self.rooms.retain(|_, room| !room.is_idle());
    }

    fn revoke(&mut self) {
        let (revoked, at) = (made_up::revoked(&mut self.rng), seconds(self.now));
        let before = at - self.rng.u64(..=at.min(3));
        self.revocations.add(revoked.clone(), before, at).unwrap();
        self.append(1, &Entry::Revoked { revoked, before, at });
    }

    fn make_cookie(&mut self) {
        let (id, pass) = (SecretId::of(&self.rng.u64(..).to_string()), made_up::pass(&mut self.rng));
        let end = self.now + Duration::from_millis(self.rng.u64(1..100_000));
        self.cookies.keep(id, pass.clone(), end, self.now).unwrap();
        self.append(1, &Entry::Cookie { id, pass, end });
    }

    fn end_cookie(&mut self) {
        let mut ids: Vec<_> = self.cookies.all().map(|(id, ..)| id).collect();
        ids.sort();
        if let Some(id) = self.rng.choice(ids) {
            self.cookies.take(id, self.now);
            self.append(1, &Entry::CookieEnded { id });
        }
    }

    /// The process ends, cleanly or not, and the next one begins.
    fn restart(&mut self) {
        if self.rng.bool() {
            self.append(1, &Entry::End);
        }
        self.capture = None;
        self.next.0 += self.rng.u64(1..1_000);
        let hold_for = Duration::from_millis(self.rng.u64(..10));
        self.incarnation = self.rng.u128(..);
        let begin = Entry::Begin { incarnation: self.incarnation, hold_for };
        let Stamp { position, moment } = self.append(1, &begin);
        for room in self.rooms.values_mut() {
            room.fold(&[Command::Begin(hold_for)], position, moment);
        }
        let rules = Rules { grace: Duration::from_millis(self.rng.u64(1..8)), members: 0, max_named: 100 };
        if self.rng.bool() && self.rules != rules {
            self.rules = rules;
            self.append(1, &Entry::Rules(rules));
            self.rooms.values_mut().for_each(|room| room.bound(rules.members, rules.grace));
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds { history: MEMORY.history, members: self.rules.members, grace: self.rules.grace }
    }

    fn header(&self) -> Header {
        let (moment, rules, incarnation) = (at(self.now), self.rules, self.incarnation);
        Header { at: self.next, listed: self.next, moment, rules, incarnation }
    }

    /// Begins a checkpoint. As entries may come before the rooms are listed, `steps` do.
    fn begin_capture(&mut self, steps: usize) {
        let (began, header) = (self.journal.len(), self.header());
        self.capture = None;
        (0..steps).for_each(|_| self.step());
        let restarted = |(_, bytes): &(Stamp, Vec<u8>)| matches!(codec::decode(bytes), Ok(Entry::Begin { .. }));
        if !self.journal[began..].iter().any(restarted) {
            let header = Header { listed: self.next, ..header };
            let mut rooms: Vec<_> = self.rooms.keys().cloned().collect();
            self.rng.shuffle(&mut rooms);
            self.capture = Some(Capture { header, began, rooms: rooms.into(), pieces: Vec::new() });
        }
    }

    fn go_on_capturing(&mut self) {
        let Some(capture) = self.capture.as_mut().filter(|_| self.rng.u8(..4) == 0) else {
            return;
        };
        match capture.rooms.pop_front() {
            Some(room) => capture.pieces.push(match self.rooms.get(&room) {
                Some(presence) => presence.into(),
                None => Piece::Absent { room, until: self.next },
            }),
            None => self.finish_capture(),
        }
    }

    fn finish_capture(&mut self) {
        let Some(Capture { header, began, rooms, mut pieces }) = self.capture.take() else {
            return;
        };
        pieces.extend(rooms.iter().map(|room| Piece::from(&self.rooms[room])));
        let revoked = self.revocations.all().map(|(revoked, before, until)| (revoked.clone(), before, until));
        let cookies = self.cookies.all().map(|(id, pass, end)| (id, pass.clone(), end));
        pieces.push(Piece::Cookies { until: self.next, all: cookies.collect() });
        pieces.push(Piece::Revocations { until: self.next, all: revoked.collect() });
        pieces.push(Piece::Denials(self.denylist.all().collect()));
        let (entries, parts) = (began..self.journal.len(), Parts::of(header, pieces).collect());
        self.checkpoints.push(Checkpoint { entries, parts });
    }

    /// The state at this moment, as a checkpoint that nothing disturbs.
    fn snapshot(&mut self) -> Vec<Vec<u8>> {
        self.begin_capture(0);
        self.capture.as_mut().expect("begun").rooms.make_contiguous().sort();
        self.finish_capture();
        self.checkpoints.pop().expect("done").parts
    }
}

fn action(rng: &mut Rng, user: &Name) -> Action {
    match rng.u8(..17) {
        0 | 1 => {
            let (name, statement) = (made_up::some(rng, made_up::hold_name), made_up::some(rng, made_up::statement));
            let (info, ttl) = (made_up::some(rng, made_up::info), made_up::some(rng, |rng| rng.u64(1..12)));
            let (ttl, maker) = (ttl.map(Duration::from_millis), made_up::some(rng, made_up::maker));
            Action::SignIn(SignIn { name, statement, info, ttl, maker })
        }
        2..=5 => {
            Action::Join(made_up::hold(rng), made_up::some(rng, made_up::statement), made_up::some(rng, made_up::info))
        }
        6 | 7 => Action::Update(made_up::connection(rng), made_up::statement(rng)),
        8 => Action::Set(made_up::some(rng, made_up::statement), made_up::some(rng, made_up::info)),
        9 => Action::Leave(made_up::connection(rng)),
        10 | 11 => Action::Lose(made_up::connection(rng), None),
        12 => Action::LeaveClient(made_up::client(rng)),
        13 => Action::Release(made_up::hold_name(rng)),
        14 => Action::Kick(made_up::connection(rng)),
        15 => Action::Revoke(user.clone(), rng.u64(..3)),
        _ => Action::SignOut(made_up::reason(rng)),
    }
}

/// The reference: naive rooms, and lists.
#[derive(Default)]
struct Reference {
    rooms: BTreeMap<Name, (Naive, Offset)>,
    rules: Rules,
    revoked: BTreeMap<Revoked, (UnixTime, UnixTime)>,
    /// The oldest first.
    cookies: Vec<(SecretId, Arc<Pass>, Tick)>,
    now: Tick,
}

impl Reference {
    fn fold(&mut self, Stamp { position, moment }: Stamp, entry: &Entry) {
        self.now = moment.tick;
        match entry {
            Entry::Begin { hold_for, .. } => self.rooms.values_mut().for_each(|(room, _)| {
                room.now = moment.tick;
                room.begin(*hold_for);
            }),
            Entry::Rules(rules) => self.rules = *rules,
            Entry::Change { room, commands } => self.change(position, room, commands),
            Entry::Mark | Entry::End => {}
            Entry::Revoked { revoked, before, at } => {
                let (old, _) = self.revoked.get(revoked).copied().unwrap_or_default();
                let before = *before.max(&old);
                self.revoked.insert(revoked.clone(), (before, before.max(*at)));
            }
            Entry::Cookie { id, pass, end } => {
                self.cookies.retain(|(.., end)| *end > moment.tick);
                let of_user = |(_, other, _): &(SecretId, Arc<Pass>, Tick)| pass.sub.is_some() && other.sub == pass.sub;
                if self.cookies.iter().filter(|cookie| of_user(cookie)).count() == 100 {
                    let oldest = self.cookies.iter().position(of_user).expect("one of 100");
                    self.cookies.remove(oldest);
                }
                self.cookies.push((*id, pass.clone(), *end));
            }
            Entry::CookieEnded { id } => self.cookies.retain(|(other, ..)| other != id),
        }
    }

    fn change(&mut self, position: Position, name: &Name, commands: &[Command]) {
        let (room, head) = self.rooms.entry(name.clone()).or_default();
        (room.now, room.grace) = (self.now, self.rules.grace);
        let mut next = position.offset();
        for command in commands {
            let seen = match command {
                Command::User(user, action) => room.act(user, action),
                Command::Expire(most) => room.expire(*most),
                Command::Begin(_) | Command::Trim(_) | Command::Shorten(..) => panic!("in no journal: {command:?}"),
            };
            for _ in seen.iter().filter(|seen| matches!(seen, Seen::Add(..) | Seen::Update(..) | Seen::Del(..))) {
                (*head, next) = (next, next.next());
            }
        }
    }

    fn content(&self) -> Content {
        let rooms = self.rooms.iter().filter(|(_, (room, _))| !room.users.is_empty());
        let denied = self.rooms.iter().flat_map(|(name, (room, _))| {
            let lasts = room.denied.iter().filter(|(_, _, until, _)| *until > self.now);
            lasts.map(|(user, client, until, reason)| ((name.clone(), user.clone(), *client), (*until, *reason)))
        });
        Content {
            rooms: rooms
                .map(|(name, (room, head))| (name.clone(), (*head, room.shown(), room.next_deadline())))
                .collect(),
            denied: denied.collect(),
            revoked: self.revoked.iter().map(|(revoked, (before, _))| (revoked.clone(), *before)).collect(),
            cookies: cookies(self.cookies.iter().cloned(), self.now),
            rules: self.rules,
        }
    }
}

/// All that counts of a state.
#[derive(Debug, PartialEq)]
struct Content {
    /// The last event, the members and the next deadline of each room with members.
    rooms: BTreeMap<Name, RoomContent>,
    denied: BTreeMap<(Name, Name, ClientId), (Tick, DelReason)>,
    revoked: BTreeMap<Revoked, UnixTime>,
    cookies: Cookies,
    rules: Rules,
}

type RoomContent = (Offset, BTreeMap<Name, Shown>, Option<Tick>);

/// Those of each user, the oldest first.
type Cookies = BTreeMap<Option<Name>, Vec<(SecretId, Arc<Pass>, Tick)>>;

fn cookies(all: impl Iterator<Item = (SecretId, Arc<Pass>, Tick)>, now: Tick) -> Cookies {
    let mut of_each = Cookies::new();
    for cookie in all.filter(|(.., end)| *end > now) {
        of_each.entry(cookie.1.sub.clone()).or_default().push(cookie);
    }
    if let Some(nobodys) = of_each.get_mut(&None) {
        nobodys.sort_by_key(|(id, ..)| *id);
    }
    of_each
}

impl State {
    fn content(&self) -> Content {
        let now = self.last.moment.tick;
        let rooms = self.rooms.iter().filter(|(_, room)| !room.roster().is_empty());
        let lasting = self.denylist.all().filter(|denial| denial.deadline > now);
        let denied =
            lasting.map(|Denial { client, room, user, deadline, reason }| ((room, user, client), (deadline, reason)));
        Content {
            rooms: rooms
                .map(|(name, room)| (name.clone(), (room.head().offset, naive::shown(room), room.next_deadline())))
                .collect(),
            denied: denied.collect(),
            revoked: self.revocations.all().map(|(revoked, before, _)| (revoked.clone(), before)).collect(),
            cookies: cookies(self.cookies.all().map(|(id, pass, end)| (id, pass.clone(), end)), now),
            rules: self.rules,
        }
    }

    /// Everything, also what has no effect yet: the order of holds and of what was said, and the ends of revocations.
    fn everything(&self) -> String {
        let with_members = self.rooms.iter().filter(|(_, room)| !room.roster().is_empty());
        let rooms: BTreeMap<_, _> = with_members
            .map(|(name, room)| {
                let held: Vec<_> = room.roster().held_from(Default::default()).collect();
                let deadlines: Vec<_> = room.roster().deadlines().collect();
                (name, (room.head(), room.applied(), format!("{held:?} {deadlines:?}"), room.next_deadline()))
            })
            .collect();
        let revoked: Vec<_> = self.revocations.all().collect();
        format!("{:?} {rooms:?} {revoked:?} {:?} {:?} {}", self.content(), self.last, self.incarnation, self.ended)
    }
}

fn decoded((stamp, bytes): &(Stamp, Vec<u8>)) -> (Stamp, Entry) {
    (*stamp, codec::decode(bytes).expect("an entry"))
}

fn fold(mut fold: Fold, journal: &[(Stamp, Vec<u8>)]) -> Fold {
    journal.iter().map(decoded).for_each(|(stamp, entry)| fold.fold(stamp, entry));
    fold
}

fn restored(parts: &[Vec<u8>]) -> Fold {
    let mut restore = Restore::new(IDENTITY, MEMORY);
    parts.iter().for_each(|part| restore.part(part).unwrap());
    restore.done().unwrap()
}

/// The texts are long: a failure shows where they differ.
fn assert_same(one: &str, other: &str, what: &str) {
    let from = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count().saturating_sub(60);
    let part = |text: &str| text.bytes().skip(from).take(240).collect::<Vec<_>>().escape_ascii().to_string();
    assert_eq!(part(one), part(other), "{what}");
}

/// Each prefix of a journal makes what the reference makes of it.
fn compare(journal: &[(Stamp, Vec<u8>)], mut compares: impl FnMut(usize) -> bool, what: &str) {
    let (mut fold, mut reference) = (Fold::new(IDENTITY, MEMORY), Reference::default());
    for (n, (stamp, entry)) in journal.iter().map(decoded).enumerate() {
        reference.fold(stamp, &entry);
        fold.fold(stamp, entry.clone());
        assert!(fold.histories <= MEMORY.bytes, "{what}, entry {n}");
        if compares(n) {
            assert_eq!(fold.state.content(), reference.content(), "{what}, entry {n}: {entry:?}");
        }
    }
}

#[test]
fn a_journal_cut_after_any_entry_makes_what_the_reference_makes() {
    for seed in 0..10 {
        let mut live = Live::begin(seed);
        while live.journal.len() < 1_000 {
            live.step();
        }
        compare(&live.journal, |_| true, &format!("seed {seed}"));
        let all = fold(Fold::new(IDENTITY, MEMORY), &live.journal);
        assert_eq!(all.state.rules, live.rules);
        for (name, room) in &live.rooms {
            let folded = &all.state.rooms[name];
            assert_eq!(naive::shown(folded), naive::shown(room), "seed {seed}: what is live is what is kept");
            assert!(room.roster().is_empty() || (folded.head(), folded.applied()) == (room.head(), room.applied()));
        }
    }
}

#[test]
fn a_long_journal_cut_anywhere_makes_what_the_reference_makes() {
    let mut live = Live::begin(17);
    while live.journal.len() < 100_000 {
        live.step();
    }
    let mut rng = Rng::with_seed(17);
    let cuts: std::collections::HashSet<_> = (0..1_000).map(|_| rng.usize(..live.journal.len())).collect();
    compare(&live.journal, |n| cuts.contains(&n), "100,000 entries");
}

/// Rooms change and come and go between the beginning of a checkpoint and its end, and each is captured at another time.
#[test]
fn a_checkpoint_and_the_entries_since_make_what_all_entries_make() {
    let mut restores = 0;
    for seed in 0..40 {
        let mut live = Live::begin(seed);
        while live.journal.len() < 1_000 {
            live.step();
            if live.capture.is_none() && live.rng.u8(..40) == 0 {
                let steps = live.rng.usize(..6);
                live.begin_capture(steps);
            }
        }
        for (n, Checkpoint { entries, parts }) in live.checkpoints.iter().enumerate() {
            // Right at the end of the checkpoint, and some time later.
            for cut in [entries.end, live.rng.usize(entries.end..=live.journal.len())] {
                let restored = fold(restored(parts), &live.journal[entries.start..cut]);
                let whole = fold(Fold::new(IDENTITY, MEMORY), &live.journal[..cut]);
                let what = format!("seed {seed}, checkpoint {n} of {entries:?}, entry {cut}");
                assert_same(&restored.state.everything(), &whole.state.everything(), &what);
                restores += 1;
            }
        }
    }
    assert!(restores > 500, "{restores}");
}

#[test]
fn a_state_is_read_as_it_is_written() {
    for seed in 0..20 {
        let mut live = Live::begin(seed);
        (0..500).for_each(|_| live.step());
        let parts = live.snapshot();
        let state = restored(&parts).into_state();
        for (name, room) in &live.rooms {
            let kept = &state.rooms[name];
            assert_eq!((kept.head(), kept.applied()), (room.head(), room.applied()), "seed {seed}");
            assert!(kept.place(room.head()).is_some(), "a reader at the head goes on");
        }
        let again = Fold { state, ..Fold::new(IDENTITY, MEMORY) };
        let (rooms, cookies) = (again.state.rooms.values(), again.state.cookies.all());
        let mut pieces: Vec<_> = rooms.map(|room| Piece::from(&**room)).collect();
        pieces.sort_by_key(|piece| format!("{piece:?}"));
        let revoked = again.state.revocations.all();
        let header = live.header();
        let cookies: Vec<_> = cookies.map(|(id, pass, end)| (id, pass.clone(), end)).collect();
        pieces.push(Piece::Cookies { until: live.next, all: cookies });
        let revoked = revoked.map(|(revoked, before, until)| (revoked.clone(), before, until)).collect();
        pieces.push(Piece::Revocations { until: live.next, all: revoked });
        pieces.push(Piece::Denials(again.state.denylist.all().collect()));
        let second: Vec<_> = Parts::of(header, pieces).collect();
        assert_eq!(second.concat().len(), parts.concat().len(), "seed {seed}");
        assert_same(&restored(&second).state.everything(), &again.state.everything(), &format!("seed {seed}"));
    }
}
