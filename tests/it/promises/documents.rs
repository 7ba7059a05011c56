//! What the documents name exists: metrics, settings, files and headings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The only name like that of a metric which is none: the table in the database.
const TABLE: &str = "entries";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents, without their blocks of code.
fn documents() -> BTreeMap<PathBuf, String> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let at_root = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let prose = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut is_code = false;
        let lines = text.lines().filter(|line| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        });
        let prose = lines.flat_map(|line| [line, "\n"]).collect();
        (path, prose)
    };
    let found: BTreeMap<_, _> = docs.chain(at_root).map(prose).collect();
    assert!(found.len() > 10);
    found
}

/// The start of a text that is a name.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(text.len());
    &text[..end]
}

#[test]
fn documents_name_only_metrics_that_exist() {
    let sources = std::fs::read_dir(root().join("src/telemetry")).unwrap();
    let source = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(entry.unwrap().path());
    let telemetry: String = sources.map(|entry| source(entry).unwrap()).collect();
    let is_registered = |name: &str| telemetry.contains(&format!("\"{name}\""));
    let mut seen = 0;
    for (path, text) in documents() {
        for named in text.split("rallypoint_").skip(1).map(name).filter(|named| !["", TABLE].contains(named))
        {
            // What the format adds: the part of a histogram, after the unit or the kind of the metric.
            let parts = ["", "_bucket", "_count", "_sum"].into_iter();
            let units = ["", "_total", "_seconds", "_bytes"];
            let mut names = parts
                .filter_map(|part| named.strip_suffix(part))
                .flat_map(|name| units.iter().filter_map(|unit| name.strip_suffix(unit)));
            assert!(names.any(is_registered), "{}: there is no metric rallypoint_{named}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn documents_name_only_settings_that_exist() {
    let text = std::fs::read_to_string(root().join("config.default.toml")).unwrap();
    let (mut section, mut settings) = ("", BTreeSet::new());
    // Settings without a default stand in comments.
    for line in text.lines().map(|line| line.trim_start_matches(['#', ' '])) {
        match line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            Some((header, _)) => section = header,
            None if line[name(line).len()..].trim_start().starts_with('=') => {
                settings.insert((section, name(line)));
            }
            None => {}
        }
    }
    let mut seen = 0;
    for (path, text) in documents() {
        for code in text.split('`').skip(1).step_by(2) {
            let Some((section, rest)) = code.strip_prefix('[').and_then(|code| code.split_once("] ")) else {
                continue;
            };
            // A code over two lines has a line end in place of the space.
            let named = name(rest.trim_start());
            let is_named = !named.is_empty() && section.chars().all(|c| c.is_ascii_lowercase());
            assert!(
                !is_named || settings.contains(&(section, named)),
                "{}: there is no setting [{section}] {named}",
                path.display()
            );
            seen += usize::from(is_named);
        }
    }
    assert!(seen > 50, "{seen}");
}

/// The anchors of the headings of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || ['-', '_', ' '].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = documents();
    let mut seen = 0;
    for (path, text) in &documents {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let here = path.display();
            let to = to.canonicalize().unwrap_or_else(|_| panic!("{here}: {link} does not exist"));
            if let Some(text) = documents.get(&to).filter(|_| !anchor.is_empty()) {
                assert!(anchors(text).contains(anchor), "{here}: {link} has no such heading");
            }
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}
