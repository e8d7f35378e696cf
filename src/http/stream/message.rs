//! Messages of clients over WebSockets and sessions, and the answers to them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::http::body::{Field, given, value};
use crate::model::count::Prefix;
use crate::model::cursor::Cursor;
use crate::model::id::ClientId;
use crate::model::json::{Entries, is_beyond_f64};
use crate::model::meta::Meta;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal, shown};
use crate::model::statement::{Rank, Statement};
use crate::wire::object::to_json;

/// The maximum size of a `ref` in bytes, written as JSON.
const MAX_REF: usize = 128;

/// A client's message.
#[derive(Debug)]
pub enum Message {
    Join {
        room: Name,
        user: Name,
        statement: Option<Statement>,
        client: Option<ClientId>,
    },
    Update {
        room: Name,
        user: Name,
        statement: Statement,
    },
    Leave {
        room: Name,
        user: Name,
    },
    Subscribe {
        room: Name,
        since: Option<Cursor>,
    },
    Unsubscribe {
        room: Name,
    },
    SubscribeCounts {
        prefix: Prefix,
    },
    UnsubscribeCounts {
        prefix: Prefix,
    },
    /// Brings a token or API key.
    Auth {
        token: Secret,
    },
    /// Shows that the client's own code runs.
    Alive,
    /// Ends the stream, and all its holds cleanly.
    Close,
}

/// A credential, which no log shows.
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The `ref` of a message, chosen by the client and returned with the answer: a string or a number, as JSON. A number keeps
/// its spelling: as a float, a large one would come back as another.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Reference(Option<Box<RawValue>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    room: String,
    user: String,
    #[serde(default, deserialize_with = "given")]
    meta: Option<Field<Meta>>,
    #[serde(default, deserialize_with = "given")]
    rank: Option<Field<Rank>>,
    client: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    room: String,
    user: String,
    meta: Field<Meta>,
    #[serde(default, deserialize_with = "given")]
    rank: Option<Field<Rank>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leave {
    room: String,
    user: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    room: String,
    since: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unsubscribe {
    room: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    counts: String,
}

/// Reads a message, and its reference also if the message is refused.
pub fn read(text: &str) -> (Reference, Result<Message, Refusal>) {
    let entries: Entries<'_> = match serde_json::from_str(text) {
        Ok(entries) => entries,
        Err(error) => return (Reference::default(), Err(bad(format!("message: {error}")))),
    };
    match entries.only("ref").map(Reference::of).transpose() {
        Ok(reference) => (reference.unwrap_or_default(), read_entries(entries)),
        Err(refusal) => (Reference::default(), Err(refusal)),
    }
}

fn read_entries(mut entries: Entries<'_>) -> Result<Message, Refusal> {
    if let Some(key) = entries.sort() {
        return Err(bad(format!("{:?} stands in the message twice", shown(key))));
    }
    let action = entries.only("action").and_then(|action| serde_json::from_str::<String>(action.get()).ok());
    let action = action.ok_or_else(|| bad("the message has no action".into()).of("action"))?;
    entries.0.retain(|(key, _)| key != "action" && key != "ref");
    match action.as_str() {
        "join" => {
            let Join { room, user, meta, rank, client } = fields(entries)?;
            let client = client.map(|id| self::client(&id, "client")).transpose()?;
            let statement = Statement::of(value(meta)?, value(rank)?)?;
            Ok(Message::Join { room: name("room", &room)?, user: name("user", &user)?, statement, client })
        }
        "update" => {
            let Update { room, user, meta, rank } = fields(entries)?;
            let (room, user) = (name("room", &room)?, name("user", &user)?);
            let statement = Statement { meta: meta.0?, rank: value(rank)?.unwrap_or_default() };
            Ok(Message::Update { room, user, statement })
        }
        "leave" => {
            let Leave { room, user } = fields(entries)?;
            Ok(Message::Leave { room: name("room", &room)?, user: name("user", &user)? })
        }
        "subscribe" if entries.only("counts").is_some() => Ok(Message::SubscribeCounts { prefix: prefix(entries)? }),
        "unsubscribe" if entries.only("counts").is_some() => {
            Ok(Message::UnsubscribeCounts { prefix: prefix(entries)? })
        }
        "subscribe" => {
            let Subscribe { room, since } = fields(entries)?;
            Ok(Message::Subscribe { room: name("room", &room)?, since: since.and_then(|since| since.parse().ok()) })
        }
        "unsubscribe" => {
            let Unsubscribe { room } = fields(entries)?;
            Ok(Message::Unsubscribe { room: name("room", &room)? })
        }
        "auth" => fields(entries).map(|Auth { token }| Message::Auth { token: Secret(token) }),
        "alive" => fields(entries).map(|Nothing {}| Message::Alive),
        "close" => fields(entries).map(|Nothing {}| Message::Close),
        other => Err(Refusal::new(Code::UnknownAction, format!("action {:?} is not known", shown(other)))),
    }
}

fn fields<'a, T: Deserialize<'a>>(entries: Entries<'a>) -> Result<T, Refusal> {
    entries.fields().map_err(|error| bad(error.to_string()))
}

fn prefix(entries: Entries<'_>) -> Result<Prefix, Refusal> {
    let Counts { counts } = fields(entries)?;
    Prefix::new("counts", &counts)
}

