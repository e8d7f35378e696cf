//! One member over HTTP: what is known about a user in a room, sign-ins, leases, `meta`, sign-outs and kicks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use warp::http::{Method, StatusCode};

use crate::access::verb::Verb;
use crate::http::answer::{self, Answer};
use crate::http::body::{Field, Object, given, value};
use crate::http::call::{Call, Segment};
use crate::http::gate::own_verb;
use crate::http::query::Query;
use crate::model::command::{Action, Command, SignIn};
use crate::model::cursor::Cursor;
use crate::model::event::DelReason;
use crate::model::hold::{ConnectionHold, Hold, HoldKind, Transport};
use crate::model::id::{ClientId, ConnectionId};
use crate::model::info::Info;
use crate::model::meta::Meta;
use crate::model::moment::Moment;
use crate::model::name::{HoldName, Name};
use crate::model::presence::Presence;
use crate::model::refusal::{Code, Refusal};
use crate::model::statement::{Rank, Said, Statement};
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
    if method == Method::DELETE {
        let query = Query::strict(&call.query, &["client", "hold", "reason"])?;
        query.full("client")?;
        let action = sign_out(call.client(&query)?, &query)?;
        call.may_change(&room, Some((&user, own_verb(&action))))?.apply(vec![Command::User(user, action)]).await?;
        return Ok(answer::bare(StatusCode::NO_CONTENT));
    }
    let permit = call.may_change(&room, Some((&user, Verb::SignIn)))?;
    Query::strict(&call.query, &[])?;
    let body = call.json::<Object<SignInFields>>().await?.map(|body| body.0).unwrap_or_default();
    let sign_in = body.sign_in()?;
    let ttl = sign_in.ttl;
    let action = if method == Method::PUT { Action::SignIn(sign_in) } else { set(sign_in)? };
    let outcome = permit.apply(vec![Command::User(user.clone(), action)]).await?;
    let status = if outcome.added > 0 { StatusCode::CREATED } else { StatusCode::OK };
    let expires = ttl.map(|ttl| Time(call.gate.now().time + ttl));
    Ok(answer::json(status, &MemberChanged { user: &user, cursor: outcome.cursor, expires }))
}

/// The action of `PATCH`, which speaks for the member and makes no hold.
fn set(SignIn { name, statement, info, ttl, maker: _ }: SignIn) -> Result<Action, Refusal> {
    let refused = |code, message, field: &str| Err(Refusal::new(code, message).of(field));
    match (name, ttl, &statement, &info) {
        (Some(_), ..) => refused(Code::BadJson, "PATCH makes no hold, so it takes no hold", "hold"),
        (_, Some(_), ..) => refused(Code::BadTtl, "PATCH makes no hold, so it takes no ttl", "ttl"),
        (_, _, None, None) => refused(Code::BadMeta, "meta is missing, and so is info", "meta"),
        (None, None, ..) => Ok(Action::Set(statement, info)),
    }
}

/// The action of `DELETE`: a sign-out, a kick, or the end of one hold. An empty `client` or `hold` is refused: taken as
/// absent, it would sign everybody out.
fn sign_out(client: Option<ClientId>, query: &Query) -> Result<Action, Refusal> {
    let bad = |message: &str, field| Err(Refusal::new(Code::BadParameter, message).of(field));
    match (client, query.full("hold")?, query.get("reason")) {
        (Some(id), None, None) => Ok(Action::LeaveClient(id)),
        (None, Some(name), None) => Ok(Action::Release(HoldName::new("hold", name)?)),
        (None, None, None | Some("signed_out")) => Ok(Action::SignOut(DelReason::SignedOut)),
        (None, None, Some("kicked")) => Ok(Action::SignOut(DelReason::Kicked)),
        (None, None, Some(_)) => bad("reason is signed_out or kicked", "reason"),
        (Some(_), Some(_), _) => bad("hold and client name two holds; give one of them", "hold"),
        (_, _, Some(_)) => bad("the end of one hold has its own reason", "reason"),
    }
}

