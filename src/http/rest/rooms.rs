//! Rooms over HTTP: their list, and the count and cursor of one.

use serde::Serialize;
use warp::http::StatusCode;

use crate::http::answer::{self, Answer};
use crate::http::call::{Call, Segment};
use crate::http::query::{MAX_PAGE, PAGE, PAGING, Query};
use crate::model::cursor::Cursor;
use crate::model::name::Name;
use crate::wire::object::to_json;
use crate::wire::page::{PAGE_BYTES, Page};
use crate::wire::part::PART_BYTES;

/// `GET /api/rooms`
pub async fn rooms(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let query = Query::strict(&call.query, &PAGING)?;
    let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(PAGE);
    let most = call.gate.memory().list_bytes(PAGE_BYTES, PART_BYTES)?;
    // One more than asked for shows whether there are more.
    let list = call.gate.may_list(&call.forwarded())?.rooms(query.get("after"), limit + 1)?;
    let page = Page::of(list.into_iter(), limit, most);
    let close = page.next().map_or_else(|| "]}".to_owned(), |next| format!(r#"],"next":{}}}"#, to_json(next)));
    Ok(answer::list(page, r#"{"rooms":["#, close, call.gate.memory()))
}

#[derive(Serialize)]
struct RoomState<'a> {
    room: &'a Name,
    count: usize,
    cursor: Cursor,
}

/// `GET /api/rooms/{room}`
pub async fn room(room: Segment, call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let room = room.name("room")?;
    Query::strict(&call.query, &[])?;
    let (count, cursor) = call.may_watch(&room)?.read(|p| (p.roster().len(), p.head()));
    Ok(answer::json(StatusCode::OK, &RoomState { room: &room, count, cursor }))
}
