//! Hosts and origins of web pages, compared by value.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A host with a port, as in the header `Host` (RFC 9110, 7.2). The name is in lower case and without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub name: String,
    /// The port, if given.
    pub port: Option<u16>,
}

impl Host {
    /// Whether the name cannot be taken over by a stranger's DNS server: an IP address, `localhost` or below, or a name
    /// without a dot, which public DNS does not resolve.
    pub fn is_local(&self) -> bool {
        let name = self.name.as_str();
        let is_address = name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok();
        is_address || !name.contains('.') || name.ends_with(".localhost")
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a host");
        let end = match text.strip_prefix('[') {
            Some(rest) => rest.find(']').ok_or_else(bad)? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, rest) = text.split_at(end);
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            Some("") => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().map_err(|_| bad())?),
            _ => return Err(bad()),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_name = || name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        let is_valid = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !name.is_empty() && is_name(),
        };
        if is_valid { Ok(Host { name, port }) } else { Err(bad()) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// An origin (RFC 6454, 4): scheme, host and port. `http` and `https` always have a port, by default 80 and 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: Host,
}

impl Origin {
    /// The origin of `scheme` and `host`.
    pub fn new(scheme: &str, host: &Host) -> Self {
        let scheme = scheme.to_ascii_lowercase();
        let default = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Origin { scheme, host: Host { name: host.name.clone(), port: host.port.or(default) } }
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The host, with a port if the scheme has ports.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether pages of the scheme come from a web server.
    pub fn is_web(&self) -> bool {
        matches!(self.scheme.as_str(), "http" | "https")
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(match text {
                "*" | "null" => format!("{text} is not an origin; name each origin, such as https://app.example"),
                _ => format!("the scheme is missing; probably https://{}", text.trim_end_matches('/')),
            });
        };
        if let Some((host, _)) = rest.split_once(['/', '?', '#']) {
            return Err(format!("an origin has no path; probably {scheme}://{host}"));
        }
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return Err(format!("{scheme:?} is not a scheme (RFC 3986, 3.1)"));
        }
        if !rest.is_ascii() {
            return Err(format!("{rest:?} is not ASCII; write it as browsers do, as xn--…"));
        }
        Ok(Origin::new(scheme, &rest.parse()?))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_and_without_a_port() {
        for (text, name, port) in [
            ("App.Example", "app.example", None),
            ("app.example.:8443", "app.example", Some(8443)),
            ("localhost:", "localhost", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:443", "[2001:db8::1]", Some(443)),
            ("my_service", "my_service", None),
        ] {
            assert_eq!(text.parse(), Ok(Host { name: name.into(), port }), "{text}");
        }
        for bad in
            ["", ":80", "a:b", "a:80:80", "::1", "[::1", "[::1]x", "[a]", "a/b", "u@a", "a b", "a:65536", "a:+1", "ä"]
        {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }

    #[test]
    fn local_names_are_those_that_public_dns_does_not_resolve() {
        for (text, local) in [
            ("127.0.0.1", true),
            ("192.168.1.7:4000", true),
            ("[::1]", true),
            ("localhost", true),
            ("app.localhost", true),
            ("presently", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.1", false),
            ("localhost.evil.example", false),
        ] {
            assert_eq!(text.parse::<Host>().unwrap().is_local(), local, "{text}");
        }
    }

    #[test]
    fn origins_are_compared_by_value() {
        let same = |a: &str, b: &str| a.parse::<Origin>().unwrap() == b.parse::<Origin>().unwrap();
        assert!(same("HTTPS://A.example:443", "https://a.example"));
        assert!(same("http://a.example", "http://a.example:80"));
        assert!(same("capacitor://localhost", "capacitor://localhost"));
        assert!(!same("https://a.example", "http://a.example"));
        assert!(!same("https://a.example", "https://a.example:8443"));
    }

    #[test]
    fn a_refused_origin_says_what_was_probably_meant() {
        for (text, said) in [
            ("https://a.example/", "an origin has no path; probably https://a.example"),
            ("https://a.example/app?x", "an origin has no path; probably https://a.example"),
            ("a.example", "the scheme is missing; probably https://a.example"),
            ("*", "* is not an origin; name each origin, such as https://app.example"),
            ("null", "null is not an origin; name each origin, such as https://app.example"),
            ("https://", "\"\" is not a host"),
            ("https://b\u{fc}cher.example", "\"b\u{fc}cher.example\" is not ASCII; write it as browsers do, as xn--…"),
            ("1x://a", "\"1x\" is not a scheme (RFC 3986, 3.1)"),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(said.to_owned()), "{text}");
        }
    }
}
