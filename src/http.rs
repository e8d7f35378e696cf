//! HTTP: the routes. Each path leads to a handler, which takes a `Call` and gives an answer or a refusal.
//!
//! May import: all layers above. warp's filters stand here and in `call`; handlers use its types of HTTP only.

mod answer;
mod audit;
mod body;
mod call;
mod cookie;
mod cors;
mod forwarded;
mod gate;
mod host;
mod origin;
mod page;
mod payer;
mod query;
mod request_id;
mod rest;
mod stream;

use std::net::IpAddr;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use warp::filters::BoxedFilter;
use warp::http::header::{self, HeaderValue};
use warp::http::request::Parts;
use warp::reply::Response;
use warp::{Filter, path};

use crate::gateway::Gateway;
use crate::model::origin::Origin;
use crate::model::refusal::{Code, Refusal};
use crate::runtime::exposure::Warning;
use crate::runtime::handover::ClaimSlot;
use answer::Answer;
use audit::Asked;
use cors::Sharing;
use forwarded::Forwarded;

pub use forwarded::is_trusted;

use call::{Arrival, Call, Segment, Tickets, call, judged};
use gate::Gate;
use host::Hosts;
use page::asset::{self, Module};
use page::html;
use page::refused::Reader;
use query::without_token;
use request_id::REQUEST_ID;
use rest::{
    access, cookies, counts, events, exercise, holds, member, members, metrics, revocations, rooms, stats, tickets,
};
use stream::{session, sse, websocket};

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// At `--listen`, with a place.
    Public,
    /// At `--listen`, while all places are taken.
    Spare,
    /// At `--admin`.
    Operators,
}

/// Health, for which there are always places.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// The paths for operators. With `--admin` they are served there, and only there.
const FOR_OPERATORS: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/api/gateway"];

/// Answers the requests of all connections.
pub struct Door {
    hosts: Hosts,
    /// Whether operators have an address of their own.
    has_admin: bool,
    trusted_proxies: Vec<IpNet>,
    allow_origins: Vec<Origin>,
    warning: Warning,
    gate: Gate,
    routes: BoxedFilter<(Response,)>,
}

impl Door {
    /// The door to `gateway`.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        let config = gateway.config();
        let (trusted_proxies, allow_origins) = (config.trusted_proxies.clone(), config.allow_origins.clone());
        let (hosts, has_admin) = (Hosts::of(config), config.admin.is_some());
        let warning = Warning::of(config);
        let gate = Gate::new(gateway);
        let routes = routes(gate.clone());
        Door { hosts, has_admin, trusted_proxies, allow_origins, warning, gate, routes }
    }

    /// Answers a request from `peer`, over the connection of `slot`. `None` closes the connection without an answer: after an
    /// error status, an EventSource gives up.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        slot: ClaimSlot,
        peer: IpAddr,
        entrance: Entrance,
    ) -> Option<Response> {
        let (mut parts, body) = request.into_parts();
        if entrance == Entrance::Spare && !HEALTH.contains(&parts.uri.path()) {
            return None;
        }
        if self.warning.is_due() && forwarded::is_forwarded(&parts.headers) {
            self.warning.tell();
        }
        let id = request_id::settle(&mut parts.headers, is_trusted(peer, &self.trusted_proxies));
        let forwarded = || Forwarded::of(&parts.headers, peer, &self.trusted_proxies);
        let client = || forwarded().client();
        let brings_cookie = parts.headers.contains_key(header::COOKIE);
        let without_cookie = brings_cookie.then(|| self.gate.delete_cookie(&forwarded()).parse().ok()).flatten();
        let asked = Asked::of(&id, (parts.method.as_str(), parts.uri.path()), parts.uri.query(), client);
        let sharing = Sharing::of(&parts.headers, &self.allow_origins);
        let reader = (entrance == Entrance::Public).then(|| Reader::of(&parts.headers, parts.uri.path())).flatten();
        let mut response = match self.at_once(&mut parts, entrance) {
            None => self.route(parts, body, slot, peer).await,
            Some(answer) => answer::respond(answer),
        };
        response.headers_mut().insert(REQUEST_ID, id);
        sharing.mark(response.headers_mut());
        if let Some(refusal) = answer::refusal(&mut response) {
            if let Some(delete) = without_cookie.filter(|_| cookie::is_ended(&refusal)) {
                response.headers_mut().append(header::SET_COOKIE, delete);
            }
            self.gate.count_refusal(&refusal);
            asked.iter().for_each(|asked| asked.refused(&refusal));
            if let Some(reader) = reader {
                response = reader.told(response, &refusal);
            }
        }
        if self.gate.is_stopping() {
            // Otherwise, the connection's next request would meet its end.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Some(response)
    }

    /// The answer that a request gets whatever its path leads to. A preflight is answered before anything but the host is judged.
    fn at_once(&self, request: &mut Parts, entrance: Entrance) -> Option<Answer> {
        if let Err(refusal) = self.hosts.judge(request) {
            return Some(Err(refusal));
        }
        let refused = || {
            let path = request.uri.path();
            if self.gate.is_handed_over() && is_of_rooms(path) {
                return Some(Err(Refusal::new(Code::Stopping, "another process has taken over; ask again")));
            }
            let served = self.is_served(path, entrance);
            let query = request.uri.query().filter(|_| takes_no_token(path)).unwrap_or_default();
            served.and_then(|()| without_token(query)).err().map(Err)
        };
        cors::preflight(&request.method, &request.headers, &self.allow_origins).or_else(refused)
    }

    fn is_served(&self, path: &str, entrance: Entrance) -> Result<(), Refusal> {
        let is_for_operators = FOR_OPERATORS.contains(&path);
        match entrance {
            Entrance::Public if self.has_admin && is_for_operators => Err(nothing_lives_here()),
            Entrance::Operators if !is_for_operators => {
                let message = format!("only {} are served at this address", FOR_OPERATORS.join(", "));
                Err(Refusal::new(Code::NotFound, message))
            }
            Entrance::Public | Entrance::Spare | Entrance::Operators => Ok(()),
        }
    }

    async fn route(&self, mut parts: Parts, body: Incoming, slot: ClaimSlot, peer: IpAddr) -> Response {
        let version = parts.version;
        parts.extensions.insert(Arrival { peer, version, slot });
        let routes = TowerToHyperService::new(warp::service(self.routes.clone()));
        match routes.call(Request::from_parts(parts, body)).await {
            Ok(response) => response,
            Err(impossible) => match impossible {},
        }
    }
}

