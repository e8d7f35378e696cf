//! The rules of ARCHITECTURE for the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each part of `src/` and the parts that it may import, in the order of `lib.rs`.
const LAYERS: [(&str, &[&str]); 11] = [
    ("model", &[]),
    ("access", &["model"]),
    ("wire", &["model"]),
    ("runtime", &["model", "access"]),
    ("journal", &["model", "access", "runtime"]),
    ("rooms", &["model", "wire", "runtime", "journal"]),
    ("delivery", &["model", "wire", "runtime", "rooms"]),
    ("gateway", &["model", "access", "wire", "runtime", "journal", "rooms", "delivery"]),
    ("http", &["model", "access", "wire", "runtime", "journal", "rooms", "delivery", "gateway"]),
    ("server", &["model", "runtime", "journal", "gateway", "http"]),
    ("bench", &[]),
];

/// The library's sources without their tests, by module path: `rooms::room`, or `rooms` for `rooms.rs`.
fn modules() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    files_below(&src, &mut files);
    let module = |file: &PathBuf| {
        let name = file.strip_prefix(&src).unwrap().with_extension("").to_str().unwrap().replace('/', "::");
        let text = fs::read_to_string(file).unwrap();
        (name, text.split("#[cfg(test)]").next().unwrap().to_owned())
    };
    let part = |name: &str| name != "lib" && !name.starts_with("program::") && !name.contains("::tests");
    files.iter().map(module).filter(|(name, _)| part(name)).collect()
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files_below(&entry, files);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
}

/// The modules that `source` names by `crate::…`, each as far as it is a module and not an item of one.
fn imports(source: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let end = path.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(path.len());
        let (head, rest) = path.split_at(end);
        let head = head.trim_end_matches(':');
        let mut names = vec![head.to_owned()];
        if let Some(list) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            names.extend(list.0.split(',').map(|item| format!("{head}::{}", item.trim())));
        }
        for name in names {
            let mut module = name.as_str();
            while !modules.contains_key(module)
                && let Some((parent, _)) = module.rsplit_once("::")
            {
                module = parent;
            }
            found.insert(module.to_owned());
        }
    }
    found
}

fn layer(module: &str) -> &str {
    module.split("::").next().unwrap()
}

#[test]
fn each_layer_imports_only_allowed_layers() {
    let modules = modules();
    let known: BTreeSet<_> = LAYERS.iter().map(|(name, _)| *name).collect();
    let there: BTreeSet<_> = modules.keys().map(|module| layer(module)).collect();
    assert_eq!(known, there, "each part of src/ is a layer");
    for (module, source) in &modules {
        let (own, allowed) = LAYERS.iter().find(|(name, _)| *name == layer(module)).unwrap();
        for import in imports(source, &modules) {
            let to = layer(&import);
            assert!(to == *own || allowed.contains(&to), "{module} imports {import}, which {own} may not");
        }
    }
}

/// No two modules import each other, directly or through other modules, not even within a layer.
#[test]
fn no_modules_import_each_other_in_a_circle() {
    let modules = modules();
    let mut rest: BTreeMap<_, _> = modules
        .iter()
        .map(|(module, source)| {
            let mut imports = imports(source, &modules);
            imports.remove(module);
            (module.clone(), imports)
        })
        .collect();
    while !rest.is_empty() {
        let free: Vec<_> =
            rest.iter().filter(|(_, to)| to.iter().all(|to| !rest.contains_key(to))).map(|(m, _)| m.clone()).collect();
        assert!(!free.is_empty(), "these import each other: {:?}", rest.keys().collect::<Vec<_>>());
        free.iter().for_each(|module| drop(rest.remove(module)));
    }
}

#[test]
fn the_pure_layers_know_no_executor_clock_or_socket() {
    let foreign = [
        "tokio::",
        "warp::",
        "hyper::",
        "parking_lot",
        "dashmap",
        "std::net::Tcp",
        "std::net::Udp",
        "std::fs",
        "::now()",
        "new_v4",
        "fastrand",
    ];
    let journal = ["bytes", "entry", "values", "codec", "checkpoint", "fold", "cluster"];
    let is_pure = |module: &str| match module.strip_prefix("journal::") {
        Some(rest) => journal.contains(&layer(rest)),
        None => ["model", "wire"].contains(&layer(module)),
    };
    for (module, source) in modules().iter().filter(|(module, _)| is_pure(module)) {
        for word in foreign {
            assert!(!source.contains(word), "{module} knows {word}");
        }
    }
}

/// That a handler without a permit does not compile is the work of private fields: a gateway reaches `http` only inside a
/// `Gate`, and rooms change only by methods that are private to `rooms`. The sources must leave no way around.
#[test]
fn rooms_are_reached_only_through_the_gate() {
    let modules = modules();
    let http = modules.iter().filter(|(module, _)| layer(module) == "http");
    for (module, source) in http.filter(|(module, _)| !module.starts_with("http::gate")) {
        let gateway = imports(source, &modules).iter().any(|import| layer(import) == "gateway");
        assert!(!gateway || module == "http", "{module} knows the gateway itself");
    }
    assert!(modules["http::gate"].contains("pub struct Gate(Arc<Gateway>);"), "the gateway is private to the gate");
    for (module, source) in modules.iter().filter(|(module, _)| module.starts_with("http::gate")) {
        assert!(!source.contains("    pub gate: Gate"), "a permit's gate is private in {module}");
    }
    for method in ["change", "expire", "follow", "retire_if_idle"] {
        assert!(modules["rooms::room"].contains(&format!("pub(super) fn {method}(")), "{method} is private to rooms");
    }
}

#[test]
fn folders_and_files_stay_small_enough_to_read() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    files_below(&src, &mut files);
    for file in &files {
        let lines = fs::read_to_string(file).unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines", file.display());
    }
    let beside = files.iter().filter(|file| file.parent() == Some(&src)).count();
    assert!(beside <= 12, "{beside} files stand beside the folders of src/");
}
