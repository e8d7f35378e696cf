//! Configuration: the program's options, each also an environment variable.

pub mod values;
pub mod data;
pub mod cluster;

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Parser, ValueEnum};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::access::rights::Grant;
use crate::model::history::Bound;
use crate::model::name::Name;
use crate::model::origin::Origin;
use crate::model::presence::Bounds;
use crate::runtime::address::Address;
use crate::runtime::config::cluster::Cluster;
use crate::runtime::config::data::Data;
use crate::runtime::config::values::{
    anyone, bytes, duration, duration_or_none, gather, host_name, log_filter, network, web_origin,
};
use crate::runtime::key_source::{KeyFile, Secrets};
use crate::runtime::memory::Amount;
use crate::runtime::process::memory_limit;
use crate::runtime::rates::Rate;
use crate::runtime::tasks::Faults;

/// A realtime presence gateway: who is here right now, live over SSE and WebSocket.
///
/// Each option is also an environment variable, shown below the option; there, commas separate several users or
/// origins. Times have a unit (500ms, 10s, 5min) and are 10ms to 1day.
#[derive(Clone, Debug, Parser)]
#[command(name = "presently", version, next_line_help = false)]
pub struct Config {
    /// Address and port to listen on, such as 127.0.0.1:4000, localhost:4000 (all addresses of the name), :4000 (all
    /// addresses of this machine) or unix:PATH, without commas; repeatable. Port 0 picks a free port. The default is this machine only,
    /// because without keys anyone who reaches the port may change any room; others need keys or --open
    #[arg(
        long,
        global = true,
        env = "PRESENTLY_LISTEN",
        value_delimiter = ',',
        default_values = ["127.0.0.1:4000"],
        value_name = "ADDRESS"
    )]
    pub listen: Vec<Address>,

    /// Address for health checks and monitoring, such as 127.0.0.1:4001 or unix:PATH. Then /healthz, /readyz, /metrics and
    /// /api/gateway are served there, and only there
    #[arg(long, global = true, env = "PRESENTLY_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<Address>,

    /// TOML file with further options: keys are the names of long options (max-rooms = 1000), repeatable ones are lists, and
    /// flags true or false. Options and variables win over the file; presently config shows what is in force
    #[arg(long, global = true, env = "PRESENTLY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// User to sign in to the lobby at start; repeatable
    #[arg(long = "user", env = "PRESENTLY_USER", value_delimiter = ',', value_name = "NAME")]
    pub users: Vec<Name>,

    /// Additional origin whose pages may read and change rooms and open streams and WebSockets, such as
    /// <https://app.example>; repeatable. The gateway's own origin is always allowed
    #[arg(long = "allow-origin", env = "PRESENTLY_ALLOW_ORIGIN", value_delimiter = ',', value_name = "ORIGIN")]
    pub allow_origins: Vec<Origin>,

    /// Address under which browsers see the gateway, such as <https://app.example>; repeatable. Needed behind a reverse
    /// proxy that passes a host name with a dot
    #[arg(long = "public-url", env = "PRESENTLY_PUBLIC_URL", value_delimiter = ',', value_name = "ORIGIN", value_parser = web_origin)]
    pub public_urls: Vec<Origin>,

    /// Additional host name under which the gateway answers, such as app.example; repeatable, * for all names. IP
    /// addresses, localhost and names without a dot are always allowed
    #[arg(long = "allow-host", env = "PRESENTLY_ALLOW_HOST", value_delimiter = ',', value_name = "NAME", value_parser = host_name)]
    pub allow_hosts: Vec<String>,

    /// Address or network (CIDR) of a reverse proxy in front of the gateway, such as 10.0.0.0/8; repeatable. The headers
    /// X-Forwarded-For, -Host, -Proto and -Prefix count only from there. Without the option, proxies on this machine are
    /// trusted; with it, only the given ones
    #[arg(
        long = "trusted-proxy",
        env = "PRESENTLY_TRUSTED_PROXY",
        value_delimiter = ',',
        default_values = ["127.0.0.0/8", "::1/128"],
        value_name = "CIDR",
        value_parser = network
    )]
    pub trusted_proxies: Vec<IpNet>,

    /// File with a key for verifying tokens (JWT, RFC 7519): at least 32 raw bytes for HS256, or a public key as PEM or JWKS
    /// for RS256, ES256 or EdDSA; KID=FILE names the key. Repeatable; read again on SIGHUP and when the file changes
    #[arg(long = "key", global = true, env = "PRESENTLY_KEY", value_delimiter = ',', value_name = "[KID=]FILE")]
    pub keys: Vec<KeyFile>,

    /// Address of a key set (JWKS, RFC 7517, 5) for verifying tokens, such as <https://login.example/jwks.json>; http only on
    /// this machine. Fetched every 10 minutes, and for a token with an unknown kid
    #[arg(long, global = true, env = "PRESENTLY_JWKS", value_name = "URL")]
    pub jwks: Option<String>,

    /// File with the certificate, as PEM, of the authority that vouches for the server of --jwks, beside those that browsers
    /// trust
    #[arg(long, global = true, env = "PRESENTLY_JWKS_CA", value_name = "FILE")]
    pub jwks_ca: Option<PathBuf>,

    /// File with the API keys of backends and operators, who may do everything: one key on each line, at least 32 bytes.
    /// "read " before a key makes it read-only. Repeatable; read again on SIGHUP and when the file changes
    #[arg(long = "api-key", global = true, env = "PRESENTLY_API_KEY", value_delimiter = ',', value_name = "FILE")]
    pub api_keys: Vec<PathBuf>,

    /// Audience that tokens must name (the claim aud), so that a token for another service is refused
    #[arg(long, global = true, env = "PRESENTLY_TOKEN_AUDIENCE", default_value = "presently", value_name = "TEXT")]
    pub token_audience: String,

    /// Issuer that tokens must name (the claim iss). Without the option, iss is not judged
    #[arg(long, global = true, env = "PRESENTLY_TOKEN_ISSUER", value_name = "TEXT")]
    pub token_issuer: Option<String>,

    /// What callers without a token may do, such as lobby:watch or 'doc/*:count'; repeatable. Only count and watch, since a
    /// caller without a token has no name to be present under. By default nothing
    #[arg(long, env = "PRESENTLY_ANYONE", value_delimiter = ';', value_name = "ROOMS:VERBS", value_parser = anyone)]
    pub anyone: Vec<Grant>,

    /// Serve everybody who reaches the port, without keys: anyone may then read and change every room. Needed for other
    /// addresses than this machine's without --key, --jwks or --api-key
    #[arg(long, env = "PRESENTLY_OPEN", value_parser = FalseyValueParser::new())]
    pub open: bool,

    /// Maximum number of events in each room's history, from which readers resume. The default covers the 5 minutes of
    /// --history-for at 3 events a second; an event takes the size of its JSON, about 200 bytes
    #[arg(long, env = "PRESENTLY_HISTORY", default_value_t = 1_000, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub history: u64,

    /// Maximum age of events in the history. The default outlasts a phone's change of network, and an abandoned room
    /// soon takes no memory
    #[arg(long, env = "PRESENTLY_HISTORY_FOR", default_value = "5min", value_name = "TIME", value_parser = duration)]
    pub history_for: Duration,

    /// Maximum memory of each room's history. The default fits a busy room with --history events. All histories together
    /// take at most a quarter of --max-memory
    #[arg(long, env = "PRESENTLY_HISTORY_BYTES", default_value = "2MiB", value_name = "SIZE", value_parser = bytes)]
    pub history_bytes: u64,

    /// Budget for the memory of the process, such as 128MiB, 2GiB or 60%, the latter of the container's or machine's
    /// memory. From 70% of the budget on, history is forgotten; at 90%, new members, rooms and streams are refused. The
    /// default leaves room for the kernel's buffers of the connections
    #[arg(long, env = "PRESENTLY_MAX_MEMORY", default_value = "60%", value_name = "SIZE")]
    pub max_memory: Amount,

    /// Maximum number of rooms; a room takes about 1 KiB, members aside
    #[arg(long, env = "PRESENTLY_MAX_ROOMS", default_value_t = 100_000, value_name = "N")]
    pub max_rooms: usize,

    /// Maximum number of members in each room; 0 means as many as fit in half of --max-memory
    #[arg(long, env = "PRESENTLY_MAX_MEMBERS", default_value_t = 0, value_name = "N")]
    pub max_members: usize,

    /// Maximum number of open connections. Beyond it, a new connection gets the place of one that waits for a request, and
    /// is closed if there is none. 0 means the limit on open
    /// files (ulimit -Hn) less 100, a reserve for other files
    #[arg(long, env = "PRESENTLY_MAX_CONNECTIONS", default_value_t = 0, value_name = "N")]
    pub max_connections: usize,

    /// Maximum number of open connections from one IP address (of IPv6: one /64); 0 means unlimited, because all clients behind a router
    /// share an address. Behind a trusted proxy, the maximum number of open streams of an address that the proxy reports
    #[arg(long, env = "PRESENTLY_MAX_PER_ADDRESS", default_value_t = 0, value_name = "N")]
    pub max_per_address: usize,

    /// Maximum number of users held by a connection, and of rooms watched by a connection; a held member takes about
    /// 1 KiB
    #[arg(long, env = "PRESENTLY_MAX_PER_CONNECTION", default_value_t = 100, value_name = "N")]
    pub max_per_connection: usize,

    /// Maximum number of users in a batch. A batch is one step of its room, and other changes of the room wait for it: about
    /// a millisecond for the default
    #[arg(long, env = "PRESENTLY_MAX_BATCH", default_value_t = 1_000, value_name = "USERS")]
    pub max_batch: usize,

    /// Maximum size of a request body, in bytes. The default fits a batch of 1,000 users with about 900 bytes of meta each
    #[arg(long, env = "PRESENTLY_MAX_BODY", default_value_t = 1024 * 1024, value_name = "BYTES")]
    pub max_body: usize,

    /// Maximum size of a request head, in bytes. The default leaves room for cookies of other applications on the same
    /// host
    #[arg(long, env = "PRESENTLY_MAX_HEAD", default_value_t = 16 * 1024, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(8_192..=1_048_576))]
    pub max_head: u64,

    /// Maximum size of a WebSocket message from a client, and of the messages in a request of a session, in bytes. The default
    /// is far above the longest command
    #[arg(long, env = "PRESENTLY_MAX_MESSAGE", default_value_t = 64 * 1024, value_name = "BYTES")]
    pub max_message: usize,

    /// New connections of one address: as many a second (50/s) or a minute (90/min) in the long run, and a minute's worth at
    /// once; off means unlimited. The gateway closes further connections at once. Behind a trusted proxy, new streams of an
    /// address that the proxy reports. All rates are for addresses; loopback and private ones have none, unless a trusted proxy
    /// reports them. 3,000 people behind one address may come back at once after a restart of the gateway
    #[arg(long, env = "PRESENTLY_RATE_CONNECTIONS", default_value = "50/s", value_name = "RATE")]
    pub rate_connections: Rate,

    /// Messages over the WebSockets and sessions of one address, and a tenth of it over one connection. The gateway reads the messages of
    /// a faster client more slowly. The default is one message every two seconds from each of 2,000 people
    #[arg(long, env = "PRESENTLY_RATE_MESSAGES", default_value = "1000/s", value_name = "RATE")]
    pub rate_messages: Rate,

    /// Changes by one address, and a tenth of it by one WebSocket; each user of a batch is a change. At once, the default
    /// suffices for 2,000 people who join six rooms each
    #[arg(long, env = "PRESENTLY_RATE_CHANGES", default_value = "200/s", value_name = "RATE")]
    pub rate_changes: Rate,

    /// New rooms made by one address, and a tenth of it by one WebSocket. At once, the default suffices for 2,000 people with
    /// a room each; in the long run, one address cannot make --max-rooms within --history-for
    #[arg(long, env = "PRESENTLY_RATE_ROOMS", default_value = "50/s", value_name = "RATE")]
    pub rate_rooms: Rate,

    /// Snapshots for one address, and a tenth of it for one WebSocket: streams that do not resume, and pages of members or
    /// rooms, which count once more for each 1,000 entries. At once, the default suffices for 2,000 people in three rooms each
    #[arg(long, env = "PRESENTLY_RATE_SNAPSHOTS", default_value = "100/s", value_name = "RATE")]
    pub rate_snapshots: Rate,

    /// Deadline for a request's head, for a request's body, and for a WebSocket message, each from its first byte
    #[arg(long, env = "PRESENTLY_REQUEST_WITHIN", default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub request_within: Duration,

    /// Longest time between two requests on an HTTP connection. The default is longer than reverse proxies keep idle
    /// connections (60 s); otherwise a request could meet the close, and the proxy would answer 502
    #[arg(long, env = "PRESENTLY_IDLE_WITHIN", default_value = "75s", value_name = "TIME", value_parser = duration)]
    pub idle_within: Duration,

    /// Grace period after a lost connection. A reload or a change of network within the grace period causes no event; a
    /// member who is really gone leaves the room later by as much
    #[arg(long, env = "PRESENTLY_GRACE", default_value = "5s", value_name = "TIME", value_parser = duration)]
    pub grace: Duration,

    /// Time after the start in which answers and streams say `fresh_for`, since members of before the start may not be back
    /// yet; 0s for never. By default --drain plus --grace
    #[arg(long, env = "PRESENTLY_FRESH_FOR", value_name = "TIME", value_parser = duration_or_none)]
    pub fresh_for: Option<Duration>,

    /// Time in which open streams end, one after the other, when the gateway stops. Their clients are told to return after it,
    /// spread over as much time; the next gateway then listens. The default ends the gateway within the 10 s that Docker waits
    #[arg(long, env = "PRESENTLY_DRAIN", default_value = "4s", value_name = "TIME", value_parser = duration)]
    pub drain: Duration,

    /// Time between SIGTERM and the drain, in which connections are still accepted while /readyz is 503; 0s for none. Behind a
    /// load balancer, as long as the balancer takes to notice
    #[arg(long, env = "PRESENTLY_DRAIN_DELAY", default_value = "0s", value_name = "TIME", value_parser = duration_or_none)]
    pub drain_delay: Duration,

    /// How long the events of a busy room gather after a delivery, to be written to each reader at once; 0s to 50ms, and 0s for
    /// never. A write costs far more than an event, and nobody notices 10 ms. The first event after a pause does not wait
    #[arg(long, env = "PRESENTLY_GATHER", default_value = "10ms", value_name = "TIME", value_parser = gather)]
    pub gather: Duration,

    /// Longest silence on a stream before the gateway sends a comment (SSE) or a ping (WebSocket). Proxies cut
    /// connections after 20 s of silence or more
    #[arg(long, env = "PRESENTLY_KEEP_ALIVE", default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub keep_alive: Duration,

    /// Timeout of a stream's client that accepts no bytes, or answers no ping at the end of a slow link. The gateway detects a
    /// vanished client within the sum of --keep-alive and --send-within
    #[arg(long, env = "PRESENTLY_SEND_WITHIN", default_value = "15s", value_name = "TIME", value_parser = duration)]
    pub send_within: Duration,

    /// Timeout of a WebSocket's client that leaves a ping unanswered, as a stopped process does. A link with 3 s each way answers in
    /// time; bytes before the ping and a late last answer prolong the time, up to --send-within
    #[arg(long, env = "PRESENTLY_PONG_WITHIN", default_value = "6500ms", value_name = "TIME", value_parser = duration)]
    pub pong_within: Duration,

    /// Interval in which the gateway asks the client of a session, and of a WebSocket with alive=1, whether it is alive. The
    /// system of a frozen client still acknowledges bytes, and only the client itself can answer; asked at keep-alives
    #[arg(long, env = "PRESENTLY_ALIVE_EVERY", default_value = "1min", value_name = "TIME", value_parser = duration)]
    pub alive_every: Duration,

    /// Timeout of a client that leaves such a question unanswered. Browsers run the timers of hidden pages once a minute
    #[arg(long, env = "PRESENTLY_ALIVE_WITHIN", default_value = "2min", value_name = "TIME", value_parser = duration)]
    pub alive_within: Duration,

    /// What lasts
    #[command(flatten)]
    pub data: Data,

    /// Several gateways as one
    #[command(flatten)]
    pub cluster: Cluster,

    /// Format of the log on standard error
    #[arg(long, env = "PRESENTLY_LOG_FORMAT", default_value = "auto", value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// Log level (error, warn, info, debug, trace), or directives such as presently=debug,warn
    #[arg(long, env = "PRESENTLY_LOG", default_value = "info", value_name = "FILTER", value_parser = log_filter)]
    pub log: String,

    /// Secrets that are values of variables
    #[arg(skip)]
    pub secrets: Secrets,

    /// For tests only: where to fail
    #[arg(skip)]
    pub faults: Faults,
}

