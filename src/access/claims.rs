//! Claims: what a token says (RFC 7519, 4), and the pass that follows from it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::access::pass::{KeyId, Kind, Pass, TokenId, UnixTime};
use crate::access::pattern::Pattern;
use crate::access::revocations::{LEEWAY, LONGEST_LIFE};
use crate::access::rights::{Admin, Grant, Rights};
use crate::access::verb::Verb;
use crate::model::info::Info;
use crate::model::json::Entries;
use crate::model::name::{MAX_BYTES, Name};
use crate::model::refusal::{Code, Refusal};

/// The most patterns of one token: each is asked for each request.
pub const MAX_PATTERNS: usize = 100;

/// What every token must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The audience.
    pub audience: String,
    /// The issuer; without one, none is judged.
    pub issuer: Option<String>,
}

/// The head of a token (RFC 7515, 4.1), as far as it counts.
#[derive(Debug)]
pub struct Head {
    /// The algorithm, as written.
    pub algorithm: String,
    /// The name of the key.
    pub kid: Option<String>,
}

/// What a token says to Presently.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Own<'a> {
    #[serde(borrow, default)]
    rooms: Vec<Entries<'a>>,
    #[serde(default)]
    admin: bool,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Granted {
    r#match: String,
    can: Vec<String>,
}

impl Head {
    /// Reads the first part of a token.
    ///
    /// # Errors
    ///
    /// `token_invalid`: `format`, `crit`, `alg` or `kid`.
    pub fn read(part: &str) -> Result<Self, Refusal> {
        let json = decoded(part)?;
        let head = entries(&json)?;
        if head.only("crit").is_some() {
            // RFC 7515, 4.1.11: what is not understood must be refused, and nothing critical is understood here.
            return Err(Refusal::check("crit", "the token's head has crit, and no extension is understood"));
        }
        let algorithm = text(&head, "alg").ok_or_else(|| Refusal::check("alg", "the token's head names no alg"))?;
        let kid = match head.only("kid") {
            None => None,
            Some(_) => Some(text(&head, "kid").ok_or_else(|| Refusal::check("kid", "the token's kid is not a text"))?),
        };
        Ok(Head { algorithm, kid })
    }
}

/// Reads and judges the second part of a token that `key` vouches for, at the time `now`.
///
/// # Errors
///
/// `token_expired`, or `token_invalid` with the failed check.
pub fn judge(part: &str, expected: &Expected, key: KeyId, now: UnixTime) -> Result<Pass, Refusal> {
    let json = decoded(part)?;
    let claims = entries(&json)?;
    judge_audience(&claims, expected)?;
    let expires = time(&claims, "exp", f64::floor)?.ok_or_else(|| missing("exp"))?;
    let issued = time(&claims, "iat", f64::floor)?;
    judge_times(expires, issued, time(&claims, "nbf", f64::ceil)?, now)?;
    let sub = text(&claims, "sub").ok_or_else(|| missing("sub"))?;
    let sub = Name::new("sub", &sub).map_err(|refusal| bad(refusal.message))?;
    let jti = match claims.only("jti") {
        None => None,
        Some(_) => Some(
            text(&claims, "jti")
                .filter(|jti| jti.len() <= MAX_BYTES)
                .ok_or_else(|| bad(format!("jti is not a text of at most {MAX_BYTES} bytes")))?,
        ),
    };
    let (rights, info) = own(&claims, &sub)?;
    let token = TokenId { jti: jti.map(Into::into), issued: issued.unwrap_or_default() };
    Ok(Pass {
        sub: Some(sub),
        rights,
        info,
        expires: Some(expires),
        key: Some(key),
        token: Some(token),
        ..Pass::of(Kind::Token)
    })
}

fn judge_audience(claims: &Entries<'_>, expected: &Expected) -> Result<(), Refusal> {
    let audience = claims.only("aud").ok_or_else(|| missing("aud"))?;
    let one = serde_json::from_str::<String>(audience.get()).map(|one| vec![one]);
    let all = one.or_else(|_| serde_json::from_str::<Vec<String>>(audience.get())).unwrap_or_default();
    if !all.contains(&expected.audience) {
        let message = format!("the token's aud does not name {:?}", expected.audience);
        return Err(Refusal::check("aud", message));
    }
    match &expected.issuer {
        Some(issuer) if text(claims, "iss").as_ref() != Some(issuer) => {
            Err(Refusal::check("iss", format!("the token's iss is not {issuer:?}")))
        }
        Some(_) | None => Ok(()),
    }
}

