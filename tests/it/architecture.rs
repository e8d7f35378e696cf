//! What ARCHITECTURE promises of the sources themselves.

use std::fs;
use std::path::Path;

/// The modules in the order of `lib.rs`, which is the order of the data's way.
fn modules() -> Vec<String> {
    let lib = include_str!("../../src/lib.rs");
    lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned).collect()
}

/// A module's sources without its tests: its file, and those in its folder.
fn source(module: &str) -> String {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folder = fs::read_dir(src.join(module)).into_iter().flatten().map(|file| file.unwrap().path());
    let files = folder.chain([src.join(format!("{module}.rs"))]);
    let text = |file| fs::read_to_string(file).unwrap().split("#[cfg(test)]").next().unwrap().to_owned();
    files.map(text).collect()
}

#[test]
fn imports_point_one_way() {
    let modules = modules();
    assert!(modules.len() > 20, "{modules:?}");
    for (at, module) in modules.iter().enumerate() {
        let source = source(module);
        for later in modules.iter().skip(at + 1) {
            assert!(!source.contains(&format!("crate::{later}::")), "{module} imports {later}, which comes later");
        }
    }
}

#[test]
fn the_core_knows_no_executor_clock_or_socket() {
    let modules = modules();
    let core = modules.iter().take_while(|module| *module != "tasks");
    for module in core {
        let source = source(module);
        for foreign in [
            "tokio::",
            "warp::",
            "hyper::",
            "parking_lot",
            "dashmap",
            "std::net",
            "std::fs",
            "::now()",
            "new_v4",
            "fastrand",
        ] {
            assert!(!source.contains(foreign), "{module} knows {foreign}");
        }
    }
}