/// All routes. None rejects: `nothing_here` refuses requests without a handler.
fn routes(gate: Gate) -> BoxedFilter<(Response,)> {
    let call = || judged(gate.clone(), Tickets::No);
    let stream = || judged(gate.clone(), Tickets::Yes);
    let open = || self::call(gate.clone());
    let routes: [BoxedFilter<(Answer,)>; _] = [
        path!("api" / "rooms" / Segment / "users" / Segment).and(call()).then(member::member).boxed(),
        path!("api" / "rooms" / Segment / "events").and(call()).then(events::events).boxed(),
        path!("api" / "rooms" / Segment / "users").and(call()).then(members::members).boxed(),
        path!("api" / "login" / Segment).and(call()).then(exercise::login).boxed(),
        path!("api" / "logout" / Segment).and(call()).then(exercise::logout).boxed(),
        path!("api" / "login").and(call()).then(exercise::login_form).boxed(),
        path!("api" / "logout").and(call()).then(exercise::logout_form).boxed(),
        path!("user-stream").and(stream()).then(exercise::stream).boxed(),
        path!("api" / "rooms" / Segment / "login").and(call()).then(html::login).boxed(),
        path!("api" / "rooms" / Segment / "logout").and(call()).then(html::logout).boxed(),
        path!("api" / "rooms" / Segment / "stream").and(stream()).then(sse::room).boxed(),
        path!("api" / "stream" / "messages").and(call()).then(session::post).boxed(),
        path!("api" / "stream").and(call()).then(session::open).boxed(),
        path!("ws").and(stream()).then(websocket::upgrade).boxed(),
        path!("api" / "gateway").and(call()).then(stats::gateway).boxed(),
        path!("metrics").and(call()).then(metrics::metrics).boxed(),
        path!("healthz").and(open()).then(stats::health).boxed(),
        path!("readyz").and(open()).then(stats::readiness).boxed(),
        path!("users").and(call()).then(html::users).boxed(),
        path!("openapi.json").and(open()).then(asset::openapi).boxed(),
        path!("asyncapi.json").and(open()).then(asset::asyncapi).boxed(),
        path!(Module).and(open()).then(asset::module).boxed(),
        path!("assets" / ..).and(path::tail()).and(open()).then(asset::asset).boxed(),
        path!("api" / "rooms" / Segment).and(call()).then(rooms::room).boxed(),
        path!("api" / "rooms").and(call()).then(rooms::rooms).boxed(),
        path!("api" / "counts").and(call()).then(counts::counts).boxed(),
        path!("api" / "holds").and(call()).then(holds::holds).boxed(),
        path!("api" / "access").and(call()).then(access::access).boxed(),
        path!("api" / "tickets").and(call()).then(tickets::tickets).boxed(),
        path!("api" / "cookie").and(call()).then(cookies::cookie).boxed(),
        path!("api" / "revocations").and(call()).then(revocations::revocations).boxed(),
        path::end().and(open()).then(html::home).boxed(),
    ];
    let nothing = path::full().and(open()).then(nothing_here).boxed();
    let some = routes.into_iter().rev().fold(nothing.clone(), |rest, route| route.or(rest).unify().boxed());
    // warp takes a path with a slash at its end for the one without.
    let slash = path::full().and_then(ends_in_slash).untuple_one();
    slash.and(nothing).or(some).unify().map(answer::respond).boxed()
}

async fn ends_in_slash(path: path::FullPath) -> Result<(), warp::Rejection> {
    let path = path.as_str();
    if path.len() > 1 && path.ends_with('/') { Ok(()) } else { Err(warp::reject()) }
}

/// Refuses a request that no route took, and names an empty name as the reason.
async fn nothing_here(path: path::FullPath, _: Call) -> Answer {
    let path = path.as_str();
    let nameless = ["/api/login/", "/api/logout/"].contains(&path)
        || path
            .strip_prefix("/api/rooms/")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.ends_with("/users/"));
    Err(if nameless {
        Refusal::new(Code::BadName, "a name in the path is empty; a name has 1 to 128 bytes").of("path")
    } else {
        nothing_lives_here()
    })
}

/// Whether a request reads or changes what another process has after a takeover. Streams end by themselves, and a session's messages
/// are judged one by one.
fn is_of_rooms(path: &str) -> bool {
    let is_stream = path.ends_with("/stream") || ["/api/counts", "/api/stream/messages"].contains(&path);
    path.starts_with("/api/") && !is_stream && !FOR_OPERATORS.contains(&path)
}

/// Whether a token in the query is refused at once. A WebSocket is refused by a close code instead, and what is open to all does
/// not read its query.
fn takes_no_token(path: &str) -> bool {
    path.starts_with("/api/") || ["/users", "/user-stream"].contains(&path)
}

fn nothing_lives_here() -> Refusal {
    Refusal::new(Code::NotFound, "nothing lives at this path; the README lists all paths")
}
