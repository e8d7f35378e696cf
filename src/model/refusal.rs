//! Refusals: every coded "no" to a client, in one table.

use std::fmt;

/// Why something was refused. One row of [`TABLE`] each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request is not what HTTP or the path asks for.
    BadRequest,
    /// A room's or user's name breaks the rules for names.
    BadName,
    /// A query parameter is unknown, doubled or has a bad value.
    BadParameter,
    /// A body or message is not the JSON that is expected here.
    BadJson,
    /// A `meta` is no object, or too large.
    BadMeta,
    /// A `ttl` is no whole number of seconds within its bounds.
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
    /// The client was signed out, and only watches until it changes its id.
    SignedOut,
    /// The client was sent away, and only watches until it changes its id.
    Kicked,
    /// A newer connection of the same client holds the user now.
    Replaced,
    /// The connection holds as many users as it may.
    TooManyJoined,
    /// The connection watches as many rooms as it may.
    TooManySubscribed,
    /// The path does not know this method.
    MethodNotAllowed,
    /// The request's body did not arrive in time.
    TooSlow,
    /// The body is larger than the bound.
    BodyTooLarge,
    /// The body's `Content-Type` is not what is expected here.
    WrongType,
    /// `/ws` was asked for without a WebSocket handshake of version 13.
    UpgradeRequired,
    /// The room has as many members as it may have.
    TooManyMembers,
    /// The gateway has as many rooms as it may have.
    TooManyRooms,
    /// The client's address has as many connections as it may have.
    TooManyConnections,
    /// The gateway is about to stop.
    Stopping,
    /// Something failed in the gateway.
    Failed,
}

/// What a refusal with one [`Code`] looks like on each transport.
#[derive(Debug)]
pub struct Row {
    /// The code.
    pub code: Code,
    /// Its name on the wire.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The WebSocket close code.
    pub close: u16,
    /// Whether asking again later may succeed.
    pub retry: bool,
    /// What it means, for PROTOCOL.
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
    no(Code::BadMeta, "bad_meta", 400, "`meta` is not an object, or is too large"),
    no(Code::BadTtl, "bad_ttl", 400, "`ttl` is not a whole number of seconds from 1 to 86,400"),
    no(Code::BadHandshake, "bad_handshake", 400, "The WebSocket handshake lacks something (RFC 6455, 4.2.1)"),
    no(Code::UnknownAction, "unknown_action", 400, "The message asks for an action that is not known"),
    no(Code::CrossSite, "cross_site", 403, "The request came from a page of another site, or from prefetching"),
    no(Code::WrongHost, "wrong_host", 421, "The request's `Host` is not a name of this gateway"),
    no(Code::NotFound, "not_found", 404, "Nothing lives at this path"),
    no(Code::NotPresent, "not_present", 404, "The user is not a member of the room"),
    no(Code::NotJoined, "not_joined", 404, "This connection does not hold the user in the room"),
    no(Code::NotSubscribed, "not_subscribed", 404, "This connection does not watch the room"),
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
    no(Code::TooManyJoined, "too_many_joined", 429, "This connection holds the maximum number of users"),
    no(Code::TooManySubscribed, "too_many_subscribed", 429, "This connection watches the maximum number of rooms"),
    no(
        Code::MethodNotAllowed,
        "method_not_allowed",
        405,
        "The path does not support this method; `Allow` lists the supported methods",
    ),
    no(Code::TooSlow, "too_slow", 408, "The body did not arrive in time"),
    no(Code::BodyTooLarge, "body_too_large", 413, "The body is larger than the bound"),
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
    /// This code's row of the table.
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

/// A "no" to a client: the code, what is wrong with which bound, and the field to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which row of the table.
    pub code: Code,
    /// What is wrong, for people.
    pub message: String,
    /// The parameter or field to blame.
    pub field: Option<String>,
    /// The methods to name in `Allow`.
    pub allow: Option<&'static str>,
}

impl Refusal {
    /// A refusal that blames no field.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into(), field: None, allow: None }
    }

    /// Whether a client may still watch where it may not hold.
    pub fn only_watches(&self) -> bool {
        matches!(self.code, Code::SignedOut | Code::Kicked)
    }

    /// The same, blaming a field.
    pub fn of(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
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
