//! Rooms over HTTP.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use warp::http::{Method, StatusCode};

use crate::http::answer::{self, Answer};
use crate::http::body::{Object, given};
use crate::http::call::{Call, Segment};
use crate::http::permit::may_change;
use crate::http::query::Query;
use crate::http::stream::message::client;
use crate::model::command::{Action, Command};
use crate::model::cursor::Cursor;
use crate::model::event::DelReason;
use crate::model::hold::{ConnectionHold, Hold, Transport};
use crate::model::id::ConnectionId;
use crate::model::meta::Meta;
use crate::model::moment::Moment;
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::presence::Presence;
use crate::model::refusal::{Code, Refusal};
use crate::model::roster::Member;
use crate::wire::object::{MemberObject, Time};

/// Members or rooms of one page: by default, and at most. 10,000 members are about a megabyte.
const PAGE: usize = 1_000;
const MAX_PAGE: usize = 10_000;

/// The longest lease, in seconds: what is renewed less than once a day is a sign-in.
const MAX_TTL: u64 = 86_400;

/// The parameters that page through a list.
pub const LIST: [&str; 2] = ["limit", "after"];

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    restarts: u64,
    connections: usize,
    refused: u64,
}

/// `GET /healthz`
pub async fn health(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let health = Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        restarts: call.gateway.tasks().restarts(),
        connections: call.gateway.admissions().open(),
        refused: call.gateway.admissions().refused(),
    };
    Ok(answer::json(StatusCode::OK, &health))
}

#[derive(Serialize)]
struct RoomList<'a> {
    rooms: Vec<RoomCount<'a>>,
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
    let query = Query::strict(&call.query, &LIST)?;
    let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(PAGE);
    // One more than asked for shows whether there are more.
    let mut list = call.gateway.rooms().list(query.get("after"), limit + 1);
    let more = list.len() > limit;
    list.truncate(limit);
    let rooms = list.iter().map(|(room, count)| RoomCount { room, count: *count }).collect();
    let next = list.last().filter(|_| more).map(|(room, _)| room);
    Ok(answer::json(StatusCode::OK, &RoomList { rooms, next }))
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
    let (count, cursor) = call.gateway.rooms().read(&room, |p| (p.roster().len(), p.head()));
    Ok(answer::json(StatusCode::OK, &RoomState { room: &room, count, cursor }))
}

/// `GET` and `POST /api/rooms/{room}/users`
pub async fn members(room: Segment, call: Call) -> Answer {
    call.only("GET, HEAD, POST")?;
    let room = room.name("room")?;
    if call.method == Method::POST {
        return change_many(&room, call).await;
    }
    list(&room, &call, &Query::strict(&call.query, &LIST)?)
}

#[derive(Serialize)]
struct Members<'a> {
    room: &'a Name,
    cursor: Cursor,
    count: usize,
    users: Vec<MemberObject<'a>>,
}

/// The members of `room`, the page of them that `query` asks for.
pub fn list(room: &Name, call: &Call, query: &Query) -> Answer {
    let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(PAGE);
    let (cursor, count, members) = page(call, room, query.get("after"), limit);
    let users = members.iter().map(|member| MemberObject::from(&**member)).collect();
    Ok(answer::json(StatusCode::OK, &Members { room, cursor, count, users }))
}

