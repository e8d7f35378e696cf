//! A naive room, to which others are compared: a map, and lists that are searched. The unit tests use this file, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use presently::model::command::{Action, SignIn};
use presently::model::event::DelReason;
use presently::model::hold::{ConnectionHold, HoldId, HoldKind, Holds};
use presently::model::id::{ClientId, ConnectionId};
use presently::model::info::Info;
use presently::model::meta::Meta;
use presently::model::moment::{Tick, Timestamp};
use presently::model::name::Name;
use presently::model::outcome::EndCause;
use presently::model::presence::Presence;
use presently::model::refusal::Code;
use presently::model::roster::{Mark, Member};
use presently::model::statement::Statement;

const HOUR: Duration = Duration::from_secs(3_600);

/// A visible effect of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Add(Name, Meta, Info),
    Update(Name, Meta, Info),
    Del(Name, DelReason),
    /// The notice to an open connection that its hold was ended by others; true with the member's `del`.
    Ended(ConnectionId, EndCause, bool),
    Refused(Code),
}

#[derive(Clone, Debug, Default)]
pub struct Held {
    meta: Meta,
    info: Info,
    joined: Timestamp,
    /// The client and the deadline of each hold.
    pub holds: BTreeMap<HoldId, (Option<ClientId>, Option<Tick>)>,
    /// All that was said and still counts, in the order in which it was said: through a hold, or for the member.
    said: Vec<(Option<HoldId>, Statement)>,
    /// The tokens that made sign-ins.
    makers: BTreeMap<HoldId, (Name, u64)>,
    /// The connections of an earlier process.
    unclaimed: BTreeSet<HoldId>,
}

impl Held {
    /// What the hold `id` says.
    fn says(&self, id: &HoldId) -> Option<&Statement> {
        self.said.iter().find(|(by, _)| by.as_ref() == Some(id)).map(|(_, statement)| statement)
    }

    /// Says something through a hold, or for the member.
    fn say(&mut self, by: Option<&HoldId>, statement: &Statement) {
        self.said.retain(|(other, said)| match other {
            Some(other) => Some(other) != by,
            None => by.is_some() && said.rank > statement.rank,
        });
        self.said.push((by.cloned(), statement.clone()));
    }

    /// The highest rank wins, and there the last.
    fn shown(&self) -> Meta {
        let highest = self.said.iter().map(|(_, statement)| statement.rank).max();
        let last = self.said.iter().rev().find(|(_, statement)| Some(statement.rank) == highest);
        last.map(|(_, statement)| statement.meta.clone()).unwrap_or_default()
    }
}

/// The reference: a map, and a list of denied clients.
#[derive(Default)]
pub struct Naive {
    pub users: BTreeMap<Name, Held>,
    pub denied: Vec<(Name, ClientId, Tick, DelReason)>,
    pub now: Tick,
    pub grace: Duration,
}

impl Naive {
    /// Time passes, and holds end.
    pub fn pass(&mut self, time: Duration) -> Vec<Seen> {
        self.now = self.now + time;
        self.expire(usize::MAX)
    }

    /// The earliest of the holds that are over end, at most so many.
    pub fn expire(&mut self, most: usize) -> Vec<Seen> {
        let mut over = BTreeSet::new();
        for (user, held) in &self.users {
            let ends = held.holds.iter().filter_map(|(which, (_, ends))| Some((ends.as_ref()?, which)));
            let ends = ends.filter(|(ends, _)| **ends <= self.now);
            over.extend(ends.map(|(ends, which)| (*ends, user.clone(), which.clone())));
        }
        let reason = |which: &HoldId| match which {
            HoldId::SignIn(_) => DelReason::Expired,
            HoldId::Connection(_) => DelReason::Timeout,
        };
        over.into_iter()
            .take(most)
            .flat_map(|(_, user, which)| self.end(&user, std::slice::from_ref(&which), reason(&which)))
            .collect()
    }

    /// The connections of an earlier process are lost, unless they were before.
    pub fn begin(&mut self, hold_for: Duration) {
        let end = self.now + hold_for;
        for Held { holds, unclaimed, .. } in self.users.values_mut() {
            for (id, (_, ends)) in holds {
                if matches!(id, HoldId::Connection(_)) && unclaimed.insert(id.clone()) {
                    *ends = Some(end);
                }
            }
        }
    }

