//! Rooms over HTTP: their list, and the count and cursor of one.

use std::sync::Arc;

use serde::Serialize;
use warp::http::StatusCode;

use crate::http::answer::{self, Answer};
use crate::http::call::{Call, Segment};
use crate::http::query::{MAX_PAGE, PAGE, Query, bad};
use crate::model::count::Prefix;
use crate::model::cursor::Cursor;
use crate::model::name::Name;
use crate::model::refusal::Refusal;
use crate::rooms::listing::{Listing, Total};
use crate::wire::object::to_json;
use crate::wire::page::{PAGE_BYTES, Page};
use crate::wire::part::PART_BYTES;

/// The end of a list, behind the rooms.
#[derive(Serialize)]
struct ListEnd {
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh_for: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<TotalObject>,
}

#[derive(Serialize)]
struct TotalObject {
    rooms: usize,
    members: u64,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Name,
    /// The largest room first.
    Count,
}

impl Order {
    fn of(query: &Query) -> Result<Self, Refusal> {
        match query.get("order") {
            None | Some("name") => Ok(Order::Name),
            Some("count") => Ok(Order::Count),
            Some(_) => Err(bad("order", "is name, count or left out")),
        }
    }

    /// The text for `after` that continues behind a room.
    fn mark(self, (room, count): &(Name, usize)) -> String {
        match self {
            Order::Name => room.to_string(),
            Order::Count => format!("{count}.{room}"),
        }
    }
}

/// Reads a mark of [`Order::Count`].
fn read_mark(text: &str) -> Result<(usize, &str), Refusal> {
    let mark = text.split_once('.').and_then(|(count, room)| Some((count.parse().ok()?, room)));
    mark.ok_or_else(|| bad("after", "is not the next of a list in this order"))
}

/// `GET /api/rooms`
pub async fn rooms(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let query = Query::strict(&call.query, &["limit", "after", "prefix", "order", "total"])?;
    let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(PAGE);
    let prefix = Prefix::new("prefix", query.get("prefix").unwrap_or_default())?;
    let (order, after) = (Order::of(&query)?, query.get("after"));
    let most = call.gate.memory().list_bytes(PAGE_BYTES, PART_BYTES)?;
    let listing = match order == Order::Count || query.flag("total")? {
        true => Some(listing(&call, limit)?.await),
        false => None,
    };
    let permit = call.may_list()?;
    // One more than asked for shows whether there are more.
    let list = match (order, &listing) {
        (Order::Count, Some(listing)) => permit.largest(listing, &prefix, after.map(read_mark).transpose()?, limit + 1),
        _ => permit.rooms(&prefix, after, limit + 1)?,
    };
    let page = Page::of(list.iter().cloned(), limit, most);
    let last = page.next().and_then(|next| list.iter().find(|(room, _)| room == next));
    let total = listing.map(|listing| permit.total(&listing, &prefix));
    let end = to_json(&ListEnd {
        fresh_for: call.gate.taken().fresh_for,
        next: last.map(|room| order.mark(room)),
        total: total.map(|Total { rooms, members }| TotalObject { rooms, members }),
    });
    let close = if end == "{}" { "]}".to_owned() } else { end.replacen('{', "],", 1) };
    Ok(answer::list(page, r#"{"rooms":["#, close, call.gate.memory()))
}

/// Not async: a permit does not outlast a wait.
fn listing(call: &Call, limit: usize) -> Result<impl Future<Output = Arc<Listing>> + use<>, Refusal> {
    call.may_list()?.listing(limit)
}

#[derive(Serialize)]
struct RoomState<'a> {
    room: &'a Name,
    count: usize,
    cursor: Cursor,
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh_for: Option<u64>,
}

/// `GET /api/rooms/{room}`
pub async fn room(room: Segment, call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let room = room.name("room")?;
    Query::strict(&call.query, &[])?;
    let fresh_for = call.gate.taken().fresh_for;
    let (count, cursor) = call.may_count(&room)?.read();
    Ok(answer::json(StatusCode::OK, &RoomState { room: &room, count, cursor, fresh_for }))
}
