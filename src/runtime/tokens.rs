//! The commands `token` and `check-token`.

use std::fmt::Write;
use std::io::Read;
use std::time::Duration;

use clap::Args;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::access::claims::MAX_PATTERNS;
use crate::access::issue::Issue;
use crate::access::pass::{Kind, Pass};
use crate::access::pattern::Pattern;
use crate::access::revocations::LONGEST_LIFE;
use crate::access::rights::{Admin, Grant};
use crate::access::verb::{Verb, Verbs};
use crate::model::info::Info;
use crate::model::name::Name;
use crate::runtime::clock::unix_now;
use crate::runtime::config::Config;
use crate::runtime::config::values::duration;
use crate::runtime::key_source::{KeyFile, Secrets};
use crate::runtime::keys::{Keys, read};

/// What a token is to say.
#[derive(Args, Clone, Debug)]
pub struct Wanted {
    /// User whom the token names
    #[arg(long, value_name = "NAME")]
    sub: Name,

    /// Rooms that the token is for: a room's name, or the beginning of names and a *, such as 'team-*'; repeatable. Each may
    /// have its own verbs, as in 'doc/*:watch'; otherwise those of --can
    #[arg(long = "room", value_name = "ROOMS[:VERBS]")]
    rooms: Vec<String>,

    /// What the token allows there: count, watch, join, sign_in, manage; repeatable
    #[arg(long, value_delimiter = ',', value_name = "VERB")]
    can: Vec<Verb>,

    /// Allow what is outside of rooms, too: all lists and holds, revocations, the gateway's numbers
    #[arg(long = "grant-admin")]
    grants_admin: bool,

    /// JSON object that is shown beside the user's meta
    #[arg(long, value_name = "JSON")]
    info: Option<String>,

    /// Life of the token, at most 24h
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = duration)]
    ttl: Duration,
}

/// Makes a token with the one key of `config`.
///
/// # Errors
///
/// An exit code, and a sentence about the option or file.
pub fn make(config: &Config, wanted: &Wanted) -> Result<String, (u8, String)> {
    let option = |sentence: String| (2, sentence);
    let (key, kid, name) = match (&config.keys[..], &config.secrets.key) {
        ([KeyFile { kid, path }], None) => {
            (read(path).map_err(option)?, kid.as_deref(), format!("--key: {}", path.display()))
        }
        ([], Some(secret)) => (secret.as_bytes().to_vec(), None, Secrets::KEY.to_owned()),
        _ => return Err(option("token needs one --key, the secret or private key to sign with".to_owned())),
    };
    let issued = unix_now();
    let issue = Issue {
        sub: wanted.sub.clone(),
        audience: config.token_audience.clone(),
        issuer: config.token_issuer.clone(),
        jti: Uuid::new_v4().to_string(),
        rooms: rooms(wanted).map_err(option)?,
        is_admin: wanted.grants_admin,
        info: wanted.info.as_deref().map(info).transpose().map_err(option)?,
        issued,
        expires: issued + wanted.ttl.as_secs().clamp(1, LONGEST_LIFE),
    };
    issue.token(&key, kid).map_err(|error| option(format!("{name} {error}")))
}

/// The rooms of the options, as they are written: `{sub}` is put in by the gateway, where a `*` in a name means nothing.
fn rooms(wanted: &Wanted) -> Result<Vec<(String, Verbs)>, String> {
    let shared: Verbs = wanted.can.iter().copied().collect();
    let of = |text: &String| {
        // A name may have a colon, too.
        let (rooms, can) = match Grant::split(text) {
            Ok(split) => split,
            Err(_) if wanted.can.is_empty() => {
                return Err(format!("--room {text} needs verbs: --can watch, or --room '{text}:watch'"));
            }
            Err(_) => (text.as_str(), shared),
        };
        Pattern::read(rooms, Some(&wanted.sub)).map_err(|error| format!("--room {text}: {error}"))?;
        Ok((rooms.to_owned(), can))
    };
    let rooms = wanted.rooms.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    match rooms.len() {
        0 if !wanted.can.is_empty() => Err("--can needs a --room".to_owned()),
        0 if !wanted.grants_admin => Err("the token would allow nothing: add --room 'team-*:join'".to_owned()),
        0..=MAX_PATTERNS => Ok(rooms),
        many => Err(format!("--room: a token has at most {MAX_PATTERNS} patterns, and not {many}")),
    }
}

fn info(text: &str) -> Result<Box<RawValue>, String> {
    let value = RawValue::from_string(text.to_owned()).map_err(|_| "--info is not JSON".to_owned())?;
    Info::try_from(&*value).map_err(|refusal| format!("--info: {}", refusal.message))?;
    Ok(value)
}

/// Judges the token or API key on standard input by the keys of `config`, and says in words what it allows.
///
/// # Errors
///
/// An exit code, and a sentence: 2 about an option, 1 about the token.
pub async fn check(config: &Config) -> Result<String, (u8, String)> {
    if !config.has_keys() {
        return Err((2, "check-token needs --key, --jwks or --api-key, by which to judge".to_owned()));
    }
    let keys = Keys::load(config).map_err(|error| (2, error))?;
    keys.fetch().await.map_err(|error| (1, format!("--jwks: {error}")))?;
    let keyring = keys.current();
    let mut text = String::new();
    let read = std::io::stdin().take(64 * 1024).read_to_string(&mut text);
    read.map_err(|error| (1, format!("cannot read standard input: {error}")))?;
    // Pasted from a header.
    let credential = text.trim();
    let credential = credential.strip_prefix("Bearer ").map_or(credential, str::trim);
    let pass = match keyring.api_key(credential) {
        Some(pass) => pass,
        None => keyring.token(credential, unix_now()).map_err(|refusal| {
            let check = refusal.check.map(|check| format!(" (check {check})")).unwrap_or_default();
            (1, format!("the token is refused: {}{check}", refusal.message))
        })?,
    };
    Ok(words(&pass))
}

/// What a pass allows, in words.
fn words(pass: &Pass) -> String {
    let mut text = match (&pass.sub, pass.kind) {
        (Some(sub), _) => format!("a good token of {sub}"),
        (None, Kind::ApiKey) => "a good API key".to_owned(),
        (None, Kind::Open | Kind::Stranger | Kind::Token) => "a good token".to_owned(),
    };
    if let Some(end) = pass.expires {
        let _ = write!(text, ", for another {} s", end.saturating_sub(unix_now()));
    }
    for grant in pass.rights.grants() {
        let verbs: Vec<_> = grant.can.iter().map(Verb::name).collect();
        let rooms = match &grant.rooms {
            Pattern::Exact(room) => format!("the room {room}"),
            Pattern::Prefix(prefix) if prefix.is_empty() => "all rooms".to_owned(),
            Pattern::Prefix(prefix) => format!("the rooms that begin with {}", &**prefix),
        };
        let _ = write!(text, "\nmay {} in {rooms}", verbs.join(", "));
    }
    match pass.rights.admin() {
        Admin::No => {}
        Admin::Reads => text += "\nmay read all lists, all holds and the gateway's numbers",
        Admin::Full => {
            text += "\nmay do what is outside of rooms: all lists, all holds, revocations, the gateway's numbers"
        }
    }
    if pass.rights.are_none() {
        text += "\nmay do nothing: the claim presently grants no rooms";
    }
    if let Some(info) = pass.info.as_ref().and_then(|info| info.object()) {
        let _ = write!(text, "\nshows the info {}", info.as_str());
    }
    text
}
