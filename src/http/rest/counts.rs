//! The counts of some rooms over HTTP, without their members.

use serde::Deserialize;
use warp::http::Method;

use crate::http::answer::{self, Answer};
use crate::http::body::Object;
use crate::http::call::Call;
use crate::http::query::{PAGE, Query};
use crate::http::stream::counts;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::wire::page::Page;

/// Rooms of one question: as many as on a page of the list.
const MAX_ASKED: usize = PAGE;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    rooms: Vec<String>,
}

/// `GET` and `POST /api/counts`
pub async fn counts(call: Call) -> Answer {
    call.only("GET, HEAD, POST")?;
    match call.method == Method::POST {
        true => of_some(call).await,
        false => counts::stream(&call).await,
    }
}

async fn of_some(mut call: Call) -> Answer {
    Query::strict(&call.query, &[])?;
    let missing = || Refusal::new(Code::BadJson, "a JSON body is missing").of("body");
    let Object(Asked { rooms }) = call.json::<Object<Asked>>().await?.ok_or_else(missing)?;
    if rooms.len() > MAX_ASKED {
        let message = format!("the question names {} rooms, more than {MAX_ASKED}; ask several times", rooms.len());
        return Err(Refusal::new(Code::BatchTooLarge, message).of("rooms"));
    }
    let name = |(at, room): (usize, &String)| Name::new(&format!("rooms[{at}]"), room);
    let rooms = rooms.iter().enumerate().map(name).collect::<Result<_, _>>()?;
    let counts = call.may_list()?.counts(rooms)?;
    let page = Page::of(counts.into_iter(), usize::MAX, usize::MAX);
    let close =
        call.gate.taken().fresh_for.map_or_else(|| "]}".to_owned(), |rest| format!(r#"],"fresh_for":{rest}}}"#));
    Ok(answer::list(page, r#"{"counts":["#, close, call.gate.memory()))
}
