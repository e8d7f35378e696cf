//! What Presently promises, asked of it over real sockets: a file per promise.

mod harness;

mod architecture;
mod assets;
mod bench;
mod browser;
mod browser_client;
mod client_sources;
mod comings;
mod convergence;
mod exercise;
mod frames;
mod handshake;
mod holds;
mod leaving;
mod model;
mod modules;
mod program;
mod refusals;
mod rooms;
mod shutdown;
mod slow;
mod stats;
mod streams;
mod supervision;
mod wire;
