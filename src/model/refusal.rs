//! Refusals: all coded negative answers to clients, in one table.

use std::fmt;

/// The reason of a refusal. Each code has one row of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request is not valid HTTP, or not valid for this path.
    BadRequest,
    /// A room's or user's name breaks the rules for names.
    BadName,
    /// A query parameter is unknown, doubled or has a bad value.
    BadParameter,
    /// The body or message is not valid JSON, or has missing, unknown or wrong fields.
    BadJson,
    /// `meta` is not an object, is too large or too deep, or would not be read by all as sent.
    BadMeta,
    /// `info` is not an object, is too large or too deep, or would not be read by all as sent.
    BadInfo,
    /// `rank` is not a whole number within the bounds, or comes without a `meta`.
    BadRank,
    /// `ttl` is not a whole number of seconds within the bounds.
    BadTtl,
    /// A WebSocket handshake lacks something (RFC 6455, 4.2.1).
    BadHandshake,
    /// A text message asks for an action that is not known.
    UnknownAction,
    /// Another site's page asked for a change.
    CrossSite,
    /// The request is for a host that is not this gateway's.
    WrongHost,
    /// Nothing lives at this path.
    NotFound,
    /// The user is not a member of the room.
    NotPresent,
    /// The connection does not hold this user in this room.
    NotJoined,
    /// The connection does not watch this room.
    NotSubscribed,
    /// No session is open under this secret.
    NoSession,
    /// There is no token, and this needs one.
    TokenMissing,
    /// The token fails a check.
    TokenInvalid,
    /// The token, or the cookie made with it, is over.
    TokenExpired,
    /// The token lacks a right.
    NotAllowed,
    /// The token was revoked.
    Revoked,
    /// The user is not the one that the connection's token names.
    WrongUser,
    /// The client was signed out, and may only watch for a while.
    SignedOut,
    /// The client was kicked, and may only watch for a while.
    Kicked,
    /// A newer connection of the same client holds the user now.
    Replaced,
    /// Another request of the session is under way.
    Busy,
    /// The request's number does not follow that of the session's last request.
    OutOfOrder,
    /// The connection holds the maximum number of users.
    TooManyJoined,
    /// The member has the maximum number of named sign-ins.
    TooManyHolds,
    /// The connection watches the maximum number of rooms, or of prefixes.
    TooManySubscribed,
    /// The path does not support this method.
    MethodNotAllowed,
    /// The request's body, or a message that was begun, did not arrive in time.
    TooSlow,
    /// The body is larger than the bound.
    BodyTooLarge,
    /// A batch has more users, or a session's request more messages, than the bound.
    BatchTooLarge,
    /// The body's `Content-Type` is not the expected type.
    WrongType,
    /// A request for `/ws` without a WebSocket handshake of version 13.
    UpgradeRequired,
    /// The room has the maximum number of members.
    TooManyMembers,
    /// The gateway has the maximum number of rooms.
    TooManyRooms,
    /// The client's address has as many connections as it may have.
    TooManyConnections,
    /// The gateway has the maximum number of tickets, cookies or revocations.
    TooManyPasses,
    /// The client, or its address, does this more often than the rate allows.
    TooFast,
    /// The gateway takes nearly all of its memory budget.
    TooMuchMemory,
    /// The gateway has not fetched its keys yet.
    NotReady,
    /// The journal cannot be written at the moment.
    NotDurable,
    /// The gateway is about to stop.
    Stopping,
    /// Something failed in the gateway.
    Failed,
}

/// The form of a refusal on each transport.
#[derive(Debug)]
pub struct Row {
    /// The code.
    pub code: Code,
    /// The name on the wire.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The WebSocket close code.
    pub close: u16,
    /// Whether a later retry may succeed.
    pub retry: bool,
    /// The meaning, for PROTOCOL.
    pub means: &'static str,
}

const fn no(code: Code, name: &'static str, status: u16, means: &'static str) -> Row {
    Row { code, name, status, close: 4000 + status, retry: false, means }
}

