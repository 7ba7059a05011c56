//! Dedicated servers that hang, or that do not end when they should, under the real binary.

use std::path::PathBuf;

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::allocator::until;
use super::examples::{allocated_server, has_python};
use super::launches::reaches;
use super::serve::{call, token};
use crate::harness::creation;
use crate::support::connection::Connection;
use crate::support::process::{KillAtEnd, Server, game_ports_setting, processes_in, rallypoint, run};

/// Servers report their health every second. They read their session once a minute, so a session that nobody uses
/// otherwise is idle before.
const SETTINGS: &str = "[health]\ncadence_s = 1\n[sessions]\nidle_s = 3\n";

/// A running Rallypoint that starts game servers. For each of some faults there are an allocator and a session type.
struct Machine {
    server: Server,
    _servers: KillAtEnd,
    dir: TempDir,
}

impl Machine {
    /// The faults: their names, the settings of their allocators, and the options of their servers.
    async fn start(faults: &[(&str, &str, &[&'static str])]) -> Self {
        let mut config = SETTINGS.to_owned();
        for (name, settings, options) in faults {
            let command = json!(allocated_server(&[&["--fork-child"], *options].concat()));
            let ports = game_ports_setting();
            config += &format!(
                "[allocators.{name}]\nkind = \"process\"\nports = \"{ports}\"\ncommand = {command}\n\
                 servers_per_player_max = 0\n{settings}\n\
                 [templates.{name}]\ncan_be_created_by_players_directly = true\nallocator = \"{name}\"\n"
            );
        }
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("rallypoint.toml"), config).unwrap();
        let mut serve = rallypoint(&["serve", "--listen", "127.0.0.1:0", "--config", "rallypoint.toml"]);
        serve.current_dir(dir.path());
        let data_dir = dir.path().join("rallypoint-data");
        Self { server: Server::spawn(serve).await, _servers: KillAtEnd(data_dir), dir }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("rallypoint-data")
    }

    /// A player with a session of this type that has asked for a server, and the path of the session.
    async fn asks(&self, session_type: &str) -> (Connection, String) {
        let token = token(&self.data_dir(), &[]).await;
        let mut player = Connection::open(self.server.address, Some(&token)).await.unwrap();
        let made = call(&mut player, Method::POST, "/v1/session", Some(creation(session_type))).await;
        let session = format!("/v1/session/{}", made.expect(200).body["session_id"].as_str().unwrap());
        let startup = json!({ "map": "Dunes", "misc_params": "" });
        let request = json!({ "host_type": "dedicated", "instance_startup_params": startup });
        call(&mut player, Method::POST, &format!("{session}/instance"), Some(request)).await.expect(200);
        (player, session)
    }

    /// What `rallypoint server list` says about the servers of a session, in the order of the attempts.
    async fn servers(&self, session: &str) -> Vec<Value> {
        let data_dir = self.data_dir();
        let list = rallypoint(&["server", "list", "--json", "--data-dir", data_dir.to_str().unwrap()]);
        let mut servers: Vec<Value> = serde_json::from_str(&run(list).await.expect(0).stdout).unwrap();
        servers.retain(|server| session.ends_with(server["session_id"].as_str().unwrap()));
        servers.sort_by_key(|server| server["attempt"].as_u64());
        servers
    }

    /// Waits until a server and its children have ended. Returns how, and what it has said.
    async fn ended(&self, session: &str, attempt: usize) -> (Value, String) {
        let dir = dir_of(&self.servers(session).await[attempt]);
        until("the server and its children end", || processes_in(&dir).is_empty()).await;
        until("its end is written down", || dir.join("exit").exists()).await;
        let server = self.servers(session).await.swap_remove(attempt);
        (server["exit"].clone(), log(&server))
    }
}

fn dir_of(server: &Value) -> PathBuf {
    server["dir"].as_str().unwrap().into()
}

/// What a server has said.
fn log(server: &Value) -> String {
    std::fs::read_to_string(dir_of(server).join("server.log")).unwrap()
}

/// Whether a server had the child that must end with it.
fn had_child(log: &str) -> bool {
    log.starts_with("child ")
}

/// What a server has found about its instance each time it was asked to stop. It went on all the same.
fn asked_to_stop(log: &str) -> Vec<&str> {
    log.lines().filter_map(|line| line.strip_prefix("ignored-sigterm ")).collect()
}

#[tokio::test]
async fn servers_that_hang_run_into_their_time_outs_and_are_killed() {
    if !has_python().await {
        return;
    }
    let never_opens = ["--hang-at=joinable", "--ignore-term", "--ignore-end"];
    let machine = Machine::start(&[
        ("never_starts", "start_timeout_s = 3", &["--hang-at=allocation"]),
        ("never_opens", "joinable_timeout_s = 1\nclosing_timeout_s = 0", &never_opens),
    ])
    .await;
    let starting = async {
        let (mut player, session) = machine.asks("never_starts").await;
        let first = reaches(&mut player, &session, "allocated").await;
        reaches(&mut player, &session, "requested").await;
        let (exit, log) = machine.ended(&session, 0).await;
        assert!(exit == "signal 9" && had_child(&log), "{exit}: {log}");
        let second = reaches(&mut player, &session, "allocated").await;
        assert_ne!(first["allocation_id"], second["allocation_id"]);
        let servers = machine.servers(&session).await;
        assert_eq!((servers.len(), &servers[1]["state"]), (2, &json!("running")), "{servers:?}");
    };
    let opening = async {
        let (mut player, session) = machine.asks("never_opens").await;
        let instance = reaches(&mut player, &session, "closed").await;
        assert_eq!(instance["custom_data"]["rallypoint.launch"], "never_joinable", "{instance}");
        let (exit, log) = machine.ended(&session, 0).await;
        assert!(exit == "signal 9" && had_child(&log) && log.contains("\npending\n"), "{exit}: {log}");
        assert_eq!(machine.servers(&session).await.len(), 1, "its players may have waited in the session");
    };
    tokio::join!(starting, opening);
}

/// The ways in which an instance ends: what the player deletes. The last session is idle.
const ENDS: [Option<&str>; 4] = [Some("/instance"), Some(""), Some("/player/me"), None];

#[tokio::test]
async fn a_server_that_will_not_end_learns_the_end_of_its_instance_first_then_gets_sigterm_then_sigkill() {
    if !has_python().await {
        return;
    }
    let stubborn = ["--match-seconds=1000000", "--ignore-term", "--ignore-end"];
    // The report of a server is a use of its session.
    let silent = [&stubborn[..], &["--no-health-after=0"]].concat();
    let settings = "closing_timeout_s = 1";
    let machine = Machine::start(&[("stubborn", settings, &stubborn), ("silent", settings, &silent)]).await;
    let machine = &machine;
    let ended = ENDS.map(|end| async move {
        let session_type = if end.is_some() { "stubborn" } else { "silent" };
        let (mut player, session) = machine.asks(session_type).await;
        reaches(&mut player, &session, "joinable").await;
        if let Some(path) = end {
            call(&mut player, Method::DELETE, &format!("{session}{path}"), None).await.expect(204);
        }
        let (exit, log) = machine.ended(&session, 0).await;
        assert!(exit == "signal 9" && had_child(&log), "{end:?}: {exit}: {log}");
        let asked = asked_to_stop(&log);
        assert!(
            !asked.is_empty() && asked.iter().all(|health| health.starts_with("health 404")),
            "{end:?}: {log}"
        );
    });
    join_all(ended).await;
}
