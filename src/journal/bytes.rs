//! Bytes of what is kept: numbers, texts and lists, one behind the other, in few bytes each.
//!
//! A number takes 7 bits of each byte, the lowest first; a text and a list begin with their length. Reading never panics and takes
//! no more memory than a small multiple of the input: also bytes with a good checksum may be those of another program.

use std::sync::Arc;
use std::time::Duration;

/// Bytes that are none of those that this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The format is a later one.
    #[error("the format {0} is of a newer version")]
    Newer(u8),
    /// Parts of a checkpoint that do not belong together.
    #[error("the checkpoint {0}")]
    Checkpoint(&'static str),
    /// No format has this.
    #[error("{what} at byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
}

/// The bytes to read.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
    length: usize,
}

/// What can be kept as bytes.
pub trait Keep: Sized {
    /// Appends the value's bytes. Needs no memory beside them.
    fn put(&self, to: &mut Vec<u8>);

    /// Reads the value.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] unless the bytes are such as [`Keep::put`] writes.
    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable>;
}

/// Items for which space is made at once. More may come: a length is believed only as its items are read.
const MAX_RESERVED: usize = 64;

impl<'a> Input<'a> {
    /// All of `bytes`.
    pub fn of(bytes: &'a [u8]) -> Self {
        Input { rest: bytes, length: bytes.len() }
    }

    /// The error that `what` is wrong with the byte read last.
    pub fn malformed(&self, what: &'static str) -> Unreadable {
        Unreadable::Malformed { what, at: (self.length - self.rest.len()).saturating_sub(1) }
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads one byte.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] at the end.
    pub fn byte(&mut self) -> Result<u8, Unreadable> {
        let (byte, rest) = self.rest.split_first().ok_or(self.malformed("an end"))?;
        self.rest = rest;
        Ok(*byte)
    }

    /// Reads the number of the format, which is `known` or an earlier one.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] for a later one, or at the end.
    pub fn format(&mut self, known: u8) -> Result<u8, Unreadable> {
        match self.byte()? {
            0 => Err(self.malformed("no format")),
            format if format > known => Err(Unreadable::Newer(format)),
            format => Ok(format),
        }
    }

    /// Reads a text.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] for a text that is longer than what is left, or not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Unreadable> {
        let length = usize::take(self)?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(self.malformed("a text beyond the end"))?;
        let text = str::from_utf8(text).map_err(|_| self.malformed("a text that is not UTF-8"))?;
        self.rest = rest;
        Ok(text)
    }

    /// Demands that nothing is left.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] if something is.
    pub fn end(&self) -> Result<(), Unreadable> {
        if self.is_empty() { Ok(()) } else { Err(self.malformed("more than one value")) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(self.malformed("an end"))?;
        self.rest = rest;
        Ok(*array)
    }
}

/// Appends a text.
pub fn put_text(text: &str, to: &mut Vec<u8>) {
    text.len().put(to);
    to.extend_from_slice(text.as_bytes());
}

/// Appends a list.
pub fn put_all<T: Keep>(items: &[T], to: &mut Vec<u8>) {
    items.len().put(to);
    items.iter().for_each(|item| item.put(to));
}

impl Keep for u64 {
    fn put(&self, to: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            to.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        to.push(rest as u8);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = from.byte()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(from.malformed("a number beyond 64 bits"))
    }
}

impl Keep for usize {
    fn put(&self, to: &mut Vec<u8>) {
        (*self as u64).put(to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        u64::take(from)?.try_into().map_err(|_| from.malformed("a number beyond this machine"))
    }
}

impl Keep for u32 {
    fn put(&self, to: &mut Vec<u8>) {
        u64::from(*self).put(to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        u64::take(from)?.try_into().map_err(|_| from.malformed("a number beyond 32 bits"))
    }
}

impl Keep for u128 {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.to_le_bytes());
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        from.array().map(u128::from_le_bytes)
    }
}

impl Keep for [u8; 32] {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        from.array()
    }
}

impl Keep for bool {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(from.malformed("neither yes nor no")),
        }
    }
}

impl Keep for Duration {
    fn put(&self, to: &mut Vec<u8>) {
        self.as_secs().put(to);
        self.subsec_nanos().put(to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        let (seconds, nanos) = (u64::take(from)?, u32::take(from)?);
        if nanos < 1_000_000_000 {
            Ok(Duration::new(seconds, nanos))
        } else {
            Err(from.malformed("more than a second of a second"))
        }
    }
}

impl Keep for Box<str> {
    fn put(&self, to: &mut Vec<u8>) {
        put_text(self, to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        from.text().map(Box::from)
    }
}

impl<T: Keep> Keep for Option<T> {
    fn put(&self, to: &mut Vec<u8>) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

impl<T: Keep> Keep for Arc<T> {
    fn put(&self, to: &mut Vec<u8>) {
        (**self).put(to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        T::take(from).map(Arc::new)
    }
}

impl<T: Keep> Keep for Vec<T> {
    fn put(&self, to: &mut Vec<u8>) {
        put_all(self, to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        let length = usize::take(from)?;
        let mut items = Vec::with_capacity(length.min(MAX_RESERVED).min(from.rest.len()));
        for _ in 0..length {
            items.push(T::take(from)?);
        }
        Ok(items)
    }
}

impl<A: Keep, B: Keep> Keep for (A, B) {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &mut Input<'_>) -> Result<Self, Unreadable> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &impl Keep) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        bytes
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for bits in 0..64 {
            for number in [1u64 << bits, (1 << bits) - 1, u64::MAX >> bits] {
                let bytes = bytes(&number);
                let mut input = Input::of(&bytes);
                assert_eq!((u64::take(&mut input), input.is_empty()), (Ok(number), true));
                let all_but_one = &bytes[..bytes.len() - 1];
                assert!(u64::take(&mut Input::of(all_but_one)).is_err());
            }
        }
        for length in [10, 11] {
            assert!(u64::take(&mut Input::of(&vec![0xFF; length])).is_err());
        }
        let beyond = [&[0x80; 9][..], &[2]].concat();
        let said = "a number beyond 64 bits at byte 9";
        assert_eq!(u64::take(&mut Input::of(&beyond)).unwrap_err().to_string(), said);
        assert!(u32::take(&mut Input::of(&bytes(&(1u64 << 32)))).is_err());
    }

    #[test]
    fn a_length_is_believed_only_as_far_as_there_are_bytes() {
        let long = bytes(&u64::MAX);
        assert!(Input::of(&long).text().is_err());
        assert!(Vec::<u64>::take(&mut Input::of(&long)).is_err());
        assert!(Vec::<u64>::take(&mut Input::of(&[3, 1, 2])).is_err());
        assert_eq!(Vec::<u64>::take(&mut Input::of(&[2, 1, 2])), Ok(vec![1, 2]));
    }
}
