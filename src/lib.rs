#![doc = include_str!("ARCHITECTURE.md")]

// The modules in the order in which data flows: first the pure core, which knows no executor, clock
// or socket; then what tasks share; then the edge, where bytes come in and go out; then the load
// generator, a client like any other.

pub mod refusal;
pub mod name;
pub mod meta;
pub mod moment;
pub mod hold;
pub mod roster;
pub mod event;
pub mod command;
pub mod history;
pub mod snapshot;
pub mod changes;
pub mod barred;
pub mod presence;
pub mod framing;
pub mod websocket;

pub mod tasks;
pub mod meter;
pub mod clock;
pub mod config;
pub mod admission;
pub mod handover;
pub mod edition;
pub mod room;
pub mod holders;
pub mod rooms;
pub mod holding;
pub mod batch;
pub mod reader;
pub mod line;
pub mod connection;
pub mod hub;
pub mod gateway;

pub mod http;
pub mod server;

pub mod bench;

pub use config::Config;
pub use name::Name;
pub use server::{Server, StartError};
pub use tasks::Faults;
