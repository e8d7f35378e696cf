//! The request, as handlers see it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use headers::{ContentType, HeaderMapExt};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use tokio::time::{error::Elapsed, timeout};
use warp::Filter;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};

use crate::access::verb::Verb;
use crate::http::answer::{self, Answer};
use crate::http::audit;
use crate::http::forwarded::Forwarded;
use crate::http::gate::{Caller, Change, Count, Gate, List, Ticket, Visitor, Watch};
use crate::http::query::{Query, well_encoded};
use crate::http::request_id;
use crate::http::stream::message;
use crate::model::id::{ClientId, ConnectionId};
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::runtime::handover::ClaimSlot;
use crate::runtime::memory::{Held, Kind, Level};

/// How a request arrived: the part of a call that is no filter of warp's. An extension of the request.
#[derive(Clone)]
pub struct Arrival {
    pub peer: IpAddr,
    pub version: Version,
    pub slot: ClaimSlot,
}

/// A request, and the gate to the gateway.
pub struct Call {
    pub gate: Gate,
    /// The other end of the connection: the client, or a proxy.
    pub peer: IpAddr,
    pub method: Method,
    pub headers: HeaderMap,
    pub version: Version,
    pub query: String,
    pub slot: ClaimSlot,
    /// Judged before the handler, but for the paths that are open to all.
    caller: Result<Caller, Refusal>,
    body: Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync>>,
}

/// The header with the client's id.
const CLIENT: &str = "Presently-Client";

/// The part of a too large body that is still read, in bytes. A client that is still sending when the connection closes
/// gets a reset, and loses the refusal.
const OVERRUN: usize = 16 * 1024 * 1024;
const OVERRUN_WITHIN: Duration = Duration::from_secs(2);

/// Whether a path takes a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tickets {
    No,
    Yes,
}

/// Makes a call of each request, and judges its credential. Always matches: the handler finds a bad credential when it asks
/// for a permit.
pub fn judged(gate: Gate, tickets: Tickets) -> impl Filter<Extract = (Call,), Error = warp::Rejection> + Clone {
    call(gate).then(move |mut call: Call| async move {
        call.caller = call.identify(tickets).await;
        call
    })
}

/// Makes a call of each request, whose sender counts as a stranger. Always matches.
pub fn call(gate: Gate) -> impl Filter<Extract = (Call,), Error = warp::Rejection> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::get::<Arrival>())
        .and(warp::body::stream())
        .map(move |method, headers, query, Arrival { peer, version, slot }: Arrival, body| {
            let body = TryStreamExt::map_ok(body, all_of);
            let caller = Ok(gate.stranger());
            Call { gate: gate.clone(), peer, method, headers, version, query, slot, caller, body: Box::pin(body) }
        })
}

