//! Server-sent events (WHATWG HTML, 9.2).

use std::fmt::Write;
use std::time::SystemTime;

use bytes::Bytes;
use uuid::Uuid;
use warp::http::header::{self, HeaderName, HeaderValue};
use warp::http::{Method, Response, StatusCode, Version};

use crate::access::verb::Verb;
use crate::delivery::connection::Options;
use crate::delivery::conversation::{Farewell, Flow, Peer, Talk};
use crate::delivery::reader::Reader;
use crate::delivery::step::Follower;
use crate::http::answer::{self, Answer, Body};
use crate::http::call::{Call, Segment};
use crate::http::cors::Sharing;
use crate::http::gate::{Holds, PassWatch};
use crate::http::query::Query;
use crate::http::request_id::REQUEST_ID;
use crate::http::stream::message::Reference;
use crate::http::stream::options::StreamOptions;
use crate::model::cursor::{Cursor, Offset};
use crate::model::hold::Transport;
use crate::model::id::ConnectionId;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::rooms::changed::Kept;
use crate::rooms::room::Following;
use crate::runtime::admission::Charge;
use crate::wire::dialect::{Dialect, Format};
use crate::wire::framing::Framing;

/// `GET /api/rooms/{room}/stream`
pub async fn room(room: Segment, call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let room = room.name("room")?;
    let query =
        Query::strict(&call.query, &["since", "as", "meta", "rank", "client", "alive", "suspect", "only", "ticket"])?;
    let mut options = StreamOptions::of(&call, &query)?;
    // An EventSource reconnects to its old URL, so what it saw last wins over what it began with.
    if let Some(id) = last_event_id(&call) {
        options.since = id.parse().ok();
    }
    let counts = match query.get("only") {
        None => false,
        Some("count") => true,
        Some(_) => return Err(Refusal::new(Code::BadParameter, "parameter \"only\" is count or left out").of("only")),
    };
    let verb = if counts { Verb::Count } else { Verb::Watch };
    let reads = |following, cursor, at_least| match counts {
        true => Follower::counting(following),
        false => Follower::resume(following, cursor, at_least),
    };
    answer(&call, Dialect::Native, (room, verb), options, reads).await
}

/// The `Last-Event-ID`; empty is absent.
pub fn last_event_id(call: &Call) -> Option<&str> {
    let id = call.headers.get("last-event-id").filter(|id| !id.is_empty())?;
    // A value that is no text resumes nowhere, like any other unknown cursor.
    Some(id.to_str().unwrap_or("?"))
}

/// Answers with a stream of `room`, which needs `verb`. The stream takes the socket, so the answer never resolves.
pub async fn answer(
    call: &Call,
    dialect: Dialect,
    (room, verb): (Name, Verb),
    options: StreamOptions,
    reads: impl FnOnce(Following, Option<Cursor>, Offset) -> Follower,
) -> Answer {
    call.only("GET, HEAD")?;
    no_body(call)?;
    demand(call, (&room, verb), &options)?;
    let head = head(call.version);
    if call.method == Method::HEAD {
        return Ok(head);
    }
    let id = ConnectionId(Uuid::new_v4());
    let mut granted = match grant(call, id, (&room, verb), &options) {
        Ok(granted) => granted,
        Err(refusal) if may_pass(&refusal) => return Ok(refused_for_now(&refusal)),
        Err(refusal) => return Err(refusal),
    };
    match std::mem::replace(&mut granted.kept, Kept::done()).await {
        Ok(place) => granted.at_least = place.map_or(granted.at_least, |place| place.offset),
        Err(refusal) if refusal.only_watches() => {
            call.visitor()?.refused(id, &refusal);
            granted.refusal = Some(refusal);
        }
        Err(refusal) if may_pass(&refusal) => return Ok(refused_for_now(&refusal)),
        Err(refusal) => return Err(refusal),
    }
    let framing = Framing::Sse { chunked: call.version == Version::HTTP_11 };
    let format = Format { dialect, suspects: options.suspects, framing };
    let mut first = begun(call, head);
    first.extend_from_slice(&framing.lines(&retry_line(0)));
    if options.alive {
        first.extend_from_slice(&format.answer(&call.gate.hello(call.caller()?).json()));
    }
    if let Some(refusal) = granted.refusal {
        // Streams go on here, so this is a message like others, and not the event that ends one.
        first.extend_from_slice(&format.answer(&Reference::default().refused(&refusal)));
    }
    let follower = reads(granted.following, options.since, granted.at_least).for_suspects(options.suspects);
    // Without a first message, a stream that is cut before its first event would lose its place.
    if options.since.is_none()
        && let Some(cursor) = follower.cursor()
        && names_event_stream(call)
    {
        first.extend_from_slice(&format.cursor(&room, cursor));
    }
    let connection_options = Options { id, format, alive: options.alive, asks: None, head: first.into() };
    let reader = Reader::new(follower);
    let watch = PassWatch::new(call.gate.clone(), call.caller()?.pass().clone());
    let peer = SseClient { holds: granted.holds, reader: Some(Box::new(reader)), watch };
    call.began(id);
    call.gate.stream(&call.slot, granted.charge, move |_| (connection_options, peer)).await
}

