//! What lasts: one ordered log of entries behind a seam, in memory or on a disk.
//!
//! May import: [`crate::model`], [`crate::access`], [`crate::runtime`]. Knows neither rooms nor routes. `log`, `queue`, `frame`,
//! `store` and `disk` carry bytes, and know no entry.
//!
//! ```text
//! let opening = disk::open(dir, wait)?;           // locked; Identity, is_fresh(); blocking, like all calls up to `start`
//! let end = opening.read(|read| …)?;              // Read::Part of a snapshot in order, then Read::Record, by position
//! let first = start::first(end.last, now, random);            // above the wall clock, or a random step above the last
//! let journal = Arc::new(opening.start(first, Options { sync, queue })?);    // or Journal::memory(Position(1))
//!
//! journal.admits()?;                              // before a change: Err(Refused::NotDurable | Refused::Stopping)
//! let given = journal.append(takes, waits, moment, |out| codec::encode(&entry, out));    // under a room's lock; never waits
//! given.ticket.await?;                            // before the answer, without locks: Err(NotDurable), although it is done
//!
//! journal.snapshot_wanted().await;                // then on a thread that may block:
//! let mut snapshot = journal.snapshot()?;         // begins at snapshot.at(); states read from here on contain all before it
//! snapshot.put(&part)?;                           // … each part, in order
//! snapshot.finish(moment)?;                       // durable; ends a failure, and older segments are removed
//!
//! journal.is_failing(); journal.numbers();        // for /readyz, metrics and logs
//! journal.stop();                                 // from here on `admits` says Stopping
//! journal.close();                                // blocking: all is flushed, and the directory is free for another process
//! ```

pub mod position;
pub mod ticket;
pub mod frame;
pub mod error;
pub mod log;
pub mod queue;
