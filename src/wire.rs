//! The bytes on the wire, without a socket: JSON objects, framing, dialects, and the WebSocket protocol.
//!
//! May import: [`crate::model`]. Pure like the model.

pub mod object;
pub mod greeting;
pub mod part;
pub mod page;
pub mod framing;
pub mod dialect;
pub mod websocket;
