//! The bytes of the model's and of access's values.
//!
//! Each number here stays what it is for ever, whatever the order of the variants: other versions read it. Texts are read by no
//! rules but those that all readers rely on, because the rules for new input may have changed since.

use uuid::Uuid;

use crate::access::pass::{KeyId, Kind, Pass, TokenId};
use crate::access::passbook::SecretId;
use crate::access::pattern::Pattern;
use crate::access::revocations::Revoked;
use crate::access::rights::{Admin, Grant, Rights};
use crate::access::verb::{Verb, Verbs};
use crate::journal::bytes::{Input, Keep, Unreadable, put_all, put_text};
use crate::journal::entry::Rules;
use crate::model::command::{Action, Command, NodeAction, SignIn};
use crate::model::count::Prefix;
use crate::model::cursor::{Offset, Position};
use crate::model::denylist::Denial;
use crate::model::event::DelReason;
use crate::model::hold::{ConnectionHold, Hold, HoldKind, Lease, Maker, Transport};
use crate::model::id::{ClientId, ConnectionId};
use crate::model::info::Info;
use crate::model::meta::Meta;
use crate::model::moment::{Moment, Tick, Timestamp};
use crate::model::name::{HoldName, Name};
use crate::model::statement::{Order, Rank, Said, Statement};

/// Values of one field.
macro_rules! wrapped {
    ($($type:ident),+) => {
        $(impl Keep for $type {
            fn put(&self, to: &mut Vec<u8>) {
                self.0.put(to);
            }

            fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
                Keep::take(from).map($type)
            }
        })+
    };
}

/// Values of several fields, in this order.
macro_rules! fields {
    ($($type:ident { $($field:ident),+ })+) => {
        $(impl Keep for $type {
            fn put(&self, to: &mut Vec<u8>) {
                let $type { $($field),+ } = self;
                $($field.put(to);)+
            }

            fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
                $(let $field = Keep::take(from)?;)+
                Ok($type { $($field),+ })
            }
        })+
    };
}

/// Values that are one of some, each with its number.
macro_rules! numbered {
    ($($type:ident { $($variant:ident = $number:literal),+ })+) => {
        $(impl Keep for $type {
            fn put(&self, to: &mut Vec<u8>) {
                to.push(match self {
                    $($type::$variant => $number),+
                });
            }

            fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
                match from.byte()? {
                    $($number => Ok($type::$variant),)+
                    _ => Err(from.malformed(concat!("an unknown number of a ", stringify!($type)))),
                }
            }
        })+
    };
}

/// Appends the number of a variant, and the variant's fields.
macro_rules! put {
    ($to:ident: $number:literal $(, $field:expr)*) => {{
        $to.push($number);
        $($field.put($to);)*
    }};
}

/// Reads a variant's fields.
macro_rules! take {
    ($from:ident: $type:ident::$variant:ident($($field:ident),+)) => {{
        $(let $field = Keep::take($from)?;)+
        Ok($type::$variant($($field),+))
    }};
    ($from:ident: $type:ident::$variant:ident { $($field:ident),+ }) => {{
        $(let $field = Keep::take($from)?;)+
        Ok($type::$variant { $($field),+ })
    }};
}

pub(super) use {fields, put, take};

wrapped!(Position, Offset, Tick, Timestamp, Order, ConnectionId, ClientId, SecretId, KeyId);

fields! {
    Moment { tick, time }
    Rules { members, grace, max_named }
    Statement { meta, rank }
    Said { statement, order }
    Maker { sub, issued }
    Lease { owner, given, ttl }
    SignIn { name, statement, info, ttl, maker }
    Hold { kind, said }
    Grant { rooms, can }
    TokenId { jti, issued }
    Pass { kind, sub, rights, info, expires, key, token }
    Denial { client, room, user, deadline, reason }
}

numbered! {
    DelReason { SignedOut = 0, Closed = 1, Timeout = 2, Expired = 3, Kicked = 4, NodeLost = 5 }
    Kind { Open = 0, Stranger = 1, ApiKey = 2, Token = 3 }
    Admin { No = 0, Reads = 1, Full = 2 }
}

