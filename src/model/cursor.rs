//! Cursors: places in the order of one room's events.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Names one room of one journal. A cursor of another room, or of another journal, is therefore never taken for a place in
/// the room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(pub u64);

/// The number of an entry of the journal, one order for all rooms: it grows, and may skip. An entry about a room takes as
/// many positions as it can make events, and the events are numbered by these. Below 2^53 until the year 2248, because
/// clients may read offsets as JavaScript numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// A place within one epoch: the position of an event. A later event has a larger offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(pub u64);

/// A place in the order of one room's events: written `epoch.offset`, the epoch in base 36.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The room.
    pub epoch: Epoch,
    /// The last event before this place.
    pub offset: Offset,
}

/// The error of a text that is not a cursor as written by [`Cursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACursor;

const RADIX: u32 = 36;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Position {
    /// The position behind this one.
    pub fn next(self) -> Position {
        Position(self.0 + 1)
    }

    /// The offset of the event with this number.
    pub fn offset(self) -> Offset {
        Offset(self.0)
    }
}

impl Offset {
    /// The offset of the next event.
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }

    /// The offset before.
    pub fn before(self) -> Offset {
        Offset(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 13];
        let (mut at, mut rest) = (digits.len(), self.epoch.0);
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % u64::from(RADIX)) as usize];
            rest /= u64::from(RADIX);
            if rest == 0 {
                break;
            }
        }
        let epoch = str::from_utf8(&digits[at..]).map_err(|_| fmt::Error)?;
        write!(f, "{epoch}.{}", self.offset.0)
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (epoch, offset) = text.split_once('.').ok_or(NotACursor)?;
        let cursor = Cursor {
            epoch: Epoch(u64::from_str_radix(epoch, RADIX).map_err(|_| NotACursor)?),
            offset: Offset(offset.parse().map_err(|_| NotACursor)?),
        };
        // Only the gateway's own spelling counts: "+1" or "01" is nonsense, not a place.
        if cursor.to_string() == text { Ok(cursor) } else { Err(NotACursor) }
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::Mutants;

    #[test]
    fn cursors_are_read_as_they_are_written() {
        for (epoch, offset) in [(0, 0), (35, 7), (36, 1), (u64::MAX, u64::MAX)] {
            let cursor = Cursor { epoch: Epoch(epoch), offset: Offset(offset) };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for nonsense in
            ["", ".", "1", "a.", ".1", "a.01", "A.1", "+a.1", "a.+1", "a.1.2", "a.99999999999999999999", "-1.1"]
        {
            assert_eq!(nonsense.parse::<Cursor>(), Err(NotACursor), "{nonsense:?}");
        }
    }

    #[test]
    fn mutants_of_cursors_are_cursors_as_written_or_none() {
        let cursor = Cursor { epoch: Epoch(u64::MAX), offset: Offset(u64::MAX) };
        for text in Mutants::of(["0.0", "k3f.17", &cursor.to_string()], 50_000).texts() {
            if let Ok(cursor) = text.parse::<Cursor>() {
                assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
