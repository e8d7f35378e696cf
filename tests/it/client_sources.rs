//! The client's sources can be joined by dropping lines, and the page stands apart from them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::harness::{TestServer, within};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The scripts directly in a folder.
fn scripts(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).expect(folder).map(|entry| entry.expect("an entry").path());
    let scripts = entries.filter(|path| path.extension().is_some_and(|ending| ending == "js" || ending == "mjs"));
    let name = |path: PathBuf| path.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
    scripts.map(name).collect()
}

/// The client's sources in the order in which they are joined.
fn listed() -> Vec<String> {
    serde_json::from_str(&read("web/client/files.json")).expect("a list of names")
}

/// The names and the file of an import.
fn import(line: &str) -> Option<(Vec<&str>, &str)> {
    let (names, file) = line.strip_prefix("import { ")?.split_once(" } from './")?;
    Some((names.split(", ").collect(), file.strip_suffix("';")?))
}

/// What a script declares at its top level.
fn declared(script: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for line in script.lines() {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let line = line.strip_prefix("async ").unwrap_or(line);
        let Some((word, rest)) = line.split_once(' ') else { continue };
        if !["const", "let", "var", "class", "function"].contains(&word) {
            continue;
        }
        let pattern = rest.strip_prefix(['{', '[']).and_then(|rest| rest.split(['}', ']']).next());
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(rest.len());
        names.extend(pattern.unwrap_or(&rest[..end]).split(',').map(str::trim));
    }
    names
}

fn exported(script: &str) -> Vec<&str> {
    let lines = script.lines().filter(|line| line.starts_with("export "));
    lines.flat_map(declared).collect()
}

#[test]
fn the_list_of_the_clients_sources_is_its_folder() {
    let (listed, there) = (listed(), scripts("web/client"));
    assert_eq!(listed.iter().collect::<BTreeSet<_>>(), there.iter().collect());
    assert_eq!(listed.len(), there.len(), "each is listed once");
    assert_eq!(listed.last().map(String::as_str), Some("room.js"), "the last one's exports are those of the whole");
}

#[test]
fn each_source_imports_by_name_and_only_from_sources_before_it() {
    let listed = listed();
    for (i, file) in listed.iter().enumerate() {
        let source = read(&format!("web/client/{file}"));
        assert!(!source.contains("export default") && !source.contains("export {"), "{file} exports declarations only");
        for line in source.lines().filter(|line| line.starts_with("import") || line.contains("import(")) {
            let (names, from) =
                import(line).unwrap_or_else(|| panic!("{file}: a named import on one line, not {line}"));
            assert!(listed[..i].iter().any(|before| before == from), "{file} imports {from}, which comes later");
            let source = read(&format!("web/client/{from}"));
            let exports = exported(&source);
            for name in names {
                assert!(exports.contains(&name), "{file} imports {name}, which {from} does not export by this name");
            }
        }
    }
}

#[tokio::test]
async fn the_served_client_declares_each_name_once_and_exports_what_users_call() {
    let server = TestServer::start().await;
    let served = server.get("/presently.js").await.expect(200).text().to_owned();
    let names = declared(&served);
    for name in ["locks", "delay", "Members", "follow", "Leader", "Room"] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    let mut once = BTreeSet::new();
    for name in &names {
        assert!(once.insert(name), "{name} is declared twice");
    }
    let public = read("web/presently.d.ts");
    let classes: Vec<_> = public.lines().filter(|line| line.starts_with("export class ")).flat_map(declared).collect();
    assert_eq!(exported(&served), classes);
    assert!(!served.lines().any(|line| line.starts_with("import")), "it is one file");
    assert!(served.starts_with("// @ts-self-types=\"./presently.d.ts\"\n"), "types are found by the first line");
    server.stop().await;
}

#[tokio::test]
async fn the_tests_of_the_client_run_what_is_served() {
    let server = TestServer::start().await;
    let served = server.get("/presently.js").await.expect(200);
    let mut node = Command::new("node");
    node.arg(root().join("tests/web/joined.mjs")).kill_on_drop(true);
    let joined = within("node", node.output()).await.expect("node is installed");
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    assert_eq!(String::from_utf8_lossy(&joined.stdout), served.text());
    server.stop().await;
}

#[test]
fn the_page_takes_nothing_of_the_client_but_room() {
    for file in scripts("web/page") {
        for line in read(&format!("web/page/{file}")).lines().filter(|line| line.starts_with("import")) {
            let (names, from) =
                import(line).unwrap_or_else(|| panic!("{file}: a named import on one line, not {line}"));
            match from {
                "presently.js" => assert_eq!(names, ["Room"], "{file}"),
                other => assert!(scripts("web/page").iter().any(|file| file == other), "{file} imports {other}"),
            }
        }
    }
}

#[test]
fn scripts_stay_short_enough_to_read() {
    for folder in ["web", "web/client", "web/page", "tests/web"] {
        for file in scripts(folder) {
            let lines = read(&format!("{folder}/{file}")).lines().count();
            assert!(lines <= 400, "{folder}/{file} has {lines} lines");
        }
    }
}