impl Keep for Uuid {
    fn put(&self, to: &mut Vec<u8>) {
        self.as_u128().put(to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        u128::take(from).map(Uuid::from_u128)
    }
}

impl Keep for Name {
    fn put(&self, to: &mut Vec<u8>) {
        put_text(self, to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        from.text().map(Name::kept)
    }
}

impl Keep for HoldName {
    fn put(&self, to: &mut Vec<u8>) {
        put_text(self, to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        from.text().map(HoldName::kept)
    }
}

/// The empty object, as most are, is an empty text.
impl Keep for Meta {
    fn put(&self, to: &mut Vec<u8>) {
        put_text(if self.is_empty() { "" } else { self.as_str() }, to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.text()? {
            "" => Ok(Meta::default()),
            text => Meta::kept(text).ok_or(from.malformed("a text that is no JSON object")),
        }
    }
}

impl Keep for Info {
    fn put(&self, to: &mut Vec<u8>) {
        put_text(self.object().map_or("", Meta::as_str), to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        Meta::take(from).map(Info::kept)
    }
}

impl Keep for Rank {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(self.number().cast_unsigned());
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        from.byte().map(|byte| Rank::kept(byte.cast_signed()))
    }
}

const IS_WEBSOCKET: u8 = 1;
const HAS_CLIENT: u8 = 2;
const HAS_DEADLINE: u8 = 4;
const IS_UNCLAIMED: u8 = 8;
const IS_SILENT: u8 = 16;

impl Keep for ConnectionHold {
    fn put(&self, to: &mut Vec<u8>) {
        let ConnectionHold { connection, client, transport, deadline, unclaimed, silent } = self;
        let transport = match transport {
            Transport::Sse => 0,
            Transport::WebSocket => IS_WEBSOCKET,
        };
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let has = flag(client.is_some(), HAS_CLIENT) | flag(deadline.is_some(), HAS_DEADLINE);
        to.push(transport | has | flag(*unclaimed, IS_UNCLAIMED) | flag(*silent, IS_SILENT));
        connection.put(to);
        client.iter().for_each(|client| client.put(to));
        deadline.iter().for_each(|deadline| deadline.put(to));
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        let flags = from.byte()?;
        let has = |flag: u8| flags & flag != 0;
        if flags >= 2 * IS_SILENT {
            return Err(from.malformed("an unknown flag of a hold"));
        }
        let transport = if has(IS_WEBSOCKET) { Transport::WebSocket } else { Transport::Sse };
        let connection = Keep::take(from)?;
        let client = has(HAS_CLIENT).then(|| Keep::take(from)).transpose()?;
        let deadline = has(HAS_DEADLINE).then(|| Keep::take(from)).transpose()?;
        let (unclaimed, silent) = (has(IS_UNCLAIMED), has(IS_SILENT));
        Ok(ConnectionHold { connection, client, transport, deadline, unclaimed, silent })
    }
}

impl Keep for HoldKind {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            HoldKind::SignIn { name, deadline, lease: None, maker } => put!(to: 0, name, deadline, maker),
            HoldKind::Connection(hold) => put!(to: 1, hold),
            HoldKind::SignIn { name, deadline, lease, maker } => put!(to: 2, name, deadline, lease, maker),
        }
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => {
                let (name, (deadline, maker)) = Keep::take(from)?;
                Ok(HoldKind::SignIn { name, deadline, lease: None, maker })
            }
            1 => take!(from: HoldKind::Connection(hold)),
            2 => take!(from: HoldKind::SignIn { name, deadline, lease, maker }),
            _ => Err(from.malformed("an unknown kind of hold")),
        }
    }
}

impl Keep for Command {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Command::User(user, action) => put!(to: 0, user, action),
            Command::Expire(most) => put!(to: 1, most),
            Command::Trim(before) => put!(to: 2, before),
            Command::Shorten(bytes, until) => put!(to: 3, bytes, until),
            Command::Begin(hold_for) => put!(to: 4, hold_for),
        }
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => take!(from: Command::User(user, action)),
            1 => take!(from: Command::Expire(most)),
            2 => take!(from: Command::Trim(before)),
            3 => take!(from: Command::Shorten(bytes, until)),
            4 => take!(from: Command::Begin(hold_for)),
            _ => Err(from.malformed("an unknown command")),
        }
    }
}

impl Keep for Action {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Action::SignIn(sign_in) => put!(to: 0, sign_in),
            Action::SignOut(reason) => put!(to: 1, reason),
            Action::Release(name) => put!(to: 2, name),
            Action::Set(statement, info) => put!(to: 3, statement, info),
            Action::Join(hold, statement, info) => put!(to: 4, hold, statement, info),
            Action::Update(connection, statement) => put!(to: 5, connection, statement),
            Action::Leave(connection) => put!(to: 6, connection),
            Action::Kick(connection) => put!(to: 7, connection),
            Action::Revoke(sub, before) => put!(to: 8, sub, before),
            Action::Lose(connection, since) => put!(to: 9, connection, since),
            Action::LeaveClient(client) => put!(to: 10, client),
            Action::Node(action) => put!(to: 11, action),
        }
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => take!(from: Action::SignIn(sign_in)),
            1 => take!(from: Action::SignOut(reason)),
            2 => take!(from: Action::Release(name)),
            3 => take!(from: Action::Set(statement, info)),
            4 => take!(from: Action::Join(hold, statement, info)),
            5 => take!(from: Action::Update(connection, statement)),
            6 => take!(from: Action::Leave(connection)),
            7 => take!(from: Action::Kick(connection)),
            8 => take!(from: Action::Revoke(sub, before)),
            9 => take!(from: Action::Lose(connection, since)),
            10 => take!(from: Action::LeaveClient(client)),
            11 => take!(from: Action::Node(action)),
            _ => Err(from.malformed("an unknown action")),
        }
    }
}

