//! `docs/MATCHMAKING.md`: its configurations are valid, its commands work, and its pictures are what they draw.
//! `UPDATE_EXPECT=1` draws the pictures anew.

use std::path::Path;

use rallypoint::config::Config;
use tempfile::TempDir;

use crate::support::process::{rallypoint, run};

/// How the blocks begin that draw pictures. The others are the flow of a client.
const SIMULATE: &str = "rallypoint matchmaking simulate ";

/// The blocks of a kind, without the fences.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let fence = format!("```{kind}\n");
    page.split(&*fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Copies the files in `examples/matchmaking/`, which the page is about, into a directory.
fn copy_files(dir: &Path) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/matchmaking");
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let config =
            Config::parse(&text, &name.to_string_lossy(), &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.warnings(), Vec::<String>::new(), "{name:?}");
        std::fs::write(dir.join(name), text).unwrap();
    }
}

/// Asserts that what a block shows is in its file: all lines, in the same order. The first line of a block names the file.
fn check_block(block: &str, dir: &Path) {
    let (head, shown) = block.split_once('\n').unwrap();
    let name = head.strip_prefix("# ").expect("a block begins with the name of its file");
    let name = name.strip_prefix("in ").unwrap_or(name);
    let file = std::fs::read_to_string(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut lines = file.lines();
    for line in shown.lines() {
        assert!(lines.any(|other| other == line), "{name} has no line {line:?} here");
    }
}

#[tokio::test]
async fn each_example_of_matchmaking_can_be_simulated() {
    let dir = TempDir::new().unwrap();
    copy_files(dir.path());
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut process =
            rallypoint(&["matchmaking", "simulate", "--rate", "20", "--duration", "5m", "--config"]);
        process.arg(&path);
        let simulated = run(process).await.expect(0).stdout;
        assert!(!simulated.contains("no match in"), "{}: {simulated}", path.display());
    }
}

#[tokio::test]
async fn the_page_about_matchmaking_is_true() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = std::fs::read_to_string(docs.join("MATCHMAKING.md")).unwrap();
    let dir = TempDir::new().unwrap();
    copy_files(dir.path());
    let files = blocks(&page, "toml");
    assert!(files.len() > 4);
    files.iter().for_each(|block| check_block(block, dir.path()));
    let first = blocks(&page, "toml")[0].lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(first, 10, "the page promises ten lines");
    let is_update = std::env::var_os("UPDATE_EXPECT").is_some();
    let (mut outputs, mut drawn) = (Vec::new(), 0);
    for command in blocks(&page, "sh").into_iter().filter(|block| block.starts_with(SIMULATE)) {
        let args: Vec<_> = command.split_whitespace().collect();
        let mut process = rallypoint(&args[1..]);
        process.current_dir(dir.path());
        outputs.push(run(process).await.expect(0).stdout);
        let picture = args.last().unwrap();
        let made = std::fs::read_to_string(dir.path().join(picture)).unwrap();
        if is_update {
            std::fs::write(docs.join(picture), &made).unwrap();
        }
        assert!(made.len() < 40_000, "{picture} has {} bytes", made.len());
        let kept = std::fs::read_to_string(docs.join(picture)).unwrap_or_default();
        assert!(
            kept == made,
            "docs/{picture} is not what the command draws: run the test with UPDATE_EXPECT=1"
        );
        assert!(page.contains(&format!("]({picture})")), "the page does not show {picture}");
        drawn += 1;
    }
    assert!(drawn > 3);
    let shown = outputs[0].split("\n\nThe report is in").next().unwrap();
    assert!(page.contains(&format!("```text\n{shown}\n```")), "the page does not have this output:\n{shown}");
}
