//! The truth of a world: what callers were answered.

use std::collections::{BTreeMap, HashMap, HashSet};

use presently::access::passbook::SecretId;
use presently::access::revocations::Revoked;
use presently::cluster::attendance::Key;
use presently::cluster::node::{Answer, Asked};
use presently::cluster::record::Record;
use presently::cluster::window::Ticket;
use presently::model::command::{Action, Command, SignIn};
use presently::model::hold::Maker;
use presently::model::name::HoldName;

/// How long before a loss a command may have been forgotten, and how long behind it until all was said again.
const FORGOTTEN: u64 = 21_000;
const SAID_AGAIN: u64 = 12_000;

/// A sign-in for good.
#[derive(Clone, Debug, Default)]
pub struct Signed {
    permanent: bool,
    maker: Option<Maker>,
}

/// The named and unnamed sign-ins of each user.
pub type SignIns = BTreeMap<Key, BTreeMap<Option<HoldName>, Signed>>;

/// The log forgot its last entries, or all.
struct Loss {
    at: u64,
    all: bool,
    /// The last entry that is left.
    last: u64,
}

/// What callers asked for and were answered.
#[derive(Default)]
pub struct Truth {
    waiting: HashMap<(usize, Ticket), Record>,
    done: Vec<((usize, u64, Ticket), Record)>,
    touched: Vec<(u64, usize, Key)>,
    unsure: HashSet<Key>,
    /// Nothing is known of any sign-in.
    pub nothing: bool,
    losses: Vec<Loss>,
    crashes: Vec<u64>,
    /// When a user was signed out last.
    pub kicked: HashMap<Key, u64>,
    used: HashMap<SecretId, u32>,
    pub answers: u64,
    pub refused: u64,
}

fn actions(record: &Record) -> Vec<(Key, &Action)> {
    let Record::Change { room, commands } = record else { return Vec::new() };
    let mut all = Vec::new();
    for command in commands {
        if let Command::User(user, action) = command {
            all.push(((room.clone(), user.clone()), action));
        }
    }
    all
}

fn keys(record: &Record) -> Vec<Key> {
    actions(record).into_iter().map(|(key, _)| key).collect()
}

impl Truth {
    pub fn asked(&mut self, now: u64, seat: usize, record: Record, asked: &Asked) {
        let keys = keys(&record);
        let kicks = actions(&record).into_iter().filter(|(_, action)| matches!(action, Action::SignOut(_)));
        self.kicked.extend(kicks.map(|(key, _)| (key, now)));
        self.touched.extend(keys.into_iter().map(|key| (now, seat, key)));
        match asked {
            Asked::Waits(ticket) => drop(self.waiting.insert((seat, *ticket), record)),
            Asked::Done => {}
        }
    }

    pub fn answered(
        &mut self,
        now: u64,
        seat: usize,
        ticket: Ticket,
        position: u64,
        answer: &Answer,
    ) -> Result<(), String> {
        let Some(record) = self.waiting.remove(&(seat, ticket)) else {
            return Err(format!("{ticket:?} is answered, and nobody waits"));
        };
        self.answers += 1;
        // It may be long ago that this was asked.
        self.touched.extend(keys(&record).into_iter().map(|key| (now, seat, key)));
        match (answer, &record) {
            (Answer::Refused(_), _) => self.refused += 1,
            (Answer::Unknown, _) => self.doubt(&record),
            (Answer::Used(true), Record::TicketUsed(id)) => {
                let times = self.used.entry(*id).or_default();
                *times += 1;
                // A use that the log forgot may be used again.
                if *times > 1 && self.losses.is_empty() {
                    return Err("a ticket was used twice".into());
                }
            }
            (Answer::Done(_) | Answer::Recorded | Answer::Used(_), _) => {
                // The answer may come late: after losses of which the entry is none.
                let before = self.losses.iter().rposition(|loss| loss.last < position);
                self.done.push(((before.map_or(0, |loss| loss + 1), position, ticket), record));
            }
        }
        Ok(())
    }

