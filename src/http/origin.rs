//! Which page sent a request: changes are for the gateway's own pages and for those of allowed origins.

use warp::http::uri::Authority;
use warp::http::{HeaderMap, header};

use crate::http::forwarded::Forwarded;
use crate::model::refusal::{Code, Refusal};

/// Judges a change that a browser's page asks for.
///
/// # Errors
///
/// `cross_site` for another site's page, and for prefetching.
pub fn may_change(request: &Forwarded<'_>, allowed: &[String]) -> Result<(), Refusal> {
    let headers = request.headers();
    if mentions(headers, "sec-purpose", "prefetch") || mentions(headers, "purpose", "prefetch") {
        return Err(Refusal::new(Code::CrossSite, "prefetching must not change a room").of("Sec-Purpose"));
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        // Programs send none.
        return same_site(headers);
    };
    let origin = origin.to_str().unwrap_or("?");
    if allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
        // The operator named this origin, so its site may be another one.
        return Ok(());
    }
    if !is_ours(origin, request) {
        let shown: String = origin.chars().take(256).collect();
        let message = format!("origin {shown} is neither this host nor allowed; see --allow-origin");
        return Err(Refusal::new(Code::CrossSite, message).of("Origin"));
    }
    same_site(headers)
}

/// Whether `origin` (RFC 6454, 7) names the host that the client asked for. A trusted proxy may report the host and the
/// scheme. Without a reported scheme, the origin's own counts, because TLS may end at a proxy.
fn is_ours(origin: &str, request: &Forwarded<'_>) -> bool {
    let host = || request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let Some((scheme, theirs)) = origin.split_once("://") else {
        return false;
    };
    let ours = request.host().or_else(host).and_then(|host| host_and_port(host, scheme));
    ours.is_some()
        && ours == host_and_port(theirs, scheme)
        && request.scheme().is_none_or(|ours| ours.eq_ignore_ascii_case(scheme))
}

/// The host in lower case, and the port, by default that of `scheme`.
fn host_and_port(text: &str, scheme: &str) -> Option<(String, Option<u16>)> {
    let authority: Authority = text.parse().ok()?;
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Some((authority.host().to_ascii_lowercase(), authority.port_u16().or(default)))
}

fn same_site(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        Some(b"cross-site" | b"same-site") => {
            Err(Refusal::new(Code::CrossSite, "the request came from another site's page").of("Sec-Fetch-Site"))
        }
        Some(_) | None => Ok(()),
    }
}

fn mentions(headers: &HeaderMap, name: &str, word: &str) -> bool {
    headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|text| text.contains(word)))
}
