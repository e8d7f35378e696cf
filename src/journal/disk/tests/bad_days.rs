//! Files that are damaged, missing, or of others.

use super::*;

fn judge() -> Judge {
    Box::new(|_| Ok(()))
}

/// Repairs a journal that does not open; what is left is a beginning of what was there.
fn repaired(store: &Pretended, whole: &Numbers) {
    let before: Vec<u8> = store.files().into_values().flatten().collect();
    let said = repair_store(store, &judge).unwrap();
    assert!(!said.is_empty());
    let (_, state, _) = open(store).unwrap_or_else(|error| panic!("after {said:?}: {error}"));
    assert!(whole.numbers.starts_with(&state.numbers), "{said:?}");
    assert!(store.files().into_values().flatten().count() >= before.len(), "nothing is thrown away: {said:?}");
    assert_eq!(repair_store(store, &judge).unwrap(), Vec::<String>::new());
    let mut life = Life::begin(store).unwrap();
    life.append(3, 1).unwrap();
    drop(life);
    open(store).unwrap();
}

#[test]
fn every_flipped_byte_is_noticed_or_does_not_matter() {
    let (files, whole) = small();
    let mut noticed = 0;
    for (name, bytes) in &files {
        for at in 0..bytes.len() {
            let mut files = files.clone();
            files.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            let store = Pretended::of(&files);
            match open(&store) {
                // The last note of a flush says what was flushed before it, and not that it was flushed itself.
                Ok((_, state, _)) => assert_eq!(state, whole, "{name} byte {at}"),
                Err(OpenError::Damaged { file, offset, what }) => {
                    noticed += 1;
                    assert_eq!(&file, name, "byte {at}: {what}");
                    assert!(offset <= at as u64, "{name} byte {at}: {offset}");
                    repaired(&store, &whole);
                }
                Err(error) => panic!("{name} byte {at}: {error}"),
            }
        }
    }
    assert!(noticed > 500, "{noticed}");
}

#[test]
fn every_cut_file_is_noticed_or_a_beginning() {
    let (files, whole) = small();
    let last = files.keys().rfind(|name| name.starts_with("segment")).unwrap();
    for (name, bytes) in &files {
        for at in 0..bytes.len() {
            let mut files = files.clone();
            files.get_mut(name).unwrap().truncate(at);
            let store = Pretended::of(&files);
            match open(&store) {
                Ok((_, state, _)) if name == last => {
                    assert!(whole.numbers.starts_with(&state.numbers), "{name} byte {at}");
                    let mut life = Life::begin(&store).unwrap();
                    life.append(2, 1).unwrap();
                    assert!(in_order(&open(&store).unwrap().1.numbers), "nothing is skipped behind the cut");
                }
                Ok((_, state, _)) => assert_eq!(state, whole, "{name} byte {at}"),
                Err(_) => repaired(&store, &whole),
            }
        }
    }
}

#[test]
fn every_missing_file_is_noticed_or_not_needed() {
    let (files, whole) = small();
    let (last, mut noticed) = (files.keys().rfind(|name| name.starts_with("segment")).unwrap(), Vec::new());
    for name in files.keys() {
        let mut files = files.clone();
        files.remove(name);
        let store = Pretended::of(&files);
        match open(&store) {
            Ok((_, state, _)) if name == last => assert!(whole.numbers.starts_with(&state.numbers)),
            Ok((_, state, _)) => assert_eq!(state, whole, "{name}"),
            Err(error) => {
                noticed.push((name.as_str(), error.to_string()));
                repaired(&store, &whole);
            }
        }
    }
    assert_eq!(noticed.len(), 1, "{noticed:?}");
    assert_eq!(noticed[0].1, format!("{} is damaged at byte 0: it is missing", noticed[0].0));
}

#[test]
fn without_any_checkpoint_a_trimmed_journal_does_not_open() {
    let (mut files, whole) = small();
    files.retain(|name, _| !name.starts_with("checkpoint"));
    let store = Pretended::of(&files);
    let error = open(&store).map(|(_, state, _)| state).unwrap_err().to_string();
    assert_eq!(error, "checkpoint-0000000002 is damaged at byte 0: it is missing");
    repaired(&store, &whole);
    assert!(open(&store).unwrap().1.numbers.len() < 6, "nothing but what came after");
}

#[test]
fn damage_in_front_of_what_was_flushed_is_no_tear() {
    let (files, _) = small();
    let (name, bytes) = files.iter().rfind(|(name, _)| name.starts_with("segment")).unwrap();
    let begin = files.len() + bytes.len() - 3 * frame::FLUSHED - files.len();
    let mut damaged = files.clone();
    damaged.get_mut(name).unwrap()[begin] ^= 1;
    let error = open(&Pretended::of(&damaged)).map(|(_, state, _)| state).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{name} is damaged at byte ")), "{error}");
    assert!(error.ends_with("this is no record as it was written"), "{error}");
}

#[test]
fn rubbish_and_zeros_at_the_end_are_cut() {
    let (files, whole) = small();
    let name = files.keys().rfind(|name| name.starts_with("segment")).unwrap();
    for rubbish in [vec![0; 5_000], vec![0xff; 99], vec![36, 0, 0, 0], b"presjrnl".repeat(20)] {
        let mut files = files.clone();
        files.get_mut(name).unwrap().extend(rubbish);
        let store = Pretended::of(&files);
        let mut life = Life::begin(&store).unwrap();
        assert_eq!(life.state, whole);
        life.append(3, 1).unwrap();
        assert_eq!(open(&store).unwrap().1, life.state);
    }
}

#[test]
fn files_of_others_and_of_later_versions_are_not_taken() {
    let (files, whole) = small();
    let (others, _) = small();
    for name in files.keys() {
        let mut mixed = files.clone();
        mixed.insert(name.clone(), others[name].clone());
        let store = Pretended::of(&mixed);
        match open(&store) {
            Ok((_, state, _)) => assert_eq!(state, whole, "not read: {name}"),
            Err(OpenError::Foreign { .. } | OpenError::Damaged { .. }) => repaired(&store, &whole),
            Err(error) => panic!("{name}: {error}"),
        }
        let mut newer = files.clone();
        let bytes = newer.get_mut(name).unwrap();
        bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        match open(&Pretended::of(&newer)) {
            Ok((_, state, _)) => assert_eq!(state, whole, "not read: {name}"),
            Err(error) => {
                let said = format!("{name} has version 9 of the format, and this program reads up to version 1");
                assert_eq!(error.to_string(), said);
                assert!(repair_store(&Pretended::of(&newer), &judge).is_err(), "a later version's file is not cut");
            }
        }
    }
}

#[test]
fn an_entry_that_is_refused_is_damage() {
    let (files, _) = small();
    let store = Pretended::of(&files);
    let mut opening = Opening::new(Arc::new(store.clone()), None).unwrap();
    let refuse = |read: Read<'_>| match read {
        Read::Record(record) if record.payload == 25_u64.to_le_bytes() => Err("no entry".to_owned()),
        Read::Record(_) | Read::Part(_) => Ok(()),
    };
    let error = opening.read(&mut { refuse }).unwrap_err().to_string();
    assert!(error.starts_with("segment-") && error.ends_with(": no entry"), "{error}");
    let said = repair_store(&store, &|| Box::new(refuse)).unwrap();
    assert_eq!((said.len(), open(&store).unwrap().1.numbers.len()), (2, 25), "{said:?}");
}
