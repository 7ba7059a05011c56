//! The edges between modules: which module may use which. The table of modules in `docs/ARCHITECTURE.md` is read here
//! and compared with the sources, so it is true.
//!
//! An edge that this test refuses is a question, not a formality: does the code stand in the right module? Only if it
//! does, add the edge to the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files and folders of `api` that are not nouns: what the nouns share, and the fast path.
const SHARED_BY_NOUNS: [&str; 4] = ["change", "examples", "policies", "wire"];
/// Parts of a module that may use few of their siblings, besides the nouns of `api`.
const PARTS: [(&str, &[&str]); 6] = [
    ("api/fast_path", &["platform", "session", "wire"]),
    ("api/change", &["policies", "wire"]),
    ("api/wire", &[]),
    ("http/connection", &["memory"]),
    ("http/listener", &["connection"]),
    ("http/input", &["error"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The modules in the order of the table, with the modules that each may use.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let document = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let (_, rows) = document.split_once("| module | what it does | may use |\n").unwrap();
    let rows = rows.lines().skip(1).take_while(|line| line.starts_with('|'));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut table = Vec::new();
    for row in rows {
        let cells: Vec<_> = row.split('|').collect();
        let [_, module, _, used, _] = cells[..] else { panic!("{row}: not three cells") };
        table.push((names(module)[0].clone(), names(used).into_iter().collect()));
    }
    table
}

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

/// The files of a module or a part of one, which is a file or a folder.
fn files_of(module: &str) -> Vec<PathBuf> {
    let path = root().join("src").join(module);
    let file = path.with_extension("rs");
    let files = if file.exists() { vec![file] } else { sources(&path) };
    assert!(!files.is_empty(), "there is no module {module}");
    files
}

/// The code of a source file without its comments and without its tests.
fn code(path: &Path) -> String {
    let of_tests = ["auth/test_keys.rs", "app/sessions/fixtures.rs"];
    if path.to_str().unwrap().ends_with("_tests.rs") || of_tests.iter().any(|file| path.ends_with(file)) {
        return String::new();
    }
    let text = std::fs::read_to_string(path).unwrap();
    // Tests stand at the end of a file.
    let tests = ["\n#[cfg(test)]\nmod tests {", "\n#[cfg(test)]\n#[path"];
    let end = tests.iter().filter_map(|start| text.find(start)).min().unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let file = path.display();
    assert!(!code.contains("crate::{"), "{file}: write one use for each module");
    assert!(!code.contains("super::super::"), "{file}: use crate:: for a module further up");
    code
}

/// The next segments of the paths that begin with a prefix, as in `crate::store::keys`: `store`.
fn segments(code: &str, prefix: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{').and_then(|list| list.split_once("};")) {
            Some((list, _)) => found.extend(list.split([',', '{']).map(|item| word(item.trim()))),
            None => drop(found.insert(word(rest))),
        }
    }
    found
}

/// Whether `super` in a file of a module is the module around it.
fn is_outermost(file: &Path, module: &str) -> bool {
    let path = root().join("src").join(module);
    file == path.join("mod.rs") || file == path.with_extension("rs")
}

#[test]
fn modules_use_what_they_may_and_nothing_else() {
    let table = table();
    let modules: BTreeMap<_, _> = table.iter().cloned().collect();
    for (module, allowed) in &table {
        let mut unused = allowed.clone();
        for file in files_of(module) {
            let code = code(&file);
            let mut used = segments(&code, "crate::");
            if is_outermost(&file, module) {
                used.extend(segments(&code, "super::"));
            }
            for used in used.into_iter().filter(|used| modules.contains_key(used) && used != module) {
                assert!(allowed.contains(&used), "{}: {module} may not use {used}", file.display());
                unused.remove(&used);
            }
        }
        assert!(unused.is_empty(), "{module} does not use {unused:?} any more: remove it from the table");
    }
}

#[test]
fn every_module_is_in_the_table() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let table = table();
    assert_eq!(declared.collect::<BTreeSet<_>>(), table.iter().map(|(module, _)| module.as_str()).collect());
    let mut below = BTreeSet::new();
    for (module, allowed) in &table {
        for used in allowed {
            assert!(below.contains(used), "{module} uses {used}, which stands further down in the table");
        }
        below.insert(module);
    }
}

#[test]
fn parts_of_a_module_use_only_the_siblings_that_they_may() {
    let mut parts: Vec<(String, Vec<&str>)> =
        PARTS.iter().map(|(part, allowed)| ((*part).to_owned(), allowed.to_vec())).collect();
    let siblings = |module: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root().join("src").join(module)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    // The surfaces in `stubs` have nothing in common.
    parts.extend(
        siblings("stubs")
            .into_iter()
            .filter(|name| name != "mod")
            .map(|name| (format!("stubs/{name}"), vec![])),
    );
    // Whatever else stands in `api` is a noun. Nouns never use each other.
    for noun in siblings("api") {
        let is_other = noun == "mod" || noun == "fast_path" || SHARED_BY_NOUNS.contains(&noun.as_str());
        if !is_other {
            parts.push((format!("api/{noun}"), SHARED_BY_NOUNS.to_vec()));
        }
    }
    assert!(parts.len() > 12, "{parts:?}");
    for (part, allowed) in parts {
        let (module, name) = part.split_once('/').unwrap();
        let siblings = siblings(module);
        for file in files_of(&part) {
            let code = code(&file);
            assert!(!code.contains(&format!("use crate::{module};")), "{}: name the part", file.display());
            let mut used = segments(&code, &format!("crate::{module}::"));
            if is_outermost(&file, &part) {
                used.extend(segments(&code, "super::"));
            }
            for used in used.into_iter().filter(|used| siblings.contains(used) && used != name) {
                let is_allowed = allowed.contains(&used.as_str());
                assert!(is_allowed, "{}: {part} may not use {module}/{used}", file.display());
            }
        }
    }
}
