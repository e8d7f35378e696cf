//! What the caller may do, as the caller asks.

use serde::Serialize;
use warp::http::StatusCode;

use crate::access::pass::Kind;
use crate::access::rights::Admin;
use crate::access::verb::Verb;
use crate::http::answer::{self, Answer};
use crate::http::call::Call;
use crate::http::query::Query;
use crate::model::name::Name;
use crate::runtime::clock::unix_now;

/// The caller's pass.
#[derive(Serialize)]
struct Access<'a> {
    /// Whether the gateway has keys.
    keys: bool,
    sub: Option<&'a Name>,
    /// Whole seconds until the end.
    expires_in: Option<u64>,
    api_key: bool,
    /// Whether the caller may do what `admin` opens; a read-only API key may only read it.
    admin: bool,
    rooms: Vec<Granted>,
}

#[derive(Serialize)]
struct Granted {
    r#match: String,
    can: Vec<&'static str>,
}

/// `GET /api/access`
pub async fn access(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    Query::strict(&call.query, &[])?;
    let pass = call.caller()?.pass();
    let grants = pass.rights.grants().iter();
    let granted = grants
        .map(|grant| Granted { r#match: grant.rooms.to_string(), can: grant.can.iter().map(Verb::name).collect() });
    let access = Access {
        keys: call.gate.config().has_keys(),
        sub: pass.sub.as_ref(),
        expires_in: pass.expires.map(|end| end.saturating_sub(unix_now())),
        api_key: pass.kind == Kind::ApiKey,
        admin: pass.rights.admin() > Admin::No,
        rooms: granted.collect(),
    };
    Ok(answer::private(answer::json(StatusCode::OK, &access)))
}
