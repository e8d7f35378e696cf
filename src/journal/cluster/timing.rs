//! The times of the protocol, in milliseconds, and its bounds.

/// A node that has nothing to say appends an empty batch this often.
pub const BEAT: u64 = 500;

/// A node that is not heard for this long is suspect: four beats.
pub const SILENT: u64 = 2_000;

/// Readers see an older set for a silence and this long at most: as long as a suspect is waited for by default.
pub const GRACE: u64 = 5_000;

/// A node whose own batches do not come back for this long knows nothing of the present.
pub const FRESH: u64 = 2_000;

/// Batches that do not come back for this long are sent again.
pub const RESEND: u64 = 500;

/// The most time that one echo adds to the time of the log: a beat, and how late one may be. Time in which the log is away, or
/// the node is paused, counts against nobody.
pub const PER_ECHO: u64 = 700;

/// The most batches under way. One alone would wait for each answer of the log.
pub const WINDOW: usize = 4;

/// The most entries by which a first batch may be late. For as long, the dead are remembered, so that none of them comes back.
pub const LATE: u64 = 1_000;

/// The entries within which a node may claim that it restores an empty log: later, an older state is no longer the newest.
pub const CLAIM: u64 = 10_000;

/// How long after the last gateway of an older version nothing is told that it could not read: it may only have been away, or start
/// again, from a snapshot as old as they get.
pub const OLDER: u64 = 120_000;

/// The entries of which a node remembers the running hash.
pub const RING: usize = 1_024;

/// How long a node remembers its own commands after they came back, by the log's clock, to say them again to a log that forgot them.
pub const RECENT: u64 = 20_000;

/// The most bytes of these commands.
pub const RECENT_BYTES: usize = 32 << 20;

/// The records of a batch end with the first beyond these bytes. Logs take entries of 1 MiB, and one record is far smaller.
pub const BATCH: usize = 256 << 10;

/// How often somebody writes a snapshot.
pub const SNAPSHOT: u64 = 60_000;
