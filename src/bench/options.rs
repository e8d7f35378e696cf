//! What a user of the load generator can set.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::bench::target::Url;

/// Options of `presently bench`. What a work has no use for, it ignores.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The gateway to load
    #[arg(default_value = "http://127.0.0.1:4000")]
    pub url: Url,

    /// What to measure
    #[arg(long, default_value = "fanout", value_name = "NAME")]
    pub work: Work,

    /// How readers connect [default: both, half of them each; ws for join]
    #[arg(long, value_name = "TRANSPORT")]
    pub transport: Option<Transport>,

    /// Readers; each is a connection and an open file here and at the gateway
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub readers: u32,

    /// Events a second in all, 0 is as fast as the publishers go [default: 20; slow: 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rate: Option<u32>,

    /// How long to publish; a phase of slow lasts as long [default: 5s; join: 1s, slow: 10s]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub time: Option<Duration>,

    /// Stop publishing after so many events, even if --for is not over
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub events: Option<u64>,

    /// Kept-alive connections that publish [default: 1; join, rooms: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub publishers: Option<u32>,

    /// Members of the room [default: as many as readers for reconnect, 1000 for snapshot]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub members: Option<u32>,

    /// Rooms of three members each, for rooms
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rooms: u32,

    /// Readers that stop reading, for slow [default: a tenth of them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub slow: Option<u32>,

    /// Come back with a cursor that the room does not know, for reconnect
    #[arg(long)]
    pub lost_cursor: bool,

    /// How long to wait before memory is read [default: 1s; reconnect: 10s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub settle: Option<Duration>,

    /// End after this time in any case, and report what was measured
    #[arg(long, default_value = "5min", value_name = "TIME", value_parser = time)]
    pub limit: Duration,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Events of one room to many readers
    Fanout,
    /// As many users sign in within a second as readers watch
    Join,
    /// All readers are cut at once and come back at once
    Reconnect,
    /// Some readers stop reading for a while
    Slow,
    /// One sign-in, and one whole snapshot, of a room with many members
    Snapshot,
    /// All readers connect in one go
    Connect,
    /// Memory per connection
    Idle,
    /// Memory per room
    Rooms,
}

/// How readers connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Server-sent events
    Sse,
    /// WebSocket
    Ws,
    /// Half of them over each
    Both,
}

impl Options {
    /// How the readers of this work connect.
    pub fn transport(&self) -> Transport {
        let usual = if self.work == Work::Join { Transport::Ws } else { Transport::Both };
        self.transport.unwrap_or(usual)
    }

    /// Readers, as a size.
    pub fn readers(&self) -> usize {
        self.readers as usize
    }

    /// Readers that stop reading: at least one, and never all.
    pub fn slow(&self) -> usize {
        self.slow.map_or(self.readers() / 10, |slow| slow as usize).clamp(1, self.readers().saturating_sub(1).max(1))
    }
}

/// Reads `0s`, `500ms` or `5min`.
fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|e| format!("{e}; write 500ms, 10s or 5min"))?;
    if time > Duration::from_secs(3_600) {
        return Err("a time here is at most 1h".into());
    }
    Ok(time)
}
