//! How a journal is written.

use std::time::Duration;

/// When an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// When its entry was handed to the system, which is flushed this often: a power cut takes at most that much.
    Every(Duration),
    /// When its entry was flushed.
    Always,
}

/// How a journal is written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When an answer is given.
    pub sync: SyncMode,
    /// Bytes that may wait for the disk before changes are refused.
    pub queue: usize,
    /// Between two attempts to write again after a failure.
    pub retry: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { sync: SyncMode::Every(Duration::from_millis(50)), queue: 16 << 20, retry: Duration::from_secs(1) }
    }
}
