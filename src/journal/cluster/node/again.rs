//! Beginning again: after others took the node for lost, and after the log turned out to be another one.

use crate::journal::cluster::attendance::Key;
use crate::journal::cluster::fold::{LeaseKey, Shared};
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::node::restoring::Restoration;
use crate::journal::cluster::node::{Answer, Fresh, Item, Node, Told, Trouble};
use crate::journal::cluster::record::Record;
use crate::journal::cluster::reread::Reread;
use crate::journal::cluster::roll::Standing;
use crate::journal::cluster::timing::{GRACE, SILENT};
use crate::journal::cluster::window::Ask;
use crate::model::command::{Action, Command, SignIn};
use crate::model::hold::{Hold, HoldKind, Holds};
use crate::model::moment::{Moment, Tick};
use crate::model::name::Name;
use crate::model::presence::Presence;
use crate::model::roster::{Mark, Member};

/// The commands of one record that restores sign-ins.
const RESTORED: usize = 100;

impl Node {
    /// Begins another life, after others took this node for lost. What was under way was lost with the old one.
    pub fn live_again(&mut self, id: Incarnation, now: Moment) {
        self.trouble = None;
        self.begin(id, Vec::new(), Some(self.window.first()), now);
    }

    /// Takes over a log that was read anew. A node without need for it goes on as it was.
    pub fn adopt(&mut self, reread: Reread, fresh: Fresh, now: Moment) {
        let tick = now.tick.0;
        let why = self.trouble.take();
        self.lag.clear();
        self.outdated = false;
        if why == Some(Trouble::Away) {
            return self.arrive(reread, fresh.generation, tick);
        }
        why.iter().for_each(|why| self.figures.reread(why.word(), |who| reread.shared.roll.lives.contains_key(who)));
        let same_log = reread.shared.roll.identity.journal == self.shared.roll.identity.journal;
        // Entries were not read that nobody forgot.
        let is_behind = matches!(why, Some(Trouble::Behind | Trouble::Newer));
        if !is_behind && same_log && reread.is_same() {
            // Others were wrong, and find out by themselves.
            self.verified = tick + SILENT;
            // The log may have forgotten what this node had not read.
            self.until = self.until.min(reread.position());
            if self.begun > 0 && !self.shared.roll.lives.contains_key(&self.id) {
                // The entry in doubt says so.
                self.trouble = Some(Trouble::Reaped);
            }
            return;
        }
        self.lower(tick, tick + SILENT + GRACE);
        let Reread { shared, ring, signed_out, common, .. } = reread;
        let old = std::mem::replace(&mut self.shared, shared);
        (self.ring, self.until) = (ring, 0);
        self.tell_lists(&old, !same_log);
        for (key, reason) in signed_out {
            self.sign_out(&key, reason, None);
        }
        let generation = self.shared.roll.identity.generation;
        let forgot = same_log && !is_behind && generation == old.roll.identity.generation;
        if self.is_alive(same_log) {
            self.go_on(tick);
        } else {
            let leases = if same_log { Vec::new() } else { self.own_leases(&old) };
            if !same_log {
                self.restoration = Some(self.lasting(&old).with(self.restoration.take()));
            }
            // The log may have forgotten this life from its first batch on.
            let unborn = !same_log || (common > 0 && self.begun > common);
            let counted = self.shared.roll.counted(self.id).filter(|_| same_log).or(unborn.then_some(0));
            self.begin(fresh.incarnation, leases, counted, now);
        }
        if forgot {
            let record = Item::Record(Record::Generation { from: generation, to: fresh.generation });
            // Behind the first record of a new life.
            let at = usize::from(matches!(self.queue.front(), Some(Item::Record(Record::Up { .. }))));
            self.queue.insert(at, record);
        }
    }

    /// Whether the log still has all batches that came back, so that this life can go on.
    fn is_alive(&self, same_log: bool) -> bool {
        let life = self.shared.roll.lives.get(&self.id).filter(|_| same_log);
        life.is_some_and(|life| match life.standing {
            Standing::Live | Standing::Suspect(_) | Standing::Down(_) => life.next >= self.window.first(),
            Standing::Replaced(_) => false,
        })
    }

