//! Delivery: from a room's events to the bytes in each reader's socket.
//!
//! May import: [`crate::model`], [`crate::wire`], [`crate::runtime`], [`crate::rooms`].

pub mod step;
pub mod batch;
pub mod reader;
pub mod count_reader;
pub mod outbox;
pub mod socket;
pub mod asks;
pub mod pings;
pub mod connection;
pub mod conversation;
pub mod session;
pub mod rest;
pub mod hub;
