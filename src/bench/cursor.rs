//! A room's cursor, as the bench compares it: how far a reader has read, and how far the room is.

use std::fmt;

/// An epoch, which is opaque, and the offset of an event in it. The default is the cursor of a reader
/// that has read nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) epoch: String,
    pub(super) offset: u64,
}

impl Cursor {
    /// Reads `EPOCH.OFFSET`; `None` for any other text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (epoch, offset) = text.split_once('.')?;
        Some(Cursor { epoch: epoch.to_owned(), offset: offset.parse().ok()? })
    }

    /// Whether a reader at this cursor has all events up to `other`.
    pub(super) fn has_reached(&self, other: &Cursor) -> bool {
        self.offset >= other.offset && self.epoch == other.epoch
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reaches_the_earlier_ones_of_its_epoch() {
        let cursor = |text| Cursor::parse(text).unwrap();
        assert!(cursor("k3f.9").has_reached(&cursor("k3f.9")) && cursor("k3f.10").has_reached(&cursor("k3f.9")));
        assert!(!cursor("k3f.8").has_reached(&cursor("k3f.9")) && !cursor("a.10").has_reached(&cursor("k3f.9")));
        assert_eq!((cursor("k3f.9").to_string().as_str(), Cursor::parse("k3f")), ("k3f.9", None));
    }
}