    pub fn act(&mut self, user: &Name, action: &Action) -> Vec<Seen> {
        let held = self.users.get(user);
        let joined = |id: &ConnectionId| held.is_some_and(|held| held.holds.contains_key(&HoldId::Connection(*id)));
        match action {
            Action::SignIn(SignIn { name, statement, info, ttl, maker }) => {
                let (id, ends) = (HoldId::SignIn(name.clone()), ttl.map(|ttl| self.now + ttl));
                let seen = self.keep(user, id.clone(), (None, ends), None, statement.as_ref(), info.as_ref());
                let makers = &mut self.users.get_mut(user).expect("a member").makers;
                makers.remove(&id);
                makers.extend(maker.iter().map(|maker| (id.clone(), (maker.sub.clone(), maker.issued))));
                seen
            }
            Action::Join(hold, statement, info) => self.join(user, hold, statement.as_ref(), info.as_ref()),
            Action::Set(..) if held.is_none() => vec![Seen::Refused(Code::NotPresent)],
            Action::Update(id, _) | Action::Leave(id) if !joined(id) => vec![Seen::Refused(Code::NotJoined)],
            Action::Set(statement, info) => self.change(user, |held| {
                statement.iter().for_each(|statement| held.say(None, statement));
                held.info = info.clone().unwrap_or(held.info.clone());
            }),
            Action::Update(id, statement) => {
                self.change(user, |held| held.say(Some(&HoldId::Connection(*id)), statement))
            }
            Action::Release(name) => self.end(user, &[HoldId::SignIn(Some(name.clone()))], DelReason::Closed),
            Action::Leave(id) => self.end(user, &[HoldId::Connection(*id)], DelReason::Closed),
            Action::Kick(id) if !joined(id) => Vec::new(),
            Action::Kick(id) => self.end(user, &[HoldId::Connection(*id)], DelReason::Kicked),
            Action::Revoke(sub, before) => {
                let made =
                    held.iter().flat_map(|held| &held.makers).filter(|(id, _)| held.unwrap().holds.contains_key(id));
                let made = made.filter(|(_, (by, issued))| by == sub && issued <= before).map(|(id, _)| id.clone());
                let made: Vec<_> = made.collect();
                if made.is_empty() { Vec::new() } else { self.end(user, &made, DelReason::Kicked) }
            }
            Action::Lose(id, since) => {
                let (now, grace) = (self.now, self.grace);
                let hold = self.users.get_mut(user).and_then(|held| held.holds.get_mut(&HoldId::Connection(*id)));
                if let Some((_, ends @ None)) = hold {
                    *ends = Some(since.unwrap_or(now) + grace);
                }
                Vec::new()
            }
            Action::LeaveClient(client) => {
                let Some((which, live)) = self.of_client(user, *client) else {
                    return Vec::new();
                };
                let mut seen = self.end(user, std::slice::from_ref(&which), DelReason::Closed);
                if let (HoldId::Connection(id), true, Some(Seen::Del(..))) = (which, live, seen.first()) {
                    seen.push(Seen::Ended(id, EndCause::Left, true));
                }
                seen
            }
            Action::SignOut(reason) => self.sign_out(user, *reason),
            Action::Node(_) => panic!("of a shared log only"),
        }
    }

    fn of_client(&self, user: &Name, client: ClientId) -> Option<(HoldId, bool)> {
        let holds = &self.users.get(user)?.holds;
        let (which, (_, ends)) = holds.iter().find(|(_, (of, _))| *of == Some(client))?;
        Some((which.clone(), ends.is_none()))
    }

    fn join(
        &mut self,
        user: &Name,
        hold: &ConnectionHold,
        statement: Option<&Statement>,
        info: Option<&Info>,
    ) -> Vec<Seen> {
        let is_denied = |(who, client, until, _): &&(Name, ClientId, Tick, DelReason)| {
            who == user && Some(*client) == hold.client && *until > self.now
        };
        if let Some((.., reason)) = self.denied.iter().rev().find(is_denied) {
            return vec![Seen::Refused(if *reason == DelReason::Kicked { Code::Kicked } else { Code::SignedOut })];
        }
        let own = HoldId::Connection(hold.connection);
        let old = hold.client.and_then(|client| self.of_client(user, client)).filter(|(which, _)| *which != own);
        let replaced = old.as_ref().map(|(which, _)| which);
        let mut seen = self.keep(user, own, (hold.client, None), replaced, statement, info);
        if let Some((HoldId::Connection(id), true)) = old {
            seen.push(Seen::Ended(id, EndCause::Replaced, false));
        }
        seen
    }

