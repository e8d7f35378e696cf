//! A real directory.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::journal::backup::backup;
use crate::journal::disk;
use crate::journal::error::OpenError;
use crate::journal::inspect::inspect;
use crate::journal::log::Read as Given;
use crate::journal::queue::Journal;
use crate::journal::queue::options::Options;
use crate::journal::repair::{Judge, repair};
use crate::model::cursor::Position;
use crate::model::moment::{Moment, Tick, Timestamp};

fn judge() -> Judge {
    Box::new(|_| Ok(()))
}

fn journal(path: &Path) -> Journal {
    let opening = disk::open(path, Duration::ZERO).unwrap();
    Journal::start(Box::new(opening), Position(1_000), Options::default()).unwrap()
}

fn append(journal: &Journal, text: &str) {
    let moment = Moment { tick: Tick(3), time: Timestamp(1_800_000_000_000) };
    let given = journal.append(5, true, moment, |out| out.extend(text.as_bytes()));
    given.ticket.wait().unwrap();
}

fn texts(path: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    let mut opening = disk::open(path, Duration::ZERO).unwrap();
    let read = crate::journal::log::Source::read(&mut opening, &mut |read| {
        match read {
            Given::Part(bytes) => texts.push(format!("part {}", String::from_utf8_lossy(bytes))),
            Given::Record(record) => texts.push(String::from_utf8_lossy(record.payload).into_owned()),
        }
        Ok(())
    });
    read.unwrap();
    texts
}

#[test]
fn only_the_user_may_read_what_is_kept() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("a/b");
    let open = journal(&path);
    append(&open, "one");
    open.snapshot().unwrap().finish(Moment::default()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let files: Vec<_> = fs::read_dir(&path).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    files.iter().for_each(|file| assert_eq!(mode(file), 0o600, "{}", file.display()));
    open.close().unwrap();
}

#[test]
fn one_process_has_the_directory_and_the_next_waits_for_it() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().to_owned();
    let first = journal(&path);
    append(&first, "one");
    let error = disk::open(&path, Duration::from_millis(30)).err().unwrap();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    assert!(matches!(repair(&path, &judge), Err(OpenError::InUse(_))));
    assert!(inspect(&path, judge()).unwrap().text.contains("A process uses it."));
    let next = thread::spawn({
        let path = path.clone();
        move || disk::open(&path, Duration::from_secs(60)).map(drop)
    });
    first.close().unwrap();
    next.join().unwrap().unwrap();
    assert_eq!(texts(&path), ["one"]);
    assert!(!inspect(&path, judge()).unwrap().text.contains("A process uses it."));
}

#[test]
fn a_journal_that_is_dropped_lets_go_of_the_directory() {
    let above = tempfile::tempdir().unwrap();
    let first = journal(above.path());
    append(&first, "one");
    drop(first);
    drop(disk::open(above.path(), Duration::from_secs(60)).unwrap());
    assert_eq!(texts(above.path()), ["one"]);
}

#[test]
fn what_cannot_be_a_journal_is_said() {
    let above = tempfile::tempdir().unwrap();
    let file = above.path().join("file");
    fs::write(&file, "text").unwrap();
    for path in [&file, &file.join("below")] {
        let error = disk::open(path, Duration::ZERO).err().unwrap().sentence("--data", path);
        assert!(
            error.ends_with("opening the directory failed: not a directory") || error.contains("Not a directory"),
            "{error}"
        );
    }
    assert!(matches!(inspect(&above.path().join("none"), judge()), Err(OpenError::Io(..))));
    fs::write(above.path().join("notes.txt"), "not of the journal").unwrap();
    let open = journal(above.path());
    append(&open, "one");
    open.close().unwrap();
    assert_eq!(texts(above.path()), ["one"], "other files do not matter");
}

#[test]
fn a_copy_is_made_while_the_journal_is_written_and_damage_is_shown_and_cut() {
    let (above, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = journal(above.path());
    append(&open, "one");
    let mut snapshot = open.snapshot().unwrap();
    snapshot.put(b"one").unwrap();
    snapshot.finish(Moment::default()).unwrap();
    append(&open, "two");
    let copy = copies.path().join("copy");
    assert_eq!(backup(above.path(), &copy).unwrap().entries, 1);
    assert!(backup(above.path(), &copy).is_err(), "the target is not empty");
    append(&open, "three");
    let identity = open.identity().unwrap();
    open.close().unwrap();
    assert_eq!(texts(&copy), ["part one", "two"]);
    let started = journal(&copy);
    assert_ne!(started.identity(), Some(identity));
    started.close().unwrap();
    let text = inspect(above.path(), judge()).unwrap().text;
    assert!(text.contains("2 entries, positions 1005 to 1014, 2027-01-15T08:00:00Z to 2027-01-15T08:00:00Z"), "{text}");
    assert!(text.contains("It opens: from checkpoint-0000000002, 2 entries after it, to position 1014"), "{text}");
    let segment = above.path().join("segment-0000000002");
    let mut bytes = fs::read(&segment).unwrap();
    let two = bytes.windows(3).position(|bytes| bytes == b"two").unwrap();
    bytes[two] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let damaged = inspect(above.path(), judge()).unwrap();
    assert!(
        !damaged.opens && damaged.text.contains("It can't be opened: segment-0000000002 is damaged"),
        "{}",
        damaged.text
    );
    let said = repair(above.path(), &judge).unwrap();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].starts_with("segment-0000000002 is cut there: its last "), "{said:?}");
    assert!(inspect(above.path(), judge()).unwrap().opens);
    assert_eq!(texts(above.path()), ["part one"]);
}