/// Whether the client is an EventSource or similar, which resumes by itself, and not a reader of lines such as curl.
fn names_event_stream(call: &Call) -> bool {
    let accepted = call.headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let types = accepted.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    types.map(str::trim).any(|ty| ty.eq_ignore_ascii_case("text/event-stream"))
}

/// Everything that a stream's URL asks for, granted.
struct Granted {
    charge: Charge,
    following: Following,
    holds: Holds,
    /// The offset of the stream's own hold.
    at_least: Offset,
    /// What the stream waits for: its own hold is written.
    kept: Kept,
    /// The refusal of the hold, if the stream only watches for that reason.
    refusal: Option<Refusal>,
}

/// Demands what the URL asks for, without doing it.
fn demand(call: &Call, (room, verb): (&Name, Verb), options: &StreamOptions) -> Result<(), Refusal> {
    call.caller()?.pass().demand(verb, room)?;
    if let Some((user, _)) = &options.holds {
        call.visitor()?.may_join(room, user.clone())?;
    }
    Ok(())
}

/// Does what the URL asks for. The hold comes first, so that the snapshot includes it.
fn grant(
    call: &Call,
    id: ConnectionId,
    (room, verb): (&Name, Verb),
    options: &StreamOptions,
) -> Result<Granted, Refusal> {
    let charge = call.gate.charge(&call.forwarded())?;
    let user = options.holds.as_ref().map(|(user, _)| user);
    let visitor = options.holds.as_ref().map(|_| call.visitor()).transpose()?;
    let join = visitor.as_ref().zip(user).map(|(visitor, user)| visitor.may_join(room, user.clone())).transpose()?;
    let none = Holds::default();
    let mut reached = Kept::done();
    let following = match verb {
        Verb::Count => call.may_count(room)?.follow(user, options.client, &none)?,
        Verb::Watch | Verb::Join | Verb::SignIn | Verb::Manage => {
            let watch = call.may_watch(room)?;
            reached = watch.reached(options.since);
            watch.follow(options.since, user, options.client, &none)?
        }
    };
    let mut granted = Granted {
        charge,
        following,
        holds: Holds::default(),
        at_least: Offset::default(),
        kept: reached,
        refusal: None,
    };
    if let (Some((_, meta)), Some(join), Some(visitor)) = (options.holds.clone(), join, &visitor) {
        match join.hold(&mut granted.holds, (id, Transport::Sse), meta, options.client) {
            Ok(joined) => {
                granted.at_least = joined.outcome.cursor.offset;
                let reached = std::mem::replace(&mut granted.kept, Kept::done());
                granted.kept = if reached.is_done() { joined.kept } else { Kept::all(vec![reached, joined.kept]) };
            }
            Err(refusal) if refusal.only_watches() => {
                visitor.refused(id, &refusal);
                granted.refusal = Some(refusal);
            }
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(granted)
}

/// Refuses a body: a stream's socket leaves HTTP, so the body's bytes would be read as something else.
pub fn no_body(call: &Call) -> Result<(), Refusal> {
    if call.has_body() {
        return Err(Refusal::new(Code::BadRequest, "a stream's request has no body").of("body"));
    }
    Ok(())
}

/// No cache keeps a stream, and no proxy or middleware compresses it (RFC 9111, 5.2.2.6): compressors such as Express'
/// `compression` would keep events back to fill their buffers.
const NEITHER_KEPT_NOR_CHANGED: &str = "no-store, no-transform";

/// The head of an event stream.
pub fn head(version: Version) -> Response<Body> {
    let mut head = answer::content(StatusCode::OK, "text/event-stream", Bytes::new());
    head = answer::with(head, header::CACHE_CONTROL, NEITHER_KEPT_NOR_CHANGED);
    // nginx would keep events back to fill its buffers.
    head = answer::with(head, HeaderName::from_static("x-accel-buffering"), "no");
    match version {
        Version::HTTP_11 => answer::with(head, header::TRANSFER_ENCODING, "chunked"),
        _ => answer::with(head, header::CONNECTION, "close"),
    }
}

/// The `head` of an event stream on the wire, with what hyper's answers get at the door.
pub fn begun(call: &Call, mut head: Response<Body>) -> Vec<u8> {
    head.headers_mut().insert(REQUEST_ID, call.id());
    Sharing::of(&call.headers, &call.gate.config().allow_origins).mark(head.headers_mut());
    if call.gate.is_stopping() {
        head.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    head_bytes(&head)
}

/// A response's head on the wire (RFC 9112, 4). hyper writes the heads of all other answers; a stream begins after the
/// socket has left hyper.
pub fn head_bytes(head: &Response<Body>) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {}\r\n", head.status());
    for (name, value) in head.headers() {
        // All of these values are the gateway's own, and ASCII.
        let _ = write!(text, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    let _ = write!(text, "date: {}\r\n\r\n", httpdate::HttpDate::from(SystemTime::now()));
    text.into_bytes()
}

/// The delay before an EventSource reconnects, `more` milliseconds and one to two seconds: within the grace period, and
/// different for each client.
pub fn retry_line(more: u64) -> String {
    format!("retry: {}\n\n", more.saturating_add(fastrand::u64(1_000..=2_000)))
}

/// The delay before a client reconnects whose stream ends now, in milliseconds.
pub fn retry_after(wait: u32) -> String {
    format!("retry: {wait}\n\n")
}

/// Whether a refusal may pass by itself, so that an EventSource had better stay: not one that needs another credential.
pub fn may_pass(refusal: &Refusal) -> bool {
    let row = refusal.code.row();
    row.retry && row.status != 401
}

/// The answer for a refusal with retry. An EventSource gives up after an error status, so this answer is a stream that
/// ends.
pub fn refused_for_now(refusal: &Refusal) -> Response<Body> {
    let after = refusal.retry_after.unwrap_or_default().saturating_mul(1_000);
    let body = retry_line(after) + &refused_event(refusal);
    let response = answer::content(StatusCode::OK, "text/event-stream", body);
    let response = answer::with(response, header::CACHE_CONTROL, NEITHER_KEPT_NOR_CHANGED);
    answer::noting(answer::retrying_after(response, refusal), refusal)
}

/// The event that ends a stream for a reason.
pub fn refused_event(refusal: &Refusal) -> String {
    format!("event: refused\ndata: {}\n\n", Reference::default().refused(refusal))
}

/// An SSE client sends nothing after its request, and pipelined requests are not answered. Fields that most streams need
/// briefly or never are boxed, to keep idle streams small.
struct SseClient {
    holds: Holds,
    watch: PassWatch,
    reader: Option<Box<Reader>>,
}

impl Peer for SseClient {
    fn begin(&mut self, talk: &mut Talk<'_>) -> Flow {
        self.holds.notify(talk.connection());
        self.watch.begin(talk.connection());
        if let Some(reader) = self.reader.take() {
            talk.begin(*reader);
        }
        Flow::Continue
    }

    fn receive(&mut self, _: &[u8], _: &mut Talk<'_>) -> Flow {
        Flow::Continue
    }

    fn gone(&mut self, code: Option<Code>) {
        if code == Some(Code::Revoked) {
            self.holds.kick_all();
        }
        self.holds = Holds::default();
        self.watch = PassWatch::default();
    }

    fn farewell(&mut self, end: Farewell, framing: Framing) -> Bytes {
        farewell(end, framing)
    }
}

/// The last message of an event stream.
pub fn farewell(Farewell { code, wait }: Farewell, framing: Framing) -> Bytes {
    // An EventSource comes back by itself, and is told when it had better not, or later.
    let said = match (wait, code.row().retry && code != Code::TokenExpired) {
        (Some(wait), _) => framing.lines(&retry_after(wait)),
        (None, true) => Bytes::new(),
        (None, false) => framing.lines(&refused_event(&Refusal::new(code, code.row().means))),
    };
    [said, framing.end()].concat().into()
}
