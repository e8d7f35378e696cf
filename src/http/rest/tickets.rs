//! Tickets: passes for one stream, for clients that cannot send `Authorization`.

use serde::{Deserialize, Serialize};
use warp::http::StatusCode;

use crate::access::passbook::TICKET_LIFE;
use crate::access::verb::{Verb, Verbs};
use crate::http::answer::{self, Answer};
use crate::http::body::Object;
use crate::http::call::Call;
use crate::http::query::Query;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::wire::object::Time;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    room: String,
    can: Vec<String>,
    sub: Option<String>,
}

#[derive(Serialize)]
struct Ticket {
    ticket: String,
    expires: Time,
}

/// `POST /api/tickets`
pub async fn tickets(mut call: Call) -> Answer {
    call.only("POST")?;
    Query::strict(&call.query, &[])?;
    call.visitor()?;
    let missing = || Refusal::new(Code::BadJson, "a JSON body is missing").of("body");
    let Object(Asked { room, can, sub }) = call.json::<Object<Asked>>().await?.ok_or_else(missing)?;
    let (room, can) = (Name::new("room", &room)?, verbs(&can)?);
    let sub = sub.map(|sub| Name::new("sub", &sub)).transpose()?;
    let ticket = call.gate.make_ticket(&call.forwarded(), call.caller()?, &room, can, sub).await?;
    let expires = Time(call.gate.now().time + TICKET_LIFE);
    Ok(answer::private(answer::json(StatusCode::CREATED, &Ticket { ticket, expires })))
}

/// The verbs of a stream.
fn verbs(can: &[String]) -> Result<Verbs, Refusal> {
    let bad = |message: String| Refusal::new(Code::BadJson, message).of("can");
    let verb = |text: &String| match text.parse().map_err(bad)? {
        verb @ (Verb::Count | Verb::Watch | Verb::Join) => Ok(verb),
        verb @ (Verb::SignIn | Verb::Manage) => Err(bad(format!("a ticket is for a stream, which needs no {verb}"))),
    };
    if can.is_empty() {
        return Err(bad("can names no verb: count, watch or join".to_owned()));
    }
    can.iter().map(verb).collect()
}
