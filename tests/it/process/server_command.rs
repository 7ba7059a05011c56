//! `rallypoint server`, and the control socket that it uses.

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rallypoint::allocators::clients::ServerLogin;
use rallypoint::allocators::process::{CommandTemplate, ProcessAllocator, ProcessSettings};
use rallypoint::allocators::{Allocator as _, Placement};
use rallypoint::env::{Clock, Entropy};
use serde_json::Value;
use tempfile::TempDir;

use super::allocator::{launch, until};
use crate::support::process::{Finished, Server, game_ports, rallypoint, run, serve};

const SCRIPT: &str = "echo ready; echo again; while :; do sleep 0.05; done";

/// A configuration file with an allocator, whose servers this test starts itself.
fn configuration(dir: &Path, on_stop: &str) -> PathBuf {
    let path = dir.join("rallypoint.toml");
    let text = format!(
        "[allocators.local]\nkind = \"process\"\ncommand = [\"/bin/sh\", \"-c\", {}]\nports = \"20000-20009\"\non_stop = \"{on_stop}\"\n",
        Value::from(SCRIPT)
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Starts a dedicated server, as a Rallypoint server did that was killed afterwards. Returns its allocation.
async fn left_behind(data_dir: &Path) -> String {
    let command: Vec<_> = ["/bin/sh", "-c", SCRIPT].map(str::to_owned).into();
    let settings = ProcessSettings {
        dir: data_dir.join("servers/local"),
        node: "node".into(),
        shim: env!("CARGO_BIN_EXE_rallypoint").into(),
        command: CommandTemplate::new(&command, 1).unwrap(),
        working_dir: None,
        env: Default::default(),
        ports: game_ports(),
        ports_per_server: 1,
        public_host: "127.0.0.1".into(),
        base_url: String::new(),
        servers_max: 1,
        log_bytes_max: 65_536,
        keep_finished: 5,
        place_timeout: Duration::from_secs(60),
        login: ServerLogin::None,
    };
    let launch = launch(1);
    let log = settings.dir.join(&launch.allocation_id).join("server.log");
    let allocator = ProcessAllocator::open(settings, Clock::System, Entropy::System).await.unwrap();
    assert!(matches!(allocator.place(&launch).await, Placement::Placed(_)));
    until("the server logs", || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("again"))).await;
    launch.allocation_id
}

async fn command(data_dir: &Path, args: &[&str]) -> Finished {
    let data_dir = data_dir.to_str().unwrap();
    run(rallypoint(&[&["server", "--data-dir", data_dir], args].concat())).await
}

async fn states(data_dir: &Path) -> Vec<(String, String)> {
    let Finished { stdout, .. } = command(data_dir, &["list", "--json"]).await.expect(0);
    let servers: Vec<Value> = serde_json::from_str(&stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    servers.iter().map(|server| (text(&server["state"]), text(&server["exit"]))).collect()
}

#[tokio::test]
async fn servers_of_a_killed_rallypoint_are_listed_shown_and_killed() {
    let dir = TempDir::new().unwrap();
    let config = configuration(dir.path(), "end");
    let data_dir = dir.path().join("data");
    let id = left_behind(&data_dir).await;
    let server = Server::spawn(serve(&data_dir, &["--config", config.to_str().unwrap()])).await;
    let listed = command(&data_dir, &["list"]).await.expect(0).stdout;
    let row: Vec<_> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..3], [&id[..8], "local", "running"], "{listed}");
    assert_eq!(command(&data_dir, &["log", &id[..8]]).await.expect(0).stdout, "ready\nagain\n");
    assert_eq!(command(&data_dir, &["log", &id, "--lines", "1"]).await.expect(0).stdout, "again\n");
    let killed = command(&data_dir, &["kill", &id[..8]]).await.expect(0).stdout;
    assert_eq!(killed, format!("killed {id}\n"));
    assert_eq!(states(&data_dir).await, [("ended".to_owned(), "signal 9".to_owned())]);
    let again = command(&data_dir, &["kill", &id]).await.expect(1).stderr;
    assert_eq!(again, format!("error: the server {id} has ended already\n"));
    let unknown = command(&data_dir, &["log", "nothing"]).await.expect(1).stderr;
    assert_eq!(unknown, "error: no server has the allocation \"nothing\"\n");
    server.stop().await.expect(0);
    assert!(!data_dir.join("control.sock").exists());
}

