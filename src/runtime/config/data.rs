//! Options about what lasts.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;

use crate::runtime::config::values::{bytes, duration};

/// What lasts, and where.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Data {
    /// Directory for the journal, in which the gateway keeps what must outlast a restart: members, what is said of them, cursors,
    /// cookies and revocations. Made if it is not there; of one gateway at a time. With --cluster, the directory is for snapshots
    /// of the shared rooms, from which the gateway starts while the servers of the log are away. Without the option, nothing
    /// outlasts the process, or in a cluster, all that lasts is at the servers
    #[arg(long = "data", id = "data", env = "PRESENTLY_DATA", value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Take over from the gateway that runs with the directory of --data, with its listening sockets and its journal, and without
    /// a moment in which nobody listens. Starts as usual if none runs. Not within containers, where each has one process, and not
    /// with --cluster, where other gateways listen
    #[arg(long, env = "PRESENTLY_TAKEOVER", value_parser = FalseyValueParser::new())]
    pub takeover: bool,

    /// When a change counts as kept, with --data and without --cluster. A time is the longest until a flush to the disk, while
    /// answers wait only until the system has the change, so that kill -9 loses nothing and a power cut at most that time; always
    /// makes answers wait for the flush
    #[arg(long, env = "PRESENTLY_SYNC", default_value = "50ms", value_name = "TIME|always")]
    pub sync: Sync,

    /// Maximum size of changes that wait for the disk, with --data and without --cluster. Beyond it, further changes are refused,
    /// because the disk is slower than its clients. The default is a second of 80,000 changes
    #[arg(long, env = "PRESENTLY_JOURNAL_QUEUE", default_value = "16MiB", value_name = "SIZE", value_parser = bytes)]
    pub journal_queue: u64,
}

/// When a change counts as kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// When the system has the change, which is flushed within this time.
    Within(Duration),
    /// When the change is flushed.
    Always,
}

impl FromStr for Sync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Sync::Always),
            _ => duration(text).map(Sync::Within).map_err(|_| "write a time, such as 50ms, or always".to_owned()),
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Data { dir: None, takeover: false, sync: Sync::Within(Duration::from_millis(50)), journal_queue: 16 << 20 }
    }
}
