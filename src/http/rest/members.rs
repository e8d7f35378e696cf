//! The members of a room over HTTP: their list, and changes of many at once.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use warp::http::{Method, StatusCode};

use crate::http::answer::{self, Answer};
use crate::http::body::{Field, Object, given};
use crate::http::call::{Call, Segment};
use crate::http::query::{MAX_PAGE, PAGE, PAGING, Query};
use crate::http::rest::member::{SignInFields, Ttl};
use crate::model::command::{Action, Command};
use crate::model::cursor::Cursor;
use crate::model::info::Info;
use crate::model::meta::Meta;
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::refusal::{Code, Refusal};
use crate::model::snapshot::Snapshot;
use crate::model::statement::Rank;
use crate::wire::object::to_json;
use crate::wire::page::{PAGE_BYTES, Page};
use crate::wire::part::PART_BYTES;

/// `GET` and `POST /api/rooms/{room}/users`
pub async fn members(room: Segment, call: Call) -> Answer {
    call.only("GET, HEAD, POST")?;
    let room = room.name("room")?;
    if call.method == Method::POST {
        return change_many(&room, call).await;
    }
    list(&room, &call, &Query::strict(&call.query, &PAGING)?)
}

/// The beginning of a page of members, without the list itself.
#[derive(Serialize)]
struct Members<'a> {
    room: &'a Name,
    cursor: Cursor,
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh_for: Option<u64>,
    count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a Name>,
}

/// The members of `room`, the page of them that `query` asks for.
pub fn list(room: &Name, call: &Call, query: &Query) -> Answer {
    let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(PAGE);
    let bytes = call.gate.memory().list_bytes(PAGE_BYTES, PART_BYTES)?;
    // Members are encoded outside of the room's lock.
    let Snapshot { cursor, roster, taken, .. } = call.may_watch(room)?.snapshot(limit)?;
    let from = query.get("after").map(|after| roster.mark_after(after)).unwrap_or_default();
    let page = Page::of(roster.iter_from(from).cloned(), limit, bytes);
    let (fresh_for, count) = (taken.fresh_for, roster.len());
    let head = to_json(&Members { room, cursor, fresh_for, count, next: page.next() });
    let open = head.strip_suffix('}').unwrap_or(&head);
    Ok(answer::list(page, &format!(r#"{open},"users":["#), "]}".to_owned(), call.gate.memory()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Many {
    #[serde(default)]
    add: Vec<Object<Added>>,
    #[serde(default)]
    del: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    user: String,
    hold: Option<String>,
    #[serde(default, deserialize_with = "given")]
    meta: Option<Field<Meta>>,
    #[serde(default, deserialize_with = "given")]
    rank: Option<Field<Rank>>,
    #[serde(default, deserialize_with = "given")]
    info: Option<Field<Info>>,
    #[serde(default, deserialize_with = "given")]
    ttl: Option<Field<Ttl>>,
}

#[derive(Serialize)]
struct ManyChanged {
    added: usize,
    removed: usize,
    cursor: Cursor,
}

async fn change_many(room: &Name, mut call: Call) -> Answer {
    let permit = call.may_change(room, None)?;
    Query::strict(&call.query, &[])?;
    let Object(many): Object<Many> = call.json().await?.ok_or_else(no_body)?;
    let most = call.gate.config().max_batch;
    let users = many.add.len() + many.del.len();
    if users > most {
        let message = format!("the batch has {users} users, more than {most}; send several batches");
        return Err(Refusal::new(Code::BatchTooLarge, message).of("body"));
    }
    let commands = many.commands()?;
    let Outcome { added, removed, cursor, .. } = permit.apply(commands).await?;
    Ok(answer::json(StatusCode::OK, &ManyChanged { added, removed, cursor }))
}

impl Many {
    fn commands(self) -> Result<Vec<Command>, Refusal> {
        let mut commands = Vec::with_capacity(self.add.len() + self.del.len());
        for (at, user) in self.del.iter().enumerate() {
            commands.push(Command::sign_out(Name::new(&format!("del[{at}]"), user)?));
        }
        for (at, Object(Added { user, hold, meta, rank, info, ttl })) in self.add.into_iter().enumerate() {
            let user = Name::new(&format!("add[{at}].user"), &user)?;
            let within = |refusal: Refusal| {
                let field = refusal.field.as_deref().map(|field| format!("add[{at}].{field}"));
                field.map_or(refusal.clone(), |field| refusal.of(field))
            };
            let fields = SignInFields { hold, meta, rank, info, ttl };
            commands.push(Command::User(user, Action::SignIn(fields.sign_in().map_err(within)?)));
        }
        let mut seen = HashSet::with_capacity(commands.len());
        let users = commands.iter().flat_map(|command| command.adds().or(command.removes()));
        match { users }.find(|user| !seen.insert(*user)) {
            Some(twice) => {
                let message = format!("{twice} stands in the batch twice");
                Err(Refusal::new(Code::BadJson, message).of("user"))
            }
            None => Ok(commands),
        }
    }
}

fn no_body() -> Refusal {
    Refusal::new(Code::BadJson, "a JSON body is missing").of("body")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::Mutants;

    #[test]
    fn mutants_of_batches_are_read_or_refused_as_documented() {
        let inputs = [
            r#"{"add":[{"user":"bob","meta":{"status":"here"}},{"user":"cyd","ttl":30}],"del":["ann"]}"#,
            r#"{"del":["山","\u0061"],"add":[]}"#,
            r#"{"add":[{"meta":{},"user":"x","ttl":86400}]}"#,
            r#"{"add":[{"info":{"role":"host"},"hold":"worker-a","rank":-1,"user":"x","meta":{}}]}"#,
        ];
        for body in Mutants::of(inputs, 20_000) {
            let Ok(Object(many)) = serde_json::from_slice::<Object<Many>>(&body) else { continue };
            if let Err(refusal) = many.commands() {
                let codes = [Code::BadJson, Code::BadName, Code::BadMeta, Code::BadRank, Code::BadInfo, Code::BadTtl];
                assert!(codes.contains(&refusal.code) && refusal.field.is_some(), "{refusal}");
            }
        }
    }
}
