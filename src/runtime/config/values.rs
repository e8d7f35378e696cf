//! Values of options, as they are written.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use crate::access::rights::Grant;
use crate::access::verb::Verb;
use crate::model::origin::{Host, Origin};
use crate::runtime::memory::Amount;

/// The longest time in which events gather: people notice a twentieth of a second.
const MAX_GATHER: Duration = Duration::from_millis(50);

/// Reads `lobby:watch,count`.
pub(super) fn anyone(text: &str) -> Result<Grant, String> {
    let grant = Grant::read(text, None)?;
    match grant.can.iter().find(|verb| !matches!(verb, Verb::Count | Verb::Watch)) {
        Some(verb) => Err(format!("{verb} needs a token, whose sub is the user")),
        None => Ok(grant),
    }
}

/// Reads `10.0.0.0/8`, `fd00::/8`, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse().ok().map(|address: IpAddr| IpNet::from(address.to_canonical()));
    text.parse().ok().or_else(address).ok_or_else(|| "write an address or a network, such as 10.0.0.0/8".to_owned())
}

/// Reads `https://app.example`.
pub(super) fn web_origin(text: &str) -> Result<Origin, String> {
    let origin: Origin = text.parse()?;
    if origin.is_web() { Ok(origin) } else { Err("the scheme must be http or https".to_owned()) }
}

/// Reads `app.example` or `*`.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    match text {
        "*" => Ok(text.to_owned()),
        _ => match text.parse::<Host>()? {
            Host { name, port: None } => Ok(name),
            Host { name, .. } => Err(format!("a host name has no port; probably {name}")),
        },
    }
}

/// Reads `2MiB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    match text.parse()? {
        Amount::Bytes(bytes) if bytes >= 64 << 10 => Ok(bytes),
        Amount::Bytes(_) | Amount::Percent(_) => Err("write a size of at least 64KiB, such as 2MiB".to_owned()),
    }
}

/// Reads a time, or `0s` for none.
pub(super) fn duration_or_none(text: &str) -> Result<Duration, String> {
    if text == "0s" { Ok(Duration::ZERO) } else { duration(text) }
}

/// Reads the time in which events gather; `0` and `0s` for none.
pub(super) fn gather(text: &str) -> Result<Duration, String> {
    let time = if text == "0" { Ok(Duration::ZERO) } else { humantime::parse_duration(text) };
    time.ok().filter(|time| *time <= MAX_GATHER).ok_or_else(|| "write 0s to 50ms, such as 10ms".to_owned())
}

/// Checks directives such as `presently=debug,warn`.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Reads `10s`, `5min` or `1h 30min`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|e| format!("{e}; write 500ms, 10s or 5min"))?;
    let day = Duration::from_secs(86_400);
    if time < Duration::from_millis(10) || time > day {
        return Err("a time here is 10ms to 1day".into());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_bounds() {
        assert_eq!(duration("1h 30min"), Ok(Duration::from_secs(5_400)));
        for bad in ["", "5", "1ms", "2days", "soon"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn events_gather_for_0_to_50_ms() {
        for (text, millis) in [("0", 0), ("0s", 0), ("0ms", 0), ("500us", 0), ("10ms", 10), ("50ms", 50)] {
            assert_eq!(gather(text).unwrap().as_millis(), millis, "{text}");
        }
        for bad in ["", "10", "-1ms", "51ms", "50ms 1us", "1s", "soon"] {
            assert_eq!(gather(bad).unwrap_err(), "write 0s to 50ms, such as 10ms", "{bad:?}");
        }
    }
}
