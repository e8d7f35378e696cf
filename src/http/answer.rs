//! Answers and refusals over HTTP.

use std::convert::Infallible;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use headers::HeaderMapExt;
use headers_accept::Accept;
use mediatype::MediaType;
use serde::Serialize;
use warp::http::header::{self, HeaderName, HeaderValue};
use warp::http::{HeaderMap, Response, StatusCode};

use crate::model::refusal::{Code, Refusal};
use crate::runtime::memory::{Held, Kind, Memory};
use crate::wire::object::to_json;
use crate::wire::page::{Entry, Page};

/// A handler's result.
pub type Answer = Result<Response<Body>, Refusal>;

/// The body of an answer.
pub enum Body {
    Whole(Bytes),
    /// Encoded while the client reads.
    Parts(Box<dyn Iterator<Item = Bytes> + Send + Sync>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Whole(bytes) => bytes.fmt(f),
            Body::Parts(_) => f.write_str("parts"),
        }
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Body::Whole(bytes.into())
    }
}

pub const HTML: MediaType<'static> = MediaType::new(mediatype::names::TEXT, mediatype::names::HTML);
pub const JSON: MediaType<'static> = MediaType::new(mediatype::names::APPLICATION, mediatype::names::JSON);
/// Stands for "no content" among the types to choose from. Clients that accept any type get the first type instead.
pub const NOTHING: MediaType<'static> = MediaType::new(mediatype::names::APPLICATION, mediatype::names::OCTET_STREAM);

/// An answer without a body.
pub fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = status;
    response
}

/// An answer with a body of the type `ty`. Caches must ask again before each use, because presence changes.
pub fn content(status: StatusCode, ty: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = bare(status);
    *response.body_mut() = body.into();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(ty));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// `bytes` that count as memory until they are sent.
pub fn counted(bytes: Bytes, memory: &Arc<Memory>) -> Bytes {
    struct Counted(Bytes, #[expect(dead_code, reason = "dropped with the bytes")] Held);

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    let held = memory.hold(Kind::Messages, bytes.len() as u64);
    Bytes::from_owner(Counted(bytes, held))
}

/// A JSON answer with a list: `page` between `open` and `close`. Its parts are encoded as the client reads, and count as
/// memory until they are sent.
pub fn list<E>(page: Page<E>, open: &str, close: String, memory: &Arc<Memory>) -> Response<Body>
where
    E: Entry + Send + Sync + 'static,
{
    let (length, mut parts) = page.between(open, close);
    if parts.kept_bytes() == 0 {
        let whole = counted(parts.next().unwrap_or_default().into(), memory);
        return content(StatusCode::OK, "application/json", whole);
    }
    let (memory, kept) = (memory.clone(), memory.hold(Kind::Messages, parts.kept_bytes() as u64));
    let parts = parts.map(move |part| {
        let _ = &kept;
        counted(part.into(), &memory)
    });
    let mut response = content(StatusCode::OK, "application/json", Body::Parts(Box::new(parts)));
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

/// A JSON answer.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    content(status, "application/json", to_json(body))
}

/// A redirect to the address `to` of this gateway.
pub fn redirect(status: StatusCode, to: &str) -> Response<Body> {
    let mut response = bare(status);
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

/// The same answer with one more header.
pub fn with(mut response: Response<Body>, name: HeaderName, value: &'static str) -> Response<Body> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// The same answer, which no cache may keep: it tells or gives what is one caller's.
pub fn private(response: Response<Body>) -> Response<Body> {
    with(response, header::CACHE_CONTROL, "no-store")
}

/// Whether the client accepts gzip (RFC 9110, 12.5.3). Every browser does.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    codings.flat_map(|codings| codings.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
    })
}

