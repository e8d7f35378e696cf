//! The id of a request: an answer's `X-Request-Id`, and the field `request` of the log's lines.

use warp::http::header::HeaderName;
use warp::http::{HeaderMap, HeaderValue};

/// The header with the id, in requests and answers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most characters of an id that is kept. Proxies make ids of up to 36.
const MAX: usize = 64;

/// Settles the id of the request with `headers`, where it stays as the only one: the id of a trusted proxy, if that is short and
/// plain, or otherwise a new one.
pub fn settle(headers: &mut HeaderMap, is_proxied: bool) -> HeaderValue {
    let last = headers.get_all(REQUEST_ID).iter().next_back();
    let id = last.filter(|id| is_proxied && is_plain(id.as_bytes())).cloned().unwrap_or_else(made);
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// The id of the request with `headers`, once it is settled.
pub fn of(headers: &HeaderMap) -> HeaderValue {
    headers.get(REQUEST_ID).cloned().unwrap_or_else(made)
}

/// The id as text.
pub fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

/// Whether an id fits into a line of a log, and can forge none.
fn is_plain(id: &[u8]) -> bool {
    (1..=MAX).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// A new id, random: it tells requests apart, and is no secret.
fn made() -> HeaderValue {
    let id = format!("{:016x}", fastrand::u64(..));
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(ids: &[&str], is_proxied: bool) -> String {
        let mut headers = HeaderMap::new();
        for id in ids {
            headers.append(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
        }
        let id = settle(&mut headers, is_proxied);
        assert_eq!(headers.get_all(REQUEST_ID).iter().collect::<Vec<_>>(), [&id]);
        assert_eq!(of(&headers), id);
        text(&id).to_owned()
    }

    #[test]
    fn only_a_trusted_proxys_short_and_plain_id_is_kept() {
        for id in ["a", "4bf92f35-77b3.4da6_A9", &"x".repeat(64)] {
            assert_eq!(settled(&[id], true), id);
            assert_eq!(settled(&["other", id], true), id, "the nearest proxy's");
            assert_ne!(settled(&[id], false), id);
        }
        for id in ["", " ", "a b", "a\"b", "a/b", "a=b", "ä", &"x".repeat(65)] {
            let made = settled(&[id], true);
            assert!(made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?}: {made}");
        }
        assert_ne!(settled(&[], true), settled(&[], true));
    }
}