fn name(field: &str, text: &str) -> Result<Name, Refusal> {
    Name::new(field, text)
}

/// Reads a client's id from `field`: a UUID (RFC 9562) that the client made up.
///
/// # Errors
///
/// `bad_parameter`. The id is not repeated, because it may be one, misspelled.
pub fn client(text: &str, field: &str) -> Result<ClientId, Refusal> {
    let bad = |_| Refusal::new(Code::BadParameter, format!("{field} is not a UUID")).of(field);
    Uuid::try_parse(text).map(ClientId).map_err(bad)
}

fn bad(message: String) -> Refusal {
    Refusal::new(Code::BadJson, message)
}

#[derive(Serialize)]
struct Done<'a> {
    action: &'a str,
    #[serde(skip_serializing_if = "Reference::is_none")]
    r#ref: &'a Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<Cursor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
}

/// A refusal as a message. The stream goes on.
#[derive(Serialize)]
struct Refused<'a> {
    action: &'a str,
    #[serde(skip_serializing_if = "Reference::is_none")]
    r#ref: &'a Reference,
    #[serde(flatten)]
    lost: Lost<'a>,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<&'a str>,
    retry: bool,
}

impl Reference {
    /// Takes a `ref`. A value that is no string or number, or too large, is not returned.
    fn of(value: &RawValue) -> Result<Self, Refusal> {
        let text = match value.get().as_bytes()[0] {
            b'"' => {
                let text = serde_json::from_str::<String>(value.get());
                to_json(&text.map_err(|error| bad(format!("ref: {error}")).of("ref"))?)
            }
            b'-' | b'0'..=b'9' if is_beyond_f64(value.get()) => {
                return Err(bad("ref: a number beyond 64-bit floating point".into()).of("ref"));
            }
            b'-' | b'0'..=b'9' => value.get().to_owned(),
            _ => return Ok(Reference::default()),
        };
        let text = Some(text).filter(|text| text.len() <= MAX_REF);
        Ok(Reference(text.and_then(|text| RawValue::from_string(text).ok())))
    }

    fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The answer to a message that was carried out, as JSON, with the room's cursor afterwards, if known.
    pub fn ok(&self, cursor: Option<Cursor>) -> String {
        to_json(&Done { action: "ok", r#ref: self, cursor, sub: None, expires_in: None })
    }

    /// The answer to a credential that was taken, as JSON.
    pub fn authed(&self, sub: Option<&Name>, expires_in: Option<u64>) -> String {
        to_json(&Done { action: "ok", r#ref: self, cursor: None, sub, expires_in })
    }

    /// The answer to a refused message, as JSON.
    pub fn refused(&self, refusal: &Refusal) -> String {
        Lost::default().told(self, refusal)
    }
}

/// What a connection read or held, and a new token does not allow any more.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Lost<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<&'a Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<&'a str>,
}

impl Lost<'_> {
    /// The message about the end, as JSON.
    pub fn refused(self, refusal: &Refusal) -> String {
        self.told(&Reference::default(), refusal)
    }

    fn told(self, reference: &Reference, refusal: &Refusal) -> String {
        let (row, field, check) = (refusal.code.row(), refusal.field.as_deref(), refusal.check);
        let (code, message, retry) = (row.name, refusal.message.as_str(), row.retry);
        to_json(&Refused { action: "refused", r#ref: reference, lost: self, code, message, field, check, retry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::Mutants;

    #[test]
    fn mutants_of_messages_are_read_or_refused_as_documented() {
        let inputs = [
            r#"{"action":"join","room":"lobby","user":"ann","meta":{"status":"here"},"ref":1}"#,
            r#"{"action":"join","room":"a","user":"b","client":"0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3","ref":"x"}"#,
            r#"{"action":"update","room":"lobby","user":"ann","meta":{"a":[1E5,"\u0061",{}]},"ref":-1.5e3}"#,
            r#"{"action":"update","room":"lobby","user":"ann","meta":{},"rank":-1}"#,
            r#"{"action":"leave","room":"lobby","user":"ann","ref":18446744073709551616}"#,
            r#"{"action":"subscribe","room":"lobby","since":"k3f.17"}"#,
            r#"{"ref":"\ud83d\ude00","action":"unsubscribe","room":"lobby"}"#,
            r#"{"action":"alive","ref":2}"#,
            r#"{"action":"auth","token":"a.b.c","ref":3}"#,
            r#"{"action":"close"}"#,
            r#"{"action":"subscribe","counts":"game-","ref":7}"#,
            r#"{"action":"unsubscribe","counts":""}"#,
        ];
        for text in Mutants::of(inputs, 20_000).texts() {
            let (reference, message) = read(&text);
            assert!(reference.0.as_ref().is_none_or(|reference| reference.get().len() <= MAX_REF));
            if let Err(refusal) = message {
                let codes = [
                    Code::BadJson,
                    Code::BadName,
                    Code::BadMeta,
                    Code::BadRank,
                    Code::BadParameter,
                    Code::UnknownAction,
                ];
                assert!(codes.contains(&refusal.code), "{refusal}");
                let answer: serde_json::Value = serde_json::from_str(&reference.refused(&refusal)).unwrap();
                assert_eq!(answer["code"], refusal.code.row().name);
            }
        }
    }
}
