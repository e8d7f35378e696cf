//! What trusted proxies report about a request: the client's address, the public host, scheme and path prefix.
//!
//! Anyone can send these headers, so they count only from a peer that `--trusted-proxy` names.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use warp::http::HeaderMap;
use warp::http::header::{FORWARDED, HeaderName, VIA};

use crate::runtime::rates::Source;

/// A request's headers, with the `X-Forwarded-*` ones as far as they count.
#[derive(Clone, Copy)]
pub struct Forwarded<'a> {
    headers: &'a HeaderMap,
    peer: IpAddr,
    trusted: &'a [IpNet],
}

/// Whether `address` is one of the `trusted` proxies'. An IPv4 address in IPv6 form (RFC 4291, 2.5.5.2) is IPv4.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address.to_canonical()))
}

/// Whether a proxy passed the request on, trusted or not (RFC 7239, 4; RFC 9110, 7.6.3).
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    let marks = |name: &HeaderName| name.as_str().starts_with("x-forwarded-") || [FORWARDED, VIA].contains(name);
    headers.keys().any(marks)
}

impl<'a> Forwarded<'a> {
    /// What the request's `headers` say, received from `peer`.
    pub fn of(headers: &'a HeaderMap, peer: IpAddr, trusted: &'a [IpNet]) -> Self {
        Forwarded { headers, peer: peer.to_canonical(), trusted }
    }

    /// All headers of the request.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Whether the connection comes from a trusted proxy.
    pub fn is_proxied(&self) -> bool {
        is_trusted(self.peer, self.trusted)
    }

    /// The client's address: the last of `X-Forwarded-For` that is no trusted proxy's. Each proxy appends the address
    /// that its connection came from, so an entry counts only if the entry after it is a trusted proxy's.
    pub fn client(&self) -> IpAddr {
        let mut client = self.peer;
        let values = self.headers.get_all("x-forwarded-for").iter().rev();
        for entry in values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(',')) {
            match address(entry.trim()) {
                Some(before) if is_trusted(client, self.trusted) => client = before,
                _ => break,
            }
        }
        client
    }

    /// The client, and whether rates count for its address.
    pub fn source(&self) -> Source {
        let client = self.client();
        match (is_trusted(client, self.trusted), self.is_proxied()) {
            (true, _) => Source::proxy(client),
            (false, true) => Source::reported(client),
            (false, false) => Source::direct(client),
        }
    }

    /// The host and port that the client asked for, from `X-Forwarded-Host`.
    pub fn host(&self) -> Option<&'a str> {
        self.last("x-forwarded-host")
    }

    /// The scheme that the client used, from `X-Forwarded-Proto`: `http` or `https`.
    pub fn scheme(&self) -> Option<&'static str> {
        // Some proxies write the WebSocket's own schemes.
        match self.last("x-forwarded-proto")?.to_ascii_lowercase().as_str() {
            "http" | "ws" => Some("http"),
            "https" | "wss" => Some("https"),
            _ => None,
        }
    }

    /// The path below which clients see the gateway, from `X-Forwarded-Prefix`: empty, or `/` and more, without a `/` at
    /// the end. It stands at the start of `Location`, so it must be a path of this host: `//host` and `/\host` are not.
    pub fn prefix(&self) -> &'a str {
        let prefix = self.last("x-forwarded-prefix").map(|prefix| prefix.trim_end_matches('/')).unwrap_or_default();
        let is_path = prefix.starts_with('/')
            && !prefix.contains("//")
            && !prefix.contains(|c: char| c.is_control() || matches!(c, '\\' | '?' | '#' | ' '));
        if is_path { prefix } else { "" }
    }

    /// The last value of a header: the one that the nearest proxy has written.
    fn last(&self, name: &str) -> Option<&'a str> {
        if !self.is_proxied() {
            return None;
        }
        let last = self.headers.get_all(name).iter().next_back()?.to_str().ok()?;
        last.rsplit(',').next().map(str::trim).filter(|value| !value.is_empty())
    }
}

/// An entry of `X-Forwarded-For`: an address, by some proxies with a port, by some in brackets.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn with<T>(peer: &str, headers: &[(&'static str, &str)], read: impl FnOnce(Forwarded<'_>) -> T) -> T {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        read(Forwarded::of(&map, peer.parse().unwrap(), &trusted))
    }

    fn client(peer: &str, forwarded_for: &[&str]) -> String {
        let headers: Vec<_> = forwarded_for.iter().map(|value| ("x-forwarded-for", *value)).collect();
        with(peer, &headers, |forwarded| forwarded.client().to_string())
    }

    #[test]
    fn the_client_is_the_last_address_before_the_trusted_proxies() {
        for (peer, forwarded_for, expected) in [
            (PROXY, vec!["192.0.2.7"], "192.0.2.7"),
            (PROXY, vec!["6.6.6.6, 192.0.2.7"], "192.0.2.7"),
            (PROXY, vec!["6.6.6.6, 192.0.2.7,10.9.9.9"], "192.0.2.7"),
            (PROXY, vec!["6.6.6.6", "192.0.2.7", "10.9.9.9"], "192.0.2.7"),
            (PROXY, vec!["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            (PROXY, vec!["192.0.2.7:5123"], "192.0.2.7"),
            (PROXY, vec!["[2001:db8::7]:5123"], "2001:db8::7"),
            (PROXY, vec!["[2001:db8::7]"], "2001:db8::7"),
            ("::1", vec!["2001:db8::7"], "2001:db8::7"),
            ("::ffff:10.0.0.1", vec!["::ffff:192.0.2.7"], "192.0.2.7"),
            (PROXY, vec!["192.0.2.7, nonsense"], PROXY),
            (PROXY, vec!["nonsense, 10.2.2.2"], "10.2.2.2"),
            (PROXY, vec![""], PROXY),
            (PROXY, vec![], PROXY),
            ("192.0.2.9", vec!["10.1.1.1"], "192.0.2.9"),
        ] {
            assert_eq!(client(peer, &forwarded_for), expected, "{peer} {forwarded_for:?}");
        }
    }

    #[test]
    fn host_and_scheme_are_those_of_the_nearest_proxy_and_of_no_stranger() {
        let headers = [("x-forwarded-host", "evil.example, app.example:8443"), ("x-forwarded-proto", "wss")];
        let read = |forwarded: Forwarded<'_>| (forwarded.host().map(str::to_owned), forwarded.scheme());
        assert_eq!(with(PROXY, &headers, read), (Some("app.example:8443".into()), Some("https")));
        assert_eq!(with("192.0.2.9", &headers, read), (None, None));
        assert_eq!(with(PROXY, &[("x-forwarded-proto", "gopher")], read), (None, None));
    }

    #[test]
    fn a_prefix_is_a_path_of_this_host_or_nothing() {
        let prefix = |peer, value: &str| with(peer, &[("x-forwarded-prefix", value)], |f| f.prefix().to_owned());
        for (value, expected) in [
            ("/apps/presence", "/apps/presence"),
            ("/apps/presence/", "/apps/presence"),
            ("/", ""),
            ("apps", ""),
            ("//evil.example", ""),
            ("/a//evil.example", ""),
            ("/\\evil.example", ""),
            ("/a\tb", ""),
            ("/a?b", ""),
            ("https://evil.example", ""),
            ("/ä", ""),
        ] {
            assert_eq!(prefix(PROXY, value), expected, "{value}");
        }
        assert_eq!(prefix("192.0.2.9", "/apps"), "");
    }
}
