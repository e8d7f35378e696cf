//! The page: a room as HTML.

use std::sync::Arc;

use askama::Template;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use warp::http::{StatusCode, header};

use crate::access::verb::Verb;
use crate::http::answer::{self, Answer};
use crate::http::call::{Call, Segment};
use crate::http::gate::Caller;
use crate::http::page::asset;
use crate::http::query::Query;
use crate::http::rest::exercise::user_of_form;
use crate::http::rest::members;
use crate::model::command::Command;
use crate::model::count::Prefix;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::model::roster::{Mark, Member};
use crate::model::snapshot::Snapshot;
use crate::wire::object::Time;
use crate::wire::page::PAGE_BYTES;
use crate::wire::part::PART_BYTES;

/// The number of members in the served HTML, enough for many screens. The script loads the others.
const SHOWN: usize = 500;

/// The size in bytes of their names, `meta` and `info` at which the list ends: escaped, and a name in each of a row's controls, they
/// take up to eight times as much.
const SHOWN_BYTES: usize = 128 * 1024;

/// The number of rooms in the served HTML. The script lists the others, and readers without script page through them.
const ROOMS: usize = 100;

/// Allows only the gateway's own scripts, styles and images, nothing inline, and no embedding in frames (CSP 3).
pub const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

#[derive(Template)]
#[template(path = "index.html", config = "web/askama.toml")]
struct Page<'a> {
    room: &'a str,
    /// The room's name as a path's segment.
    room_path: String,
    /// The address of the page's forms, for browsers without script.
    forms: String,
    cursor: String,
    count: usize,
    users: Vec<Row>,
    /// The last of `users`, percent-encoded, if more members follow.
    next: Option<String>,
    /// Whether `users` begin with a later member than the first.
    is_later: bool,
    rooms: Vec<RoomRow>,
    /// The last of `rooms`, percent-encoded, if more rooms follow.
    next_room: Option<String>,
    /// The folder of this build's scripts, style and pictures.
    assets: &'static str,
    modules: &'static [String],
    version: &'static str,
    /// Whether the page may read the gateway's numbers, which `--admin` takes to another address.
    has_numbers: bool,
    /// Whether the gateway has keys: then the page asks what its visitor may do.
    has_keys: bool,
    /// Whether strangers may watch the room.
    may_watch: bool,
}

struct RoomRow {
    room: Name,
    /// The room's name in a query.
    address: String,
    count: usize,
    is_open: bool,
}

struct Row {
    user: String,
    meta: String,
    /// Empty where the member has none.
    info: String,
    joined: String,
}

/// `GET /`
pub async fn home(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    call.redirect(StatusCode::FOUND, "/users")
}

/// `GET /users?room=lobby`
pub async fn users(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let query = Query::lenient(&call.query, &["room", "limit", "after", "rooms_after"])?;
    let room = query.get("room").map_or_else(|| Ok(Name::lobby()), |room| Name::new("room", room))?;
    match *answer::preferred(&call.headers, &[answer::HTML, answer::JSON]) == answer::JSON {
        true => Ok(answer::with(members::list(&room, &call, &query)?, header::VARY, "accept")),
        false => html(&room, &query, &call),
    }
}

