//! The process and its surroundings: the log, tasks, the clock, counters, listening sockets, admission of connections, rates,
//! sockets taken over from hyper; and the program's options.
//!
//! May import: [`crate::model`], [`crate::access`]. Knows neither rooms nor HTTP routes.

pub mod repeats;
pub mod log;
pub mod tasks;
pub mod meter;
pub mod clock;
pub mod drain;
pub mod idle;
pub mod memory;
pub mod process;
pub mod admission;
pub mod address;
pub mod service;
pub mod inherited;
pub mod takeover;
pub mod listener;
pub mod rates;
pub mod key_source;
pub mod config;
pub mod exposure;
pub mod trust;
pub mod keys;
pub mod tokens;
pub mod head_timer;
pub mod handover;
