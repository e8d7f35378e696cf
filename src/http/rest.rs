//! Requests that are answered at once: the JSON API, the exercise, health and metrics.

pub mod exercise;
pub mod events;
pub mod member;
pub mod members;
pub mod rooms;
pub mod stats;
pub mod metrics;
pub mod counts;
pub mod holds;
pub mod access;
pub mod tickets;
pub mod cookies;
pub mod revocations;
