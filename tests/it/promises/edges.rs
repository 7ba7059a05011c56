//! The edges between modules: which module may use which. `docs/ARCHITECTURE.md` has the same table as a picture and in
//! words; here it is held against the sources.
//!
//! An edge that this test refuses is a question, not a formality: does the code stand in the right module? Only if it
//! does, add the edge here and in the document.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The top-level modules from the ground up, with the modules that each may use.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("env", &[]),
    ("document", &[]),
    ("private_dir", &[]),
    ("domain", &[]),
    ("store", &["env", "private_dir"]),
    ("records", &["document", "domain", "store"]),
    ("auth", &["domain", "env", "private_dir"]),
    ("telemetry", &["store"]),
    ("config", &["domain"]),
    ("app", &["auth", "document", "domain", "env", "records", "store", "telemetry"]),
    ("http", &["app", "auth", "document", "domain", "store", "telemetry"]),
    ("api", &["app", "auth", "document", "domain", "http", "records", "telemetry"]),
    ("jobs", &["app"]),
    ("runtime", &["api", "app", "auth", "config", "env", "http", "jobs", "records", "store", "telemetry"]),
    ("cli", &["api", "auth", "config", "domain", "env", "http", "records", "runtime", "store", "telemetry"]),
];

/// Modules inside a top-level one that are kept apart, with the siblings that each may use. A folder of `api` is a noun; nouns
/// share wire types and policies, and never each other's handlers.
const ALLOWED_INSIDE: [(&str, &[&str]); 13] = [
    ("api/browser", &["examples", "policies", "wire"]),
    ("api/config", &["examples", "policies", "wire"]),
    ("api/instance", &["examples", "policies", "wire"]),
    ("api/platform", &["examples", "policies", "wire"]),
    ("api/player", &["examples", "policies", "wire"]),
    ("api/player_sessions", &["examples", "policies", "wire"]),
    ("api/rights", &["examples", "policies", "wire"]),
    ("api/session", &["examples", "policies", "wire"]),
    ("api/fast_path", &["platform", "session", "wire"]),
    ("api/wire", &[]),
    ("http/connection", &[]),
    ("http/listener", &["connection"]),
    ("http/input", &["error"]),
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a source file without its comments and without its tests.
fn code(path: &Path) -> String {
    if path.to_str().unwrap().ends_with("_tests.rs") || path.ends_with("auth/test_keys.rs") {
        return String::new();
    }
    let text = std::fs::read_to_string(path).unwrap();
    let (code, _) = text.split_once("\n#[cfg(test)]\n").unwrap_or((&text, ""));
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The first segments of the paths that begin with a prefix, as in `crate::store::keys`: `store`.
fn segments(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let (list, _) = list.split_once("};").unwrap_or((list, ""));
                found.extend(list.split(',').map(|item| first_word(item.trim())));
            }
            None => drop(found.insert(first_word(rest))),
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

/// The files of a module, which is a file or a folder.
fn files_of(module: &Path) -> Vec<PathBuf> {
    let file = module.with_extension("rs");
    if file.exists() { vec![file] } else { sources(module) }
}

#[test]
fn modules_use_what_they_may_and_nothing_else() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (module, allowed) in ALLOWED {
        let mut unused: BTreeSet<_> = allowed.iter().copied().collect();
        let files = files_of(&src.join(module));
        assert!(!files.is_empty(), "there is no module {module}");
        for file in files {
            let code = code(&file);
            // A crate's own macros and this module itself are no edges.
            for used in segments(&code, "crate::") {
                let is_module = ALLOWED.iter().any(|(name, _)| *name == used);
                let is_allowed = used == module || allowed.contains(&used.as_str()) || !is_module;
                assert!(is_allowed, "{}: {module} may not use {used}", file.display());
                unused.remove(used.as_str());
            }
            assert!(
                !code.contains("super::super::"),
                "{}: use crate:: for a module further up",
                file.display()
            );
        }
        assert!(unused.is_empty(), "{module} does not use {unused:?} any more: remove it from the table");
    }
}

#[test]
fn every_module_is_in_the_table() {
    let lib = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules: BTreeSet<_> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")).collect();
    let modules: BTreeSet<_> = modules.into_iter().map(|module| module.trim_end_matches(';')).collect();
    assert_eq!(modules, ALLOWED.iter().map(|(name, _)| *name).collect());
    let mut below = BTreeSet::new();
    for (module, allowed) in ALLOWED {
        for used in allowed {
            assert!(below.contains(used), "{module} uses {used}, which stands above it");
        }
        below.insert(module);
    }
}

#[test]
fn parts_of_a_module_use_only_the_siblings_that_they_may() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (part, allowed) in ALLOWED_INSIDE {
        let (module, name) = part.split_once('/').unwrap();
        let mut siblings: BTreeSet<String> = BTreeSet::new();
        for entry in std::fs::read_dir(src.join(module)).unwrap() {
            siblings.insert(entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
        }
        let files = files_of(&src.join(part));
        assert!(!files.is_empty(), "there is no module {part}");
        for file in files {
            let code = code(&file);
            let mut used = segments(&code, &format!("crate::{module}::"));
            // From the module's own file, `super` is the module around it.
            if file.ends_with("mod.rs") || file.with_extension("") == src.join(part) {
                used.extend(segments(&code, "super::"));
            }
            for used in used.into_iter().filter(|used| siblings.contains(used) && used != name) {
                let is_allowed = allowed.contains(&used.as_str());
                assert!(is_allowed, "{}: {part} may not use {module}/{used}", file.display());
            }
        }
    }
}
