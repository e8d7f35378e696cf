//! Whose host a request is for: without keys, requests for foreign names are refused.
//!
//! A page of `evil.example` may let that name resolve to this machine (DNS rebinding). To the browser the gateway is then
//! the page's own origin, and only `Host` tells otherwise.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tracing::{info, warn};
use warp::http::request::Parts;
use warp::http::{HeaderValue, Version, header};

use crate::model::origin::Host;
use crate::model::refusal::{Code, Refusal};
use crate::runtime::address::Address;
use crate::runtime::config::Config;

/// Paths that name nobody, so that any monitor may ask under any name.
const OPEN_TO_ALL: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The most bytes of a host in the log: the longest name in DNS (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;

/// Refused hosts whose first refusal is logged; a stranger may make up any number.
const MAX_LOGGED: usize = 100;

/// Judges the hosts of requests.
pub struct Hosts {
    /// The names of `--allow-host`, `--allow-origin`, `--public-url`, `--listen` and `--admin`.
    allowed: BTreeSet<String>,
    all: bool,
    logged: Mutex<BTreeSet<String>>,
}

impl Hosts {
    /// The hosts that `config` allows. All with keys: a rebound page has no token, and no cookie of another name.
    pub fn of(config: &Config) -> Self {
        let origins = config.allow_origins.iter().chain(&config.public_urls).filter(|origin| origin.is_web());
        let listened = config.listen.iter().chain(&config.admin).filter_map(Address::name).map(str::to_owned);
        let named = config.allow_hosts.iter().cloned().chain(listened);
        let allowed: BTreeSet<_> = origins.map(|origin| origin.host().name.clone()).chain(named).collect();
        if allowed.is_empty() && !config.has_keys() {
            info!(
                "own names are IP addresses, localhost and names without a dot; others need --public-url or --allow-host"
            );
        }
        Hosts { all: config.has_keys() || allowed.contains("*"), allowed, logged: Mutex::default() }
    }

    /// Judges the target and the host of a request. A host within the target (RFC 9112, 3.2.2) becomes the `Host`.
    ///
    /// # Errors
    ///
    /// `bad_request` for a target without a path, and unless `Host` is given once (HTTP/1.0 may go without);
    /// `wrong_host` for a name that is not this gateway's.
    pub fn judge(&self, request: &mut Parts) -> Result<(), Refusal> {
        if !request.uri.path().starts_with('/') {
            return Err(bad("the request's target is not a path", "target"));
        }
        let hosts = request.headers.get_all(header::HOST).iter().count();
        if hosts > 1 || hosts == 0 && request.version != Version::HTTP_10 {
            return Err(bad("Host must be given exactly once (RFC 9112, 3.2)", "Host"));
        }
        if let Some(authority) = request.uri.authority() {
            let host =
                HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the target's host is invalid", "target"))?;
            request.headers.insert(header::HOST, host);
        }
        let Some(host) = request.headers.get(header::HOST) else {
            return Ok(());
        };
        let parsed = host.to_str().ok().and_then(|host| host.parse::<Host>().ok());
        let host = parsed.ok_or_else(|| bad("Host is not a host with or without a port", "Host"))?;
        let is_ours = self.all || host.is_local() || self.allowed.contains(&host.name);
        if is_ours || OPEN_TO_ALL.contains(&request.uri.path()) {
            return Ok(());
        }
        self.log(&host.name);
        let message = format!(
            "{} is not a name of this gateway; if it should be, start the gateway with --public-url https://{} or \
             --allow-host {}",
            host.name, host.name, host.name
        );
        Err(Refusal::new(Code::WrongHost, message).of("Host"))
    }

    /// Logs the first refusal of each host.
    fn log(&self, host: &str) {
        // A parsed host is ASCII.
        let host = host.get(..MAX_NAME).unwrap_or(host);
        let mut logged = self.logged.lock();
        if logged.len() < MAX_LOGGED && logged.insert(host.to_owned()) {
            drop(logged);
            warn!(host, "a request for a foreign host was refused; see --public-url and --allow-host");
        }
    }
}

fn bad(message: &str, field: &str) -> Refusal {
    Refusal::new(Code::BadRequest, message).of(field)
}

#[cfg(test)]
mod tests {
    use warp::http::Request;

    use super::*;

    #[test]
    fn a_stranger_who_makes_up_hosts_fills_neither_the_log_nor_memory() {
        let hosts = Hosts::of(&Config::default());
        for n in 0..2 * MAX_LOGGED {
            let request = Request::get("/").header(header::HOST, format!("{n}.example")).body(()).unwrap();
            let refusal = hosts.judge(&mut request.into_parts().0).unwrap_err();
            assert_eq!(refusal.code, Code::WrongHost, "{n}");
        }
        assert_eq!(hosts.logged.lock().len(), MAX_LOGGED);
    }
}