#[tokio::test]
async fn a_stop_ends_the_servers_or_leaves_them() {
    for (on_stop, is_left) in [("end", false), ("leave", true)] {
        let dir = TempDir::new().unwrap();
        let config = configuration(dir.path(), on_stop);
        let data_dir = dir.path().join("data");
        let id = left_behind(&data_dir).await;
        Server::spawn(serve(&data_dir, &["--config", config.to_str().unwrap()])).await.stop().await.expect(0);
        let has_ended = data_dir.join("servers/local").join(&id).join("exit").exists();
        assert_eq!(has_ended, !is_left, "{on_stop}");
        configuration(dir.path(), "end");
        let server = Server::spawn(serve(&data_dir, &["--config", config.to_str().unwrap()])).await;
        assert_eq!(states(&data_dir).await[0].0, if is_left { "running" } else { "ended" });
        server.stop().await.expect(0);
    }
}

#[tokio::test]
async fn without_a_server_the_command_says_where_it_has_looked() {
    let dir = TempDir::new().unwrap();
    let message = command(dir.path(), &["list"]).await.expect(1).stderr;
    assert!(message.starts_with(&format!("error: {}/control.sock: ", dir.path().display())), "{message}");
    assert!(message.contains("is the server running on this machine"), "{message}");
}

#[tokio::test]
async fn the_socket_is_private_and_survives_a_kill_of_the_server() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("control.sock");
    Server::start(dir.path()).await.kill().await;
    assert!(socket.exists(), "nobody has removed it");
    let server = Server::start(dir.path()).await;
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(command(dir.path(), &["list"]).await.expect(0).stdout, "no servers\n");
    for (request, expected) in [
        ("\n", "does not know the command"),
        ("{}\n", "does not know the command"),
        ("{\"command\":\"shutdown\"}\n", "unknown variant `shutdown`"),
        ("{\"command\":\"server_log\",\"allocation\":\"\",\"lines\":1}\n", "no server has the allocation"),
        // Longer than any request.
        (&"x".repeat(100_000), "does not know the command"),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // The server may have answered already, and closed the connection.
        let _ = stream.write_all(request.as_bytes());
        let mut line = String::new();
        std::io::BufReader::new(stream.take(1 << 20)).read_line(&mut line).unwrap_or_default();
        assert!(line.contains(expected) || (line.is_empty() && request.len() > 65_536), "{line}");
    }
    server.stop().await.expect(0);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_server_starts_without_the_socket_if_its_path_is_too_long() {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("d".repeat(100));
    let mut server = Server::start(&data_dir).await;
    let line = server.logged("no control socket at").await;
    assert!(line.contains("`rallypoint server` do not work"), "{line}");
    server.stop().await.expect(0);
}

#[tokio::test]
async fn a_wrong_command_of_an_allocator_is_a_start_error_with_its_line() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("rallypoint.toml");
    for (command, expected) in [
        ("[\"bin/server\"]", "command needs the program first, with an absolute path"),
        ("[\"/no/such/program\"]", "command names a program that does not exist: /no/such/program"),
        ("[\"/bin/sh\", \"{map}\"]", "command has the unknown placeholder {map}"),
        ("[\"/bin/sh\"]\nenv = { RALLYPOINT_X = \"1\" }", "env has RALLYPOINT_X"),
        ("[\"/bin/sh\", \"{port2}\"]", "command has the unknown placeholder {port2}"),
    ] {
        let text =
            format!("[allocators.local]\nkind = \"process\"\ncommand = {command}\nports = \"20000-20009\"\n");
        std::fs::write(&config, text).unwrap();
        let path = config.to_str().unwrap();
        for command in
            [serve(&dir.path().join("data"), &["--config", path]), rallypoint(&["check-config", path])]
        {
            let message = run(command).await.expect(1).stderr;
            let line = if expected.starts_with("env") { 4 } else { 3 };
            assert!(message.contains(&format!("line {line}: [allocators.local] {expected}")), "{message}");
        }
    }
    assert!(!dir.path().join("data").exists());
}
