//! The last events of a room over HTTP.

use serde::Serialize;
use warp::http::StatusCode;

use crate::http::answer::{self, Answer};
use crate::http::call::{Call, Segment};
use crate::http::query::Query;
use crate::model::cursor::Cursor;
use crate::model::name::Name;
use crate::wire::object::{self, Instant, to_json};
use crate::wire::page::PAGE_BYTES;
use crate::wire::part::PART_BYTES;

/// The most events of an answer: the whole history at its default length.
const MAX_EVENTS: usize = 1_000;

/// The events of an answer by default.
const EVENTS: usize = 100;

/// The beginning of an answer, without the events.
#[derive(Serialize)]
struct Events<'a> {
    room: &'a Name,
    cursor: Cursor,
    at: Instant,
    count: usize,
    from: Instant,
}

/// `GET /api/rooms/{room}/events`
pub async fn events(room: Segment, call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let room = room.name("room")?;
    let query = Query::strict(&call.query, &["limit"])?;
    let limit = query.number("limit", 1, MAX_EVENTS)?.unwrap_or(EVENTS);
    let most = call.gate.memory().list_bytes(PAGE_BYTES, PART_BYTES)?;
    let recent = call.may_watch(&room)?.last_events(limit)?;
    let (mut from, mut bytes, mut told) = (recent.from, 0, Vec::with_capacity(recent.events.len()));
    // Encoded outside of the room's lock, unless a reader had the event already.
    for event in &recent.events {
        if bytes >= most {
            from = from.max(event.at);
            break;
        }
        let json = object::event(event);
        bytes += json.len() + 1;
        told.push(json);
    }
    told.reverse();
    let (at, from) = (Instant(recent.at), Instant(from));
    let head = to_json(&Events { room: &room, cursor: recent.head, at, count: recent.count, from });
    let open = head.strip_suffix('}').unwrap_or(&head);
    let body = format!(r#"{open},"events":[{}]}}"#, told.join(","));
    Ok(answer::content(StatusCode::OK, "application/json", answer::counted(body.into(), call.gate.memory())))
}