const fn later(code: Code, name: &'static str, close: u16, means: &'static str) -> Row {
    Row { code, name, status: 503, close, retry: true, means }
}

/// All refusals, in the order of [`Code`]. PROTOCOL shows this table; a test keeps the two equal.
pub const TABLE: &[Row] = &[
    no(Code::BadRequest, "bad_request", 400, "The request is not valid HTTP, or not valid for this path"),
    no(Code::BadName, "bad_name", 400, "A room's or user's name breaks the rules for names"),
    no(Code::BadParameter, "bad_parameter", 400, "A query parameter is unknown, given twice or has a bad value"),
    no(
        Code::BadJson,
        "bad_json",
        400,
        "The body or message is not valid JSON, or has missing, unknown or wrong fields",
    ),
    no(
        Code::BadMeta,
        "bad_meta",
        400,
        "`meta` is not an object, is too large or too deep, or would not be read by all as sent",
    ),
    no(
        Code::BadInfo,
        "bad_info",
        400,
        "`info` is not an object, is too large or too deep, or would not be read by all as sent",
    ),
    no(Code::BadRank, "bad_rank", 400, "`rank` is not a whole number from -9 to 9, or comes without a `meta`"),
    no(Code::BadTtl, "bad_ttl", 400, "`ttl` is not a whole number of seconds from 1 to 86,400"),
    no(Code::BadHandshake, "bad_handshake", 400, "The WebSocket handshake lacks something (RFC 6455, 4.2.1)"),
    no(Code::UnknownAction, "unknown_action", 400, "The message asks for an action that is not known"),
    no(Code::CrossSite, "cross_site", 403, "The request came from a page of another site, or from prefetching"),
    no(Code::WrongHost, "wrong_host", 421, "The request's `Host` is not a name of this gateway"),
    no(Code::NotFound, "not_found", 404, "Nothing lives at this path"),
    no(Code::NotPresent, "not_present", 404, "The user is not a member of the room"),
    no(Code::NotJoined, "not_joined", 404, "This connection does not hold the user in the room"),
    no(Code::NotSubscribed, "not_subscribed", 404, "This connection does not watch the room"),
    no(Code::NoSession, "no_session", 404, "No session is open under this secret"),
    no(Code::TokenMissing, "token_missing", 401, "There is no token or API key, and this needs one"),
    no(Code::TokenInvalid, "token_invalid", 401, "The token fails a check; `check` names the check"),
    Row {
        code: Code::TokenExpired,
        name: "token_expired",
        status: 401,
        close: 4401,
        retry: true,
        means: "The token, or the cookie made with it, is over; try again with a new one",
    },
    no(Code::NotAllowed, "not_allowed", 403, "The token does not allow this in this room"),
    no(Code::Revoked, "revoked", 403, "The token was revoked"),
    no(Code::WrongUser, "wrong_user", 403, "The connection's token names another user"),
    no(
        Code::SignedOut,
        "signed_out",
        403,
        "This client was signed out and may only watch, for an hour or until it changes its id",
    ),
    no(
        Code::Kicked,
        "kicked",
        403,
        "This client was kicked and may only watch, for an hour or until it changes its id",
    ),
    no(Code::Replaced, "replaced", 409, "A newer connection of the same client has taken over the hold"),
    Row {
        code: Code::Busy,
        name: "busy",
        status: 409,
        close: 4409,
        retry: true,
        means: "Another request of the session is under way; ask again with the same number in 100 ms",
    },
    no(
        Code::OutOfOrder,
        "out_of_order",
        409,
        "The request's number does not follow that of the session's last request",
    ),
    no(Code::TooManyJoined, "too_many_joined", 429, "This connection holds the maximum number of users"),
    no(Code::TooManyHolds, "too_many_holds", 429, "The member has the maximum number of named sign-ins"),
    no(
        Code::TooManySubscribed,
        "too_many_subscribed",
        429,
        "This connection watches the maximum number of rooms, or of prefixes",
    ),
    no(
        Code::MethodNotAllowed,
        "method_not_allowed",
        405,
        "The path does not support this method; `Allow` lists the supported methods",
    ),
    no(Code::TooSlow, "too_slow", 408, "The body or message did not arrive in time"),
    no(Code::BodyTooLarge, "body_too_large", 413, "The body is larger than the bound"),
    no(
        Code::BatchTooLarge,
        "batch_too_large",
        413,
        "The batch has more users, or the request more messages, than the bound",
    ),
    no(Code::WrongType, "wrong_type", 415, "The body's `Content-Type` is not the expected type"),
    no(Code::UpgradeRequired, "upgrade_required", 426, "`/ws` speaks only WebSocket, version 13"),
    later(Code::TooManyMembers, "too_many_members", 1013, "The room has the maximum number of members"),
    later(Code::TooManyRooms, "too_many_rooms", 1013, "The gateway has the maximum number of rooms"),
    later(
        Code::TooManyConnections,
        "too_many_connections",
        1013,
        "The client's address has the maximum number of connections",
    ),
    later(
        Code::TooManyPasses,
        "too_many_passes",
        1013,
        "The gateway has the maximum number of tickets, cookies or revocations",
    ),
    Row {
        code: Code::TooFast,
        name: "too_fast",
        status: 429,
        close: 1013,
        retry: true,
        means: "The connection or its address does this more often than its rate; `Retry-After` tells when to try again",
    },
    later(
        Code::TooMuchMemory,
        "too_much_memory",
        1013,
        "The gateway is short of memory, and serves only who is present already",
    ),
    later(
        Code::NotReady,
        "not_ready",
        1013,
        "The gateway has not fetched its keys yet, or is behind the shared log of its cluster",
    ),
    later(
        Code::NotDurable,
        "not_durable",
        1013,
        "The journal cannot be written at the moment; a change that was under way is done, and may be lost at a restart. In a cluster: the shared log does not answer; the change may still be done",
    ),
    later(Code::Stopping, "stopping", 1012, "The gateway is about to stop"),
    Row {
        code: Code::Failed,
        name: "failed",
        status: 500,
        close: 1011,
        retry: true,
        means: "Something failed in the gateway",
    },
];

