//! The bytes on the wire, without a socket: framing, and the WebSocket protocol.
//!
//! May import: [`crate::model`]. Pure like the model.

pub mod framing;
pub mod websocket;
