//! Bytes are read as they were written, or not at all.

use super::*;
use crate::mutants::Mutants;

const IDENTITY: Identity = Identity { journal: Uuid::from_u128(7 << 100), generation: 3 };

fn moment(tick: u64) -> Moment {
    Moment { tick: Tick(tick), time: Timestamp(tick + 1_000) }
}

fn record(position: u64, payload: &[u8]) -> Record<'_> {
    Record { position: Position(position), takes: 2, moment: moment(position * 3), payload }
}

fn file(seed: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&record(5, b"five"), &mut bytes);
    push(&record(7, b""), &mut bytes);
    Note::Flushed { sequence: 9, bytes: 100 }.push(Position(8), moment(2), &mut bytes);
    push(&record(9, &[0; 70]), &mut bytes);
    seal(&mut bytes, seed);
    bytes
}

fn read(mut bytes: &[u8], seed: u32) -> Vec<(u64, usize)> {
    let mut found = Vec::new();
    while let Found::Record(record, length) = find(bytes, seed) {
        found.push((record.position.0, record.payload.len()));
        bytes = &bytes[length..];
    }
    found
}

#[test]
fn records_are_read_as_they_were_written() {
    let bytes = file(77);
    assert_eq!(read(&bytes, 77), [(5, 4), (7, 0), (8, 17), (9, 70)]);
    assert_eq!(find(&bytes, 77), Found::Record(record(5, b"five"), HEAD + 4));
    let mut again = bytes.clone();
    let sealed = seal(&mut again, 77);
    assert_eq!(again, bytes);
    assert_eq!(sealed, Sealed { last: Some(Position(10)), entries: 3, moment: moment(27) });
    assert_eq!(flushes(&[b"rubbish", &bytes[..]].concat(), 77).collect::<Vec<_>>(), [(9, 100)]);
}

#[test]
fn bytes_of_another_file_never_fit_and_zeros_never_do() {
    for seed in (0..1_000).chain([u32::MAX]) {
        assert!(read(&file(77), seed).is_empty() || seed == 77);
        assert_eq!(find(&[0; 200], seed), Found::Nothing);
        assert_eq!(flushes(&file(77), seed).count(), usize::from(seed == 77));
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let bytes = file(77);
    let whole = read(&bytes, 77);
    for at in 0..bytes.len() {
        let before = read(&bytes[..at], 77);
        assert!(before.len() < whole.len() && whole.starts_with(&before));
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert_eq!(read(&flipped, 77), before, "byte {at} bit {bit}");
        }
    }
}

#[test]
fn headers_are_read_as_they_were_written_and_later_versions_are_told_apart() {
    for kind in [Kind::Segment, Kind::Checkpoint] {
        let header = Header { kind, seed: 5, identity: IDENTITY, sequence: 8 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for at in 0..HEADER {
            assert_eq!(Header::decode(&bytes[..at]), Err(NoHeader::Damaged));
            let mut flipped = bytes;
            flipped[at] ^= 16;
            assert_eq!(Header::decode(&flipped), Err(NoHeader::Damaged), "byte {at}");
        }
        let mut newer = bytes;
        put(&mut newer, 8, &(VERSION + 1).to_le_bytes());
        let sum = crc32fast::hash(&newer[..12]);
        put(&mut newer, 12, &sum.to_le_bytes());
        newer[16..].fill(9);
        assert_eq!(Header::decode(&newer), Err(NoHeader::Newer(VERSION + 1)));
    }
}

#[test]
fn notes_are_read_as_they_were_written() {
    let (at, last) = (Position(5), Position(4));
    for note in [
        Note::Begins { at, after_gap: false, previous: 3, last, identity: IDENTITY },
        Note::Begins { at, after_gap: true, previous: 0, last, identity: Identity::default() },
        Note::Flushed { sequence: 1, bytes: u64::MAX },
        Note::Complete { parts: 3, at, last },
    ] {
        let mut bytes = Vec::new();
        note.encode(&mut bytes);
        assert_eq!(Note::decode(&bytes), Some(note));
        (0..bytes.len()).for_each(|cut| assert_eq!(Note::decode(&bytes[..cut]), None));
    }
}

#[test]
fn no_mutant_of_a_file_is_read_as_another() {
    let whole = read(&file(77), 77);
    for mutant in Mutants::of([file(77)], 20_000) {
        let found = read(&mutant, 77);
        let fits = |pair: &(u64, usize)| whole.contains(pair);
        assert!(found.iter().all(fits), "{found:?}");
        let _ = flushes(&mutant, 77).count();
        let _ = Header::decode(&mutant);
        let _ = Note::decode(&mutant);
    }
}
