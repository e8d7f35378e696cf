//! Bytes of the journal's files: a header, then records with checksums. Pure.
//!
//! A checksum is seeded by its file, so that no bytes of another file ever fit, and covers the length, so that zeros never do.
//! Numbers are little-endian.

use uuid::Uuid;

use crate::journal::log::Record;
use crate::model::cursor::Position;
use crate::model::identity::Identity;
use crate::model::moment::{Moment, Tick, Timestamp};

/// The version of the format.
pub const VERSION: u32 = 1;

/// Bytes of a file's header.
pub const HEADER: usize = 64;

/// Bytes of a record before its payload: length, checksum, position, tick, time, positions taken.
pub const HEAD: usize = 36;

const MAGIC: [u8; 8] = *b"presjrnl";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records in order.
    Segment,
    /// The parts of a snapshot of this journal.
    Checkpoint,
    /// The parts of a snapshot of the log that a cluster shares.
    Snapshot,
}

/// The first bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the file is.
    pub kind: Kind,
    /// Seeds the checksums of the file's records.
    pub seed: u32,
    /// The journal, at the time of writing.
    pub identity: Identity,
    /// The number of the segment, of the segment that begins with the checkpoint, or of the snapshot.
    pub sequence: u64,
}

/// A header that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHeader {
    /// Not as it was written.
    Damaged,
    /// Written by a later version of the program.
    Newer(u32),
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let kind: u32 = match self.kind {
            Kind::Segment => 1,
            Kind::Checkpoint => 2,
            Kind::Snapshot => 3,
        };
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..12]);
        put(&mut bytes, 12, &sum.to_le_bytes());
        put(&mut bytes, 16, &kind.to_le_bytes());
        put(&mut bytes, 20, &self.seed.to_le_bytes());
        put(&mut bytes, 24, self.identity.journal.as_bytes());
        put(&mut bytes, 40, &self.identity.generation.to_le_bytes());
        put(&mut bytes, 48, &self.sequence.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..60]);
        put(&mut bytes, 60, &sum.to_le_bytes());
        bytes
    }

    /// Reads a header. The version has a checksum of its own, whatever a later version's header looks like.
    ///
    /// # Errors
    ///
    /// The bytes are no header of this version.
    pub fn decode(bytes: &[u8]) -> Result<Header, NoHeader> {
        let sum_fits = |to: usize| bytes.len() >= to + 4 && crc32fast::hash(&bytes[..to]) == u32_at(bytes, to);
        if !bytes.starts_with(&MAGIC) || !sum_fits(12) {
            return Err(NoHeader::Damaged);
        }
        let version = u32_at(bytes, 8);
        if version > VERSION {
            return Err(NoHeader::Newer(version));
        }
        let kind = match u32_at(bytes, 16) {
            1 if sum_fits(60) => Kind::Segment,
            2 if sum_fits(60) => Kind::Checkpoint,
            3 if sum_fits(60) => Kind::Snapshot,
            _ => return Err(NoHeader::Damaged),
        };
        let identity = identity_at(bytes, 24);
        Ok(Header { kind, seed: u32_at(bytes, 20), identity, sequence: u64_at(bytes, 48) })
    }
}

/// What the journal's files say of themselves, between the entries: a record that takes no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A segment's first record.
    Begins {
        /// No earlier record of this segment, and no later one of the segments before, has this position or a higher one.
        at: Position,
        /// Records may be missing before it: the segment counts only with its own checkpoint.
        after_gap: bool,
        /// The segment before it, and its last position; 0 if it is the first.
        previous: u64,
        /// The last position before it.
        last: Position,
        /// The journal's name in the segment before it.
        identity: Identity,
    },
    /// All segments before `sequence`, and `bytes` of that one, were flushed: what is missing there is damage, and no
    /// write that a power cut tore.
    Flushed {
        /// The segment's number.
        sequence: u64,
        /// Its bytes that were flushed.
        bytes: u64,
    },
    /// A checkpoint's or a snapshot's last record.
    Complete {
        /// The number of its parts.
        parts: u64,
        /// The entries before this position are in it; some later ones may be. Of a snapshot, the last entry that is in it.
        at: Position,
        /// The last position that may be in it.
        last: Position,
    },
}

/// Bytes of the record of a [`Note::Flushed`].
pub const FLUSHED: usize = HEAD + 17;

