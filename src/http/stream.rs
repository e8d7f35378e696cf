//! Server-sent events (WHATWG HTML, 9.2).

use std::fmt::Write;
use std::future::pending;
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use warp::http::header::{self, HeaderName, HeaderValue};
use warp::http::{Method, Response, StatusCode, Version};

use crate::connection::Peer;
use crate::event::to_json;
use crate::framing::{Form, Framing};
use crate::http::answer::{self, Answer};
use crate::http::call::{Call, Segment};
use crate::http::query::Query;
use crate::name::Name;
use crate::reader::Reader;
use crate::refusal::{Code, Refusal};
use crate::room::Following;

/// `GET /api/rooms/{room}/stream`
pub async fn room(room: Segment, call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let room = room.name("room")?;
    let query = Query::strict(&call.query, &["since"])?;
    // An EventSource reconnects to its old URL, so what it saw last wins over what it began with.
    let cursor = last_event_id(&call).or(query.get("since")).and_then(|text| text.parse().ok());
    answer(&call, Form::Sse, &room, |following| Reader::resume(following, cursor)).await
}

/// Where the client says it was; empty is absent.
pub fn last_event_id(call: &Call) -> Option<&str> {
    let id = call.headers.get("last-event-id").filter(|id| !id.is_empty())?;
    // What is not even text resumes nowhere, like any other nonsense.
    Some(id.to_str().unwrap_or("?"))
}

/// Answers with a stream of `room`, which takes the socket and never comes back.
pub async fn answer(call: &Call, form: Form, room: &Name, reads: impl FnOnce(Following) -> Reader) -> Answer {
    call.only("GET, HEAD")?;
    no_body(call)?;
    let head = head(call.version);
    if call.method == Method::HEAD {
        return Ok(head);
    }
    let following = match call.gateway.rooms().follow(room) {
        Ok(following) => following,
        Err(refusal) if refusal.code.row().retry => return Ok(refused_for_now(&refusal)),
        Err(refusal) => return Err(refusal),
    };
    let reader = reads(following);
    let framing = Framing { form, chunked: call.version == Version::HTTP_11 };
    let mut first = head_bytes(&head);
    first.extend_from_slice(&framing.lines(&retry_line()));
    let gateway = call.gateway.clone();
    call.slot.claim(move |socket| gateway.stream(socket, framing, first.into(), Some(reader), SseClient));
    pending().await
}

/// A stream's socket leaves HTTP, so a body behind the request would be taken for something else.
pub fn no_body(call: &Call) -> Result<(), Refusal> {
    if call.has_body() {
        return Err(Refusal::new(Code::BadRequest, "a stream's request has no body").of("body"));
    }
    Ok(())
}

fn head(version: Version) -> Response<Bytes> {
    let mut head = answer::content(StatusCode::OK, "text/event-stream", Bytes::new());
    head = answer::with(head, header::CACHE_CONTROL, "no-store");
    // nginx would keep events back to fill its buffers.
    head = answer::with(head, HeaderName::from_static("x-accel-buffering"), "no");
    match version {
        Version::HTTP_11 => answer::with(head, header::TRANSFER_ENCODING, "chunked"),
        _ => answer::with(head, header::CONNECTION, "close"),
    }
}

/// A response's head as it goes over the wire (RFC 9112, 4). hyper writes those of all answers but a
/// stream's, which begins when the socket is no longer hyper's.
pub fn head_bytes(head: &Response<Bytes>) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {}\r\n", head.status());
    for (name, value) in head.headers() {
        // Our own values, all of them ASCII.
        let _ = write!(text, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    let _ = write!(text, "date: {}\r\n\r\n", httpdate::HttpDate::from(SystemTime::now()));
    text.into_bytes()
}

/// When to come back after a cut: soon enough for the grace, and not all at once.
fn retry_line() -> String {
    format!("retry: {}\n\n", fastrand::u16(1_000..=2_000))
}

#[derive(Serialize)]
struct Refused<'a> {
    action: &'a str,
    code: &'a str,
    message: &'a str,
    retry: bool,
}

/// An EventSource never comes back after an error, so "later" has to look like a stream that ends.
fn refused_for_now(refusal: &Refusal) -> Response<Bytes> {
    let row = refusal.code.row();
    let refused = Refused { action: "refused", code: row.name, message: &refusal.message, retry: row.retry };
    let body = format!("{}event: refused\ndata: {}\n\n", retry_line(), to_json(&refused));
    let mut response = answer::content(StatusCode::OK, "text/event-stream", body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An SSE client says nothing once its request is out; a pipelined request is not ours to answer.
struct SseClient;

impl Peer for SseClient {
    fn begin(&mut self, _: &mut Vec<u8>) -> bool {
        false
    }

    fn hear(&mut self, _: &[u8], _: &mut Vec<u8>) -> bool {
        false
    }

    fn farewell(&mut self, _: u16, _: &str, framing: Framing) -> Bytes {
        framing.end()
    }
}
