//! Who may change things from a browser: our own pages, and those of origins that are allowed.

use warp::http::{HeaderMap, header};

use crate::model::refusal::{Code, Refusal};

/// Refuses a change that another site's page asks for, or that nobody asked for yet (prefetching).
pub fn may_change(headers: &HeaderMap, allowed: &[String]) -> Result<(), Refusal> {
    if mentions(headers, "sec-purpose", "prefetch") || mentions(headers, "purpose", "prefetch") {
        return Err(Refusal::new(Code::CrossSite, "prefetching changes nothing").of("Sec-Purpose"));
    }
    known_origin(headers, allowed)?;
    if is_allowed(headers, allowed) { Ok(()) } else { same_site(headers) }
}

/// Whether the page's origin is one that the operator named: then it may be of another site.
fn is_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    origin.is_some_and(|origin| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)))
}

/// Refuses a page's origin that is neither ours nor allowed; programs send none.
pub fn known_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), Refusal> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or("?");
    let ours = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_ours = || {
        // A proxy may speak TLS for us, so the scheme says nothing.
        let (_, authority) = origin.split_once("://")?;
        Some(authority.eq_ignore_ascii_case(ours?))
    };
    if is_ours() == Some(true) || is_allowed(headers, allowed) {
        return Ok(());
    }
    let shown: String = origin.chars().take(256).collect();
    let message = format!("origin {shown} is neither this host nor allowed; see --allow-origin");
    Err(Refusal::new(Code::CrossSite, message).of("Origin"))
}

fn same_site(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        Some(b"cross-site" | b"same-site") => {
            Err(Refusal::new(Code::CrossSite, "another site's page asks for this change").of("Sec-Fetch-Site"))
        }
        Some(_) | None => Ok(()),
    }
}

fn mentions(headers: &HeaderMap, name: &str, word: &str) -> bool {
    headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|text| text.contains(word)))
}
