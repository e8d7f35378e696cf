//! Which page sent a request: changes are for the gateway's own pages and for those of allowed origins.

use warp::http::{HeaderMap, HeaderValue, header};

use crate::http::forwarded::Forwarded;
use crate::model::origin::{Host, Origin};
use crate::model::refusal::{Code, Refusal};
use crate::runtime::config::Config;

/// The most characters of an origin in a refusal: more than the longest name in DNS, its scheme and its port.
const MAX_SHOWN: usize = 300;

/// What a browser says about the site of the page that sent a request (Fetch Metadata, 2.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Site {
    /// The user, by an address or a bookmark; or no browser, or an older one.
    Unknown,
    /// A page of the gateway's own origin.
    SameOrigin,
    /// A page of another origin.
    Foreign,
}

/// Judges a change that a browser's page may have asked for. Programs send none of the headers.
///
/// # Errors
///
/// `cross_site` for another site's page, and for prefetching.
pub fn may_change(request: &Forwarded<'_>, config: &Config) -> Result<(), Refusal> {
    let headers = request.headers();
    if mentions(headers, "sec-purpose", "prefetch") || mentions(headers, "purpose", "prefetch") {
        return Err(Refusal::new(Code::CrossSite, "prefetching must not change a room").of("Sec-Purpose"));
    }
    let site = site(headers);
    match origin(headers)? {
        None if site == Site::Foreign => Err(foreign_site()),
        None => Ok(()),
        Some(origin) => {
            // An allowed origin may be of another site. The browser itself vouches for a page of the same origin, also
            // where a proxy has replaced `Host` or a policy has made the origin `null`.
            if allowed(headers, &config.allow_origins).is_some() || site == Site::SameOrigin {
                return Ok(());
            }
            let is_ours = origin.parse().is_ok_and(|origin| is_ours(&origin, request, &config.public_urls));
            match is_ours {
                true if site == Site::Foreign => Err(foreign_site()),
                true => Ok(()),
                false => Err(foreign(origin)),
            }
        }
    }
}

/// Demands that the browser names the page behind a change that was found in order: a browser brings cookies for any page.
///
/// # Errors
///
/// `cross_site` with neither `Origin` nor `Sec-Fetch-Site: same-origin`.
pub fn is_named(request: &Forwarded<'_>) -> Result<(), Refusal> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || site(headers) == Site::SameOrigin {
        return Ok(());
    }
    let message = "a change by cookie needs Origin, or Sec-Fetch-Site: same-origin";
    Err(Refusal::new(Code::CrossSite, message).of("Origin"))
}

/// The `Origin` of a request, as sent, if it is one of the `allowed`.
pub fn allowed<'a>(headers: &'a HeaderMap, allowed: &[Origin]) -> Option<&'a HeaderValue> {
    let parsed: Origin = origin(headers).ok()??.parse().ok()?;
    headers.get(header::ORIGIN).filter(|_| allowed.contains(&parsed))
}

/// The refusal of a page whose origin is not allowed.
pub fn not_allowed(headers: &HeaderMap) -> Refusal {
    origin(headers).map_or_else(|refusal| refusal, |origin| foreign(origin.unwrap_or_default()))
}

/// The refusal of a page of `origin`, with the option that would allow the page.
fn foreign(origin: &str) -> Refusal {
    let shown: String = origin.chars().take(MAX_SHOWN).collect();
    let advice = match origin.parse::<Origin>() {
        Ok(_) if shown == origin => format!("to allow its pages, start the gateway with --allow-origin {origin}"),
        Ok(_) | Err(_) => "--allow-origin cannot name it".to_owned(),
    };
    let message = format!("origin {shown} is neither this gateway's nor allowed; {advice}");
    Refusal::new(Code::CrossSite, message).of("Origin")
}

fn foreign_site() -> Refusal {
    let message = "the request came from another site's page, whose origin --allow-origin does not name";
    Refusal::new(Code::CrossSite, message).of("Sec-Fetch-Site")
}

/// Whether `origin` is the gateway's: one of `--public-url`, or the host that the client asked for. A trusted proxy may
/// report that host, and the scheme. Without a reported scheme, the origin's own counts, because TLS may end at a proxy.
fn is_ours(origin: &Origin, request: &Forwarded<'_>, public_urls: &[Origin]) -> bool {
    if public_urls.contains(origin) {
        return true;
    }
    let host = || request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = request.host().or_else(host).and_then(|host| host.parse::<Host>().ok()) else {
        return false;
    };
    // The scheme of a public URL's host is known, and `origin` is not that URL.
    let is_public = public_urls.iter().any(|url| url.host().name == host.name);
    let scheme = request.scheme().unwrap_or(origin.scheme());
    !is_public && origin.is_web() && *origin == Origin::new(scheme, &host)
}

/// The one `Origin` of a request.
fn origin(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (first, None) => Ok(first.map(|origin| origin.to_str().unwrap_or("?"))),
        (_, Some(_)) => Err(Refusal::new(Code::CrossSite, "Origin is given twice").of("Origin")),
    }
}

/// Other spellings than the four of the specification, and repeated headers, count as foreign.
fn site(headers: &HeaderMap) -> Site {
    let mut sites = headers.get_all("sec-fetch-site").iter().map(|site| site.as_bytes());
    match (sites.next(), sites.next()) {
        (None | Some(b"none"), None) => Site::Unknown,
        (Some(b"same-origin"), None) => Site::SameOrigin,
        _ => Site::Foreign,
    }
}

fn mentions(headers: &HeaderMap, name: &str, word: &str) -> bool {
    headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|text| text.contains(word)))
}
