//! Cookies: an id that stands for a pass, so that a browser brings the pass along by itself (RFC 6265bis).
//!
//! Cookies ignore ports, and a name with `__Host-` has no path: the name itself tells gateways of one host apart.

use std::fmt::Write;

use warp::http::header;

use crate::http::forwarded::Forwarded;
use crate::model::origin::{Host, Origin};
use crate::model::refusal::{Code, Refusal};
use crate::runtime::config::Config;

/// The beginning of the name over TLS: browsers accept it only from the host itself, and only over TLS (RFC 6265bis,
/// 4.1.3.2).
const SECURE: &str = "__Host-presently-";

/// The beginning of the name over plain HTTP.
const PLAIN: &str = "presently-";

/// The most cookies of one request that are looked at: those of several gateways on one host.
const MAX_LOOKED_AT: usize = 16;

/// The header that a refusal blames.
const FIELD: &str = "Cookie";

/// The longest part of a path prefix that the name keeps.
const MAX_PREFIX: usize = 64;

/// The address under which a browser sees the gateway.
struct Seen {
    secure: bool,
    port: u16,
    prefix: String,
}

impl Seen {
    /// The address of `--public-url`, else of the request's `Origin`, else of its `Host`.
    fn of(request: &Forwarded<'_>, config: &Config) -> Self {
        let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let origin = text(header::ORIGIN).and_then(|origin| origin.parse::<Origin>().ok()).filter(Origin::is_web);
        let host = || request.host().or(text(header::HOST)).and_then(|host| host.parse::<Host>().ok());
        let asked = || host().map(|host| Origin::new(request.scheme().unwrap_or("http"), &host));
        let public = config.public_urls.iter().find(|url| Some(*url) == origin.as_ref()).or(config.public_urls.first());
        let origin = public.cloned().or(origin).or_else(asked);
        let (secure, port) = origin.map_or((false, 80), |origin| {
            let secure = origin.scheme() == "https";
            (secure, origin.host().port.unwrap_or(if secure { 443 } else { 80 }))
        });
        Seen { secure, port, prefix: word(request.prefix()) }
    }

    fn name(&self) -> String {
        let Seen { secure, port, prefix } = self;
        format!("{}{port}{prefix}", if *secure { SECURE } else { PLAIN })
    }
}

/// A path prefix as a part of a name: letters and digits, and other bytes in hexadecimal.
fn word(prefix: &str) -> String {
    prefix.bytes().take(MAX_PREFIX).fold(String::new(), |mut word, byte| {
        let _ = match byte {
            b'/' => write!(word, "."),
            _ if byte.is_ascii_alphanumeric() => write!(word, "{}", byte as char),
            _ => write!(word, "-{byte:02x}"),
        };
        word
    })
}

/// The ids of all cookies that may be a gateway's, those over TLS first. A name without `__Host-` could be set by anyone on
/// the way, so it does not count over TLS.
pub fn ids<'a>(request: &Forwarded<'a>, config: &Config) -> Vec<&'a str> {
    let secure = Seen::of(request, config).secure;
    let starting = |start: &'static str| pairs(request).filter(move |(name, _)| name.starts_with(start));
    let plain = starting(PLAIN).filter(|_| !secure);
    starting(SECURE).chain(plain).map(|(_, id)| id).take(MAX_LOOKED_AT).collect()
}

/// Whether the request brings a cookie of the name that this gateway would give it.
pub fn is_own(request: &Forwarded<'_>, config: &Config) -> bool {
    let own = Seen::of(request, config).name();
    pairs(request).any(|(name, _)| name == own)
}

fn pairs<'a>(request: &Forwarded<'a>) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    let values = request.headers().get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// The refusal of a request whose cookie is over, or was never the gateway's.
pub fn ended() -> Refusal {
    Refusal::new(Code::TokenExpired, "the cookie is over or unknown; sign in again").of(FIELD)
}

/// Whether a refusal is [`ended`]: the browser had better forget the cookie.
pub fn is_ended(refusal: &Refusal) -> bool {
    refusal.code == Code::TokenExpired && refusal.field.as_deref() == Some(FIELD)
}

/// The `Set-Cookie` that gives the browser `id`, until the browser ends.
pub fn set(request: &Forwarded<'_>, config: &Config, id: &str) -> String {
    cookie(&Seen::of(request, config), id, "")
}

/// The `Set-Cookie` that deletes the gateway's cookie.
pub fn delete(request: &Forwarded<'_>, config: &Config) -> String {
    cookie(&Seen::of(request, config), "", "; Max-Age=0")
}

fn cookie(seen: &Seen, id: &str, more: &str) -> String {
    let secure = if seen.secure { "; Secure" } else { "" };
    format!("{}={id}; Path=/; HttpOnly; SameSite=Strict{secure}{more}", seen.name())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use warp::http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn with<T>(headers: &[(&'static str, &'static str)], config: &Config, see: impl FnOnce(&Forwarded<'_>) -> T) -> T {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers: HeaderMap = headers.iter().map(header).collect();
        see(&Forwarded::of(&headers, IpAddr::V4(Ipv4Addr::LOCALHOST), &config.trusted_proxies))
    }

    #[test]
    fn the_name_tells_scheme_port_and_prefix() {
        let (plain, mut public) = (Config::default(), Config::default());
        public.public_urls = vec!["https://app.example".parse().unwrap()];
        for (headers, config, name) in [
            (&[("host", "localhost:4000")][..], &plain, "presently-4000"),
            (&[("host", "localhost:4000"), ("origin", "https://app.example")], &plain, "__Host-presently-443"),
            (&[("host", "localhost:4000"), ("origin", "http://localhost:4000")], &plain, "presently-4000"),
            (&[("host", "localhost:4000")], &public, "__Host-presently-443"),
            (
                &[("host", "app"), ("x-forwarded-proto", "https"), ("x-forwarded-prefix", "/apps/a_b")],
                &plain,
                "__Host-presently-443.apps.a-5fb",
            ),
        ] {
            let set = with(headers, config, |request| set(request, config, "x"));
            let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
            assert_eq!(set, format!("{name}=x; Path=/; HttpOnly; SameSite=Strict{secure}"));
        }
    }

    #[test]
    fn plain_names_do_not_count_over_tls() {
        let config = Config::default();
        let cookie = ("cookie", "a=b; presently-4000=1; __Host-presently-443=2; presently-80=3");
        let read = |headers: &[_]| with(headers, &config, |request| ids(request, &config).join(" "));
        assert_eq!(read(&[cookie, ("host", "localhost:4000")]), "2 1 3");
        assert_eq!(read(&[cookie, ("host", "app"), ("x-forwarded-proto", "https")]), "2");
        let own = |headers: &[_]| with(headers, &config, |request| is_own(request, &config));
        assert!(own(&[cookie, ("host", "localhost:4000")]) && !own(&[cookie, ("host", "localhost:4001")]));
    }
}