    fn keep(
        &mut self,
        user: &Name,
        which: HoldId,
        hold: (Option<ClientId>, Option<Tick>),
        replaced: Option<&HoldId>,
        statement: Option<&Statement>,
        info: Option<&Info>,
    ) -> Vec<Seen> {
        let is_new = !self.users.contains_key(user);
        let now = Timestamp(self.now.0);
        self.users.entry(user.clone()).or_insert_with(|| Held { joined: now, ..Held::default() });
        let updates = self.change(user, |held| {
            held.holds.insert(which.clone(), hold);
            held.unclaimed.remove(&which);
            held.info = info.cloned().unwrap_or(held.info.clone());
            // The hold takes over the later of what it said itself and what the replaced hold said.
            if let Some(replaced) = replaced {
                held.holds.remove(replaced);
                let last = held
                    .said
                    .iter()
                    .rposition(|(by, _)| by.as_ref().is_some_and(|by| [&which, replaced].contains(&by)));
                if let Some(last) = last {
                    held.said[last].0 = Some(which.clone());
                    let mut at = 0;
                    held.said.retain(|(by, _)| {
                        at += 1;
                        at - 1 == last || by.as_ref().is_none_or(|by| ![&which, replaced].contains(&by))
                    });
                }
            }
            if let Some(statement) = statement
                && held.says(&which) != Some(statement)
            {
                held.say(Some(&which), statement);
            }
        });
        match (is_new, &self.users[user]) {
            (true, held) => vec![Seen::Add(user.clone(), held.meta.clone(), held.info.clone())],
            (false, _) => updates,
        }
    }

    fn change(&mut self, user: &Name, change: impl FnOnce(&mut Held)) -> Vec<Seen> {
        let held = self.users.get_mut(user).expect("a member");
        let before = (held.meta.clone(), held.info.clone());
        change(held);
        held.meta = held.shown();
        match before == (held.meta.clone(), held.info.clone()) {
            true => Vec::new(),
            false => vec![Seen::Update(user.clone(), held.meta.clone(), held.info.clone())],
        }
    }

    fn end(&mut self, user: &Name, which: &[HoldId], reason: DelReason) -> Vec<Seen> {
        let Some(held) = self.users.get(user) else {
            return Vec::new();
        };
        if held.holds.keys().any(|other| !which.contains(other)) {
            return self.change(user, |held| {
                held.holds.retain(|id, _| !which.contains(id));
                held.said.retain(|(by, _)| by.as_ref().is_none_or(|by| !which.contains(by)));
            });
        }
        self.users.remove(user);
        vec![Seen::Del(user.clone(), reason)]
    }

    fn sign_out(&mut self, user: &Name, reason: DelReason) -> Vec<Seen> {
        let Some(held) = self.users.remove(user) else {
            return Vec::new();
        };
        let mut seen = vec![Seen::Del(user.clone(), reason)];
        for (which, (client, ends)) in held.holds {
            if let (HoldId::Connection(id), None) = (which, ends) {
                seen.push(Seen::Ended(id, EndCause::Left, true));
            }
            self.denied.extend(client.map(|client| (user.clone(), client, self.now + HOUR, reason)));
        }
        seen
    }
}

/// What there is of a member.
#[derive(Debug, PartialEq)]
pub struct Shown {
    meta: Meta,
    info: Info,
    joined: Timestamp,
    /// Each hold's deadline, what was said through it, whether it is unclaimed, and its maker.
    holds: BTreeMap<HoldId, ShownHold>,
    of_member: Option<Statement>,
}

type ShownHold = (Option<Tick>, Option<Statement>, bool, Option<(Name, u64)>);

/// All of a room's members.
pub fn shown(room: &Presence) -> BTreeMap<Name, Shown> {
    room.roster().iter_from(Mark::default()).map(|member| (member.user.clone(), shown_member(room, member))).collect()
}

fn shown_member(room: &Presence, member: &Member) -> Shown {
    let holds: Holds = room.roster().holds(&member.user).expect("a member is held");
    let of_each = holds.iter().map(|hold| {
        let said = hold.said.as_ref().map(|said| said.statement.clone());
        let (unclaimed, maker) = match &hold.kind {
            HoldKind::SignIn { maker, .. } => (false, maker.as_ref().map(|maker| (maker.sub.clone(), maker.issued))),
            HoldKind::Connection(hold) => (hold.unclaimed, None),
        };
        (hold.kind.id(), (hold.kind.deadline(), said, unclaimed, maker))
    });
    let of_member = holds.of_member().map(|said| said.statement.clone());
    let Member { user: _, meta, info, joined } = member.clone();
    Shown { meta, info, joined, holds: of_each.collect(), of_member }
}

impl Naive {
    /// All members.
    pub fn shown(&self) -> BTreeMap<Name, Shown> {
        self.users.iter().map(|(user, held)| (user.clone(), held.all())).collect()
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.users.values().flat_map(|held| held.holds.values().filter_map(|(_, ends)| *ends)).min()
    }
}

impl Held {
    fn all(&self) -> Shown {
        let of_each = self.holds.iter().map(|(id, (_, ends))| {
            let hold = (*ends, self.says(id).cloned(), self.unclaimed.contains(id), self.makers.get(id).cloned());
            (id.clone(), hold)
        });
        let of_member = self.said.iter().find(|(by, _)| by.is_none()).map(|(_, statement)| statement.clone());
        Shown {
            meta: self.meta.clone(),
            info: self.info.clone(),
            joined: self.joined,
            holds: of_each.collect(),
            of_member,
        }
    }
}
