//! The page and the client: HTML, scripts, style.

pub mod asset;
pub mod html;
