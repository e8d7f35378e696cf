//! Revocations: the end of tokens before their time.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use warp::http::{Method, StatusCode};

use crate::access::pass::UnixTime;
use crate::access::revocations::Revoked;
use crate::http::answer::{self, Answer};
use crate::http::body::Object;
use crate::http::call::Call;
use crate::http::query::{MAX_PAGE, PAGE, PAGING, Query, bad};
use crate::model::moment::Timestamp;
use crate::model::name::{MAX_BYTES, Name};
use crate::model::refusal::{Code, Refusal};
use crate::runtime::clock::unix_now;
use crate::wire::object::Time;

/// The longest `jti`: enough for two UUIDs and more, and a revocation is kept for a day.
const MAX_JTI: usize = MAX_BYTES;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    jti: Option<String>,
    sub: Option<String>,
    before: Option<String>,
}

/// A revocation as answers show it.
#[derive(Serialize)]
struct Revocation {
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<Name>,
    /// Tokens issued until this time are revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Time>,
}

#[derive(Serialize)]
struct List {
    revocations: Vec<Revocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET` and `POST /api/revocations`
pub async fn revocations(call: Call) -> Answer {
    call.only("GET, HEAD, POST")?;
    if call.method == Method::POST { revoke(call).await } else { list(&call) }
}

async fn revoke(mut call: Call) -> Answer {
    Query::strict(&call.query, &[])?;
    let permit = call.gate.may_revoke(&call.forwarded(), call.caller()?)?;
    let missing = || Refusal::new(Code::BadJson, "a JSON body is missing").of("body");
    let Object(asked) = call.json::<Object<Asked>>().await?.ok_or_else(missing)?;
    let (revoked, before) = asked.read()?;
    permit.revoke(revoked.clone(), before).await?;
    Ok(answer::json(StatusCode::CREATED, &Revocation::of(revoked, before)))
}

fn list(call: &Call) -> Answer {
    let query = Query::strict(&call.query, &PAGING)?;
    let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(PAGE);
    let after = query.get("after").map(mark).transpose()?;
    let mut all = call.gate.revocations(call.caller()?, after.as_ref(), limit + 1)?;
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more).map(|(revoked, _)| match revoked {
        Revoked::Token(jti) => format!("jti:{jti}"),
        Revoked::Subject(sub) => format!("sub:{sub}"),
    });
    let revocations = all.into_iter().map(|(revoked, before)| Revocation::of(revoked, before)).collect();
    Ok(answer::json(StatusCode::OK, &List { revocations, next }))
}

/// Reads the `next` of a list.
fn mark(text: &str) -> Result<Revoked, Refusal> {
    match text.split_once(':') {
        Some(("jti", jti)) => Ok(Revoked::Token(jti.into())),
        Some(("sub", sub)) => Ok(Revoked::Subject(Name::new("after", sub)?)),
        _ => Err(bad("after", "is not the next of such a list")),
    }
}

impl Asked {
    fn read(self) -> Result<(Revoked, UnixTime), Refusal> {
        let refused = |message: &str, field: &str| Err(Refusal::new(Code::BadJson, message).of(field));
        match self {
            Asked { jti: Some(jti), sub: None, before: None } if (1..=MAX_JTI).contains(&jti.len()) => {
                Ok((Revoked::Token(jti.into()), unix_now()))
            }
            Asked { jti: Some(_), sub: None, before: None } => refused(&format!("jti has 1 to {MAX_JTI} bytes"), "jti"),
            Asked { jti: None, sub: Some(sub), before } => Ok((
                Revoked::Subject(Name::new("sub", &sub)?),
                before.map_or_else(|| Ok(unix_now()), |text| time(&text))?,
            )),
            Asked { jti: Some(_), sub: None, before: Some(_) } => {
                refused("before goes with sub: a jti is one token", "before")
            }
            Asked { jti: Some(_), sub: Some(_), .. } => refused("jti and sub are two revocations; give one", "sub"),
            Asked { jti: None, sub: None, .. } => refused("jti is missing, and so is sub", "jti"),
        }
    }
}

/// A time of at most now, in whole seconds as tokens have it: a later one would revoke tokens that nobody has made yet.
fn time(text: &str) -> Result<UnixTime, Refusal> {
    let time = humantime::parse_rfc3339(text).ok();
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
    let seconds = time.and_then(seconds).filter(|seconds| *seconds <= unix_now());
    let message = "before is not a past time of RFC 3339 in UTC, such as 2026-11-28T06:00:00Z";
    seconds.ok_or_else(|| Refusal::new(Code::BadJson, message).of("before"))
}

impl Revocation {
    fn of(revoked: Revoked, before: UnixTime) -> Self {
        match revoked {
            Revoked::Token(jti) => Revocation { jti: Some(jti.into()), sub: None, before: None },
            Revoked::Subject(sub) => {
                let before = Some(Time(Timestamp(before.saturating_mul(1_000))));
                Revocation { jti: None, sub: Some(sub), before }
            }
        }
    }
}
