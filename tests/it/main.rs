//! Integration tests over real sockets, one file for each promise of Presently.

mod harness;

mod architecture;
mod assets;
mod bench;
mod browser;
mod browser_client;
mod client_sources;
mod comings;
mod convergence;
mod counts;
mod exercise;
mod frames;
mod fuzz;
mod handshake;
mod holds;
mod listening;
mod hosts;
mod leaving;
mod logs;
mod memory;
mod model;
mod modules;
mod places;
mod program;
mod proxies;
mod rates;
mod refusals;
mod rooms;
mod shutdown;
mod signals;
mod slow;
mod stats;
mod streams;
mod supervision;
mod wire;
