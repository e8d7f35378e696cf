//! Records: the facts in the shared log. The same records in the same order make the same state, on each node.

use std::sync::Arc;

use crate::access::pass::{Pass, UnixTime};
use crate::access::passbook::SecretId;
use crate::access::revocations::Revoked;
use crate::journal::bytes::{Input, Keep, Unreadable};
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::origin::Origin;
use crate::journal::entry::Rules;
use crate::journal::values::{put, take};
use crate::model::command::Command;
use crate::model::event::DelReason;
use crate::model::id::ClientId;
use crate::model::moment::Tick;
use crate::model::name::Name;

/// One fact, told by the incarnation of its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The first record of an incarnation.
    Up {
        /// The version of the program.
        version: Box<str>,
        /// The rules that the node was started with. The first of a log are in force.
        rules: Rules,
        /// The earlier incarnation of the same process, which may say nothing from here on.
        replaces: Option<Incarnation>,
    },
    /// All that this earlier incarnation held is held by the teller: the older holds end without an event.
    Retire(Incarnation),
    /// The node stops. Its holds last for the grace.
    Down,
    /// The other node is silent.
    Suspect {
        /// The silent incarnation.
        who: Incarnation,
        /// The number of the batch that is missing. The record does nothing if that came before it.
        next: u64,
    },
    /// The other node is lost.
    Reap {
        /// The lost incarnation.
        who: Incarnation,
        /// The position since which it is suspect or down. The record does nothing if that is over.
        since: u64,
    },
    /// The log forgot entries: from here on, no earlier cursor means anything. The first to say so counts.
    Generation {
        /// The generation in which the loss was found.
        from: u64,
        /// The new one, drawn at random: a generation that was forgotten as well must not come back.
        to: u64,
    },
    /// The teller restores an empty log from its memory or disk, from this state of the old log. The first counts, and whoever had
    /// read more of the same log.
    Claim(Origin),
    /// Sign-ins from the memory of the node that claimed. Those that are there already stay as they are.
    Restore {
        /// The room.
        room: Name,
        /// The sign-ins.
        commands: Vec<Command>,
    },
    /// All was restored.
    Restored,
    /// Commands to be judged and applied in one step.
    Change {
        /// The room.
        room: Name,
        /// The commands.
        commands: Vec<Command>,
    },
    /// A client is connected to the teller now: a connection of the same client to another node is a dead one.
    Came {
        /// The room.
        room: Name,
        /// The user.
        user: Name,
        /// The client.
        client: ClientId,
    },
    /// A client that was signed out by others may only watch.
    Denied {
        /// The room.
        room: Name,
        /// The user.
        user: Name,
        /// The client.
        client: ClientId,
        /// How the user was signed out.
        reason: DelReason,
    },
    /// Other rules.
    Rules(Rules),
    /// Tokens were revoked. Sign-ins made with tokens of a revoked subject end.
    Revoked {
        /// The token or subject.
        revoked: Revoked,
        /// The tokens that were issued until this time.
        before: UnixTime,
        /// The time of the revocation.
        at: UnixTime,
    },
    /// A cookie was made.
    Cookie {
        /// The cookie's id.
        id: SecretId,
        /// What the cookie gives.
        pass: Arc<Pass>,
        /// The cookie's end, in the time of the log.
        end: Tick,
    },
    /// A cookie was ended.
    CookieEnded(SecretId),
    /// A ticket was made.
    Ticket {
        /// The ticket's id.
        id: SecretId,
        /// What the ticket gives.
        pass: Arc<Pass>,
        /// The ticket's end, in the time of the log.
        end: Tick,
    },
    /// A ticket is to be used: the first counts.
    TicketUsed(SecretId),
    /// Readers of the teller ask who of this room is suspect, or no longer do.
    Asks {
        /// The room.
        room: Name,
        /// Whether they ask.
        ask: bool,
    },
}

impl Record {
    /// The format of a batch with the record: versions of before the record refuse such a batch, and do not misread it.
    pub fn format(&self) -> u8 {
        match self {
            Record::Up { .. } | Record::Retire(_) | Record::Down | Record::Suspect { .. } | Record::Reap { .. } => 1,
            Record::Generation { .. } | Record::Restore { .. } | Record::Restored => 1,
            Record::Claim(origin) => 1 + u8::from(origin.is_named()),
            Record::Change { .. } | Record::Came { .. } | Record::Denied { .. } | Record::Rules(_) => 1,
            Record::Revoked { .. } | Record::Cookie { .. } | Record::CookieEnded(_) => 1,
            Record::Ticket { .. } | Record::TicketUsed(_) => 1,
            Record::Asks { .. } => 2,
        }
    }
}

/// Each number stays what it is for ever: other versions read it.
impl Keep for Record {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Record::Up { version, rules, replaces } => put!(to: 0, version, rules, replaces),
            Record::Retire(who) => put!(to: 1, who),
            Record::Down => put!(to: 2),
            Record::Suspect { who, next } => put!(to: 3, who, next),
            Record::Reap { who, since } => put!(to: 4, who, since),
            Record::Generation { from, to: new } => put!(to: 5, from, new),
            Record::Claim(Origin { entries, .. }) if self.format() == 1 => put!(to: 6, entries),
            Record::Claim(origin) => put!(to: 19, origin),
            Record::Restore { room, commands } => put!(to: 7, room, commands),
            Record::Restored => put!(to: 8),
            Record::Change { room, commands } => put!(to: 9, room, commands),
            Record::Came { room, user, client } => put!(to: 10, room, user, client),
            Record::Denied { room, user, client, reason } => put!(to: 11, room, user, client, reason),
            Record::Rules(rules) => put!(to: 12, rules),
            Record::Revoked { revoked, before, at } => put!(to: 13, revoked, before, at),
            Record::Cookie { id, pass, end } => put!(to: 14, id, pass, end),
            Record::CookieEnded(id) => put!(to: 15, id),
            Record::Ticket { id, pass, end } => put!(to: 16, id, pass, end),
            Record::TicketUsed(id) => put!(to: 17, id),
            Record::Asks { room, ask } => put!(to: 18, room, ask),
        }
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => take!(from: Record::Up { version, rules, replaces }),
            1 => take!(from: Record::Retire(who)),
            2 => Ok(Record::Down),
            3 => take!(from: Record::Suspect { who, next }),
            4 => take!(from: Record::Reap { who, since }),
            5 => Keep::take(from).map(|(from, to)| Record::Generation { from, to }),
            6 => Keep::take(from).map(|entries| Record::Claim(Origin::unnamed(entries))),
            7 => take!(from: Record::Restore { room, commands }),
            8 => Ok(Record::Restored),
            9 => take!(from: Record::Change { room, commands }),
            10 => take!(from: Record::Came { room, user, client }),
            11 => take!(from: Record::Denied { room, user, client, reason }),
            12 => take!(from: Record::Rules(rules)),
            13 => take!(from: Record::Revoked { revoked, before, at }),
            14 => take!(from: Record::Cookie { id, pass, end }),
            15 => take!(from: Record::CookieEnded(id)),
            16 => take!(from: Record::Ticket { id, pass, end }),
            17 => take!(from: Record::TicketUsed(id)),
            18 => take!(from: Record::Asks { room, ask }),
            19 => take!(from: Record::Claim(origin)),
            _ => Err(from.malformed("an unknown kind of record")),
        }
    }
}
