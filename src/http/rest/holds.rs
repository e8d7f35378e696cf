//! The holds of one user in all rooms, for operators.

use serde::Serialize;
use warp::http::StatusCode;

use crate::http::answer::{self, Answer};
use crate::http::call::Call;
use crate::http::query::{PAGE, Query, bad};
use crate::http::rest::member::ShownHold;
use crate::model::hold::Holds;
use crate::model::name::Name;

/// The most rooms on a page: each room shows all holds of the user, up to some hundred.
const MAX_ROOMS: usize = PAGE;

#[derive(Serialize)]
struct Held {
    room: Name,
    holds: Vec<ShownHold>,
}

#[derive(Serialize)]
struct List {
    user: Name,
    rooms: Vec<Held>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Name>,
}

/// `GET /api/holds?user=ann`
pub async fn holds(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let permit = call.gate.may_operate(call.caller()?)?;
    let query = Query::strict(&call.query, &["user", "limit", "after"])?;
    let user = Name::new("user", query.get("user").ok_or_else(|| bad("user", "is missing"))?)?;
    let limit = query.number("limit", 1, MAX_ROOMS)?.unwrap_or(100);
    let now = call.gate.now();
    let shown = |holds: &Holds| holds.iter().map(|hold| ShownHold::of(hold, now)).collect::<Vec<_>>();
    // One more than asked for shows whether there are more.
    let mut found = permit.holds_of(&user, query.get("after"), limit + 1, shown).await;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(room, _)| room.clone());
    let rooms = found.into_iter().map(|(room, holds)| Held { room, holds }).collect();
    Ok(answer::private(answer::json(StatusCode::OK, &List { user, rooms, next })))
}