/// This machine's own addresses (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3).
const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

/// What a member of a large room takes, with its name and a short `meta`.
const MEMBER_BYTES: u64 = 256;

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines of text, coloured on a terminal unless NO_COLOR is set
    Auto,
    /// Lines of text without colours
    Plain,
    /// One JSON object per line, for machines
    Json,
}

impl LogFormat {
    /// Whether to colour the lines. `no_color` is the variable's value (<https://no-color.org>); empty is unset.
    pub fn coloured(self, on_terminal: bool, no_color: Option<&OsStr>) -> bool {
        self == LogFormat::Auto && on_terminal && no_color.is_none_or(OsStr::is_empty)
    }
}

impl Default for Config {
    /// The program's configuration without options or environment variables.
    fn default() -> Self {
        Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 4000)).into()],
            admin: None,
            config: None,
            users: Vec::new(),
            allow_origins: Vec::new(),
            public_urls: Vec::new(),
            allow_hosts: Vec::new(),
            trusted_proxies: LOOPBACK.into(),
            keys: Vec::new(),
            jwks: None,
            jwks_ca: None,
            api_keys: Vec::new(),
            token_audience: "presently".into(),
            token_issuer: None,
            anyone: Vec::new(),
            open: false,
            history: 1_000,
            history_for: Duration::from_secs(300),
            history_bytes: 2 << 20,
            max_memory: Amount::Percent(60),
            max_rooms: 100_000,
            max_members: 0,
            max_connections: 0,
            max_per_address: 0,
            max_per_connection: 100,
            max_batch: 1_000,
            max_body: 1024 * 1024,
            max_head: 16 * 1024,
            max_message: 64 * 1024,
            rate_connections: Rate::a_second(50),
            rate_messages: Rate::a_second(1_000),
            rate_changes: Rate::a_second(200),
            rate_rooms: Rate::a_second(50),
            rate_snapshots: Rate::a_second(100),
            request_within: Duration::from_secs(10),
            idle_within: Duration::from_secs(75),
            grace: Duration::from_secs(5),
            fresh_for: None,
            drain: Duration::from_secs(4),
            drain_delay: Duration::ZERO,
            gather: Duration::from_millis(10),
            keep_alive: Duration::from_secs(10),
            send_within: Duration::from_secs(15),
            pong_within: Duration::from_millis(6_500),
            alive_every: Duration::from_secs(60),
            alive_within: Duration::from_secs(120),
            data: Data::default(),
            cluster: Cluster::default(),
            log_format: LogFormat::Auto,
            log: "info".into(),
            secrets: Secrets::default(),
            faults: Faults::default(),
        }
    }
}

