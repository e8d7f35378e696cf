//! The page and the client: HTML, scripts, style.

pub mod asset;
mod client;
pub mod html;
pub mod refused;
