//! Style rules that a test can check.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rallypoint::runtime::server::all_surfaces;

use super::contract::shown_prefix;

/// Longest source file, in lines. A longer one usually holds two things.
const LINES_MAX: usize = 500;
/// Longest function, in lines. A longer one usually does two things. Tables of rows are data.
const FUNCTION_LINES_MAX: usize = 70;
const TABLES: [&str; 3] = ["rows", "refused_parts", "is_of_standing"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn sources_are_short_and_without_leftovers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for dir in ["src", "tests", "benches"] {
        sources(&root.join(dir), &mut found);
    }
    assert!(found.len() > 50);
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.display();
        assert!(text.lines().count() <= LINES_MAX, "{name} has more than {LINES_MAX} lines");
        // Spelled in two parts, so that this file does not find itself.
        for leftover in
            [["to", "do!("], ["unimpl", "emented!("], ["db", "g!("], ["FIX", "ME"], ["thread::sl", "eep"]]
        {
            assert!(!text.contains(&leftover.concat()), "{name} holds {}", leftover.concat());
        }
        let is_domain = path.starts_with(root.join("src/domain"));
        for foreign in ["async fn", ".await", "tokio", "http::", "SystemTime", "std::fs"] {
            assert!(!(is_domain && text.contains(foreign)), "{name}: the rules know no {foreign}");
        }
    }
}

/// A size that nobody knows is never tried whole.
#[test]
fn every_size_of_a_test_is_in_the_script_that_runs_it_whole() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = std::fs::read_to_string(root.join(".ci/long")).unwrap();
    let mut found = Vec::new();
    for dir in ["src", "tests"] {
        sources(&root.join(dir), &mut found);
    }
    let mut variables = BTreeSet::new();
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let is_name = |text: &&str| text.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase());
        let names = text.split('"').filter_map(|text| text.strip_prefix("RALLYPOINT_TEST_")).filter(is_name);
        variables.extend(names.map(str::to_owned));
    }
    // Where the tests run, and what they choose at random.
    for other in ["STORE", "SEED", "POSTGRES_URL", ""] {
        variables.remove(other);
    }
    assert!(variables.len() > 5, "{variables:?}");
    for variable in variables {
        let name = format!("RALLYPOINT_TEST_{variable}");
        assert!(script.contains(&format!(" {name} ")), ".ci/long does not set {name}");
    }
}

/// The name of the function that begins in a line, if one does.
fn function_in(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_declaration = before
        .trim_start()
        .split(' ')
        .all(|word| matches!(word, "" | "pub" | "async" | "const" | "unsafe") || word.starts_with("pub("));
    is_declaration.then(|| after.split(['(', '<']).next().unwrap_or_default())
}

/// The sources are formatted, so a function ends with the first brace at the indentation of its first line.
#[test]
fn functions_fit_a_screen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut seen) = (Vec::new(), 0);
    for dir in ["src", "tests", "benches"] {
        sources(&root.join(dir), &mut found);
    }
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        for (first, line) in lines.iter().enumerate() {
            let Some(name) = function_in(line).filter(|name| !TABLES.contains(name)) else { continue };
            let indentation = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indentation));
            let Some(length) = lines[first..].iter().position(|line| line.starts_with(&end)) else {
                continue;
            };
            // A declaration without a body ends with a semicolon, and a body may end on its first line.
            let has_short_end = |line: &&str| line.ends_with(';') || line.ends_with('}');
            if has_short_end(line) {
                continue;
            }
            seen += 1;
            let (file, at) = (path.display(), first + 1);
            assert!(
                length < FUNCTION_LINES_MAX,
                "{file}:{at}: {name} has more than {FUNCTION_LINES_MAX} lines"
            );
        }
    }
    assert!(seen > 1_000, "only {seen} functions were found");
}

#[test]
fn every_error_code_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(root.join("src/http/error.rs")).unwrap();
    let documented = std::fs::read_to_string(root.join("docs/API.md")).unwrap();
    let codes = source.lines().filter(|line| line.contains("(S::")).filter_map(|line| line.split('"').nth(1));
    let codes: Vec<_> = codes.collect();
    assert!(codes.len() > 20);
    for code in codes {
        assert!(documented.contains(&format!("`{code}`")), "docs/API.md does not explain {code}");
    }
}

#[test]
fn every_operation_has_a_line_in_the_documents() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/API.md")).unwrap();
    let (_, section) = text.split_once("\n## Operations\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let first_cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let written = first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let platform_session = "/v1/platform/{platform}/platform-session/{platform_session_id_base64}";
    let written: BTreeSet<_> = written
        .map(|row| row.replace('…', "/v1/session/{session_id}").replace("{ps}", platform_session))
        .collect();
    let rows: BTreeSet<_> = all_surfaces()
        .iter()
        .flat_map(|surface| {
            let prefix = shown_prefix(surface.prefix);
            surface.operations.iter().map(move |row| format!("{} {prefix}{}", row.method, row.path))
        })
        .collect();
    assert_eq!(written, rows);
}

/// What is answered under the HTTP library must be read as it would read it.
#[test]
fn there_is_one_parser_of_heads() {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    assert_eq!(lock.matches("name = \"httparse\"").count(), 1);
}