/// `bytes` as gzip.
pub fn gzip(bytes: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

/// `body`, compressed if the client accepts gzip, with the content coding. A page of 500 members shrinks to a tenth.
pub fn compressed(body: String, headers: &HeaderMap) -> (Bytes, Option<&'static str>) {
    match takes_gzip(headers) {
        true => (gzip(body.as_bytes(), Compression::fast()), Some("gzip")),
        false => (body.into(), None),
    }
}

/// The type of `available` that the client prefers (RFC 9110, 12.5.1); the first one without a usable preference.
pub fn preferred<'a>(headers: &HeaderMap, available: &'a [MediaType<'static>]) -> &'a MediaType<'static> {
    let accept = headers.typed_get::<Accept>();
    accept.and_then(|accept| accept.negotiate(available)).unwrap_or(&available[0])
}

/// A problem (RFC 9457), with the extension members `code`, `field` and `retry`.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<&'a str>,
    retry: bool,
}

/// The HTTP response for an answer or a refusal.
pub fn respond(answer: Answer) -> warp::reply::Response {
    let (head, body) = answer.unwrap_or_else(|refusal| problem(&refusal)).into_parts();
    let body = match body {
        Body::Whole(bytes) => warp::Reply::into_response(Response::new(bytes)),
        Body::Parts(parts) => {
            warp::Reply::into_response(warp::reply::stream(stream::iter(parts.map(Ok::<_, Infallible>))))
        }
    };
    Response::from_parts(head, body.into_body())
}

/// Notes with a response the refusal that it tells, for the log.
pub fn noting<T>(mut response: Response<T>, refusal: &Refusal) -> Response<T> {
    response.extensions_mut().insert(refusal.clone());
    response
}

/// The same answer with the refusal's `Retry-After` (RFC 9110, 10.2.3), if any.
pub fn retrying_after<T>(mut response: Response<T>, refusal: &Refusal) -> Response<T> {
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The refusal noted with a response.
pub fn refusal<T>(response: &mut Response<T>) -> Option<Refusal> {
    response.extensions_mut().remove()
}

/// The `WWW-Authenticate` of a refusal (RFC 6750, 3).
fn challenge(refusal: &Refusal) -> Option<HeaderValue> {
    if refusal.code == Code::TokenMissing {
        return Some(HeaderValue::from_static(r#"Bearer realm="presently""#));
    }
    let is_bad_token = matches!(refusal.code, Code::TokenInvalid | Code::TokenExpired);
    if !is_bad_token && refusal.code != Code::NotAllowed {
        return None;
    }
    let error = if is_bad_token { "invalid_token" } else { "insufficient_scope" };
    // RFC 6750, 3: neither quotes nor backslashes, and ASCII only.
    let is_allowed = |c: char| (' '..='~').contains(&c) && !matches!(c, '"' | '\\');
    let description: String = refusal.message.chars().filter(|c| is_allowed(*c)).take(200).collect();
    HeaderValue::from_str(&format!(r#"Bearer realm="presently", error="{error}", error_description="{description}""#))
        .ok()
}

fn problem(refusal: &Refusal) -> Response<Body> {
    let row = refusal.code.row();
    let status = StatusCode::from_u16(row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or_default(),
        status: row.status,
        code: row.name,
        detail: &refusal.message,
        field: refusal.field.as_deref(),
        check: refusal.check,
        retry: row.retry,
    };
    let mut response = content(status, "application/problem+json", to_json(&problem));
    if let Some(allow) = refusal.allow {
        response = with(response, header::ALLOW, allow);
    }
    response = retrying_after(response, refusal);
    if let Some(challenge) = challenge(refusal) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    // RFC 9110, 15.5.22, and RFC 6455, 4.4.
    if refusal.code == Code::UpgradeRequired {
        response = with(response, header::UPGRADE, "websocket");
        response = with(response, header::SEC_WEBSOCKET_VERSION, "13");
    }
    // What is left of such a body must not be read as a next request.
    let unread = refusal.code == Code::TooMuchMemory && refusal.field.as_deref() == Some("body");
    if unread || matches!(refusal.code, Code::BodyTooLarge | Code::TooSlow) {
        response = with(response, header::CONNECTION, "close");
    }
    noting(response, refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_by_who_names_it_with_some_weight() {
        for (accept, takes) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZip;q=0.5", true),
            ("deflate", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000, br", false),
            ("x-gzip2", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accept));
            assert_eq!(takes_gzip(&headers), takes, "{accept}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
