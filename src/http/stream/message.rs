//! Messages of WebSocket clients, and the answers to them.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::http::body::given;
use crate::model::cursor::Cursor;
use crate::model::id::ClientId;
use crate::model::meta::Meta;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::wire::dialect::Format;
use crate::wire::object::to_json;

/// The maximum size of a `ref` in bytes, written as JSON.
const MAX_REF: usize = 128;

/// A client's message.
#[derive(Debug)]
pub enum Message {
    Join { room: Name, user: Name, meta: Option<Meta>, client: Option<ClientId> },
    Update { room: Name, user: Name, meta: Meta },
    Leave { room: Name, user: Name },
    Subscribe { room: Name, since: Option<Cursor> },
    Unsubscribe { room: Name },
}

/// The `ref` of a message, chosen by the client and returned with the answer: a string or a number.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Reference(Option<Value>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    room: String,
    user: String,
    #[serde(default, deserialize_with = "given")]
    meta: Option<Value>,
    client: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    room: String,
    user: String,
    meta: Value,
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

/// Reads a message, and its reference also if the message is refused.
pub fn read(text: &str) -> (Reference, Result<Message, Refusal>) {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(mut object)) => {
            let reference = object.remove("ref").filter(|r| r.is_number() || r.is_string());
            let reference = Reference(reference.filter(|r| r.to_string().len() <= MAX_REF));
            (reference, read_object(object))
        }
        Ok(_) => (Reference::default(), Err(bad("the message is not a JSON object".into()))),
        Err(error) => (Reference::default(), Err(bad(format!("the message is not JSON: {error}")))),
    }
}

fn read_object(mut object: Map<String, Value>) -> Result<Message, Refusal> {
    let Some(Value::String(action)) = object.remove("action") else {
        return Err(bad("the message has no action".into()).of("action"));
    };
    match action.as_str() {
        "join" => {
            let Join { room, user, meta, client } = fields(object)?;
            let client = client.map(|client| self::client(&client)).transpose()?;
            let meta = meta.map(Meta::from_value).transpose()?;
            Ok(Message::Join { room: name("room", &room)?, user: name("user", &user)?, meta, client })
        }
        "update" => {
            let Update { room, user, meta } = fields(object)?;
            let (room, user) = (name("room", &room)?, name("user", &user)?);
            Ok(Message::Update { room, user, meta: Meta::from_value(meta)? })
        }
        "leave" => {
            let Leave { room, user } = fields(object)?;
            Ok(Message::Leave { room: name("room", &room)?, user: name("user", &user)? })
        }
        "subscribe" => {
            let Subscribe { room, since } = fields(object)?;
            Ok(Message::Subscribe { room: name("room", &room)?, since: since.and_then(|since| since.parse().ok()) })
        }
        "unsubscribe" => {
            let Unsubscribe { room } = fields(object)?;
            Ok(Message::Unsubscribe { room: name("room", &room)? })
        }
        other => {
            let shown: String = other.chars().take(64).collect();
            Err(Refusal::new(Code::UnknownAction, format!("action {shown:?} is not known")))
        }
    }
}

fn fields<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, Refusal> {
    serde_json::from_value(Value::Object(object)).map_err(|error| bad(error.to_string()))
}

fn name(field: &str, text: &str) -> Result<Name, Refusal> {
    Name::new(field, text)
}

/// Reads a client's id: a UUID (RFC 9562) that the client made up.
///
/// # Errors
///
/// `bad_parameter`.
pub fn client(text: &str) -> Result<ClientId, Refusal> {
    Uuid::try_parse(text)
        .map(ClientId)
        .map_err(|_| Refusal::new(Code::BadParameter, "client is not a UUID").of("client"))
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
}

/// A refusal as a message. The stream goes on.
#[derive(Serialize)]
struct Refused<'a> {
    action: &'a str,
    #[serde(skip_serializing_if = "Reference::is_none")]
    r#ref: &'a Reference,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    retry: bool,
}

impl Reference {
    fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The answer to a message that was carried out, with the room's cursor afterwards, if known.
    pub fn ok(&self, cursor: Option<Cursor>) -> Bytes {
        frame(&to_json(&Done { action: "ok", r#ref: self, cursor }))
    }

    /// The answer to a refused message, as a frame.
    pub fn refused(&self, refusal: &Refusal) -> Bytes {
        frame(&self.refused_json(refusal))
    }

    /// The answer to a refused message, as JSON.
    pub fn refused_json(&self, refusal: &Refusal) -> String {
        let row = refusal.code.row();
        let (message, field) = (refusal.message.as_str(), refusal.field.as_deref());
        to_json(&Refused { action: "refused", r#ref: self, code: row.name, message, field, retry: row.retry })
    }
}

fn frame(json: &str) -> Bytes {
    Format::WEBSOCKET.answer(json)
}
