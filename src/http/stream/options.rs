//! What the URL of a stream asks for, beside the room.

use uuid::Uuid;

use crate::model::event::Cursor;
use crate::http::stream::message;
use crate::http::query::Query;
use crate::model::meta::Meta;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};

/// How a stream is wanted.
#[derive(Debug, Default)]
pub struct Wish {
    /// Where to go on.
    pub since: Option<Cursor>,
    /// Whom to hold while the stream is open, and what to say of them.
    pub holds: Option<(Name, Option<Meta>)>,
    /// Who opens one such stream after the other.
    pub client: Option<Uuid>,
    /// Whether signs of life are wanted that a script can see.
    pub alive: bool,
}

impl Wish {
    /// Reads what a stream's URL asks for.
    pub fn of(query: &Query) -> Result<Self, Refusal> {
        let user = query.get("as").map(|user| Name::new("as", user)).transpose()?;
        let meta = query.get("meta").map(meta).transpose()?;
        if meta.is_some() && user.is_none() {
            return Err(bad("meta", "says something of whom \"as\" names, and that is missing"));
        }
        let alive = match query.get("alive") {
            None => false,
            Some("1") => true,
            Some(_) => return Err(bad("alive", "is 1 or left out")),
        };
        Ok(Wish {
            since: query.get("since").and_then(|text| text.parse().ok()),
            holds: user.map(|user| (user, meta)),
            client: query.get("client").map(message::client).transpose()?,
            alive,
        })
    }
}

fn meta(text: &str) -> Result<Meta, Refusal> {
    let not_json = |error| Refusal::new(Code::BadMeta, format!("meta is not JSON: {error}")).of("meta");
    Meta::from_value(serde_json::from_str(text).map_err(not_json)?)
}

fn bad(name: &str, what: &str) -> Refusal {
    Refusal::new(Code::BadParameter, format!("parameter {name:?} {what}")).of(name)
}