fn judge_times(
    expires: UnixTime,
    issued: Option<UnixTime>,
    not_before: Option<UnixTime>,
    now: UnixTime,
) -> Result<(), Refusal> {
    if expires + LEEWAY <= now {
        let message = format!("the token is over since {} s", now - expires);
        return Err(Refusal { check: Some("exp"), ..Refusal::new(Code::TokenExpired, message) });
    }
    // A longer life would outlast a revocation.
    let life = issued.map(|issued| expires.saturating_sub(issued));
    if expires > now + LONGEST_LIFE + LEEWAY || life.is_some_and(|life| life > LONGEST_LIFE + LEEWAY) {
        return Err(Refusal::check("exp", "the token lives for more than 24 hours"));
    }
    match not_before.filter(|not_before| *not_before > now + LEEWAY) {
        Some(not_before) => {
            Err(Refusal::check("nbf", format!("the token does not count yet, only in {} s", not_before - now)))
        }
        None => Ok(()),
    }
}

/// The rights and the `info` of the claim `presently`. One bad grant refuses the token: what else it grants could rest on it.
fn own(claims: &Entries<'_>, sub: &Name) -> Result<(Rights, Option<Info>), Refusal> {
    let Some(own) = claims.only("presently") else {
        return Ok((Rights::default(), None));
    };
    let fields = entries(own.get()).map_err(|refusal| bad(format!("presently: {}", refusal.message)))?;
    let Own { rooms, admin, info } = fields.fields().map_err(|error| bad(format!("presently: {error}")))?;
    if rooms.len() > MAX_PATTERNS {
        return Err(bad(format!("presently.rooms has {} patterns, more than {MAX_PATTERNS}", rooms.len())));
    }
    let grant = |(at, entries): (usize, Entries<'_>)| {
        grant(entries, sub).map_err(|why| bad(format!("presently.rooms[{at}]: {why}")))
    };
    let grants = rooms.into_iter().enumerate().map(grant).collect::<Result<Vec<_>, _>>()?;
    let info = info.map(Info::try_from).transpose().map_err(|refusal| bad(refusal.message))?;
    Ok((Rights::new(grants, if admin { Admin::Full } else { Admin::No }), info))
}

fn grant(mut entries: Entries<'_>, sub: &Name) -> Result<Grant, String> {
    if let Some(key) = entries.sort() {
        return Err(format!("{key:?} stands there twice"));
    }
    let Granted { r#match, can } = entries.fields().map_err(|error| error.to_string())?;
    let can = can.iter().map(|verb| verb.parse()).collect::<Result<Vec<Verb>, _>>()?;
    if can.is_empty() {
        return Err("can names no verb".to_owned());
    }
    Ok(Grant { rooms: Pattern::read(&r#match, Some(sub))?, can: can.into_iter().collect() })
}

fn decoded(part: &str) -> Result<String, Refusal> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| format("a part of the token is not base64url"))?;
    String::from_utf8(bytes).map_err(|_| format("a part of the token is not UTF-8"))
}

/// The entries of an object whose names are all different: of two the reader before the gateway may have seen the other.
fn entries(json: &str) -> Result<Entries<'_>, Refusal> {
    let mut entries: Entries<'_> =
        serde_json::from_str(json).map_err(|_| format("a part of the token is no JSON object"))?;
    match entries.sort() {
        Some(_) => Err(format("a name stands in the token twice")),
        None => Ok(entries),
    }
}

fn text(entries: &Entries<'_>, name: &str) -> Option<String> {
    serde_json::from_str(entries.only(name)?.get()).ok()
}

/// A time in seconds, which may have a fraction (RFC 7519, 2).
fn time(claims: &Entries<'_>, name: &'static str, round: fn(f64) -> f64) -> Result<Option<UnixTime>, Refusal> {
    /// The year 9999, beyond which no time is meant.
    const LAST: f64 = 253_402_300_799.0;
    let Some(value) = claims.only(name) else {
        return Ok(None);
    };
    let seconds = serde_json::from_str::<f64>(value.get()).ok().map(round).filter(|s| (0.0..=LAST).contains(s));
    let bad = || Refusal::check(name, format!("the token's {name} is not a time in seconds since 1970"));
    seconds.map(|seconds| Some(seconds as UnixTime)).ok_or_else(bad)
}

fn missing(claim: &'static str) -> Refusal {
    let check = if claim == "sub" { "claims" } else { claim };
    Refusal::check(check, format!("the token has no {claim}"))
}

fn format(message: &str) -> Refusal {
    Refusal::check("format", message)
}

fn bad(message: String) -> Refusal {
    Refusal::check("claims", message)
}
