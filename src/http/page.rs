//! The page, and what it is made of.

use std::str::FromStr;

use askama::Template;
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rust_embed::{EmbeddedFile, RustEmbed};
use warp::http::header::{self, HeaderValue};
use warp::http::{Response, StatusCode};

use crate::event::Time;
use crate::http::answer::{self, Answer};
use crate::http::api;
use crate::http::call::Call;
use crate::http::query::Query;
use crate::name::Name;
use crate::refusal::{Code, Refusal};

/// Members on the page as it is served: what fits many screens. The script brings the others.
const SHOWN: usize = 500;

/// No script, style or image but our own, nothing inline, no frame around us (CSP 3).
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// The page's script, style and pictures.
#[derive(RustEmbed)]
#[folder = "web/"]
#[exclude = "index.html"]
#[exclude = "*.toml"]
#[exclude = "*.json"]
struct Assets;

#[derive(Template)]
#[template(path = "index.html", config = "web/askama.toml")]
struct Page<'a> {
    room: &'a str,
    /// The room's name as a path's segment.
    room_path: String,
    cursor: String,
    count: usize,
    users: Vec<Row>,
    version: &'static str,
}

struct Row {
    user: String,
    meta: String,
    joined: String,
}

/// `GET /`
pub async fn home(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    Ok(answer::redirect(StatusCode::FOUND, "/users"))
}

/// `GET /users`
pub async fn users(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let page = match *answer::preferred(&call.headers, &[answer::HTML, answer::JSON]) == answer::JSON {
        true => api::list(&Name::lobby(), &call, &Query::lenient(&call.query, &api::LIST)?)?,
        false => html(&call)?,
    };
    Ok(answer::with(page, header::VARY, "accept"))
}

fn html(call: &Call) -> Answer {
    let room = Name::lobby();
    let (cursor, count, members) = api::page(call, &room, None, SHOWN);
    let row = |member: &std::sync::Arc<crate::roster::Member>| Row {
        user: member.user.to_string(),
        meta: member.meta.as_str().to_owned(),
        joined: Time(member.joined).to_string(),
    };
    let page = Page {
        room: &room,
        room_path: utf8_percent_encode(&room, NON_ALPHANUMERIC).to_string(),
        cursor: cursor.to_string(),
        count,
        users: members.iter().map(row).collect(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let html = page.render().map_err(|error| Refusal::new(Code::Failed, format!("the page failed: {error}")))?;
    let response = answer::content(StatusCode::OK, "text/html; charset=utf-8", html);
    let response = answer::with(response, header::CONTENT_SECURITY_POLICY, POLICY);
    // Not "no-referrer": with it the origin of the page's own forms would be null.
    Ok(answer::with(response, header::REFERRER_POLICY, "same-origin"))
}

/// `GET /assets/{file}`
pub async fn asset(file: String, call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let Some(asset) = Assets::get(&file) else {
        return Err(Refusal::new(Code::NotFound, "there is no such file"));
    };
    let etag = etag(&asset);
    if call.headers.get(header::IF_NONE_MATCH) == Some(&etag) {
        return Ok(tagged(answer::bare(StatusCode::NOT_MODIFIED), etag));
    }
    let mut response = answer::content(StatusCode::OK, "", asset.data.into_owned());
    if let Ok(ty) = HeaderValue::from_str(asset.metadata.mimetype()) {
        response.headers_mut().insert(header::CONTENT_TYPE, ty);
    }
    Ok(tagged(response, etag))
}

/// A file of the client, as a path names it: always the latest, or by its hash, which is for ever.
pub struct Module {
    file: &'static str,
    by_hash: bool,
}

/// What pages of any origin may import.
const MODULES: [&str; 3] = ["presently.js", "presently.d.ts", "presently-room.js"];

impl FromStr for Module {
    type Err = ();

    fn from_str(path: &str) -> Result<Self, ()> {
        let named = |file: &&str| *file == path || path.starts_with("presently") && hashed(file) == path;
        let file = MODULES.into_iter().find(named).ok_or(())?;
        Ok(Module { file, by_hash: file != path })
    }
}

/// The name of a module that says its content: `presently.0f3a….js`.
fn hashed(file: &str) -> String {
    let (stem, ending) = file.split_once('.').unwrap_or((file, ""));
    let hash = Assets::get(file).map(|asset| hash(&asset)).unwrap_or_default();
    format!("{stem}.{hash}.{ending}")
}

/// `GET /presently.js` and its like
pub async fn module(module: Module, call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let Module { file, by_hash } = module;
    let mut response = asset(file.to_owned(), call).await?;
    let headers = response.headers_mut();
    // It is public, and importing a module from another origin asks for this.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if by_hash {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    } else if let Ok(name) = HeaderValue::from_str(&format!("/{}", hashed(file))) {
        headers.insert(header::CONTENT_LOCATION, name);
    }
    if file.ends_with(".ts") {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/typescript"));
    }
    Ok(response)
}

fn hash(asset: &EmbeddedFile) -> String {
    asset.metadata.sha256_hash().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn etag(asset: &EmbeddedFile) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", hash(asset))).unwrap_or(HeaderValue::from_static("\"\""))
}

fn tagged(mut response: Response<Bytes>, etag: HeaderValue) -> Response<Bytes> {
    response.headers_mut().insert(header::ETAG, etag);
    response
}
