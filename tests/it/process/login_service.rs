//! A login of a studio's own, `examples/login_service.py`, beside the real binary, which fetches its keys.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use super::allocator::until;
use super::examples::{allocated_server, foreign, has_cryptography};
use super::plugin::Program;
use crate::harness::{Reply, creation};
use crate::support::connection::Connection;
use crate::support::postgres::Database;
use crate::support::process::{KillAtEnd, Server, game_ports_setting, rallypoint, soon};
use crate::support::stand_in::router::Router;

const PASSWORD: &str = "a:long password";

/// A command of the service on a directory.
fn login_service(directory: &Path, command: &str, argument: &str) -> tokio::process::Command {
    foreign("python3", &["login_service.py", directory.to_str().unwrap(), command, argument])
}

/// Adds a player with the password of all players.
async fn add_player(directory: &Path, name: &str) {
    let mut adding = login_service(directory, "add-player", name);
    let mut adding = adding.stdin(Stdio::piped()).spawn().unwrap();
    adding.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).await.unwrap();
    assert!(soon("the player is added", adding.wait()).await.unwrap().success());
}

/// The login of a studio: a running service with the player alice.
struct Login {
    service: Server,
    directory: TempDir,
}

impl Login {
    /// Starts the service; `None` if this machine lacks what it needs.
    async fn start() -> Option<Self> {
        if !has_cryptography().await {
            return None;
        }
        let directory = TempDir::new().unwrap();
        add_player(directory.path(), "alice").await;
        let service = Server::spawn(login_service(directory.path(), "serve", "0")).await;
        Some(Self { service, directory })
    }

    /// Sends a body to a path of the service, perhaps with the credentials of a client.
    async fn post(&self, path: &str, basic: Option<&str>, body: &Value) -> Reply {
        let mut connection = Connection::open(self.service.address, None).await.unwrap();
        let mut request = Request::post(format!("/users/v1/{path}"));
        if let Some(basic) = basic {
            request = request.header("authorization", format!("Basic {basic}"));
        }
        let request = request.body(Full::from(body.to_string())).unwrap();
        connection.send(request).await.unwrap().into()
    }

    /// Logs in with a grant and its token.
    async fn log_in(&self, grant_type: &str, token: &str) -> Reply {
        let body = json!({
            "grant_type": grant_type, "portal_access_token": token, "portal_display_name": "alice",
            "include_refresh": true, "accept_eula": true, "accept_tos": true, "accept_privacy_policy": true,
        });
        self.post("login", None, &body).await
    }

    /// Starts Rallypoint, which fetches the keys of the service.
    async fn rallypoint(&self) -> Server {
        let url = format!("http://{}/users/v1/publickeys", self.service.address);
        self.rallypoint_with(&format!("jwks_url = {url:?}"), "").await
    }

    /// Starts Rallypoint in the directory of the service, with a setting for its keys, and further sections.
    async fn rallypoint_with(&self, keys: &str, sections: &str) -> Server {
        self.node("rallypoint", keys, sections).await
    }

    /// The same for one of several nodes, with a configuration and a data directory of this name.
    async fn node(&self, name: &str, keys: &str, sections: &str) -> Server {
        let config =
            format!("[auth]\n{keys}\nissuer = \"login-service\"\naudience = \"rallypoint\"\n{sections}");
        let (file, data_dir) = (format!("{name}.toml"), format!("{name}-data"));
        std::fs::write(self.directory.path().join(&file), config).unwrap();
        let place = ["--config", &file, "--data-dir", &data_dir];
        let mut serve = rallypoint(&[&["serve", "--listen", "127.0.0.1:0"][..], &place].concat());
        serve.current_dir(self.directory.path());
        Server::spawn(serve).await
    }