impl Keep for NodeAction {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            NodeAction::End(connection, reason) => put!(to: 0, connection, reason),
            NodeAction::Recall(connection, earlier) => put!(to: 1, connection, earlier),
            NodeAction::Lapse(name, lease) => put!(to: 2, name, lease),
            NodeAction::Inherit(name, lease) => put!(to: 3, name, lease),
            NodeAction::Silence(connection, is_silent) => put!(to: 4, connection, is_silent),
        }
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => take!(from: NodeAction::End(connection, reason)),
            1 => take!(from: NodeAction::Recall(connection, earlier)),
            2 => take!(from: NodeAction::Lapse(name, lease)),
            3 => take!(from: NodeAction::Inherit(name, lease)),
            4 => take!(from: NodeAction::Silence(connection, is_silent)),
            _ => Err(from.malformed("an unknown action of a node")),
        }
    }
}

impl Keep for Revoked {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Revoked::Token(jti) => put!(to: 0, jti),
            Revoked::Subject(sub) => put!(to: 1, sub),
        }
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => take!(from: Revoked::Token(jti)),
            1 => take!(from: Revoked::Subject(sub)),
            _ => Err(from.malformed("an unknown kind of revocation")),
        }
    }
}

impl Keep for Pattern {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Pattern::Exact(name) => put!(to: 0, name),
            Pattern::Prefix(prefix) => {
                to.push(1);
                put_text(prefix, to);
            }
        }
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => take!(from: Pattern::Exact(name)),
            1 => from.text().map(Prefix::kept).map(Pattern::Prefix),
            _ => Err(from.malformed("an unknown kind of pattern")),
        }
    }
}

fn bit(verb: Verb) -> u8 {
    match verb {
        Verb::Count => 1,
        Verb::Watch => 2,
        Verb::Join => 4,
        Verb::SignIn => 8,
        Verb::Manage => 16,
    }
}

impl Keep for Verbs {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(self.iter().map(bit).sum());
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        let bits = from.byte()?;
        let verbs = Verb::ALL.into_iter().filter(|verb| bits & bit(*verb) != 0);
        match Verb::ALL.into_iter().map(bit).sum::<u8>() & bits == bits {
            true => Ok(Verbs::kept(verbs)),
            false => Err(from.malformed("an unknown verb")),
        }
    }
}

impl Keep for Rights {
    fn put(&self, to: &mut Vec<u8>) {
        put_all(self.grants(), to);
        self.admin().put(to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        let grants = Vec::take(from)?;
        Ok(Rights::new(grants, Keep::take(from)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again<T: Keep>(value: &T) -> Result<T, Unreadable> {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        T::take(&mut Input::of(&bytes))
    }

    /// The rules for new input may become stricter; who signed in before stays signed in.
    #[test]
    fn what_is_kept_is_read_by_no_rules_of_today() {
        for text in ["", "..", "\n", "\u{202E}", &"x".repeat(1_000)] {
            assert_eq!(again(&Name::kept(text)), Ok(Name::kept(text)));
            assert_eq!(again(&HoldName::kept(text)), Ok(HoldName::kept(text)));
            let prefix = Pattern::Prefix(Prefix::kept(text));
            assert_eq!(again(&prefix), Ok(prefix));
        }
        let large = Meta::kept(&format!(r#"{{"a":"{}"}}"#, "x".repeat(5_000))).unwrap();
        assert_eq!(again(&Info::kept(large.clone())), Ok(Info::kept(large)));
        assert_eq!(again(&Rank::kept(-100)), Ok(Rank::kept(-100)));
        let only = Verbs::kept([Verb::Manage]);
        assert!(again(&only) == Ok(only) && !only.have(Verb::Watch));
    }

    #[test]
    fn a_meta_is_an_object_in_any_case() {
        for text in ["[]", "1", "{", "{} {}", "nul", "{\"a\":\"\n\"}"] {
            assert_eq!(Meta::kept(text), None, "{text}");
            let mut bytes = Vec::new();
            put_text(text, &mut bytes);
            assert!(Meta::take(&mut Input::of(&bytes)).is_err(), "{text}");
        }
        assert_eq!(Meta::kept("{}"), Some(Meta::default()));
    }
}
