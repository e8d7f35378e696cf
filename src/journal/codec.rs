//! The bytes of entries.
//!
//! An entry is the number of the format, the number of its kind, and its fields. Position and time stand beside it in the log.

use crate::access::pass::Pass;
use crate::access::passbook::SecretId;
use crate::journal::bytes::{Input, Keep, Unreadable, put_all};
use crate::journal::entry::Entry;
use crate::journal::values::{put, take};
use crate::model::command::Command;
use crate::model::moment::Tick;
use crate::model::name::Name;

/// The format that is written. A later one is read for one release before it is written, so that a release can be taken back.
pub const FORMAT: u8 = 1;

/// Appends the bytes of `entry`.
pub fn encode(entry: &Entry, to: &mut Vec<u8>) {
    to.push(FORMAT);
    match entry {
        Entry::Begin { incarnation, hold_for } => put!(to: 0, incarnation, hold_for),
        Entry::Rules(rules) => put!(to: 1, rules),
        Entry::Change { room, commands } => put_change(room, commands, to),
        Entry::Mark => put!(to: 3),
        Entry::Revoked { revoked, before, at } => put!(to: 4, revoked, before, at),
        Entry::Cookie { id, pass, end } => put_cookie(*id, pass, *end, to),
        Entry::CookieEnded { id } => put!(to: 6, id),
        Entry::End => put!(to: 7),
    }
}

/// Appends the bytes of an [`Entry::Change`].
pub fn encode_change(room: &Name, commands: &[Command], to: &mut Vec<u8>) {
    to.push(FORMAT);
    put_change(room, commands, to);
}

/// Appends the bytes of an [`Entry::Cookie`].
pub fn encode_cookie(id: SecretId, pass: &Pass, end: Tick, to: &mut Vec<u8>) {
    to.push(FORMAT);
    put_cookie(id, pass, end, to);
}

fn put_change(room: &Name, commands: &[Command], to: &mut Vec<u8>) {
    put!(to: 2, room);
    put_all(commands, to);
}

fn put_cookie(id: SecretId, pass: &Pass, end: Tick, to: &mut Vec<u8>) {
    put!(to: 5, id, pass, end);
}

/// Reads an entry.
///
/// # Errors
///
/// [`Unreadable`] unless `bytes` are one entry of this format or an earlier one.
pub fn decode(bytes: &[u8]) -> Result<Entry, Unreadable> {
    let mut input = Input::of(bytes);
    input.format(FORMAT)?;
    let entry = take(&mut input)?;
    input.end()?;
    Ok(entry)
}

fn take(from: &mut Input<'_>) -> Result<Entry, Unreadable> {
    match from.byte()? {
        0 => take!(from: Entry::Begin { incarnation, hold_for }),
        1 => take!(from: Entry::Rules(rules)),
        2 => take!(from: Entry::Change { room, commands }),
        3 => Ok(Entry::Mark),
        4 => take!(from: Entry::Revoked { revoked, before, at }),
        5 => take!(from: Entry::Cookie { id, pass, end }),
        6 => take!(from: Entry::CookieEnded { id }),
        7 => Ok(Entry::End),
        _ => Err(from.malformed("an unknown kind of entry")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::made_up;
    use crate::mutants::Mutants;

    fn bytes(entry: &Entry) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(entry, &mut bytes);
        bytes
    }

    #[test]
    fn entries_are_read_as_they_are_written() {
        let mut rng = fastrand::Rng::with_seed(17);
        for _ in 0..20_000 {
            let entry = made_up::entry(&mut rng);
            let bytes = bytes(&entry);
            assert_eq!(decode(&bytes).as_ref(), Ok(&entry));
            let cut = rng.usize(..bytes.len());
            assert!(decode(&bytes[..cut]).is_err(), "{entry:?} cut at {cut}");
            assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    /// The bytes of each kind of entry in this format, for ever.
    #[test]
    fn a_sign_in_takes_a_few_bytes_more_than_its_names() {
        let change = Entry::Change { room: Name::lobby(), commands: vec![Command::sign_in("ann".parse().unwrap())] };
        assert_eq!(bytes(&change), b"\x01\x02\x05lobby\x01\x00\x03ann\x00\0\0\0\0\0");
        assert_eq!(decode(b"\x02\x00"), Err(Unreadable::Newer(2)));
        let said = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
        assert_eq!(said(b"\x01\x63"), "an unknown kind of entry at byte 1");
        assert_eq!(said(b"\x01\x02\x05lob"), "a text beyond the end at byte 2");
        assert_eq!(said(b"\x02"), "the format 2 is of a newer version");
    }

    #[test]
    fn mutants_of_entries_are_entries_or_unreadable() {
        let mut rng = fastrand::Rng::with_seed(18);
        let entries: Vec<_> = (0..200).map(|_| bytes(&made_up::entry(&mut rng))).collect();
        for mutant in Mutants::of(entries, 100_000) {
            if let Ok(entry) = decode(&mutant) {
                assert_eq!(decode(&bytes(&entry)), Ok(entry));
            }
        }
    }
}
