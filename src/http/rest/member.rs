//! One member over HTTP: what is known about a user in a room, sign-ins, leases, `meta`, sign-outs and kicks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use warp::http::{Method, StatusCode};

use crate::http::answer::{self, Answer};
use crate::http::body::{Field, Object, given, value};
use crate::http::call::{Call, Segment};
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
use crate::model::presence::Presence;
use crate::model::refusal::{Code, Refusal};
use crate::wire::object::{MemberObject, Time};

/// The longest lease, in seconds. A hold that is renewed less than once a day is better a sign-in.
const MAX_TTL: u64 = 86_400;

/// `GET`, `PUT`, `PATCH` and `DELETE /api/rooms/{room}/users/{user}`
pub async fn member(room: Segment, user: Segment, mut call: Call) -> Answer {
    call.only("GET, HEAD, PUT, PATCH, DELETE")?;
    let (room, user) = (room.name("room")?, user.name("user")?);
    let method = call.method.clone();
    if method == Method::GET || method == Method::HEAD {
        return show(&room, &user, &call);
    }
    let permit = call.may_change(&room)?;
    if method == Method::DELETE {
        let action = sign_out(&Query::strict(&call.query, &["client", "reason"])?)?;
        permit.apply(&[Command::User(user, action)])?;
        return Ok(answer::bare(StatusCode::NO_CONTENT));
    }
    Query::strict(&call.query, &[])?;
    let body = call.json::<Object<MemberBody>>().await?.map(|body| body.0).unwrap_or_default();
    let (meta, ttl) = (value(body.meta)?, value(body.ttl)?.map(|Ttl(ttl)| ttl));
    let action = match (method == Method::PUT, meta, ttl) {
        (true, meta, ttl) => Action::SignIn { meta, ttl },
        (false, _, Some(_)) => {
            return Err(Refusal::new(Code::BadTtl, "PATCH makes no hold, so it takes no ttl").of("ttl"));
        }
        (false, Some(meta), None) => Action::SetMeta(meta),
        (false, None, None) => return Err(Refusal::new(Code::BadMeta, "meta is missing").of("meta")),
    };
    let outcome = permit.apply(&[Command::User(user.clone(), action)])?;
    let status = if outcome.added > 0 { StatusCode::CREATED } else { StatusCode::OK };
    let expires = ttl.map(|ttl| Time(call.gate.now().time + ttl));
    Ok(answer::json(status, &MemberChanged { user: &user, cursor: outcome.cursor, expires }))
}

/// The action of `DELETE`: a sign-out, a kick, or the leave of one client.
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
    meta: Option<Field<Meta>>,
    #[serde(default, deserialize_with = "given")]
    ttl: Option<Field<Ttl>>,
}

/// The `ttl` of a body: a whole number of seconds, 1 to 86,400.
pub struct Ttl(pub Duration);

impl TryFrom<&RawValue> for Ttl {
    type Error = Refusal;

    fn try_from(value: &RawValue) -> Result<Self, Refusal> {
        let seconds = value.get().parse().ok().filter(|seconds| (1..=MAX_TTL).contains(seconds));
        let message = format!("ttl is not a whole number of seconds from 1 to {MAX_TTL}");
        let seconds = seconds.ok_or_else(|| Refusal::new(Code::BadTtl, message).of("ttl"))?;
        Ok(Ttl(Duration::from_secs(seconds)))
    }
}

#[derive(Serialize)]
struct MemberChanged<'a> {
    user: &'a Name,
    cursor: Cursor,
    /// The deadline of a lease.
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

/// A hold as the answer shows it. The client's id stays secret, because it lets its owner replace the hold.
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
    let now = call.gate.now();
    let read = |presence: &Presence| {
        let member = presence.roster().get(user)?.clone();
        let holds = presence.roster().holds(user)?.iter().map(|hold| ShownHold::of(hold, now)).collect();
        Some((presence.head(), member, holds))
    };
    let Some((cursor, member, holds)) = call.may_watch(room)?.read(read) else {
        return Err(Refusal::new(Code::NotPresent, format!("{user} is not a member of {room}")));
    };
    let member = MemberObject::from(&*member);
    Ok(answer::json(StatusCode::OK, &OneMember { room, cursor, member, holds }))
}
