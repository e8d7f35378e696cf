//! The protocol of a cluster: several gateways that fold one shared log. Pure: time and ids are arguments, and a log is positions
//! and bytes.
//!
//! Each node appends batches of records, and folds all batches in the order of the log. So all nodes have the same rooms, the same
//! order of events and the same cursors. What the records say was judged by nobody before: the fold judges, and every node comes
//! to the same refusals. A node answers a caller when the node's own batch comes back, the echo.
//!
//! ```text
//!  callers, connections                 node        what the gateway asks of a node, and what the node tells the gateway
//!          |                            attendance  who is connected here: one hold for each user in the shared set
//!          v
//!  records, in batches                  window      batches under way, sent again until each comes back
//!          |                            judge       who is silent, by the time of the log
//!          v
//!      the log                          batch, record
//!          |
//!          v
//!  roll: does the batch count?          roll        which incarnations live, are suspect, down or dead; the running hash
//!          |
//!          v
//!  fold -> rooms, events, cursors       fold        the shared state; snapshot: the state in parts
//! ```
//!
//! The owner of a [`node::Node`] reads the log and calls, in a loop:
//!
//! ```text
//! node.entry(position, bytes, now);           // each entry of the log, in order
//! for batch in node.tick(now) { append(batch) }     // at least each 100 ms; an append may fail, or be done twice
//! for effect in node.effects() { … }          // answers, changed rooms, connections to end
//! match node.trouble() {                      // entries are ignored, and so lost, until this is dealt with
//!     Some(Trouble::Reaped) => node.live_again(incarnation, now),
//!     Some(_) => {                            // the log forgot entries, or is another log, or begins later
//!         let mut reread = node.reread(identity, snapshot)?;     // a snapshot that fits the log, see Snapshot::fits
//!         for entry in log { reread.entry(position, bytes) }
//!         node.adopt(reread, fresh, now);     // the next entry is the one after node.shared().roll.seen.position
//!     }
//!     None => {}
//! }
//! ```

pub mod timing;
pub mod digest;
pub mod incarnation;
pub mod origin;
pub mod record;
pub mod batch;
pub mod asks;
pub mod roll;
pub mod fold;
pub mod snapshot;
pub mod attendance;
pub mod window;
pub mod judge;
pub mod leases;
pub mod curtain;
pub mod lag;
pub mod figures;
pub mod reread;
pub mod node;

pub use crate::journal::bytes::Unreadable;
pub use crate::journal::entry::Rules;
pub use crate::journal::fold::Memory;

#[cfg(test)]
mod tests;