/// What a body says of a sign-in, all of it optional.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInFields {
    pub hold: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub meta: Option<Field<Meta>>,
    #[serde(default, deserialize_with = "given")]
    pub rank: Option<Field<Rank>>,
    #[serde(default, deserialize_with = "given")]
    pub info: Option<Field<Info>>,
    #[serde(default, deserialize_with = "given")]
    pub ttl: Option<Field<Ttl>>,
}

impl SignInFields {
    /// The sign-in that the fields ask for.
    ///
    /// # Errors
    ///
    /// The refusal of a field.
    pub fn sign_in(self) -> Result<SignIn, Refusal> {
        Ok(SignIn {
            name: self.hold.map(|hold| HoldName::new("hold", &hold)).transpose()?,
            statement: Statement::of(value(self.meta)?, value(self.rank)?)?,
            info: value(self.info)?,
            ttl: value(self.ttl)?.map(|Ttl(ttl)| ttl),
            maker: None,
        })
    }
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
    /// Absent for callers who may not see them.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<Vec<ShownHold>>,
    /// What was said for the member as a whole, while it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ShownStatement>,
}

/// What was said through a hold.
#[derive(Serialize)]
struct ShownStatement {
    meta: Meta,
    rank: Rank,
}

/// A hold as answers show it. The client's id stays secret, because it lets its owner replace the hold.
#[derive(Serialize)]
pub struct ShownHold {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<HoldName>,
    #[serde(flatten)]
    connection: Option<ShownConnection>,
    #[serde(flatten)]
    said: Option<ShownStatement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Time>,
}

#[derive(Serialize)]
struct ShownConnection {
    connection: ConnectionId,
    transport: Transport,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lost: bool,
}

impl ShownHold {
    /// Shows `hold` at the moment `now`.
    pub fn of(hold: &Hold, now: Moment) -> Self {
        let (kind, name, connection) = match &hold.kind {
            HoldKind::SignIn { name, deadline: None, lease: None, .. } => ("sign_in", name.clone(), None),
            HoldKind::SignIn { name, .. } => ("lease", name.clone(), None),
            HoldKind::Connection(ConnectionHold { connection, transport, deadline, .. }) => {
                let (connection, transport, lost) = (*connection, *transport, deadline.is_some());
                ("connection", None, Some(ShownConnection { connection, transport, lost }))
            }
        };
        let said = hold.said.as_deref().map(ShownStatement::of);
        let expires = hold.kind.deadline().map(|deadline| Time(now.time_of(deadline)));
        ShownHold { kind, hold: name, connection, said, expires }
    }
}

impl ShownStatement {
    fn of(Said { statement: Statement { meta, rank }, .. }: &Said) -> Self {
        ShownStatement { meta: meta.clone(), rank: *rank }
    }
}

fn show(room: &Name, user: &Name, call: &Call) -> Answer {
    Query::strict(&call.query, &[])?;
    let (now, permit) = (call.gate.now(), call.may_watch(room)?);
    let sees_holds = call.caller()?.sees_holds(room);
    let read = |presence: &Presence| {
        let member = presence.roster().get(user)?.clone();
        let holds = presence.roster().holds(user)?;
        let shown = sees_holds.then(|| holds.iter().map(|hold| ShownHold::of(hold, now)).collect());
        let patch = holds.of_member().filter(|_| sees_holds).map(ShownStatement::of);
        Some((presence.head(), member, shown, patch))
    };
    let Some((cursor, member, holds, patch)) = permit.read(read) else {
        return Err(Refusal::new(Code::NotPresent, format!("{user} is not a member of {room}")));
    };
    let member = MemberObject::from(&*member);
    Ok(answer::json(StatusCode::OK, &OneMember { room, cursor, member, holds, patch }))
}