    fn doubt(&mut self, record: &Record) {
        self.nothing |= matches!(record, Record::Revoked { .. });
        self.unsure.extend(keys(record));
    }

    /// A node crashed: nobody knows what became of what was asked there.
    pub fn crashed(&mut self, now: u64, seat: usize) {
        self.crashes.push(now);
        let lost: Vec<_> = self.waiting.keys().filter(|(at, _)| *at == seat).copied().collect();
        for key in lost {
            let record = self.waiting.remove(&key);
            record.into_iter().for_each(|record| self.doubt(&record));
        }
    }

    /// The log forgot its last entries, or all; `last` is left.
    pub fn lost(&mut self, at: u64, all: bool, last: u64) {
        self.losses.push(Loss { at, all, last });
    }

    pub fn unanswered(&self) -> Option<String> {
        self.waiting.iter().next().map(|((seat, ticket), record)| format!("{seat} {ticket:?} {record:?}"))
    }

    /// The users of whom it is not known whether they are signed in: commands on several nodes were forgotten, and said again
    /// in any order.
    fn doubted(&self) -> HashSet<Key> {
        let mut doubted = self.unsure.clone();
        for Loss { at, .. } in &self.losses {
            let near = |time: u64| time + FORGOTTEN > *at && time < at + SAID_AGAIN;
            let crash = self.crashes.iter().any(|crash| near(*crash));
            let mut first: HashMap<&Key, usize> = HashMap::new();
            for (_, seat, key) in self.touched.iter().filter(|(time, ..)| near(*time)) {
                if crash || *first.entry(key).or_insert(*seat) != *seat {
                    doubted.insert(key.clone());
                }
            }
        }
        doubted
    }

    /// Whether whoever had read what was forgotten may have crashed: then nobody knows that anything was.
    pub fn lacks_witnesses(&self) -> bool {
        self.losses.iter().any(|loss| self.crashes.iter().any(|crash| crash + 5_000 > loss.at))
    }

    /// Whether an empty log found nobody who remembered all of the old one.
    fn knows_nothing(&self) -> bool {
        let near = |at: u64| self.crashes.iter().any(|crash| crash + FORGOTTEN > at && *crash < at + 2 * SAID_AGAIN);
        let many = self.losses.windows(2).any(|pair| pair[0].at + 2 * FORGOTTEN > pair[1].at);
        self.nothing || self.losses.iter().any(|loss| loss.all && (many || near(loss.at)))
    }

    /// Who is signed in for good, and of whom that is not known.
    pub fn sign_ins(&mut self) -> (SignIns, HashSet<Key>, bool) {
        self.done.sort_by_key(|(at, _)| *at);
        let mut all = SignIns::new();
        for (_, record) in &self.done {
            for (key, action) in actions(record) {
                apply(all.entry(key).or_default(), action);
            }
            if let Record::Revoked { revoked: Revoked::Subject(sub), before, .. } = record {
                let by = |maker: &Maker| maker.sub == *sub && maker.issued <= *before;
                all.values_mut().for_each(|of| of.retain(|_, signed| !signed.maker.as_ref().is_some_and(by)));
            }
        }
        all.values_mut().for_each(|of| of.retain(|_, signed| signed.permanent));
        all.retain(|_, of| !of.is_empty());
        (all, self.doubted(), self.knows_nothing())
    }
}

fn apply(of: &mut BTreeMap<Option<HoldName>, Signed>, action: &Action) {
    if let Action::SignIn(SignIn { name, ttl, maker, .. }) = action {
        of.insert(name.clone(), Signed { permanent: ttl.is_none(), maker: maker.as_deref().cloned() });
    } else if let Action::SignOut(_) = action {
        of.clear();
    } else if let Action::Release(name) = action {
        of.remove(&Some(name.clone()));
    }
}
