//! What a node's own snapshots bear.

use uuid::Uuid;

use super::*;
use crate::journal::backup::backup_store;
use crate::journal::disk::own::{Of, Own};

fn own(store: &Pretended) -> Own {
    Own::new(Arc::new(store.clone()), None).unwrap()
}

/// A snapshot whose parts are this number, some times over.
fn put(own: &Own, number: u8) -> io::Result<()> {
    let moment = Moment { tick: Tick(7), time: Timestamp(1_700_000_000_000) };
    let of = Of { identity: Identity { journal: Uuid::from_u128(7), generation: 1 }, entry: u64::from(number), moment };
    own.write(of, (0..3).map(|part| vec![number; 20 + part])).map(drop)
}

/// The number of the newest snapshot, of which all parts must be as they were.
fn newest(store: &Pretended) -> Option<u8> {
    let restore = |parts: &[Vec<u8>]| {
        let number = parts[0][0];
        assert_eq!(parts, (0..3).map(|part| vec![number; 20 + part]).collect::<Vec<_>>());
        Ok(number)
    };
    own(store).newest(restore).unwrap()
}

fn two() -> Pretended {
    let store = Pretended::default();
    let own = own(&store);
    put(&own, 1).unwrap();
    put(&own, 2).unwrap();
    store
}

#[test]
fn two_are_kept_and_the_newest_is_read() {
    let store = Pretended::default();
    assert_eq!(newest(&store), None);
    for number in 1..6 {
        put(&own(&store), number).unwrap();
        assert_eq!(newest(&store), Some(number));
    }
    assert_eq!(store.files().into_keys().collect::<Vec<_>>(), ["snapshot-0000000004", "snapshot-0000000005"]);
}

#[test]
fn of_a_newest_one_that_is_cut_or_changed_anywhere_nothing_is_used() {
    let files = two().files();
    let name = names::snapshot(2);
    let whole = files[&name].clone();
    let judge = |bytes: Vec<u8>, what: &str| {
        let mut files = files.clone();
        files.insert(name.clone(), bytes.clone());
        let store = Pretended::of(&files);
        assert_eq!(newest(&store), Some(1), "{what}");
        assert_eq!(store.files().get(&names::lost(&name)), Some(&bytes), "{what}");
        put(&own(&store), 3).unwrap();
        assert_eq!(newest(&store), Some(3), "{what}");
    };
    for length in 0..whole.len() {
        judge(whole[..length].to_vec(), &format!("{length} bytes"));
    }
    for at in 0..whole.len() {
        for flip in [1, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            judge(bytes, &format!("byte {at}"));
        }
    }
    judge([&whole[..], b"more"].concat(), "more bytes");
    judge(files[&names::snapshot(1)].clone(), "another file under this name");
}

#[test]
fn one_that_nobody_understands_is_left_aside() {
    let store = two();
    let refuses_two = |parts: &[Vec<u8>]| if parts[0][0] == 2 { Err("no".to_owned()) } else { Ok(parts[0][0]) };
    assert_eq!(own(&store).newest(refuses_two).unwrap(), Some(1));
    assert_eq!(own(&store).newest(|_| Err::<(), _>("no".to_owned())).unwrap(), None);
    assert!(store.files().keys().all(|name| name.ends_with(".lost")), "{:?}", store.files().keys());
}

#[test]
fn a_kill_or_a_power_cut_at_any_operation_leaves_one_that_can_be_used() {
    for seed in 0..20 {
        for cut in 0.. {
            let store = two();
            let mut fate = Rng::with_seed(seed << 32 | cut);
            let here = own(&store);
            store.power_ends_at(store.operations() + cut);
            let written = [put(&here, 3), put(&here, 4)].iter().filter(|put| put.is_ok()).count();
            let least = 2 + u8::try_from(written).unwrap();
            for after in [Pretended::of(&store.files()), store.after_power_cut(&mut fate)] {
                let found = newest(&after).unwrap();
                assert!((least..=4).contains(&found), "seed {seed} cut {cut}: {found} of {least}");
                assert!(!after.files().keys().any(|name| name.ends_with(".new")), "what is unfinished is removed");
            }
            if written == 2 {
                break;
            }
        }
    }
}

#[test]
fn a_disk_that_fails_or_is_full_keeps_what_is_there_and_takes_more_later() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        for after in 0..12 {
            let store = two();
            let here = own(&store);
            store.refuse(after, 1, kind);
            let failed = put(&here, 3).is_err();
            store.heal();
            assert_eq!(store.wrong(), Vec::<String>::new());
            let found = newest(&store).unwrap();
            assert!(found == 3 || failed && found == 2, "{after}: {found}");
            put(&here, 4).unwrap();
            assert_eq!(newest(&store), Some(4), "{after}");
        }
    }
}

#[test]
fn nothing_is_written_once_the_directory_was_let_go() {
    let store = two();
    let here = own(&store);
    here.release();
    let of = Of { identity: Identity::default(), entry: 9, moment: Moment::default() };
    assert_eq!(here.write(of, std::iter::once(vec![9])).unwrap(), None);
    assert_eq!(newest(&store), Some(2));
    own(&store).set_aside(Uuid::from_u128(7)).unwrap();
    assert_eq!(newest(&store), Some(2), "they are of this log");
    own(&store).set_aside(Uuid::from_u128(8)).unwrap();
    assert_eq!(newest(&store), None);
    put(&own(&store), 3).unwrap();
    assert_eq!(store.files().into_keys().next_back().as_deref(), Some("snapshot-0000000003"), "no name comes twice");
}

#[test]
fn journals_and_snapshots_do_not_share_a_directory() {
    let (files, _) = small();
    let refused = |files: &BTreeMap<String, Vec<u8>>| {
        Own::new(Arc::new(Pretended::of(files)), None).err().map(|error| error.to_string())
    };
    let alone = "the directory has the journal of a gateway without --cluster";
    assert_eq!(refused(&files).as_deref(), Some(alone));
    let copy = Pretended::default();
    backup_store(&Pretended::of(&files), &copy).unwrap();
    assert_eq!(refused(&copy.files()).as_deref(), Some(alone));
    assert_eq!(refused(&two().files()), None);
    let error = Opening::new(Arc::new(two()), None).err().unwrap();
    assert!(matches!(error, OpenError::OfNode), "{error}");
    let judge: &dyn Fn() -> Judge = &|| Box::new(|_| Ok(()));
    let error = repair_store(&two(), judge).unwrap_err();
    assert!(matches!(error, OpenError::NothingToCut), "{error}");
}

#[test]
fn a_backup_is_the_newest_that_is_whole() {
    let mut files = two().files();
    for (damaged, wanted) in [(false, 2), (true, 1)] {
        if let Some(byte) = files.get_mut(&names::snapshot(2)).and_then(|bytes| bytes.last_mut()) {
            *byte ^= u8::from(damaged);
        }
        let copy = Pretended::default();
        let copied = backup_store(&Pretended::of(&files), &copy).unwrap();
        assert_eq!((copied.files, copied.of_node), (1, true));
        assert_eq!(copy.files().into_keys().collect::<Vec<_>>(), [names::snapshot(wanted)]);
        assert_eq!(newest(&copy), Some(u8::try_from(wanted).unwrap()));
    }
    let copy = Pretended::default();
    files.values_mut().for_each(|bytes| bytes.truncate(70));
    assert!(matches!(backup_store(&Pretended::of(&files), &copy), Err(OpenError::Damaged { .. })));
}
