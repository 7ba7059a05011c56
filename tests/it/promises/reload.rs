//! A changed configuration file is read again, whatever the way in which it was changed.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rallypoint::config::{Config, Sources};
use rallypoint::domain::launch::LaunchRules;
use rallypoint::runtime::reload::{reload, reload_forever};
use rallypoint::runtime::settings::load_config;
use rallypoint::store::{Memory, Store};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::Server;
use crate::harness::allocator::{Scripted, serving};

/// The time of every file that a test writes, as with tools that make builds reproducible.
const SAME_TIME: SystemTime = SystemTime::UNIX_EPOCH;

/// Writes a configuration with teams of this size. Two of them have the same size in bytes.
fn write(file: &Path, team_size: usize) {
    std::fs::write(file, format!("[templates.duel]\nplayers_per_team = {team_size}\n")).unwrap();
    std::fs::File::options().write(true).open(file).unwrap().set_modified(SAME_TIME).unwrap();
}

fn load(file: &Path) -> Config {
    load_config(&Sources { file: Some(file.into()), overrides: Vec::new() }).unwrap()
}

/// Watches the file of a configuration until the guard is dropped.
fn watch(config: Config) -> (Server, DropGuard) {
    let templates = config.templates.clone();
    let server = Server::with(|config| config.templates = templates);
    let stop = CancellationToken::new();
    tokio::spawn(reload_forever(Arc::clone(&server.app), config, stop.clone()));
    (server, stop.drop_guard())
}

/// The size of teams; 0 without the template.
fn team_size(server: &Server) -> usize {
    server.app.catalog().templates.get("duel").map_or(0, |template| template.players_per_team)
}

/// Waits until the server has teams of this size. The clock of the test is paused: the waits take no time.
async fn becomes(server: &Server, expected: usize) {
    let reached = async {
        while team_size(server) != expected {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(600), reached).await;
    found.unwrap_or_else(|_| panic!("teams still have {} players, not {expected}", team_size(server)));
}

#[tokio::test(start_paused = true)]
async fn a_file_of_the_same_time_and_size_is_read_again() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("rallypoint.toml");
    write(&file, 3);
    let (server, _watching) = watch(load(&file));
    becomes(&server, 3).await;
    for size in [4, 5] {
        let next = dir.path().join("next");
        write(&next, size);
        std::fs::rename(&next, &file).unwrap();
        becomes(&server, size).await;
    }
    // In place.
    write(&file, 6);
    becomes(&server, 6).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_in_the_path_may_be_swapped() {
    // A Kubernetes ConfigMap is a folder behind the link `..data`, and a link to it for each file.
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (folder, size) in [("..first", 3), ("..second", 4)] {
        std::fs::create_dir(at(folder)).unwrap();
        write(&at(folder).join("rallypoint.toml"), size);
    }
    symlink("..first", at("..data")).unwrap();
    symlink("..data/rallypoint.toml", at("rallypoint.toml")).unwrap();
    let (server, _watching) = watch(load(&at("rallypoint.toml")));
    becomes(&server, 3).await;
    for (folder, size) in [("..second", 4), ("..first", 3)] {
        symlink(folder, at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        becomes(&server, size).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_while_the_server_starts_is_not_missed() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("rallypoint.toml");
    write(&file, 3);
    let config = load(&file);
    // The store opens meanwhile.
    write(&file, 4);
    let (server, _watching) = watch(config);
    assert_eq!(team_size(&server), 3);
    becomes(&server, 4).await;
}

#[test]
fn a_template_cannot_use_an_allocator_that_the_running_server_does_not_have() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("rallypoint.toml");
    let allocator = Arc::new(Scripted::default());
    let settings = serving(1, &allocator, &LaunchRules::default());
    let server = Server::launching(Store::Memory(Memory::default()), settings, |_| {});
    let sources = Sources { file: Some(file.clone()), overrides: Vec::new() };
    let reloads = |name: &str| {
        let text = format!(
            "[allocators.{name}]\nkind = \"process\"\ncommand = [\"/bin/true\"]\nports = \"7777\"\n\
             [templates.duel]\nplayers_per_team = 3\nallocator = \"{name}\"\n"
        );
        std::fs::write(&file, text).unwrap();
        reload(&server.app, &sources).map_err(|error| error.to_string())
    };
    let error = reloads("new").unwrap_err();
    assert!(
        error.contains("line 7: [templates.duel] allocator: the running server has no [allocators.new]"),
        "{error}"
    );
    assert_eq!(team_size(&server), 0, "nothing has changed");
    reloads("test").unwrap();
    assert_eq!(team_size(&server), 3);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_file_changes_nothing_until_it_is_mended() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("rallypoint.toml");
    write(&file, 3);
    let (server, _watching) = watch(load(&file));
    for broken in [&b"[templates.duel]\nplayers_per_team = 0\n"[..], b"# \xE9\n", b""] {
        std::fs::write(&file, broken).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        // An empty file is valid: it has the default templates.
        assert_eq!(team_size(&server), if broken.is_empty() { 0 } else { 3 });
    }
    std::fs::remove_file(&file).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    write(&file, 5);
    becomes(&server, 5).await;
}
