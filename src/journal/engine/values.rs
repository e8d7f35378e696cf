//! What is said of a log: its identity, its extent, and what went wrong.

/// The most bytes of a batch, a part, a question or an answer, unless the server takes less. Bounds the memory of queues, which are counted in
/// batches, and is the default of NATS.
pub const MOST_BYTES: usize = 1024 * 1024;

/// The whole snapshots that are kept: the newest, and one before it for whoever reads it just then.
pub const SNAPSHOTS: usize = 2;

/// Tells a log from each other one, also from one under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId {
    /// Drawn when the log was made.
    pub drawn: u128,
    /// When the server says that the log was made, in nanoseconds; 0 where the server does not say so.
    pub made: u64,
}

impl LogId {
    /// No log is there.
    pub const NONE: LogId = LogId { drawn: 0, made: 0 };
}

/// The positions that are in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first entry; in an empty log, the next one.
    pub first: u64,
    /// The last entry that was ever appended; 0 if there is none.
    pub last: u64,
}

/// Why an engine has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// More bytes than the engine takes. Nothing was sent.
    #[error("{bytes} bytes are more than the {most} that the log takes")]
    TooLarge {
        /// The bytes of the batch, the part or the question.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// Too many batches wait, or too many questions. Nothing was done.
    #[error("too much waits for the log or the node")]
    Full,
    /// Whether it was done is not known.
    #[error("{0}")]
    Unknown(String),
}

/// Why a log can't be opened: one sentence for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);
