//! Made-up entries, for the tests.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use uuid::Uuid;

use crate::access::pass::{KeyId, Kind, Pass, TokenId};
use crate::access::passbook::SecretId;
use crate::access::pattern::Pattern;
use crate::access::revocations::Revoked;
use crate::access::rights::{Admin, Grant, Rights};
use crate::access::verb::Verb;
use crate::journal::entry::{Entry, Rules};
use crate::model::command::{Action, Command, NodeAction, SignIn};
use crate::model::cursor::Position;
use crate::model::event::DelReason;
use crate::model::hold::{ConnectionHold, Lease, Maker, Transport};
use crate::model::id::{ClientId, ConnectionId};
use crate::model::info::Info;
use crate::model::meta::Meta;
use crate::model::moment::Tick;
use crate::model::name::{HoldName, Name};
use crate::model::statement::{Order, Rank, Said, Statement};

pub fn some<T>(rng: &mut Rng, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.bool().then(|| make(rng))
}

fn one<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())]
}

pub fn user(rng: &mut Rng) -> Name {
    one(rng, &["ann", "bob", "cyd", "山田"]).parse().unwrap()
}

pub fn room(rng: &mut Rng) -> Name {
    one(rng, &["lobby", "team/1", "x"]).parse().unwrap()
}

pub fn connection(rng: &mut Rng) -> ConnectionId {
    ConnectionId(Uuid::from_u128(rng.u128(1..7)))
}

pub fn client(rng: &mut Rng) -> ClientId {
    ClientId(Uuid::from_u128(rng.u128(10..14)))
}

pub fn hold_name(rng: &mut Rng) -> HoldName {
    HoldName::new("hold", one(rng, &["a", "b", "é"])).unwrap()
}

