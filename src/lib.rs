//! Presently, a realtime presence gateway: who is here right now, live over SSE and WebSocket.
//!
//! `src/ARCHITECTURE.md` describes the sources, `src/PROTOCOL.md` the wire, `src/OPERATING.md` the operation.

// The layers, in order: each imports only layers above.

pub mod model;
pub mod access;
pub mod wire;
mod runtime;
#[allow(dead_code, reason = "a part of it is for the layers below")]
mod journal;
mod rooms;
mod delivery;
mod gateway;
mod http;
mod server;

pub mod bench;

pub use journal::cluster;
pub use journal::engine;
pub use journal::offline;
pub use journal::participant;
pub use runtime::address::Address;
pub use runtime::config::cluster::Password;
pub use runtime::config::{Config, LogFormat};
pub use runtime::drain::Stop;
pub use runtime::inherited::Inherited;
pub use runtime::key_source::{KeyFile, Secrets};
pub use runtime::listener::ListenError;
pub use runtime::log::{Log, is_told};
pub use runtime::rates::Rate;
pub use runtime::tasks::Faults;
pub use runtime::tokens;
pub use server::{Server, StartError};

/// Fuzzing, for the unit tests of parsers.
#[cfg(test)]
#[path = "../tests/it/harness/mutants.rs"]
mod mutants;

/// The reference of rooms, for the unit tests.
#[cfg(test)]
#[path = "../tests/it/harness/naive.rs"]
#[allow(dead_code, missing_docs, reason = "the integration tests use all of it")]
mod naive;

/// Files of the integration tests name the library as others do.
#[cfg(test)]
extern crate self as presently;

/// Keys and tokens, for the unit tests.
#[cfg(test)]
#[path = "../tests/it/harness/signer.rs"]
#[allow(dead_code, missing_docs, reason = "the integration tests use all of it")]
mod signer;
