//! The options of `presently bench`, and their defaults for each workload.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::bench::target::Url;

/// Options of `presently bench`. A workload ignores the options that do not concern it.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// URL of the gateway, http://HOST:PORT; start it anew before memory is measured
    #[arg(default_value = "http://127.0.0.1:4000")]
    pub(super) url: Url,

    /// URL of another gateway of the same cluster, which gets what is published [default: the gateway of the readers]
    #[arg(long, value_name = "URL")]
    pub(super) publish_to: Option<Url>,

    /// Workload to measure
    #[arg(long = "work", default_value = "fanout", value_name = "NAME")]
    pub(super) workload: Workload,

    /// How readers connect [default: both; join: ws, since only WebSocket readers can join]
    #[arg(long, value_name = "TRANSPORT")]
    pub(super) transport: Option<Transport>,

    /// Number of readers; each takes one connection, and one open file here and at the gateway (ulimit -n)
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) readers: u32,

    /// Events per second of all publishers together; 0 publishes as fast as the gateway answers [default: 20; slow: 500; join: as many as readers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    rate: Option<u32>,

    /// Time to publish, at most 1h; slow publishes twice as long, without and with slow readers [default: 5s; join: 1s, slow: 10s]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,

    /// Events to publish at most, within the time of --for [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(super) events: Option<u64>,

    /// Number of kept-alive connections that publish; each awaits an answer before its next request [default: 1; join, rooms: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    publishers: Option<u32>,

    /// Number of members of the room [default: reconnect: as many as readers, snapshot: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    members: Option<u32>,

    /// For rooms: number of rooms, of three members each
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) rooms: u32,

    /// For slow: number of readers that stop reading [default: a tenth of all readers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    slow: Option<u32>,

    /// For reconnect: reconnect with a cursor of another epoch, so that each reader needs a snapshot
    #[arg(long)]
    pub(super) lost_cursor: bool,

    /// Time to wait before memory is read, so that short-lived buffers are freed; at most 1h [default: 1s; reconnect: 10s after the readers are back]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) settle: Option<Duration>,

    /// Time after which the bench ends, reports what it has and exits with code 1; at most 1h
    #[arg(long, default_value = "5min", value_name = "TIME", value_parser = parse_time)]
    pub(super) limit: Duration,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// A workload: what the readers and publishers do, and what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Workload {
    /// One room's events reach all readers: latency (ms) and processor time per delivery (us)
    Fanout,
    /// As many users as readers join the room within a second: latency (ms)
    Join,
    /// All readers are disconnected and reconnect at once: time until all are up to date (s)
    Reconnect,
    /// Some readers stop reading: latency of the others (ms), memory per slow reader (KiB)
    Slow,
    /// A sign-in to a room with many members (us), and one whole snapshot of it (s)
    Snapshot,
    /// All readers connect at once: time to the first frame (ms), listen overflows
    Connect,
    /// Idle connections: memory of each (KiB)
    Idle,
    /// Many small rooms: memory of each (bytes)
    Rooms,
}

/// How readers connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    /// Server-sent events
    Sse,
    /// WebSocket
    Ws,
    /// Every other reader by WebSocket, the rest by server-sent events
    Both,
}

impl Options {
    /// The transport of the readers.
    pub(super) fn transport(&self) -> Transport {
        let default = if self.workload == Workload::Join { Transport::Ws } else { Transport::Both };
        self.transport.unwrap_or(default)
    }

    /// Whether `--rate` or `--events` limit the publishers.
    pub(super) fn limits_publishers(&self) -> bool {
        self.rate.is_some() || self.events.is_some()
    }

    /// Events per second; 0 means as fast as possible.
    pub(super) fn rate(&self) -> u32 {
        let default = match self.workload {
            Workload::Slow => 500,
            Workload::Join => self.readers,
            Workload::Fanout
            | Workload::Reconnect
            | Workload::Snapshot
            | Workload::Connect
            | Workload::Idle
            | Workload::Rooms => 20,
        };
        self.rate.unwrap_or(default)
    }

    /// The time to publish.
    pub(super) fn time(&self) -> Duration {
        let default = match self.workload {
            Workload::Slow => 10,
            Workload::Join => 1,
            Workload::Fanout
            | Workload::Reconnect
            | Workload::Snapshot
            | Workload::Connect
            | Workload::Idle
            | Workload::Rooms => 5,
        };
        self.time.unwrap_or(Duration::from_secs(default))
    }

    /// The number of connections that publish.
    pub(super) fn publishers(&self) -> u32 {
        let default = if matches!(self.workload, Workload::Join | Workload::Rooms) { 8 } else { 1 };
        self.publishers.unwrap_or(default)
    }

    /// The number of members that the room has before the measurement.
    pub(super) fn members(&self) -> u32 {
        let default = if self.workload == Workload::Reconnect { self.readers } else { 1_000 };
        self.members.unwrap_or(default)
    }

    /// The number of readers that stop reading: at least one, and not all unless there is only one.
    pub(super) fn slow_readers(&self) -> u32 {
        self.slow.unwrap_or(self.readers / 10).clamp(1, (self.readers - 1).max(1))
    }
}

/// Parses `0s`, `500ms` or `5min`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|e| format!("{e}; write 500ms, 10s or 5min"))?;
    if time > Duration::from_secs(3_600) {
        return Err("a time can be at most 1h".into());
    }
    Ok(time)
}
