//! What `docs/LOCAL.md` and the README say to type, with two players: from their logins to the end of their match.

use std::net::UdpSocket;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::allocator::until;
use super::examples::has_python;
use super::plugin::Program;
use crate::support::process::{
    KillAtEnd, Server, game_ports_setting, lasting_address, rallypoint, run, write_login_key,
};

const README: &str = include_str!("../../../README.md");
const GUIDE: &str = include_str!("../../../docs/LOCAL.md");
/// The address of the API in both documents.
const ADDRESS: &str = "127.0.0.1:7700";

/// The text between two others, the first time that they occur.
#[track_caller]
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("there is no {start:?}"));
    rest.split_once(end).unwrap_or_else(|| panic!("there is no {end:?} after {start:?}")).0
}

/// The words of a command, which may go on in the next line, without its comment.
fn words(command: &str) -> Vec<&str> {
    let command = command.split(" #").next().unwrap_or_default();
    command.split_whitespace().filter(|word| *word != "\\").collect()
}

/// The options of the client in the guide.
fn client_options() -> Vec<&'static str> {
    words(between(GUIDE, "\npython3 examples/game_client.py ", "\n```"))
}

/// The command of the guide that starts the server.
fn serve_options() -> Vec<&'static str> {
    words(between(GUIDE, "\n   rallypoint ", "\n"))
}

/// The configuration of the guide, for a match that ends once two players have connected.
fn configuration(dir: &Path) -> String {
    let text = between(GUIDE, "rallypoint.toml\" <<END\n", "\nEND\n");
    let replaced = [
        ("$DIR", dir.to_str().unwrap()),
        ("$(command -v python3)", "/usr/bin/env\", \"python3"),
        ("$PWD", env!("CARGO_MANIFEST_DIR")),
        ("--match-seconds=10", "--match-seconds=0\", \"--players=2\", \"--time-scale=0.05"),
        ("7777-7786", &game_ports_setting()),
    ];
    replaced.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old} is not in the configuration of the guide:\n{text}");
        text.replace(old, new)
    })
}

#[tokio::test]
async fn two_players_log_in_and_play_on_a_server_that_is_started_for_them() {
    if !has_python().await {
        return;
    }
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("data");
    std::fs::create_dir(&data_dir).unwrap();
    write_login_key(&data_dir);
    let _servers = KillAtEnd(data_dir.clone());
    std::fs::write(dir.path().join("rallypoint.toml"), configuration(dir.path())).unwrap();
    let address = lasting_address();
    let serve = serve_options();
    let mut command =
        rallypoint(&[&serve[..], &["--listen", &address, "--admin-listen", "127.0.0.1:0"]].concat());
    command.current_dir(dir.path());
    let server = Server::spawn(command).await;

    let options = client_options().iter().map(|option| option.replace(ADDRESS, &address)).collect::<Vec<_>>();
    let start = |name: &str| {
        let options: Vec<_> = options.iter().map(|option| option.replace("player-1", name)).collect();
        Program::start("game_client.py", &options.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (mut leader, mut member) = (start("player-1"), start("player-2"));
    let ids = [leader.says("logged-in").await, member.says("logged-in").await];
    assert_ne!(ids[0], ids[1]);
    let (first, second) = (leader.says("in-session").await, member.says("in-session").await);
    assert_eq!(first, second, "they are in one session");
    // Who came first leads, and asks for the server.
    let mut steps = [leader.next_step().await, member.next_step().await];
    let asks = steps.iter().position(|(step, _)| step == "requested-instance").expect("the leader asks");
    steps[asks] = [&mut leader, &mut member][asks].next_step().await;
    assert_eq!(steps[0], steps[1]);
    let (step, joined) = &steps[0];
    assert_eq!(step, "playing");
    for player in [leader, member] {
        let ended = player.ends().await.expect(0);
        assert_eq!(ended.stdout, "left\n", "they leave after the match");
    }
    the_server_has_ended(&data_dir, joined).await;
    server.stop().await.expect(0);
}

/// One server has run, at the address that the players have joined. It has ended by itself, and its directory is kept.
async fn the_server_has_ended(data_dir: &Path, joined: &str) {
    let list = async || -> Vec<Value> {
        let list = rallypoint(&["server", "list", "--json", "--data-dir", data_dir.to_str().unwrap()]);
        serde_json::from_str(&run(list).await.expect(0).stdout).unwrap()
    };
    let server = list().await.remove(0);
    let dir = Path::new(server["dir"].as_str().unwrap()).to_owned();
    until("the end of the server is written down", || dir.join("exit").exists()).await;
    until("its secret is deleted", || !dir.join("client-secret").exists()).await;
    let servers = list().await;
    assert_eq!((servers.len(), &servers[0]["exit"]), (1, &json!("exit status 0")), "{servers:?}");
    let port = servers[0]["ports"][0].as_u64().unwrap();
    assert_eq!(joined, format!("unreal://127.0.0.1:{port}"));
    UdpSocket::bind(("127.0.0.1", u16::try_from(port).unwrap())).expect("the port is free again");
    assert!(std::fs::read_to_string(dir.join("server.log")).unwrap().contains("joinable"));
}

#[test]
fn the_documents_agree_on_the_command_lines() {
    let client = client_options();
    let of_readme = words(between(README, "\nGameClient ", "\n"));
    assert_eq!(of_readme, client[..of_readme.len()], "the client of the README is that of the guide");
    let of_plugin = words(between(GUIDE, "\n   GameClient.exe ", "\n"));
    assert_eq!(of_readme, of_plugin, "the stand-in has the command line of the plugin");
    let serve = words(between(README, "\nrallypoint ", "\n"));
    assert_eq!(serve, serve_options()[..serve.len()], "the guide only adds a configuration");

    let plugin: toml::Table = between(GUIDE, "   # rallypoint.toml\n", "   ```").parse().unwrap();
    let stand_in: toml::Table = configuration(Path::new("/tmp")).parse().unwrap();
    let options = |table: &toml::Table, own: &[&str]| {
        let command = table["allocators"]["local"]["command"].as_array().unwrap().clone();
        let options = command.iter().map(|argument| argument.as_str().unwrap().to_owned());
        options
            .filter(|option| {
                option.starts_with('-') && !option.starts_with("--") && !own.contains(&option.as_str())
            })
            .collect::<Vec<_>>()
    };
    // An engine logs, and has an online subsystem.
    assert_eq!(options(&plugin, &["-log", "-OSS=Null"]), options(&stand_in, &[]));
}