    /// Goes on with this life in another state.
    fn go_on(&mut self, now: u64) {
        let counted = self.shared.roll.lives.get(&self.id).map_or(1, |life| life.next);
        for own in self.window.echoed(counted.saturating_sub(1), now) {
            for (_, ask) in &own.asks {
                self.told.extend(ask.ticket.map(|ticket| Told::Answer(ticket, 0, Answer::Unknown)));
            }
            for (_, key) in &own.keys {
                let holds = self.holds_of(key);
                self.attendance.echoed(key, self.id.hold(), own.number, holds.as_ref());
            }
            own.came.iter().for_each(|(key, client)| self.attendance.came(key, *client));
            self.window.remember(own, self.shared.roll.clock.0);
        }
        let mut keys: Vec<Key> = self.attendance.keys().cloned().collect();
        keys.extend(self.held().into_iter().filter(|key| !self.attendance.holds(key)));
        keys.sort_unstable();
        keys.dedup();
        keys.iter().for_each(|key| self.reconcile(key));
        self.take_leases();
    }

    /// The users whom the log says this life holds.
    fn held(&self) -> Vec<Key> {
        let held = |room: &Presence| {
            let members = room.roster().held_from(Mark::default());
            let own = members.filter(|(_, holds)| holds.is_some_and(|holds| self.has_hold(holds)));
            own.map(|(member, _)| (room.room().clone(), member.user.clone())).collect::<Vec<_>>()
        };
        self.shared.rooms().flat_map(held).collect()
    }

    /// Measures the leases that are this life's by the log, and no others.
    fn take_leases(&mut self) {
        let of_room = |room: &Presence| {
            let members = room.roster().held_from(Mark::default());
            let leases = members.flat_map(|(member, holds)| {
                let holds = holds.into_iter().flat_map(Holds::leases);
                holds.map(|(name, lease)| {
                    let (room, user, name) = (room.room().clone(), member.user.clone(), name.cloned());
                    (LeaseKey { room, user, name }, lease.clone())
                })
            });
            leases.filter(|(_, lease)| lease.owner == self.id.0).collect::<Vec<_>>()
        };
        let real: Vec<_> = self.shared.rooms().flat_map(of_room).collect();
        let mut older = std::mem::take(&mut self.leases);
        for (key, lease) in real {
            let known = older.remove(&key);
            self.leases.take_until(key, lease, self.judge.clock(), known);
        }
    }

    /// Begins another life: all that is held is said again, then the older life ends, and then comes what was asked for.
    fn begin(&mut self, id: Incarnation, leases: Vec<Record>, counted: Option<u64>, now: Moment) {
        let was = std::mem::replace(&mut self.id, id);
        self.begun = 0;
        let tick = now.tick.0;
        let (unsaid, unknown) = self.window.restart(counted, self.shared.roll.clock.0, tick);
        self.told.extend(unknown.into_iter().map(|ticket| Told::Answer(ticket, 0, Answer::Unknown)));
        let older = std::mem::take(&mut self.queue);
        self.queued.clear();
        self.judge.clear();
        self.beat = 0;
        self.queue.push_back(Item::Record(self.up(Some(was))));
        self.queue.extend(leases.into_iter().map(|record| Item::Ask(Ask { ticket: None, record })));
        self.asking.untell();
        self.restoration.iter_mut().for_each(Restoration::untell);
        for key in self.attendance.untell() {
            self.owe(&key);
        }
        self.queue.extend(unsaid.into_iter().map(Item::Ask));
        self.queue.push_back(Item::Record(Record::Retire(was)));
        for item in older {
            match item {
                Item::Ask(_) | Item::Came(..) => self.queue.push_back(item),
                Item::Record(Record::Generation { .. } | Record::Down) => self.queue.push_back(item),
                Item::Key(key) => self.owe(&key),
                Item::Record(_) => {}
            }
        }
    }

