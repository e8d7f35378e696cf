//! Refusals as a page, for people who follow a link or type an address.

use askama::Template;
use bytes::Bytes;
use warp::Reply;
use warp::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use warp::reply::Response as Sent;

use crate::http::answer;
use crate::http::page::asset;
use crate::http::page::html::POLICY;
use crate::model::refusal::Refusal;

/// A client whose `Accept` prefers HTML, as that of every browser does that opens an address.
pub struct Reader {
    /// The gateway's base, relative to the request's path: a proxy may serve the gateway below a path prefix.
    base: String,
}

#[derive(Template)]
#[template(path = "refused.html", config = "web/askama.toml")]
struct Page<'a> {
    base: &'a str,
    assets: &'static str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
}

impl Reader {
    /// The reader of a request with `headers` to `path`, if one is there.
    pub fn of(headers: &HeaderMap, path: &str) -> Option<Self> {
        // Told apart without parsing: most requests come from scripts.
        let names_html = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("text/html"));
        if !headers.get_all(header::ACCEPT).iter().any(names_html) {
            return None;
        }
        let prefers_html = *answer::preferred(headers, &[answer::JSON, answer::HTML]) == answer::HTML;
        let above = path.bytes().filter(|byte| *byte == b'/').count().saturating_sub(1);
        prefers_html.then(|| Reader { base: if above == 0 { "./".to_owned() } else { "../".repeat(above) } })
    }

    /// The same response with the refusal as a page.
    pub fn told(&self, response: Sent, refusal: &Refusal) -> Sent {
        let row = refusal.code.row();
        let status = StatusCode::from_u16(row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = status.canonical_reason().unwrap_or_default();
        let (base, assets, detail) = (&*self.base, asset::folder(), &*refusal.message);
        let page = Page { base, assets, title, status: row.status, code: row.name, detail };
        let Ok(html) = page.render() else { return response };
        let (mut head, _) = response.into_parts();
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        head.headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        head.headers.append(header::VARY, HeaderValue::from_static("accept"));
        head.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(head, Response::new(Bytes::from(html)).into_response().into_body())
    }
}