    /// Sections of a process allocator whose servers, and their players, use this proxy.
    fn allocator(proxy: &Router, arguments: &[&'static str]) -> String {
        format!(
            "[stubs]\nconfig = true\npresence = true\nfriends = true\n\
             [allocators.local]\nkind = \"process\"\nports = \"{}\"\ncommand = {}\n\
             base_url = \"http://{}\"\nclient_id = \"game-server\"\nclient_secret_file = \"client-secret\"\n",
            game_ports_setting(),
            json!(allocated_server(arguments)),
            proxy.address
        )
    }

    /// Starts a player with a password, who uses this proxy.
    fn player(&self, proxy: &Router, name: &str, options: &[&str]) -> Program {
        let password = self.directory.path().join("password");
        std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        let url = format!("-rh.url=http://{}", proxy.address);
        let login = [format!("-AUTH_LOGIN={name}"), format!("-AUTH_PASSWORD=@{}", password.display())];
        Program::start("game_client.py", &[&["-OSS=Basic", &url, &login[0], &login[1]][..], options].concat())
    }

    async fn stop(self, server: Server) {
        server.stop().await.expect(0);
        self.service.signal(Signal::KILL);
        self.service.finished().await;
    }
}

fn text<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.body[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", reply.body))
}

/// Creates a session of a type and reads it.
async fn creates(caller: &mut Connection, session_type: &str) -> Value {
    let made = caller.call(&Method::POST, "/v1/session", Some(&creation(session_type))).await.unwrap();
    let made = Reply::from(made).expect(200);
    let path = format!("/v1/session/{}", text(&made, "session_id"));
    Reply::from(caller.call(&Method::GET, &path, None).await.unwrap()).expect(200).body
}

#[tokio::test]
async fn a_login_of_a_studios_own_gives_tokens_that_the_api_takes() {
    let Some(login) = Login::start().await else { return };
    let server = login.rallypoint().await;
    let alice = login.log_in("basic", &format!("alice:{PASSWORD}")).await.expect(200);
    assert_eq!(alice.headers["content-type"], "application/json");
    for name in ["active_player_uuid", "person_id", "token_type", "client_id", "display_name"] {
        text(&alice, name);
    }
    let mut player = Connection::open(server.address, Some(text(&alice, "access_token"))).await.unwrap();
    let session = creates(&mut player, "party").await;
    let leader = &session["teams"][0]["players"][0];
    assert_eq!(leader["player_uuid"], alice.body["active_player_uuid"]);
    assert_eq!(leader["client_settings"]["platform"], "Basic", "the platform of the token counts");

    let refreshed = login.log_in("refresh", text(&alice, "refresh_token")).await.expect(200);
    assert_eq!(refreshed.body["refresh_token"], alice.body["refresh_token"]);
    assert_eq!(refreshed.body["active_player_uuid"], alice.body["active_player_uuid"]);
    let mut again = Connection::open(server.address, Some(text(&refreshed, "access_token"))).await.unwrap();
    let list = again.call(&Method::GET, "/v1/player/me/session", None).await.unwrap();
    Reply::from(list).expect(200);
    login.stop(server).await;
}

#[tokio::test]
async fn a_login_of_a_studios_own_lets_servers_in_by_their_client() {
    let Some(login) = Login::start().await else { return };
    let server = login.rallypoint().await;
    let secret = std::fs::read_to_string(login.directory.path().join("client-secret")).unwrap();
    let body = json!({ "grant_type": "client_credentials", "include_refresh": false });
    let standard = STANDARD.encode(format!("game-server:{secret}"));
    let url_safe = URL_SAFE_NO_PAD.encode(format!("game-server:{secret}\n"));
    for basic in [standard, url_safe] {
        let service = login.post("login", Some(&basic), &body).await.expect(200);
        for absent in ["active_player_uuid", "refresh_token", "platform"] {
            assert!(service.body.get(absent).is_none(), "{}", service.body);
        }
        let mut service =
            Connection::open(server.address, Some(text(&service, "access_token"))).await.unwrap();
        assert_eq!(creates(&mut service, "game").await["teams"][0]["players"], json!([]));
    }
    let wrong = STANDARD.encode("game-server:guessed");
    for basic in [Some(&*wrong), None] {
        let refused = login.post("login", basic, &body).await.expect(403);
        assert_eq!(text(&refused, "error_code"), "client_credentials_invalid");
    }
    login.stop(server).await;
}

#[tokio::test]
async fn a_login_of_a_studios_own_refuses_with_published_codes() {
    let Some(login) = Login::start().await else { return };
    let server = login.rallypoint().await;
    for (grant_type, token, code) in [
        ("basic", "alice:guessed", "basic_auth_credentials_not_found"),
        ("basic", "nobody:x", "basic_auth_credentials_not_found"),
        ("refresh", "guessed", "refresh_token_not_found"),
        ("refresh", "", "refresh_token_empty"),
        ("anon", "alice", "anon_disabled"),
        ("xboxlive", "ticket", "xbox_disabled"),
    ] {
        let refused = login.log_in(grant_type, token).await.expect(403);
        assert_eq!((text(&refused, "error_code"), &refused.body["auth_success"]), (code, &json!(false)));
    }
    for file in ["players.json", "login-key.pem", "client-secret"] {
        let metadata = std::fs::metadata(login.directory.path().join(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
    for body in [json!([]), json!({}), json!("x"), json!({"grant_type": "guess"})] {
        login.post("login", None, &body).await.expect(422);
    }
    let alice = login.log_in("basic", &format!("alice:{PASSWORD}")).await.expect(200);
    let refresh_token = text(&alice, "refresh_token");
    login.post("logout", None, &json!({ "refresh_token": refresh_token })).await.expect(200);
    let refused = login.log_in("refresh", refresh_token).await.expect(403);
    assert_eq!(text(&refused, "error_code"), "refresh_token_not_found");

    // Rallypoint itself has no login, and gives no answers for other services.
    let mut anyone = Connection::open(server.address, None).await.unwrap();
    for path in ["/users/v1/login", "/users/v1/publickeys", "/config/v2/kv"] {
        let request = Request::get(path).body(Full::default()).unwrap();
        assert_eq!(anyone.send(request).await.unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
    login.stop(server).await;
}

/// As docs/LOGIN.md says: keys from a file, one address for both, and a client for the servers that are launched.
#[tokio::test]
async fn players_and_launched_servers_log_in_at_a_studios_own_login_behind_the_address_of_the_api() {
    let Some(login) = Login::start().await else { return };
    let proxy = Router::start(login.service.address).await;
    let sections = Login::allocator(&proxy, &["--time-scale=0.05", "--match-seconds=1000000"]);
    let server = login.rallypoint_with("jwks_file = \"jwks.json\"", &sections).await;
    proxy.api.set(vec![server.address]).unwrap();
    let what = ["--session-type=game", "--request-instance=Dunes", "--poll-seconds=5", "--stay-seconds=1"];
    let mut player = login.player(&proxy, "alice", &what);
    let alice = login.log_in("basic", &format!("alice:{PASSWORD}")).await.expect(200);
    assert_eq!(player.says("logged-in").await, text(&alice, "active_player_uuid"));
    for step in ["in-session", "requested-instance"] {
        player.says(step).await;
    }
    player.says("playing").await;
    player.ends().await.expect(0);
    // The session has ended with its only player, so the server leaves by itself.
    let data_dir = login.directory.path().join("rallypoint-data");
    let launches = std::fs::read_dir(data_dir.join("servers/local")).unwrap();
    let launches: Vec<_> = launches.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    let [launch] = &launches[..] else { panic!("{launches:?}") };
    until("the server ends", || launch.join("exit").exists()).await;
    let exit: Value = serde_json::from_slice(&std::fs::read(launch.join("exit")).unwrap()).unwrap();
    let log = std::fs::read_to_string(launch.join("server.log")).unwrap();
    assert!(exit["code"] == 0 && log.ends_with("\nclosed the session is gone\n"), "{exit} {log}");
    login.stop(server).await;
}

/// Matches of two against two on a dedicated server.
const MATCHES: &str = r#"
    [templates.party]
    can_be_created_by_players_directly = true
    can_join_matchmaking = true
    [templates.game]
    [queues.teams]
    match_making_template_group_id = "00000000-0000-4000-8000-0000000000a1"
    [[match_making_template_groups.00000000-0000-4000-8000-0000000000a1.templates]]
    profiles = ["teams"]
    [match_making_profiles.teams]
    max_players_per_side = 2
    instance_request_template_id = "00000000-0000-4000-8000-0000000000c1"
    [instance_templates.00000000-0000-4000-8000-0000000000c1]
    default_host_type = "dedicated"
    map_selection_list_id = "all"
    maps = [{ map_id = "1", map_name = "Dunes", map_weight = 1.0 }]
"#;

/// Four players queue at two nodes that share a database. They are told of their match, keep the sides that the matcher gave
/// them, play on a server that a node launches, and leave.
#[tokio::test]
async fn four_players_queue_at_two_nodes_and_play_a_match_on_a_launched_server() {
    let Some(login) = Login::start().await else { return };
    let proxy = Router::start(login.service.address).await;
    let database = Database::new().await;
    let mut nodes = Vec::new();
    let mut servers = Vec::new();
    for name in ["one", "two"] {
        let play = ["--time-scale=0.05", "--match-seconds=0", "--players=4"];
        let sections = format!(
            "{}\n[store]\nbackend = \"postgres\"\n[postgres]\nurl = {:?}\n{MATCHES}",
            Login::allocator(&proxy, &play),
            database.url
        );
        servers.push(KillAtEnd(login.directory.path().join(format!("{name}-data"))));
        nodes.push(login.node(name, "jwks_file = \"jwks.json\"", &sections).await);
    }
    proxy.api.set(nodes.iter().map(|node| node.address).collect()).unwrap();
    let mut players = Vec::new();
    for name in ["alice", "bob", "carol", "dave"] {
        if name != "alice" {
            add_player(login.directory.path(), name).await;
        }
        let options = ["--session-type=party", "--queue=teams", "--poll-seconds=5"];
        players.push(login.player(&proxy, name, &options));
    }
    let [mut tickets, mut matches, mut addresses] = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    for player in &mut players {
        player.says("logged-in").await;
        player.says("in-session").await;
        tickets.insert(player.says("queued").await);
    }
    for player in &mut players {
        matches.insert(player.says("in-match").await);
    }
    for player in &mut players {
        addresses.insert(player.says("playing").await);
    }
    for player in players {
        assert_eq!(player.ends().await.expect(0).stdout, "left\n");
    }
    assert_eq!((tickets.len(), addresses.len()), (4, 1), "{addresses:?}");
    let sides: Vec<_> = matches.iter().map(|joined| joined.split_once(" side ").unwrap()).collect();
    let [(one, "0"), (other, "1")] = sides[..] else {
        panic!("each side has players of one match: {sides:?}")
    };
    assert_eq!(one, other);
    for node in nodes {
        node.stop().await.expect(0);
    }
    login.service.signal(Signal::KILL);
    login.service.finished().await;
}