impl Note {
    fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Note::Begins { at, after_gap, previous, last, identity } => {
                out.extend([1, u8::from(after_gap)]);
                [at.0, previous, last.0].iter().for_each(|number| out.extend(number.to_le_bytes()));
                out.extend(identity.journal.as_bytes());
                out.extend(identity.generation.to_le_bytes());
            }
            Note::Flushed { sequence, bytes } => {
                out.push(2);
                [sequence, bytes].iter().for_each(|number| out.extend(number.to_le_bytes()));
            }
            Note::Complete { parts, at, last } => {
                out.push(3);
                [parts, at.0, last.0].iter().for_each(|number| out.extend(number.to_le_bytes()));
            }
        }
    }

    /// Reads the payload of a record that takes no position. `None` if it is none of this version.
    pub fn decode(bytes: &[u8]) -> Option<Note> {
        match (*bytes.first()?, bytes.len()) {
            (1, 50) => Some(Note::Begins {
                at: Position(u64_at(bytes, 2)),
                after_gap: bytes[1] != 0,
                previous: u64_at(bytes, 10),
                last: Position(u64_at(bytes, 18)),
                identity: identity_at(bytes, 26),
            }),
            (2, 17) => Some(Note::Flushed { sequence: u64_at(bytes, 1), bytes: u64_at(bytes, 9) }),
            (3, 25) => Some(Note::Complete {
                parts: u64_at(bytes, 1),
                at: Position(u64_at(bytes, 9)),
                last: Position(u64_at(bytes, 17)),
            }),
            _ => None,
        }
    }

    /// Appends the note's record, at a position and a moment that were before.
    pub fn push(&self, position: Position, moment: Moment, out: &mut Vec<u8>) {
        let start = head(position, 0, moment, out);
        self.encode(out);
        close(start, out);
    }
}

/// Appends a record. Its checksum comes with [`seal`], when its file is known. Bytes beyond 4 GiB do not fit: the caller's
/// bound is lower.
pub fn push(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = head(record.position, record.takes, record.moment, out);
    out.extend_from_slice(record.payload);
    close(start, out);
}

fn head(position: Position, takes: u32, moment: Moment, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let mut head = [0; HEAD];
    put(&mut head, 8, &position.0.to_le_bytes());
    put(&mut head, 16, &moment.tick.0.to_le_bytes());
    put(&mut head, 24, &moment.time.0.to_le_bytes());
    put(&mut head, 32, &takes.to_le_bytes());
    out.extend_from_slice(&head);
    start
}

fn close(start: usize, out: &mut [u8]) {
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    put(out, start, &length.to_le_bytes());
}

/// What a batch of records contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// The last position that its records take; `None` if none of them takes any.
    pub last: Option<Position>,
    /// The number of entries.
    pub entries: u64,
    /// The last entry's moment.
    pub moment: Moment,
}

/// Fills in the checksums of all records in `batch`.
pub fn seal(batch: &mut [u8], seed: u32) -> Sealed {
    let mut sealed = Sealed::default();
    let mut rest = batch;
    while rest.len() >= HEAD {
        let length = (u32_at(rest, 0) as usize).clamp(HEAD, rest.len());
        let (record, after) = rest.split_at_mut(length);
        let sum = checksum(record, seed);
        put(record, 4, &sum.to_le_bytes());
        let read = record_of(record);
        if read.takes > 0 {
            sealed.last = Some(read.last());
            sealed.entries += 1;
            sealed.moment = read.moment;
        }
        rest = after;
    }
    sealed
}

fn checksum(record: &[u8], seed: u32) -> u32 {
    let mut sum = crc32fast::Hasher::new_with_initial(seed);
    sum.update(&record[..4]);
    sum.update(&record[8..]);
    sum.finalize()
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A record, of so many bytes.
    Record(Record<'a>, usize),
    /// Nothing whole yet: a record there has this many bytes.
    Short(usize),
    /// No record.
    Nothing,
}

/// Looks for a record at the beginning of `bytes`, in a file with `seed`.
pub fn find(bytes: &[u8], seed: u32) -> Found<'_> {
    if bytes.len() < HEAD {
        return Found::Short(HEAD);
    }
    let length = u32_at(bytes, 0) as usize;
    if length < HEAD {
        return Found::Nothing;
    }
    let Some(record) = bytes.get(..length) else { return Found::Short(length) };
    match u32_at(record, 4) == checksum(record, seed) {
        true => Found::Record(record_of(record), length),
        false => Found::Nothing,
    }
}

/// The notes of flushes that stand anywhere in `bytes`, also behind bytes that are no records.
pub fn flushes(bytes: &[u8], seed: u32) -> impl Iterator<Item = (u64, u64)> + '_ {
    let length = u32::try_from(FLUSHED).unwrap_or(u32::MAX).to_le_bytes();
    bytes.windows(FLUSHED).filter(move |at| at[..4] == length && at[HEAD] == 2).filter_map(move |at| {
        let Found::Record(record, _) = find(at, seed) else { return None };
        match (record.takes, Note::decode(record.payload)) {
            (0, Some(Note::Flushed { sequence, bytes })) => Some((sequence, bytes)),
            _ => None,
        }
    })
}

/// Reads a record that was found whole.
pub fn record_of(bytes: &[u8]) -> Record<'_> {
    Record {
        position: Position(u64_at(bytes, 8)),
        takes: u32_at(bytes, 32),
        moment: Moment { tick: Tick(u64_at(bytes, 16)), time: Timestamp(u64_at(bytes, 24)) },
        payload: &bytes[HEAD..],
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn identity_at(bytes: &[u8], at: usize) -> Identity {
    Identity { journal: Uuid::from_bytes(array_at(bytes, at)), generation: u64_at(bytes, at + 16) }
}

/// The bytes at `at`, which every caller has measured before.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

#[cfg(test)]
mod tests;
