//! Rooms over HTTP: their list, and the count and cursor of one.

use serde::Serialize;
use warp::http::StatusCode;

use crate::http::answer::{self, Answer};
use crate::http::call::{Call, Segment};
use crate::http::query::{MAX_PAGE, PAGE, PAGING, Query};
use crate::model::cursor::Cursor;
use crate::model::name::Name;
use crate::wire::part::PAGE_BYTES;

/// The size in bytes of a room in the list, without its name.
const ROOM_BYTES: usize = 32;

#[derive(Serialize)]
struct RoomList<'a> {
    rooms: Vec<RoomCount<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh_for: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a Name>,
}

#[derive(Serialize)]
struct RoomCount<'a> {
    room: &'a Name,
    count: usize,
}

/// `GET /api/rooms`
pub async fn rooms(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let query = Query::strict(&call.query, &PAGING)?;
    let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(PAGE);
    let most = call.gate.memory().list_bytes(PAGE_BYTES)?;
    // One more than asked for shows whether there are more.
    let mut list = call.gate.may_list(&call.forwarded())?.rooms(query.get("after"), limit + 1)?;
    let mut bytes = 0;
    let fits = |(room, _): &&(Name, usize)| {
        bytes += room.len() + ROOM_BYTES;
        bytes <= most
    };
    let shown = list.iter().take(limit).take_while(fits).count();
    let more = list.len() > shown;
    list.truncate(shown);
    let rooms = list.iter().map(|(room, count)| RoomCount { room, count: *count }).collect();
    let fresh_for = call.gate.taken().fresh_for;
    let next = list.last().filter(|_| more).map(|(room, _)| room);
    Ok(answer::counted(answer::json(StatusCode::OK, &RoomList { rooms, fresh_for, next }), call.gate.memory()))
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
    let (count, cursor) = call.may_watch(&room)?.read(|p| (p.roster().len(), p.head()));
    Ok(answer::json(StatusCode::OK, &RoomState { room: &room, count, cursor, fresh_for }))
}
