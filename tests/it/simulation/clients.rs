//! What clients and backends of a world do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use presently::access::pass::Pass;
use presently::access::passbook::SecretId;
use presently::access::revocations::Revoked;
use presently::cluster::attendance::Key;
use presently::cluster::node::Node;
use presently::cluster::record::Record;
use presently::model::command::{Action, Command, SignIn};
use presently::model::event::DelReason;
use presently::model::hold::Maker;
use presently::model::id::{ClientId, ConnectionId};
use presently::model::info::Info;
use presently::model::meta::Meta;
use presently::model::moment::Moment;
use presently::model::name::{HoldName, Name};
use presently::model::statement::{Rank, Statement};
use uuid::Uuid;

const USERS: usize = 12;
pub const ROOMS: usize = 3;

/// A connection that holds a user.
#[derive(Clone, Debug)]
pub struct Tab {
    pub key: Key,
    pub seat: usize,
    pub since: u64,
    pub client: Option<ClientId>,
    /// What it said last, and the place of that among all that was said.
    pub said: Option<(Statement, u64)>,
}

/// All connections.
#[derive(Default)]
pub struct Tabs {
    pub open: BTreeMap<ConnectionId, Tab>,
    next: u128,
    turn: u64,
}

pub fn room(rng: &mut Rng) -> Name {
    Name::kept(&format!("room{}", rng.usize(..ROOMS)))
}

fn user(rng: &mut Rng) -> Name {
    Name::kept(&format!("user{}", rng.usize(..USERS)))
}

fn some<T>(rng: &mut Rng, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.bool().then(|| make(rng))
}

fn statement(rng: &mut Rng) -> Statement {
    let size = if rng.u8(..20) == 0 { 900 } else { rng.usize(..20) };
    let meta = Meta::kept(&format!(r#"{{"n":{},"t":"{}"}}"#, rng.u32(..1_000), "x".repeat(size))).unwrap();
    Statement { meta, rank: Rank::kept([0, 0, 0, -1, 2][rng.usize(..5)]) }
}

fn info(rng: &mut Rng) -> Info {
    Info::kept(Meta::kept(&format!(r#"{{"i":{}}}"#, rng.u32(..3))).unwrap())
}

fn maker(rng: &mut Rng) -> Arc<Maker> {
    Arc::new(Maker { sub: Name::kept(["sue", "tom"][rng.usize(..2)]), issued: rng.u64(..100) })
}

fn hold_name(rng: &mut Rng) -> HoldName {
    HoldName::kept(["a", "b"][rng.usize(..2)])
}

impl Tabs {
    /// A connection to a node. A client says something each time, as what an older connection said would count otherwise.
    pub fn open(&mut self, node: &mut Node, seat: usize, key: Key, client: Option<ClientId>, now: u64, rng: &mut Rng) {
        self.next += 1;
        let id = ConnectionId(Uuid::from_u128(self.next));
        let says = client.is_some() || rng.bool();
        self.turn += 1;
        let said = says.then(|| (statement(rng), self.turn));
        self.open.insert(id, Tab { key: key.clone(), seat, since: now, client, said: said.clone() });
        node.join(&key, id, client, said.map(|(statement, _)| statement), some(rng, info));
    }

    /// A new client.
    pub fn connect(&mut self, node: &mut Node, seat: usize, now: u64, rng: &mut Rng) {
        let client = some(rng, |_| ClientId(Uuid::from_u128(self.next + 1_000_000)));
        self.open(node, seat, (room(rng), user(rng)), client, now, rng);
    }

    /// One of them.
    pub fn any(&self, rng: &mut Rng) -> Option<(ConnectionId, Tab)> {
        let at = rng.usize(..self.open.len().max(1));
        self.open.iter().nth(at).map(|(id, tab)| (*id, tab.clone()))
    }

    pub fn say(&mut self, node: &mut Node, id: ConnectionId, rng: &mut Rng) {
        self.turn += 1;
        let Some(tab) = self.open.get_mut(&id) else { return };
        let new = statement(rng);
        if tab.said.as_ref().is_none_or(|(said, _)| *said != new) {
            tab.said = Some((new.clone(), self.turn));
        }
        node.say(&tab.key, id, new);
    }

    /// The connection ends, cleanly or not.
    pub fn close(&mut self, node: Option<&mut Node>, id: ConnectionId, rng: &mut Rng) {
        let (Some(tab), Some(node)) = (self.open.remove(&id), node) else { return };
        match rng.bool() {
            true => node.leave(&tab.key, id, DelReason::Closed),
            false => node.lose(&tab.key, id, 0),
        }
    }

    /// What this seat's connections of a user say: the last at the highest rank, and its place.
    pub fn top(&self, seat: usize, key: &Key) -> Option<&(Statement, u64)> {
        let tabs = self.open.values().filter(|tab| tab.seat == seat && tab.key == *key);
        tabs.filter_map(|tab| tab.said.as_ref()).max_by_key(|(statement, at)| (statement.rank, *at))
    }
}

/// What a backend asks of a node.
pub fn request(node: &Node, now: Moment, tickets: &mut u64, rng: &mut Rng) -> Record {
    let pass = || Arc::new(Pass::open());
    let end = node.shared().roll.clock + Duration::from_secs(60);
    let change =
        |rng: &mut Rng, action| Record::Change { room: room(rng), commands: vec![Command::User(user(rng), action)] };
    match rng.u8(..26) {
        0..=9 => {
            let (name, statement, info) = (some(rng, hold_name), some(rng, statement), some(rng, info));
            let ttl = some(rng, |rng| Duration::from_secs(rng.u64(3..12)));
            let sign_in = SignIn { name, statement, info, ttl, maker: some(rng, maker) };
            change(rng, Action::SignIn(sign_in))
        }
        10..=12 => change(rng, Action::SignOut(DelReason::SignedOut)),
        13 => change(rng, Action::SignOut(DelReason::Kicked)),
        14 | 15 => {
            let name = hold_name(rng);
            change(rng, Action::Release(name))
        }
        16 | 17 => {
            let set = Action::Set(some(rng, statement), some(rng, info));
            change(rng, set)
        }
        18 => {
            let commands = (0..rng.usize(2..40)).map(|_| Command::sign_in(user(rng))).collect();
            Record::Change { room: room(rng), commands }
        }
        19 => {
            let sub = Name::kept(["sue", "tom"][rng.usize(..2)]);
            Record::Revoked { revoked: Revoked::Subject(sub), before: rng.u64(..100), at: now.time.0 / 1_000 }
        }
        20 => Record::Cookie { id: SecretId([rng.u8(..); 32]), pass: pass(), end },
        21 => Record::CookieEnded(SecretId([rng.u8(..); 32])),
        22 | 23 => {
            *tickets += 1;
            Record::Ticket { id: SecretId::of(&tickets.to_string()), pass: pass(), end }
        }
        _ => Record::TicketUsed(SecretId::of(&rng.u64(tickets.saturating_sub(4)..=*tickets).to_string())),
    }
}
