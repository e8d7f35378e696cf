//! Requests that become streams: server-sent events and WebSockets.

pub mod message;
pub mod options;
pub mod speaker;
pub mod sse;
pub mod counts;
pub mod websocket;
