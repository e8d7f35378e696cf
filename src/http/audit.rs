//! The log's lines about requests: who was refused, who signed others in or out, whom, and in which room.
//!
//! Names and paths are logged as quoted strings, with control characters escaped. The ids of clients, tickets, sessions and
//! tokens are secret, so headers, queries and bodies are not logged, nor sentences or fields that may quote them.

use std::net::IpAddr;

use tracing::{Level, debug, enabled, info};

use crate::http::query::Query;
use crate::model::command::{Action, Command};
use crate::model::event::DelReason;
use crate::model::id::ConnectionId;
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::refusal::Refusal;

/// The most users of a batch that one line names.
const MAX_USERS: usize = 10;

/// The most characters of a path, a method or a sentence in a line.
const MAX_TEXT: usize = 300;

/// The most characters of a field in a line: those of `Sec-WebSocket-Version`, and no more.
const MAX_FIELD: usize = 21;

/// A request, as far as the line about its refusal tells.
pub struct Asked {
    client: IpAddr,
    method: String,
    path: String,
    /// The parameters `room` and `as`, where the path does not tell.
    query: Option<Query>,
}

impl Asked {
    /// The request of `client`; `None` while refusals are not logged.
    pub fn of(method: &str, path: &str, query: &str, client: impl FnOnce() -> IpAddr) -> Option<Self> {
        enabled!(Level::DEBUG).then(|| Asked {
            client: client(),
            method: short(method),
            path: short(path),
            query: Query::lenient(query, &["room", "as"]).ok(),
        })
    }

    /// Logs the refusal of the request.
    pub fn refused(&self, refusal: &Refusal) {
        let Asked { client, method, path, query } = self;
        let parameter = |name| query.as_ref().and_then(|query| query.get(name)).map(short);
        let (room, user) = (parameter("room"), parameter("as"));
        let (code, field, sentence) = told(refusal);
        debug!(%client, method, path, room, user, code, field, sentence, "request refused");
    }
}

/// Logs a refusal of what `client` asked for over an open connection.
pub fn refused(client: IpAddr, connection: ConnectionId, refusal: &Refusal) {
    let (code, field, sentence) = told(refusal);
    debug!(%client, %connection, code, field, sentence, "message refused");
}

/// Logs the users whom `client` signed in or out, or kicked, over HTTP.
pub fn changed(client: IpAddr, room: &Name, commands: &[Command], outcome: &Outcome) {
    let room: &str = room;
    if outcome.removed > 0
        && let Some((users, count)) = users(commands, |action| *action == Action::SignOut(DelReason::Kicked))
    {
        info!(%client, room, ?users, count, "kicked");
    }
    if !enabled!(Level::DEBUG) {
        return;
    }
    if let Some((users, count)) = users(commands, |action| matches!(action, Action::SignIn(_))) {
        debug!(%client, room, ?users, count, "signed in");
    }
    if let Some((users, count)) = users(commands, |action| *action == Action::SignOut(DelReason::SignedOut)) {
        debug!(%client, room, ?users, count, "signed out");
    }
}

/// The first users of the commands with such an action, and the number of all; `None` without any.
fn users(commands: &[Command], is_such: impl Fn(&Action) -> bool) -> Option<(Vec<&str>, usize)> {
    let such = commands.iter().filter_map(|command| match command {
        Command::User(user, action) => is_such(action).then_some(&**user),
        Command::Expire(_) | Command::Begin(_) | Command::Trim(_) | Command::Shorten(..) => None,
    });
    let (first, count) = (such.clone().take(MAX_USERS).collect::<Vec<_>>(), such.count());
    (count > 0).then_some((first, count))
}

/// What the log tells of a refusal. The sentences about invalid input may quote the input, which may be secret.
fn told(refusal: &Refusal) -> (&'static str, Option<&str>, Option<String>) {
    let row = refusal.code.row();
    let sentence = (row.status != 400).then(|| short(&refusal.message));
    (row.name, refusal.field.as_deref().filter(|field| is_field(field)), sentence)
}

/// Whether a refusal's field looks like a name of ours. The name of an unknown parameter may be a secret without its own name, as
/// in `?5e0c3f1a…`; secrets are longer, and have digits.
fn is_field(field: &str) -> bool {
    field.len() <= MAX_FIELD && field.bytes().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(&byte))
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
