//! The engines of a log that several gateways share: opaque batches in one order.
//!
//! ```text
//! let options = Options::new("nats://a:4222,b:4222,c:4222".parse()?, ClusterName::default());
//! let Opened { engine, warnings } = open(&options).await?;        // created or checked; one sentence about what is wrong
//!
//! engine.append(batch).await?;        // the position. In the order of the calls; an error says whether the batch may be there
//! let mut reader = engine.read(after);                            // own tasks and connections, until dropped
//! let (position, batch) = reader.next().await?;                   // in order, without a gap; Err(Break) ends the reader
//!
//! let mut snapshot = engine.put_snapshot(at).await?;              // the entries up to `at` are in the snapshot
//! snapshot.put(part).await?;
//! snapshot.finish().await?;                                       // whole from here on; older snapshots are removed
//! engine.trim(before).await?;
//!
//! let mut calls = engine.serve(&name);                            // questions to this node, beside the log; until dropped
//! while let Some(call) = calls.next().await {
//!     let answer = handle(&call.question);
//!     call.answer(answer);                                        // dropped instead, the asker hears at once that there is no answer
//! }
//! match engine.call(&name, question, Duration::from_secs(2)).await {
//!     Ok(Some(answer)) => {}
//!     Ok(None) => {}                                              // nobody serves the name now, so nobody took the question
//!     Err(Trouble::TooLarge { .. } | Trouble::Full) => {}         // not taken either
//!     Err(Trouble::Unknown(why)) => {}                            // may have been done, or may still be done
//! }
//! ```
//!
//! Questions and answers are kept nowhere: NATS has them as requests outside of JetStream, Redis as messages of pub/sub. On either side
//! they are bounded in number, bytes and time (`calls`, `asking`).
//!
//! `address` and `version` are pure. `values` and `seam` have what all engines share, `reader`, `appends`, `calls` and `asking` the parts of an
//! engine that need no server. `open` knows all engines, and no engine knows another one.

pub mod address;
pub mod version;
pub mod secret;
pub mod options;
pub mod values;
pub mod appends;
pub mod reader;
pub mod calls;
pub mod asking;
pub mod seam;
pub mod away;
pub mod memory;
pub mod nats;
pub mod redis;
pub mod open;
