//! A gateway that writes a journal, and checkpoints while it goes on.

use std::collections::VecDeque;
use std::ops::Range;

use fastrand::Rng;

use super::*;
use crate::journal::checkpoint::{Header, Parts, Piece};
use crate::journal::made_up;
use crate::model::command::{Action, SignIn};

/// Much longer than any hold of these tests lasts; the denylist forgets after it.
const HOUR: Duration = Duration::from_secs(3_600);

/// A gateway that accepts changes, keeps rooms only while there is something in them, and writes a journal.
pub struct Live {
    pub rng: Rng,
    pub rooms: BTreeMap<Name, Presence>,
    denylist: Denylist,
    revocations: Revocations,
    cookies: Passbook,
    pub rules: Rules,
    incarnation: u128,
    next: Position,
    now: Tick,
    pub journal: Vec<(Stamp, Vec<u8>)>,
    /// The checkpoint under way.
    pub capture: Option<Capture>,
    pub checkpoints: Vec<Checkpoint>,
}

pub struct Capture {
    header: Header,
    /// Entries in the journal when it began.
    began: usize,
    rooms: VecDeque<Name>,
    pieces: Vec<Piece>,
}

/// A checkpoint, and the entries in the journal when it began and when it was done.
pub struct Checkpoint {
    pub entries: Range<usize>,
    pub parts: Vec<Vec<u8>>,
}

impl Live {
    pub fn begin(seed: u64) -> Self {
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
    pub fn step(&mut self) {
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
            20..=24 => self.clear(),
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

    /// Everybody leaves, and the room is forgotten sooner or later.
    fn clear(&mut self) {
        let room = made_up::room(&mut self.rng);
        if let Some(presence) = self.rooms.get(&room) {
            let users = presence.roster().iter_from(Default::default()).map(|member| member.user.clone());
            let commands: Vec<_> = users.map(Command::sign_out).collect();
            self.change(room, commands);
        }
        if self.rng.bool() {
            self.forget();
        }
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
        let crashes = self.rng.bool();
        if !crashes {
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
            if crashes {
                room.restart(position.offset());
            }
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

    pub fn header(&self) -> Header {
        let (moment, rules, incarnation) = (at(self.now), self.rules, self.incarnation);
        Header { at: self.next, listed: self.next, moment, rules, incarnation }
    }

    /// Begins a checkpoint. As entries may come before the rooms are listed, `steps` do.
    pub fn begin_capture(&mut self, steps: usize) {
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
    pub fn snapshot(&mut self) -> Vec<Vec<u8>> {
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
