//! Counts: the number of members of a room, and the prefixes that select rooms by name.

use std::ops::Deref;
use std::sync::Arc;

use crate::model::name::{MAX_BYTES, Name};
use crate::model::refusal::{Code, Refusal};

/// A room's new number of members; `None` when the room no longer exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountChange {
    /// The room.
    pub room: Name,
    /// The number of members.
    pub count: Option<usize>,
}

/// The beginning of the names of some rooms: up to 128 bytes of UTF-8, compared byte by byte. The empty prefix selects all
/// rooms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// Takes `text` as the prefix in `field`.
    ///
    /// # Errors
    ///
    /// `bad_name` for a text longer than any name.
    pub fn new(field: &str, text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_BYTES {
            let message = format!("{field} has {} bytes; a prefix of a name has at most {MAX_BYTES}", text.len());
            return Err(Refusal::new(Code::BadName, message).of(field));
        }
        Ok(Prefix(text.into()))
    }

    /// A prefix that was taken before and kept, by whatever rules: never for what a client sends.
    pub fn kept(text: &str) -> Self {
        Prefix(text.into())
    }

    /// The prefix of all names.
    pub fn all() -> Self {
        Prefix("".into())
    }

    /// Whether `room` begins with the prefix.
    pub fn selects(&self, room: &str) -> bool {
        room.starts_with(&*self.0)
    }
}

impl Deref for Prefix {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_at_most_as_long_as_a_name_and_compared_byte_by_byte() {
        let prefix = |text: &str| Prefix::new("prefix", text);
        assert!(prefix("game-").unwrap().selects("game-1") && !prefix("game-").unwrap().selects("Game-1"));
        assert!(Prefix::all().selects("lobby") && prefix(&"x".repeat(MAX_BYTES)).is_ok());
        assert_eq!(prefix(&"x".repeat(MAX_BYTES + 1)).unwrap_err().code, Code::BadName);
    }
}
