//! What an operator can set: options of the program, each also an environment variable.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::model::name::Name;
use crate::model::presence::Bounds;
use crate::runtime::tasks::Faults;

/// A realtime presence gateway: who is here right now, live over SSE and WebSocket.
///
/// Every option can also be given as the environment variable shown behind it; several users or
/// origins are separated by commas there.
#[derive(Clone, Debug, Parser)]
#[command(name = "presently", version, next_line_help = false)]
pub struct Config {
    /// Address and port to serve on; port 0 takes a free one
    #[arg(
        long,
        global = true,
        env = "PRESENTLY_LISTEN",
        default_value = "127.0.0.1:4000",
        value_name = "ADDRESS:PORT"
    )]
    pub listen: SocketAddr,

    /// A user who is signed in to the lobby from the start; may be repeated
    #[arg(long = "user", env = "PRESENTLY_USER", value_delimiter = ',', value_name = "NAME")]
    pub users: Vec<Name>,

    /// An origin besides our own whose pages may change sets, such as <https://app.example>; may be repeated
    #[arg(long = "allow-origin", env = "PRESENTLY_ALLOW_ORIGIN", value_delimiter = ',', value_name = "ORIGIN")]
    pub allow_origins: Vec<String>,

    /// Events each room remembers, so that readers who come back go on where they were. At 3 events a second, 1,000
    /// are the five minutes of --history-for; each costs its JSON, some 200 bytes
    #[arg(long, env = "PRESENTLY_HISTORY", default_value_t = 1_000, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub history: u64,

    /// How long they are remembered: longer than a phone's change of network, short enough that a room left by all
    /// soon costs nothing
    #[arg(long, env = "PRESENTLY_HISTORY_FOR", default_value = "5min", value_name = "TIME", value_parser = duration)]
    pub history_for: Duration,

    /// Rooms at most; each costs about 1 KiB beyond its members
    #[arg(long, env = "PRESENTLY_MAX_ROOMS", default_value_t = 100_000, value_name = "N")]
    pub max_rooms: usize,

    /// Members at most in each room; 0 is no bound
    #[arg(long, env = "PRESENTLY_MAX_MEMBERS", default_value_t = 0, value_name = "N")]
    pub max_members: usize,

    /// Connections at most, beyond which new ones are closed at once; 0 is the limit on open files, less 100 for
    /// what else is open. The limit is raised as far as the system allows (ulimit -Hn)
    #[arg(long, env = "PRESENTLY_MAX_CONNECTIONS", default_value_t = 0, value_name = "N")]
    pub max_connections: usize,

    /// Connections at most from one address; 0 is no bound, since a proxy is one address
    #[arg(long, env = "PRESENTLY_MAX_PER_ADDRESS", default_value_t = 0, value_name = "N")]
    pub max_per_address: usize,

    /// Users one connection may hold, and rooms it may watch; each member held costs about 1 KiB
    #[arg(long, env = "PRESENTLY_MAX_PER_CONNECTION", default_value_t = 100, value_name = "N")]
    pub max_per_connection: usize,

    /// Bytes a request's body may have: a batch of some 10,000 users
    #[arg(long, env = "PRESENTLY_MAX_BODY", default_value_t = 1024 * 1024, value_name = "BYTES")]
    pub max_body: usize,

    /// Bytes a request's head may have; cookies of other applications on the same host come along
    #[arg(long, env = "PRESENTLY_MAX_HEAD", default_value_t = 16 * 1024, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(8_192..=1_048_576))]
    pub max_head: u64,

    /// Bytes a WebSocket message from a client may have
    #[arg(long, env = "PRESENTLY_MAX_MESSAGE", default_value_t = 64 * 1024, value_name = "BYTES")]
    pub max_message: usize,

    /// How long a request's head or body may take to arrive
    #[arg(long, env = "PRESENTLY_REQUEST_WITHIN", default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub request_within: Duration,

    /// How long a member stays whose connection was lost: time for a reload or a change of network. Who comes back
    /// within it causes no event; who does not is gone so much later
    #[arg(long, env = "PRESENTLY_GRACE", default_value = "5s", value_name = "TIME", value_parser = duration)]
    pub grace: Duration,

    /// How often at least streams get a comment or a ping: proxies cut connections that are silent for 20 s or more
    #[arg(long, env = "PRESENTLY_KEEP_ALIVE", default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub keep_alive: Duration,

    /// How long a stream's client may take no byte of what waits for it, or leave a ping without an answer, before it
    /// counts as gone. With --keep-alive, silence is found after the sum of both
    #[arg(long, env = "PRESENTLY_SEND_WITHIN", default_value = "15s", value_name = "TIME", value_parser = duration)]
    pub send_within: Duration,

    /// How logs look; auto is plain on a terminal and when piped
    #[arg(long, env = "PRESENTLY_LOG_FORMAT", default_value = "plain", value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or directives such as presently=debug,warn
    #[arg(long, env = "PRESENTLY_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,

    /// For tests only: where to fail
    #[arg(skip)]
    pub faults: Faults,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line of text for people, coloured on a terminal
    Plain,
    /// A JSON object a line, for machines
    Json,
}

impl Default for Config {
    /// What the program does without options, whatever the environment says.
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 4000)),
            users: Vec::new(),
            allow_origins: Vec::new(),
            history: 1_000,
            history_for: Duration::from_secs(300),
            max_rooms: 100_000,
            max_members: 0,
            max_connections: 0,
            max_per_address: 0,
            max_per_connection: 100,
            max_body: 1024 * 1024,
            max_head: 16 * 1024,
            max_message: 64 * 1024,
            request_within: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            keep_alive: Duration::from_secs(10),
            send_within: Duration::from_secs(15),
            log_format: LogFormat::Plain,
            log: "info".into(),
            faults: Faults::default(),
        }
    }
}

impl Config {
    /// How much one room may take.
    pub fn bounds(&self) -> Bounds {
        Bounds { history: self.history as usize, members: self.max_members, grace: self.grace }
    }
}

/// Reads `10s`, `5min` or `1h 30min`.
fn duration(text: &str) -> Result<Duration, String> {
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
    fn the_default_is_what_the_program_does_without_options() {
        let parsed = Config::try_parse_from(["presently"]).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn times_have_units_and_bounds() {
        assert_eq!(duration("1h 30min"), Ok(Duration::from_secs(5_400)));
        for bad in ["", "5", "1ms", "2days", "soon"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
