//! Access: who may do what. Pure: no clock, no socket, no file.
//!
//! A credential gives a [`pass::Pass`]: who the caller is, and which [`verb::Verb`]s the caller has in which rooms.
//!
//! May import: [`crate::model`].

pub mod verb;
pub mod pattern;
pub mod rights;
pub mod pass;
pub mod key;
pub mod claims;
pub mod keyring;
pub mod verified;
pub mod issue;
pub mod passbook;
pub mod revocations;
