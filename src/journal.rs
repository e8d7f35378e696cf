//! What lasts: one ordered log of entries behind a seam, in memory or on a disk.
//!
//! May import: [`crate::model`], [`crate::access`], [`crate::runtime`]. Knows neither rooms nor routes. `log`, `queue`, `frame`,
//! `store` and `disk` carry bytes, and know no entry.
//!
//! `bytes` to `fold` are pure like the model: what the entries are, their bytes, checkpoints of the whole state, and the fold that
//! makes the state. The owner of the state brings both halves together:
//!
//! ```text
//! let mut restore = Restore::new(identity, memory);           // at a start: each Read::Part of the newest snapshot
//! restore.part(bytes)?;
//! let mut fold = restore.done()?;                             // without a snapshot: Fold::new(identity, memory)
//! fold.fold(Stamp { position, moment }, codec::decode(payload)?);         // each Read::Record after it, then Begin, Rules
//! let State { rooms, denylist, revocations, cookies, rules, last, .. } = fold.into_state();
//!
//! codec::encode_change(&room, &commands, out);                // under the room's lock
//! let header = Header { at, listed, moment, rules, incarnation };         // `listed`: the next position, then the rooms' names
//! for part in Parts::of(header, pieces) { … }                 // pieces captured one by one: Piece::from(&presence)
//! ```
//!
//! ```text
//! let mut opening = disk::open(dir, wait)?;       // locked. Blocking, as all calls up to `start`
//! opening.identity(); opening.is_fresh();         // a backup that is started has a new identity already
//! let end = opening.read(&mut |read| …)?;         // Read::Part of the snapshot in order, then Read::Record by position
//! let first = First::after(end.last, now, random);            // above the wall clock, or a random step above the last
//! let journal = Journal::start(Box::new(opening), first.position(), Options { sync, queue })?;
//! let journal = Journal::memory(Position(1));     // … or this one
//!
//! journal.admits()?;                              // before a change: Err(Refused::NotDurable | Refused::Stopping)
//! let given = journal.append(takes, waits, moment, |out| …);  // under a room's lock; encodes to `out`; never waits
//! given.ticket.await?;                            // before the answer, without locks: Err(NotDurable), although it is done
//!
//! journal.snapshot_wanted().await;                // then on a thread that may block:
//! let mut snapshot = journal.snapshot()?;         // states read from here on contain all entries before snapshot.at()
//! snapshot.put(&part)?;                           // … each part, in order
//! snapshot.finish(moment)?;                       // durable; ends a failure, and older files are removed
//!
//! journal.is_failing(); journal.numbers();        // for metrics and logs
//! journal.stop();                                 // from here on `admits` says Stopping
//! journal.close()?;                               // blocking: all is flushed, and another process may have the directory
//! ```

pub mod position;
pub mod ticket;
pub mod error;
pub mod log;
pub mod frame;
pub mod store;
pub mod disk;
pub mod numbers;
pub mod queue;
pub mod repair;
pub mod inspect;
pub mod backup;
pub mod bytes;
pub mod entry;
pub mod values;
pub mod codec;
pub mod checkpoint;
pub mod fold;
pub mod cluster;
pub mod offline;
pub mod engine;
pub mod participant;

#[cfg(test)]
mod made_up;
