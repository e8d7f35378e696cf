//! Requests that become streams: server-sent events, WebSockets and sessions.

pub mod message;
pub mod options;
pub mod speaker;
pub mod sse;
pub mod counts;
pub mod websocket;
pub mod session;