fn meta(rng: &mut Rng) -> Meta {
    Meta::read(one(rng, &["{}", r#"{"n":1}"#, r#"{"n":2}"#, r#"{"d":[{}],"e":"ü"}"#])).unwrap()
}

pub fn info(rng: &mut Rng) -> Info {
    Info::kept(meta(rng))
}

pub fn statement(rng: &mut Rng) -> Statement {
    Statement { meta: meta(rng), rank: Rank::read(one(rng, &["0", "0", "0", "-1", "9"])).unwrap() }
}

fn time(rng: &mut Rng) -> Duration {
    let bits = rng.u32(..40);
    let odd = Duration::from_nanos(rng.u64(..1 << bits));
    one(rng, &[Duration::ZERO, Duration::from_millis(5), Duration::from_secs(3_600), odd])
}

pub fn reason(rng: &mut Rng) -> DelReason {
    one(rng, &[DelReason::SignedOut, DelReason::Kicked])
}

pub fn maker(rng: &mut Rng) -> Arc<Maker> {
    Arc::new(Maker { sub: user(rng), issued: rng.u64(..3) })
}

pub fn hold(rng: &mut Rng) -> ConnectionHold {
    let (connection, client) = (connection(rng), some(rng, client));
    let transport = one(rng, &[Transport::Sse, Transport::WebSocket]);
    ConnectionHold { connection, client, transport, deadline: None, unclaimed: false, silent: false }
}

fn number(rng: &mut Rng) -> u64 {
    rng.u64(..) >> rng.u32(..64)
}

fn action(rng: &mut Rng) -> Action {
    match rng.u8(..12) {
        0 => {
            let (name, statement, info) = (some(rng, hold_name), some(rng, statement), some(rng, info));
            Action::SignIn(SignIn { name, statement, info, ttl: some(rng, time), maker: some(rng, maker) })
        }
        1 => Action::SignOut(reason(rng)),
        2 => Action::Release(hold_name(rng)),
        3 => Action::Set(some(rng, statement), some(rng, info)),
        4 => {
            let deadline = some(rng, number).map(Tick);
            let hold = ConnectionHold { deadline, unclaimed: rng.bool(), silent: rng.bool(), ..hold(rng) };
            Action::Join(hold, some(rng, statement), some(rng, info))
        }
        5 => Action::Update(connection(rng), statement(rng)),
        6 => Action::Leave(connection(rng)),
        7 => Action::Kick(connection(rng)),
        8 => Action::Revoke(user(rng), number(rng)),
        9 => Action::Lose(connection(rng), some(rng, number).map(Tick)),
        10 => Action::Node(node_action(rng)),
        _ => Action::LeaveClient(client(rng)),
    }
}

fn lease(rng: &mut Rng) -> Arc<Lease> {
    Arc::new(Lease { owner: connection(rng).0, given: Position(number(rng)), ttl: time(rng) })
}

fn node_action(rng: &mut Rng) -> NodeAction {
    match rng.u8(..5) {
        0 => NodeAction::End(connection(rng), one(rng, &[DelReason::NodeLost, DelReason::Timeout])),
        1 => {
            let said = |rng: &mut Rng| Said::new(statement(rng), Order(number(rng)));
            NodeAction::Recall(connection(rng), some(rng, said))
        }
        2 => NodeAction::Lapse(some(rng, hold_name), lease(rng)),
        3 => NodeAction::Silence(connection(rng), rng.bool()),
        _ => NodeAction::Inherit(some(rng, hold_name), lease(rng)),
    }
}

fn command(rng: &mut Rng) -> Command {
    match rng.u8(..10) {
        0 => Command::Expire(number(rng) as usize),
        1 => Command::Trim(Tick(number(rng))),
        2 => Command::Shorten(number(rng) as usize, Tick(number(rng))),
        3 => Command::Begin(time(rng)),
        _ => Command::User(user(rng), action(rng)),
    }
}

pub fn revoked(rng: &mut Rng) -> Revoked {
    match rng.bool() {
        true => Revoked::Token(one(rng, &["", "a", "b"]).into()),
        false => Revoked::Subject(user(rng)),
    }
}

pub fn secret(rng: &mut Rng) -> SecretId {
    SecretId::of(one(rng, &["a", "b", "c", "d", "e"]))
}

pub fn pass(rng: &mut Rng) -> Arc<Pass> {
    let grant = |rng: &mut Rng| Grant {
        rooms: Pattern::read(one(rng, &["*", "a", "team/*"]), None).unwrap(),
        can: (0..rng.usize(..3)).map(|_| one(rng, &Verb::ALL)).collect(),
    };
    let grants: Vec<_> = (0..rng.usize(..3)).map(|_| grant(rng)).collect();
    Arc::new(Pass {
        kind: one(rng, &[Kind::Open, Kind::Stranger, Kind::ApiKey, Kind::Token]),
        sub: some(rng, user),
        rights: Rights::new(grants, one(rng, &[Admin::No, Admin::Reads, Admin::Full])),
        info: some(rng, info),
        expires: some(rng, number),
        key: some(rng, |rng| KeyId([rng.u8(..); 32])),
        token: some(rng, |rng| TokenId { jti: some(rng, |_| "a".into()), issued: number(rng) }),
    })
}

fn rules(rng: &mut Rng) -> Rules {
    Rules { members: number(rng) as usize, grace: time(rng), max_named: number(rng) as usize }
}

/// Any entry, whether it makes sense or not.
pub fn entry(rng: &mut Rng) -> Entry {
    match rng.u8(..12) {
        0 => Entry::Begin { incarnation: rng.u128(..), hold_for: time(rng) },
        1 => Entry::Rules(rules(rng)),
        2 => Entry::Mark,
        3 => Entry::Revoked { revoked: revoked(rng), before: number(rng), at: number(rng) },
        4 => Entry::Cookie { id: secret(rng), pass: pass(rng), end: Tick(number(rng)) },
        5 => Entry::CookieEnded { id: secret(rng) },
        6 => Entry::End,
        _ => {
            let (room, commands) = (room(rng), (0..rng.usize(..4)).map(|_| command(rng)).collect());
            Entry::Change { room, commands }
        }
    }
}
