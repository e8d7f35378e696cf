//! Requests that are answered at once: the JSON API, the exercise, health and metrics.

pub mod api;
pub mod exercise;
pub mod stats;