impl Config {
    /// The rates of connections, messages, changes, rooms and snapshots.
    pub fn rates(&self) -> [Rate; 5] {
        [self.rate_connections, self.rate_messages, self.rate_changes, self.rate_rooms, self.rate_snapshots]
    }

    /// Whether callers need credentials.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.jwks.is_some() || !self.api_keys.is_empty() || !self.secrets.are_none()
    }

    /// How long members of before the start may be missing.
    pub fn fresh_for(&self) -> Duration {
        self.fresh_for.unwrap_or(self.drain + self.grace)
    }

    /// The budget for the memory of the process, in bytes.
    pub fn budget(&self) -> u64 {
        self.max_memory.of(memory_limit())
    }

    /// Limits of one room, where the process may take `budget` bytes.
    pub fn bounds(&self, budget: u64) -> Bounds {
        let history =
            Bound { events: self.history as usize, bytes: usize::try_from(self.history_bytes).unwrap_or(usize::MAX) };
        let fit = usize::try_from(budget / 2 / MEMBER_BYTES).unwrap_or(usize::MAX);
        let members = if self.max_members == 0 { fit } else { self.max_members };
        Bounds { history, members, grace: self.grace }
    }
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
    fn only_auto_colours_and_only_a_terminal_without_no_color() {
        let set = Some(OsStr::new("1"));
        assert!(LogFormat::Auto.coloured(true, None) && LogFormat::Auto.coloured(true, Some(OsStr::new(""))));
        assert!(!LogFormat::Auto.coloured(false, None) && !LogFormat::Auto.coloured(true, set));
        assert!(!LogFormat::Plain.coloured(true, None) && !LogFormat::Json.coloured(true, None));
    }

    #[test]
    fn hosts_and_origins_are_validated() {
        let parse = |option: &str, value: &str| Config::try_parse_from(["presently", option, value]);
        assert_eq!(parse("--allow-host", "App.Example").unwrap().allow_hosts, ["app.example"]);
        assert_eq!(parse("--allow-host", "*").unwrap().allow_hosts, ["*"]);
        assert!(parse("--allow-origin", "capacitor://localhost").is_ok());
        for (option, value, said) in [
            ("--allow-host", "app.example:443", "a host name has no port; probably app.example"),
            ("--allow-origin", "https://app.example/", "an origin has no path; probably https://app.example"),
            ("--public-url", "capacitor://localhost", "the scheme must be http or https"),
        ] {
            assert!(parse(option, value).unwrap_err().to_string().contains(said), "{option} {value}");
        }
    }

    #[test]
    fn a_given_proxy_replaces_loopback() {
        let parse = |arguments: &[&str]| Config::try_parse_from(arguments).map(|config| config.trusted_proxies);
        let given = parse(&["presently", "--trusted-proxy", "10.0.0.0/8,192.0.2.7", "--trusted-proxy", "fd00::/8"]);
        let shown: Vec<_> = given.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]);
        for bad in ["", "10.0.0.0/33", "proxy.example", "10.0.0"] {
            assert!(parse(&["presently", "--trusted-proxy", bad]).is_err(), "{bad:?}");
        }
    }
}