fn html(room: &Name, query: &Query, call: &Call) -> Answer {
    call.gate.memory().list_bytes(PAGE_BYTES, PART_BYTES)?;
    // Never by the credential: the page reads the rest by itself, and a page from a cache shows nobody's rights.
    let stranger = call.gate.stranger();
    let snapshot = call.gate.may_watch(&call.forwarded(), &stranger, room).and_then(|watch| watch.snapshot(SHOWN));
    let (may_watch, cursor, roster) = match snapshot {
        Ok(Snapshot { cursor, roster, .. }) => (true, cursor.to_string(), roster),
        Err(refusal) if refusal.code == Code::TokenMissing => Default::default(),
        Err(refusal) => return Err(refusal),
    };
    let row = |member: &Arc<Member>| Row {
        user: member.user.to_string(),
        meta: member.meta.as_str().to_owned(),
        info: member.info.object().map_or_else(String::new, |info| info.as_str().to_owned()),
        joined: Time(member.joined).to_string(),
    };
    let after = query.get("after");
    let from = after.map_or_else(Mark::default, |after| roster.mark_after(after));
    let (mut users, mut bytes, mut members) = (Vec::new(), 0, roster.iter_from(from).peekable());
    while let Some(member) = members.next_if(|_| users.len() < SHOWN && bytes <= SHOWN_BYTES) {
        bytes += member.user.len() + member.meta.as_str().len() + member.info.len();
        users.push(row(member));
    }
    let next = members.peek().and(users.last()).map(|row| segment(&row.user));
    let (rooms, next_room) = rooms(room, query, call, &stranger);
    let page = Page {
        room,
        room_path: segment(room),
        forms: forms(room),
        cursor,
        count: roster.len(),
        users,
        next,
        is_later: after.is_some(),
        rooms,
        next_room,
        assets: asset::folder(),
        modules: asset::modules(),
        version: env!("CARGO_PKG_VERSION"),
        has_numbers: call.gate.config().admin.is_none(),
        has_keys: call.gate.config().has_keys(),
        may_watch,
    };
    let html = page.render().map_err(|error| Refusal::new(Code::Failed, format!("the page failed: {error}")))?;
    let (body, coding) = answer::compressed(html, &call.headers);
    let body = answer::counted(body, call.gate.memory());
    let mut response = answer::content(StatusCode::OK, "text/html; charset=utf-8", body);
    if let Some(coding) = coding {
        response = answer::with(response, header::CONTENT_ENCODING, coding);
    }
    let response = answer::with(response, header::CONTENT_SECURITY_POLICY, POLICY);
    // Not "no-referrer", which would make the `Origin` of the page's own forms null.
    let response = answer::with(response, header::REFERRER_POLICY, "same-origin");
    Ok(answer::with(response, header::VARY, "accept, accept-encoding"))
}

/// The first rooms that strangers may count, after the one that the query names, and the last of these if more follow. The
/// page does without where they may not be listed.
fn rooms(open: &Name, query: &Query, call: &Call, stranger: &Caller) -> (Vec<RoomRow>, Option<String>) {
    let all = Prefix::new("prefix", "");
    let permit = call.gate.may_list(&call.forwarded(), stranger);
    let list = all.and_then(|all| permit?.rooms(&all, query.get("rooms_after"), ROOMS + 1)).unwrap_or_default();
    let row = |(room, count): &(Name, usize)| RoomRow {
        room: room.clone(),
        address: segment(room),
        count: *count,
        is_open: room == open,
    };
    let rows: Vec<_> = list.iter().take(ROOMS).map(row).collect();
    let next = rows.last().filter(|_| list.len() > ROOMS).map(|row| row.address.clone());
    (rows, next)
}

/// `POST /api/rooms/{room}/login` with `user=` in a form
pub async fn login(room: Segment, mut call: Call) -> Answer {
    let (room, user) = form(&room, &mut call).await?;
    change(&room, &user, Command::sign_in(user.clone()), &call).await
}

/// `POST /api/rooms/{room}/logout` with `user=` in a form
pub async fn logout(room: Segment, mut call: Call) -> Answer {
    let (room, user) = form(&room, &mut call).await?;
    change(&room, &user, Command::sign_out(user.clone()), &call).await
}

async fn form(room: &Segment, call: &mut Call) -> Result<(Name, Name), Refusal> {
    call.only("POST")?;
    let room = room.name("room")?;
    Ok((room, user_of_form(call).await?))
}

async fn change(room: &Name, user: &Name, command: Command, call: &Call) -> Answer {
    call.may_change(room, Some((user, Verb::SignIn)))?.apply(vec![command]).await?;
    call.redirect(StatusCode::SEE_OTHER, &format!("/users?room={}", segment(room)))
}

/// Relative, as all addresses of the page are: a proxy may serve the page below a path prefix. The lobby's forms are those of
/// the exercise.
fn forms(room: &Name) -> String {
    match *room == Name::lobby() {
        true => "api".to_owned(),
        false => format!("api/rooms/{}", segment(room)),
    }
}

fn segment(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}