/// At most `limit` members after the name `after`, and the moment they belong to.
pub fn page(call: &Call, room: &Name, after: Option<&str>, limit: usize) -> (Cursor, usize, Vec<Arc<Member>>) {
    call.gateway.rooms().read(room, |presence| {
        let roster = presence.roster();
        let mark = after.map(|after| roster.mark_after(after)).unwrap_or_default();
        let members = roster.iter_from(mark).take(limit).cloned().collect();
        (presence.head(), roster.len(), members)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Many {
    #[serde(default)]
    add: Vec<Object<SignIn>>,
    #[serde(default)]
    del: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    user: String,
    #[serde(default, deserialize_with = "given")]
    meta: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    ttl: Option<Value>,
}

#[derive(Serialize)]
struct ManyChanged {
    added: usize,
    removed: usize,
    cursor: Cursor,
}

async fn change_many(room: &Name, mut call: Call) -> Answer {
    may_change(&call.headers, &call.gateway.config().allow_origins)?;
    Query::strict(&call.query, &[])?;
    let Object(many): Object<Many> = call.json().await?.ok_or_else(no_body)?;
    let commands = many.commands()?;
    let Outcome { added, removed, cursor, .. } = call.gateway.rooms().change(room, &commands)?;
    Ok(answer::json(StatusCode::OK, &ManyChanged { added, removed, cursor }))
}

impl Many {
    fn commands(self) -> Result<Vec<Command>, Refusal> {
        let mut commands = Vec::with_capacity(self.add.len() + self.del.len());
        for (at, user) in self.del.iter().enumerate() {
            commands.push(Command::sign_out(Name::new(&format!("del[{at}]"), user)?));
        }
        for (at, Object(SignIn { user, meta, ttl })) in self.add.into_iter().enumerate() {
            let user = Name::new(&format!("add[{at}].user"), &user)?;
            let meta = meta.map(Meta::from_value).transpose();
            let meta = meta.map_err(|refusal| refusal.of(format!("add[{at}].meta")))?;
            let ttl = ttl.map(seconds).transpose();
            let ttl = ttl.map_err(|refusal| refusal.of(format!("add[{at}].ttl")))?;
            commands.push(Command::User(user, Action::SignIn { meta, ttl }));
        }
        let mut seen = HashSet::with_capacity(commands.len());
        let users = commands.iter().flat_map(|command| command.adds().or(command.removes()));
        match { users }.find(|user| !seen.insert(*user)) {
            Some(twice) => {
                let message = format!("{twice} stands in the batch twice");
                Err(Refusal::new(Code::BadJson, message).of("user"))
            }
            None => Ok(commands),
        }
    }
}

fn no_body() -> Refusal {
    Refusal::new(Code::BadJson, "a JSON body is missing").of("body")
}

/// `GET`, `PUT`, `PATCH` and `DELETE /api/rooms/{room}/users/{user}`
pub async fn member(room: Segment, user: Segment, mut call: Call) -> Answer {
    call.only("GET, HEAD, PUT, PATCH, DELETE")?;
    let (room, user) = (room.name("room")?, user.name("user")?);
    let method = call.method.clone();
    if method == Method::GET || method == Method::HEAD {
        return show(&room, &user, &call);
    }
    may_change(&call.headers, &call.gateway.config().allow_origins)?;
    if method == Method::DELETE {
        let action = sign_out(&Query::strict(&call.query, &["client", "reason"])?)?;
        call.gateway.rooms().change(&room, &[Command::User(user, action)])?;
        return Ok(answer::bare(StatusCode::NO_CONTENT));
    }
    Query::strict(&call.query, &[])?;
    let body = call.json::<Object<MemberBody>>().await?.map(|body| body.0).unwrap_or_default();
    let (meta, ttl) = (body.meta.map(Meta::from_value).transpose()?, body.ttl.map(seconds).transpose()?);
    let action = match (method == Method::PUT, meta, ttl) {
        (true, meta, ttl) => Action::SignIn { meta, ttl },
        (false, _, Some(_)) => {
            return Err(Refusal::new(Code::BadTtl, "PATCH holds nobody, so it takes no ttl").of("ttl"));
        }
        (false, Some(meta), None) => Action::SetMeta(meta),
        (false, None, None) => return Err(Refusal::new(Code::BadMeta, "meta is missing").of("meta")),
    };
    let rooms = call.gateway.rooms();
    let outcome = rooms.change(&room, &[Command::User(user.clone(), action)])?;
    let status = if outcome.added > 0 { StatusCode::CREATED } else { StatusCode::OK };
    let expires = ttl.map(|ttl| Time(call.gateway.clock().now().time + ttl));
    Ok(answer::json(status, &MemberChanged { user: &user, cursor: outcome.cursor, expires }))
}

/// What `DELETE` of a member asks for: their sign-out, their being sent away, or one client's leave.
fn sign_out(query: &Query) -> Result<Action, Refusal> {
    let bad = |message: &str, field| Err(Refusal::new(Code::BadParameter, message).of(field));
    match (query.get("client"), query.get("reason")) {
        (Some(id), None) => Ok(Action::LeaveClient(client(id)?)),
        (None, None | Some("signed_out")) => Ok(Action::SignOut(DelReason::SignedOut)),
        (None, Some("kicked")) => Ok(Action::SignOut(DelReason::Kicked)),
        (None, Some(_)) => bad("reason is signed_out or kicked", "reason"),
        (Some(_), Some(_)) => bad("a client that leaves has its own reason", "reason"),
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberBody {
    #[serde(default, deserialize_with = "given")]
    meta: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    ttl: Option<Value>,
}

/// Takes a value as `ttl`: whole seconds within its bounds.
fn seconds(value: Value) -> Result<Duration, Refusal> {
    let seconds = value.as_u64().filter(|seconds| (1..=MAX_TTL).contains(seconds));
    let message = format!("ttl is not a whole number of seconds from 1 to {MAX_TTL}");
    seconds.map(Duration::from_secs).ok_or_else(|| Refusal::new(Code::BadTtl, message).of("ttl"))
}

#[derive(Serialize)]
struct MemberChanged<'a> {
    user: &'a Name,
    cursor: Cursor,
    /// When the sign-in ends by itself, if it does.
    expires: Option<Time>,
}

#[derive(Serialize)]
struct OneMember<'a> {
    room: &'a Name,
    cursor: Cursor,
    #[serde(flatten)]
    member: MemberObject<'a>,
    holds: Vec<ShownHold>,
}

/// A hold as it is shown. A client's id is not: who knew it could take the client's place.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ShownHold {
    SignIn,
    Lease {
        expires: Time,
    },
    Connection {
        connection: ConnectionId,
        transport: Transport,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        lost: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires: Option<Time>,
    },
}

impl ShownHold {
    fn of(hold: &Hold, now: Moment) -> Self {
        let time = |tick| Time(now.time_of(tick));
        match hold {
            Hold::SignIn(None) => ShownHold::SignIn,
            Hold::SignIn(Some(deadline)) => ShownHold::Lease { expires: time(*deadline) },
            Hold::Connection(ConnectionHold { connection, transport, deadline, .. }) => ShownHold::Connection {
                connection: *connection,
                transport: *transport,
                lost: deadline.is_some(),
                expires: deadline.map(time),
            },
        }
    }
}

fn show(room: &Name, user: &Name, call: &Call) -> Answer {
    Query::strict(&call.query, &[])?;
    let now = call.gateway.clock().now();
    let read = |presence: &Presence| {
        let member = presence.roster().get(user)?.clone();
        let holds = presence.roster().holds(user)?.iter().map(|hold| ShownHold::of(hold, now)).collect();
        Some((presence.head(), member, holds))
    };
    let Some((cursor, member, holds)) = call.gateway.rooms().read(room, read) else {
        return Err(Refusal::new(Code::NotPresent, format!("{user} is not a member of {room}")));
    };
    let member = MemberObject::from(&*member);
    Ok(answer::json(StatusCode::OK, &OneMember { room, cursor, member, holds }))
}