fn all_of(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

impl Call {
    /// Refuses methods other than `allow`, a list as in the header `Allow`.
    pub fn only(&self, allow: &'static str) -> Result<(), Refusal> {
        if allow.split(", ").any(|method| method == self.method.as_str()) {
            return Ok(());
        }
        let message = format!("this path supports {allow}");
        Err(Refusal { allow: Some(allow), ..Refusal::new(Code::MethodNotAllowed, message) })
    }

    /// The headers, with what trusted proxies report.
    pub fn forwarded(&self) -> Forwarded<'_> {
        Forwarded::of(&self.headers, self.peer, &self.gate.config().trusted_proxies)
    }

    /// The request's id.
    pub fn id(&self) -> HeaderValue {
        request_id::of(&self.headers)
    }

    /// Notes for the log that the request has become the stream of `connection`.
    pub fn began(&self, connection: ConnectionId) {
        audit::began(&self.id(), || self.forwarded().client(), connection);
    }

    async fn identify(&self, tickets: Tickets) -> Result<Caller, Refusal> {
        let query = Query::lenient(&self.query, &["ticket"]).ok().filter(|_| tickets == Tickets::Yes);
        let ticket = query.as_ref().and_then(|query| query.get("ticket")).map_or(Ticket::None, |ticket| {
            if self.method == Method::GET { Ticket::Use(ticket) } else { Ticket::See(ticket) }
        });
        self.gate.identify(&self.forwarded(), ticket).await
    }

    /// Who sent the request.
    ///
    /// # Errors
    ///
    /// `token_invalid`, `token_expired` or `revoked`.
    pub fn caller(&self) -> Result<&Caller, Refusal> {
        self.caller.as_ref().map_err(Clone::clone)
    }

    /// A permit to read and follow the number of members of `room`, as [`Gate::may_count`].
    pub fn may_count<'a>(&self, room: &'a Name) -> Result<Count<'a>, Refusal> {
        self.gate.may_count(&self.forwarded(), self.caller()?, room)
    }

    /// A permit to list rooms, as [`Gate::may_list`].
    pub fn may_list(&self) -> Result<List<'static>, Refusal> {
        self.gate.may_list(&self.forwarded(), self.caller()?)
    }

    /// A permit to read and follow `room`, as [`Gate::may_watch`].
    pub fn may_watch<'a>(&self, room: &'a Name) -> Result<Watch<'a>, Refusal> {
        self.gate.may_watch(&self.forwarded(), self.caller()?, room)
    }

    /// A permit to change the presence of `user` in `room`, or of anyone, as [`Gate::may_change`].
    pub fn may_change<'a>(&self, room: &'a Name, user: Option<(&Name, Verb)>) -> Result<Change<'a>, Refusal> {
        self.gate.may_change(&self.forwarded(), self.caller()?, room, user)
    }

    /// The client of a connection that may be present, as [`Gate::visitor`].
    pub fn visitor(&self) -> Result<Visitor, Refusal> {
        self.gate.visitor(&self.forwarded(), self.caller()?)
    }

    /// The client's id, from the header `Presently-Client` or from `client` in the `query`. Either will do: addresses are kept in
    /// logs of proxies and in histories, but an EventSource sends no headers of its own.
    ///
    /// # Errors
    ///
    /// `bad_parameter`, also for two ids.
    pub fn client(&self, query: &Query) -> Result<Option<ClientId>, Refusal> {
        let by_query = query.get("client").map(|id| ("client", id));
        let by_header = self.headers.get_all(CLIENT).iter().map(|id| (CLIENT, id.to_str().unwrap_or_default()));
        let mut ids = by_query.into_iter().chain(by_header).map(|(field, id)| message::client(id, field));
        let first = ids.next().transpose()?;
        for other in ids {
            if Some(other?) != first {
                let message = format!("client and {CLIENT} name more than one client");
                return Err(Refusal::new(Code::BadParameter, message).of("client"));
            }
        }
        Ok(first)
    }

    /// Sends the client to `path`, as the client sees it: below the prefix of a trusted proxy.
    pub fn redirect(&self, status: StatusCode, path: &str) -> Answer {
        Ok(answer::redirect(status, &format!("{}{path}", self.forwarded().prefix())))
    }

    /// Whether the request has a body.
    pub fn has_body(&self) -> bool {
        let length = self.headers.get(header::CONTENT_LENGTH);
        length.is_some_and(|length| length != "0") || self.headers.contains_key(header::TRANSFER_ENCODING)
    }

    /// The body as JSON; `None` without one.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Refusal> {
        let Some(body) = self.json_body(self.gate.config().max_body).await? else {
            return Ok(None);
        };
        let parsed = serde_json::from_slice(&body).map(Some);
        parsed.map_err(|error| Refusal::new(Code::BadJson, format!("body: {error}")).of("body"))
    }

    /// The bytes of a JSON body of at most `most` bytes, not parsed yet; `None` without a body.
    pub async fn json_body(&mut self, most: usize) -> Result<Option<Bytes>, Refusal> {
        if !self.has_body() {
            return Ok(None);
        }
        self.is_type("application", "json")?;
        self.body(most).await.map(Some)
    }

    /// The body as a form's text.
    pub async fn form(&mut self) -> Result<String, Refusal> {
        self.is_type("application", "x-www-form-urlencoded")?;
        let not_utf8 = |_| Refusal::new(Code::BadParameter, "the form is not UTF-8").of("body");
        String::from_utf8(self.body(self.gate.config().max_body).await?.into()).map_err(not_utf8)
    }

    fn is_type(&self, ty: &str, sub: &str) -> Result<(), Refusal> {
        let is = self.headers.typed_get::<ContentType>().map(headers::Mime::from);
        if is.is_some_and(|is| (is.type_().as_str(), is.subtype().as_str()) == (ty, sub)) {
            return Ok(());
        }
        let message = format!("Content-Type is not {ty}/{sub}");
        Err(Refusal::new(Code::WrongType, message).of("Content-Type"))
    }

    async fn body(&mut self, most: usize) -> Result<Bytes, Refusal> {
        let within = self.gate.config().request_within;
        let announced = self.headers.typed_get::<headers::ContentLength>();
        if announced.is_some_and(|length| length.0 > most as u64) {
            // A client that expects 100 (Continue) has not sent the body yet.
            if !self.headers.contains_key(header::EXPECT) {
                self.overrun().await;
            }
            return Err(too_large(most));
        }
        let (mut body, memory) = (BytesMut::new(), self.gate.memory().clone());
        let mut held = memory.hold(Kind::Messages, 0);
        let read = timeout(within, self.read(&mut body, &mut held, most)).await;
        let fits = body.len() <= most;
        if !matches!(read, Ok(Ok(()))) || !fits {
            // The refused body goes before its rest is read.
            body = BytesMut::new();
            held.release();
        }
        match read {
            Err(Elapsed { .. }) => {
                let message = format!("the body did not arrive within {}", humantime::format_duration(within));
                Err(Refusal::new(Code::TooSlow, message).of("body"))
            }
            Ok(Err(Some(refusal))) => {
                self.overrun().await;
                Err(refusal)
            }
            Ok(Err(None)) => Err(Refusal::new(Code::BadRequest, "the body broke off").of("body")),
            Ok(Ok(())) if !fits => {
                self.overrun().await;
                Err(too_large(most))
            }
            Ok(Ok(())) => Ok(body.freeze()),
        }
    }

    /// Reads the rest of a refused body, within bounds. When the memory's budget is used up, the connection had better close
    /// at once.
    async fn overrun(&mut self) {
        if self.gate.memory().level() >= Level::Full {
            return;
        }
        let _ = timeout(OVERRUN_WITHIN, async {
            let mut taken = 0;
            while taken < OVERRUN
                && let Ok(Some(data)) = self.body.try_next().await
            {
                taken += data.len();
            }
        })
        .await;
    }

    /// Reads the body, and stops at more than `most` bytes. The error is a refusal, or none if the body broke off.
    async fn read(&mut self, into: &mut BytesMut, held: &mut Held, most: usize) -> Result<(), Option<Refusal>> {
        while into.len() <= most
            && let Some(data) = self.body.try_next().await.map_err(|_| None)?
        {
            into.extend_from_slice(&data);
            held.grow(data.len() as u64);
            let memory = self.gate.memory();
            if into.len() > memory.body_bytes() {
                return Err(Some(memory.refusal().of("body")));
            }
        }
        Ok(())
    }
}

fn too_large(most: usize) -> Refusal {
    Refusal::new(Code::BodyTooLarge, format!("the body has more than {most} bytes")).of("body")
}

/// A segment of the path, percent-encoded and not validated yet.
pub struct Segment(String);

impl FromStr for Segment {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Segment(text.to_owned()))
    }
}

impl Segment {
    /// The name in the segment (RFC 3986, 2.1).
    ///
    /// # Errors
    ///
    /// `bad_name`, blaming `field`.
    pub fn name(&self, field: &str) -> Result<Name, Refusal> {
        if !well_encoded(self.0.as_bytes()) {
            let message = format!("{field} has a % that is not followed by two hexadecimal digits");
            return Err(Refusal::new(Code::BadName, message).of(field));
        }
        let decoded = percent_decode_str(&self.0).decode_utf8();
        let text = decoded.map_err(|_| Refusal::new(Code::BadName, format!("{field} is not UTF-8")).of(field))?;
        Name::new(field, &text)
    }
}