    /// What lasts of the state `old`, for an empty log: permanent sign-ins, and lists.
    pub(super) fn lasting(&self, old: &Shared) -> Restoration {
        let origin = old.roll.origin();
        let mut records = Vec::new();
        for (room, permanent) in permanent(old) {
            let some = |commands: &[Command]| Record::Restore { room: room.clone(), commands: commands.to_vec() };
            records.extend(permanent.chunks(RESTORED).map(some));
        }
        let (lists, clock) = (old.lists(), self.shared.roll.clock.0);
        let end = |end: Tick| Tick(end.0.saturating_sub(old.roll.clock.0) + clock);
        let at = old.roll.time.0 / 1_000;
        let mut cookies: Vec<_> = lists.cookies.all().collect();
        cookies.sort_by_key(|(id, ..)| *id);
        records.extend(cookies.into_iter().map(|(id, pass, until)| Record::Cookie {
            id,
            pass: pass.clone(),
            end: end(until),
        }));
        records.extend(lists.revocations.all().map(|(revoked, before, _)| Record::Revoked {
            revoked: revoked.clone(),
            before,
            at,
        }));
        records.extend(lists.denylist.all().map(|denial| {
            let (room, user, client, reason) = (denial.room, denial.user, denial.client, denial.reason);
            Record::Denied { room, user, client, reason }
        }));
        Restoration::of(origin, old.roll.all_read(Record::Claim(origin).format()), records)
    }

    /// The leases that this node measures, to be said again.
    fn own_leases(&self, old: &Shared) -> Vec<Record> {
        let real = self.leases.all().filter(|(key, lease, _)| old.is_leased(key, lease));
        let mut leases: Vec<_> = real.map(|(key, lease, _)| (key.clone(), lease.ttl)).collect();
        leases.sort_unstable();
        let again = |(key, ttl): (LeaseKey, _)| {
            let LeaseKey { room, user, name } = key;
            let presence = old.room(&room)?;
            let member = presence.roster().get(&user)?;
            let holds = presence.roster().holds(&user)?;
            let hold = holds.get(&crate::model::hold::HoldId::SignIn(name))?;
            let Command::User(user, Action::SignIn(sign_in)) = said_again(member, hold)? else { return None };
            let commands = vec![Command::User(user, Action::SignIn(SignIn { ttl: Some(ttl), ..sign_in }))];
            Some(Record::Change { room, commands })
        };
        leases.into_iter().filter_map(again).collect()
    }
}

/// The commands that make the permanent sign-ins of each room again, in order of rooms.
pub(super) fn permanent(old: &Shared) -> Vec<(Name, Vec<Command>)> {
    let mut rooms: Vec<_> = old.rooms().collect();
    rooms.sort_unstable_by(|a, b| a.room().cmp(b.room()));
    let of = |room: &Presence| {
        let held = room.roster().held_from(Mark::default());
        let permanent = held.flat_map(|(member, holds)| {
            let holds = holds.cloned().unwrap_or_else(|| Holds::plain(&member.meta));
            holds.iter().filter_map(|hold| sign_in(member, hold)).collect::<Vec<_>>()
        });
        (room.room().clone(), permanent.collect())
    };
    rooms.into_iter().map(of).collect()
}

/// The command that makes a permanent sign-in again.
fn sign_in(member: &Member, hold: &Hold) -> Option<Command> {
    match &hold.kind {
        HoldKind::SignIn { lease: None, .. } => said_again(member, hold),
        HoldKind::SignIn { lease: Some(_), .. } | HoldKind::Connection(_) => None,
    }
}

fn said_again(member: &Member, hold: &Hold) -> Option<Command> {
    let HoldKind::SignIn { name, maker, .. } = &hold.kind else { return None };
    let statement = hold.said.as_ref().map(|said| said.statement.clone());
    let info = (!member.info.is_empty()).then(|| member.info.clone());
    let sign_in = SignIn { name: name.clone(), statement, info, ttl: None, maker: maker.clone() };
    Some(Command::User(member.user.clone(), Action::SignIn(sign_in)))
}
