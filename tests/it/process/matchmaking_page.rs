//! `docs/MATCHMAKING.md`: its configurations are valid, its commands work, and its pictures are what they draw.
//! `UPDATE_EXPECT=1` draws the pictures anew.

use std::path::Path;

use rallypoint::config::Config;
use tempfile::TempDir;

use crate::support::process::{rallypoint, run};

/// The blocks of a kind, without the fences.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let fence = format!("```{kind}\n");
    page.split(&*fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The tables of one file in place of those of another. Settings of sections are put together.
fn merge(base: &toml::Table, over: &toml::Table) -> toml::Table {
    let mut merged = base.clone();
    for (section, value) in over {
        match (merged.get_mut(section).and_then(toml::Value::as_table_mut), value.as_table()) {
            (Some(into), Some(from)) => into.extend(from.clone()),
            _ => {
                merged.insert(section.clone(), value.clone());
            }
        }
    }
    merged
}

/// Writes the files of the page into a directory. The first line of a block names its file, and perhaps one that it changes.
fn write_files(page: &str, dir: &Path) -> usize {
    let blocks = blocks(page, "toml");
    for block in &blocks {
        let head = block
            .lines()
            .next()
            .unwrap()
            .strip_prefix("# ")
            .expect("a block begins with the name of its file");
        let (name, base) = head.split_once(": ").map_or((head, None), |(name, rest)| {
            (name, Some(rest.strip_suffix(", and").expect("what the block changes")))
        });
        let table: toml::Table = block.parse().unwrap();
        let base = base.map(|base| std::fs::read_to_string(dir.join(base)).unwrap().parse().unwrap());
        let text = toml::to_string(&base.map_or(table.clone(), |base| merge(&base, &table))).unwrap();
        let config = Config::parse(&text, name, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.warnings(), Vec::<String>::new(), "{name}");
        std::fs::write(dir.join(name), text).unwrap();
    }
    blocks.len()
}

#[tokio::test]
async fn the_page_about_matchmaking_is_true() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = std::fs::read_to_string(docs.join("MATCHMAKING.md")).unwrap();
    let dir = TempDir::new().unwrap();
    assert!(write_files(&page, dir.path()) > 4);
    let first = blocks(&page, "toml")[0].lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(first, 10, "the page promises ten lines");
    let is_update = std::env::var_os("UPDATE_EXPECT").is_some();
    let (mut outputs, mut drawn) = (Vec::new(), 0);
    for command in blocks(&page, "sh") {
        let args: Vec<_> = command.split_whitespace().collect();
        assert_eq!(args[..3], ["rallypoint", "matchmaking", "simulate"]);
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