impl Code {
    /// The code's row of the table.
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

/// A refusal of one request: the code, a sentence about the mistake and the bound, and the field at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The row of the table.
    pub code: Code,
    /// The mistake, for people.
    pub message: String,
    /// The parameter or field at fault.
    pub field: Option<String>,
    /// The methods to name in `Allow`.
    pub allow: Option<&'static str>,
    /// The time for `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The check that a token fails.
    pub check: Option<&'static str>,
}

impl Refusal {
    /// A refusal without a field at fault.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into(), field: None, allow: None, retry_after: None, check: None }
    }

    /// A `token_invalid` that names the failed check.
    pub fn check(check: &'static str, message: impl Into<String>) -> Self {
        Refusal { check: Some(check), ..Refusal::new(Code::TokenInvalid, message) }
    }

    /// Whether the client may not hold, but still watch.
    pub fn only_watches(&self) -> bool {
        matches!(self.code, Code::SignedOut | Code::Kicked)
    }

    /// Adds the field at fault.
    pub fn of(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

/// The beginning of a client's text, short enough for a message.
pub fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.row().name, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_row() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.code as usize, at, "{}", row.name);
        }
        assert_eq!(Code::Failed as usize, TABLE.len() - 1);
    }

    #[test]
    fn the_protocol_page_shows_the_table() {
        let page = include_str!("../PROTOCOL.md");
        let rows: Vec<String> = TABLE
            .iter()
            .map(|r| {
                let retry = if r.retry { "yes" } else { "no" };
                format!("| `{}` | {} | {} | {retry} | {} |", r.name, r.status, r.close, r.means)
            })
            .collect();
        let table = rows.join("\n");
        assert!(page.contains(&table), "PROTOCOL.md lacks this table:\n{table}");
    }
}
