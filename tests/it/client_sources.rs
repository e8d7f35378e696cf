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

/// The files that are joined, with the lists of their sources.
const JOINED: [(&str, &str); 2] = [("presently.js", "files.json"), ("presently-room.js", "elements.json")];

/// The sources of a list in the order in which they are joined.
fn listed(list: &str) -> Vec<String> {
    serde_json::from_str(&read(&format!("web/client/{list}"))).expect("a list of names")
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

/// The entries of the package, which are not joined.
const ENTRIES: [&str; 3] = ["presently.js", "element.js", "react.js"];

#[test]
fn the_lists_of_the_clients_sources_are_its_folder() {
    let there = scripts("web/client");
    let listed: Vec<_> = JOINED.iter().flat_map(|(_, list)| listed(list)).chain(ENTRIES.map(str::to_owned)).collect();
    assert_eq!(listed.iter().collect::<BTreeSet<_>>(), there.iter().collect());
    assert_eq!(listed.len(), there.len(), "each is listed once");
    let last = self::listed("files.json").pop();
    assert_eq!(last.as_deref(), Some("room.js"), "the last one's exports are those of the whole");
}

#[test]
fn each_source_imports_by_name_and_only_from_sources_before_it() {
    for (_, list) in JOINED {
        let listed = listed(list);
        for (i, file) in listed.iter().enumerate() {
            let source = read(&format!("web/client/{file}"));
            assert!(
                !source.contains("export default") && !source.contains("export {"),
                "{file} exports declarations only"
            );
            for line in source.lines().filter(|line| line.starts_with("import") || line.contains("import(")) {
                let (names, from) =
                    import(line).unwrap_or_else(|| panic!("{file}: a named import on one line, not {line}"));
                if (list, from) == ("elements.json", "presently.js") {
                    assert_eq!(names, ["Room"], "{file}: the joined file imports what the client exports");
                    continue;
                }
                assert!(listed[..i].iter().any(|before| before == from), "{file} imports {from}, which comes later");
                let exported = read(&format!("web/client/{from}"));
                for name in names {
                    assert!(
                        self::exported(&exported).contains(&name),
                        "{file} imports {name}, which {from} does not export"
                    );
                }
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
    let public = read("web/client/presently.d.ts");
    let classes: Vec<_> = public.lines().filter(|line| line.starts_with("export class ")).flat_map(declared).collect();
    assert_eq!(exported(&served), classes);
    let package = format!("export {{ {} }} from './room.js';", classes.join(", "));
    assert_eq!(read("web/client/presently.js").lines().last(), Some(&*package), "the package exports the same");
    assert!(!served.lines().any(|line| line.starts_with("import")), "it is one file");
    assert!(served.starts_with("// @ts-self-types=\"./presently.d.ts\"\n"), "types are found by the first line");
    server.stop().await;
}

#[tokio::test]
async fn the_served_elements_declare_each_name_once_and_import_only_the_client() {
    let server = TestServer::start().await;
    let served = server.get("/presently-room.js").await.expect(200).text().to_owned();
    let names = declared(&served);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "one is declared twice: {names:?}");
    assert!(names.contains(&"PresentlyRoom") && names.contains(&"PresentlyAvatars"), "{names:?}");
    let imports: Vec<_> = served.lines().filter(|line| line.starts_with("import")).collect();
    assert_eq!(imports, ["import { Room } from './presently.js';"]);
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
fn the_package_of_the_client_is_that_of_this_gateway() {
    let package: serde_json::Value = serde_json::from_str(&read("web/client/package.json")).expect("JSON");
    assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(package["license"], env!("CARGO_PKG_LICENSE"));
    assert_eq!(read("web/client/LICENSE"), read("LICENSE"));
    assert!(package["dependencies"].is_null(), "it needs nothing else");
    let exports = package["exports"].as_object().expect("exports");
    for file in exports.values().flat_map(|entry| [&entry["types"], &entry["default"]]).filter_map(|file| file.as_str())
    {
        read(&format!("web/client/{file}"));
    }
    assert_eq!(exports["."]["types"], package["types"], "tools without `exports` find the same");
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
    for folder in ["web/client", "web/page", "tests/web", "tests/app", "tests/browsers"] {
        for file in scripts(folder) {
            let lines = read(&format!("{folder}/{file}")).lines().count();
            assert!(lines <= 400, "{folder}/{file} has {lines} lines");
        }
    }
}
