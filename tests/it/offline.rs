//! The subcommands for a journal's directory.

use std::fs;

use crate::harness::Binary;

#[tokio::test]
async fn a_directory_without_a_journal_is_empty_and_none_at_all_exits_1() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("UTF-8");
    let inspected = Binary::run(&["inspect", path], &[]).await;
    assert_eq!((inspected.code, inspected.stdout.as_str()), (Some(0), "It is empty.\n"), "{inspected:?}");
    let none = format!("{path}/none");
    for args in [&["inspect", &none][..], &["repair", &none], &["backup", &none, path]] {
        let finished = Binary::run(args, &[]).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        let said = format!("presently: DIR {none}: opening the directory failed: No such file or directory");
        assert!(finished.stderr.starts_with(&said), "{finished:?}");
    }
}

#[tokio::test]
async fn damage_is_shown_and_cut_and_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("UTF-8");
    fs::write(directory.path().join("segment-0000000001"), [7; 100]).expect("a file");
    let inspected = Binary::run(&["inspect", path], &[]).await;
    let said = "It can't be opened: segment-0000000001 is damaged at byte 0: its header is not whole.\n";
    assert_eq!(inspected.code, Some(1), "{inspected:?}");
    assert!(inspected.stdout.ends_with(said) && inspected.stderr.is_empty(), "{inspected:?}");
    let refused = Binary::run(&["backup", path, &format!("{path}/copy")], &[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("segment-0000000001 is damaged at byte 0"), "{refused:?}");
    let repaired = Binary::run(&["repair", path], &[]).await;
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    assert!(
        repaired.stdout.ends_with("segment-0000000001 is lost, and kept as segment-0000000001.lost\n"),
        "{repaired:?}"
    );
    let again = Binary::run(&["repair", path], &[]).await;
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), "nothing is damaged\n"), "{again:?}");
}
