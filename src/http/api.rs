//! Rooms over HTTP.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use warp::http::{Method, StatusCode};

use crate::command::Command;
use crate::event::{Cursor, Shown};
use crate::hold::Hold;
use crate::http::answer::{self, Answer};
use crate::http::body::{Object, given};
use crate::http::call::{Call, Segment};
use crate::http::origin::may_change;
use crate::http::query::Query;
use crate::meta::Meta;
use crate::name::Name;
use crate::presence::{Outcome, Presence};
use crate::refusal::{Code, Refusal};
use crate::roster::Member;

/// Members or rooms of one page: by default, and at most. 10,000 members are about a megabyte.
const PAGE: usize = 1_000;
const MAX_PAGE: usize = 10_000;

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
    let (count, cursor) = call.gateway.rooms().look(&room, |p| (p.roster().len(), p.head()));
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
    users: Vec<Shown<'a>>,
}

/// The members of `room`, the page of them that `query` asks for.
pub fn list(room: &Name, call: &Call, query: &Query) -> Answer {
    let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(PAGE);
    let (cursor, count, members) = page(call, room, query.get("after"), limit);
    let users = members.iter().map(|member| Shown::from(&**member)).collect();
    Ok(answer::json(StatusCode::OK, &Members { room, cursor, count, users }))
}

/// At most `limit` members after the name `after`, and the moment they belong to.
pub fn page(call: &Call, room: &Name, after: Option<&str>, limit: usize) -> (Cursor, usize, Vec<Arc<Member>>) {
    call.gateway.rooms().look(room, |presence| {
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
            commands.push(Command::SignOut { user: Name::new(&format!("del[{at}]"), user)? });
        }
        for (at, Object(SignIn { user, meta })) in self.add.into_iter().enumerate() {
            let user = Name::new(&format!("add[{at}].user"), &user)?;
            let meta = meta.map(Meta::from_value).transpose();
            let meta = meta.map_err(|refusal| refusal.of(format!("add[{at}].meta")))?;
            commands.push(Command::SignIn { user, meta });
        }
        let mut users = HashSet::with_capacity(commands.len());
        match commands.iter().find(|command| !users.insert(command.user())) {
            Some(twice) => {
                let message = format!("{} stands in the batch twice", twice.user());
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
    Query::strict(&call.query, &[])?;
    if method == Method::DELETE {
        call.gateway.rooms().change(&room, &[Command::SignOut { user }])?;
        return Ok(answer::bare(StatusCode::NO_CONTENT));
    }
    let body = call.json::<Object<MemberBody>>().await?;
    let command = match (method == Method::PUT, body.map(|body| body.0.meta()).transpose()?.flatten()) {
        (true, meta) => Command::SignIn { user: user.clone(), meta },
        (false, Some(meta)) => Command::SetMeta { user: user.clone(), meta },
        (false, None) => return Err(Refusal::new(Code::BadMeta, "meta is missing").of("meta")),
    };
    let outcome = call.gateway.rooms().change(&room, &[command])?;
    let status = if outcome.added > 0 { StatusCode::CREATED } else { StatusCode::OK };
    let changed = MemberChanged { user: &user, cursor: outcome.cursor, expires: None };
    Ok(answer::json(status, &changed))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberBody {
    #[serde(default, deserialize_with = "given")]
    meta: Option<Value>,
}

impl MemberBody {
    fn meta(self) -> Result<Option<Meta>, Refusal> {
        self.meta.map(Meta::from_value).transpose()
    }
}

#[derive(Serialize)]
struct MemberChanged<'a> {
    user: &'a Name,
    cursor: Cursor,
    /// When the sign-in ends by itself; it does not.
    expires: Option<&'a str>,
}

#[derive(Serialize)]
struct OneMember<'a> {
    room: &'a Name,
    cursor: Cursor,
    #[serde(flatten)]
    member: Shown<'a>,
    holds: Vec<Hold>,
}

fn show(room: &Name, user: &Name, call: &Call) -> Answer {
    Query::strict(&call.query, &[])?;
    let read = |presence: &Presence| {
        let member = presence.roster().get(user)?.clone();
        Some((presence.head(), member, presence.roster().holds(user)?.iter().collect()))
    };
    let Some((cursor, member, holds)) = call.gateway.rooms().look(room, read) else {
        return Err(Refusal::new(Code::NotPresent, format!("{user} is not a member of {room}")));
    };
    let member = Shown::from(&*member);
    Ok(answer::json(StatusCode::OK, &OneMember { room, cursor, member, holds }))
}
