//! `rallypoint demo`: shows and checks the main use case in one command.

mod dedicated_server;
mod matchmaking;
mod runner;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::SignalKind;
use uuid::Uuid;

use self::runner::{DemoRequest, Expected, Runner};
use super::signals::{StopSignals, listen};
use super::token::player_permissions;
use crate::auth::{DevelopmentKey, Grant};
use crate::config::Config;
use crate::domain::{Platform, PlayerUuid};
use crate::env::{Clock, Entropy};
use crate::runtime::server::{self, Server};

/// Text after `rallypoint demo --help`.
pub const HELP: &str = "\
The demo starts a server on free ports with a temporary data directory, sends requests, prints each request and its \
answer, and checks the answer. It removes the directory at the end. The exit status is 1 if an answer is not as the \
contract says.

  rallypoint demo
  rallypoint demo --stay

Next: start a server of your own with `rallypoint serve`.";

/// A platform session ID in the encoding of Xbox clients: URL-safe base64 with padding.
const XBOX_SESSION: &str = "bXlnYW1lfnBhcnR5fjdmM2E5YzI=";
/// Lifetime of the tokens, which `--stay` prints.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

#[derive(Args)]
pub struct DemoArgs {
    /// Keep the server running until Ctrl-C, SIGTERM or the end of the terminal, and print curl commands to paste.
    #[arg(long)]
    stay: bool,
}

/// A data directory that is removed on drop.
struct TemporaryDir(PathBuf);

impl TemporaryDir {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("rallypoint-demo-{}", Entropy::System.uuid()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        // If this fails, the directory stays in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the command. Returns an error if an answer is not as the contract says.
pub fn run(args: &DemoArgs) -> Result<(), String> {
    let dir = TemporaryDir::new()?;
    let mut config = configuration()?;
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.store.data_dir.clone_from(&dir.0);
    let runtime = super::runtime()?;
    let (mut signals, mut hangup) = runtime
        .block_on(async { Ok::<_, String>((StopSignals::listen()?, listen(SignalKind::hangup())?)) })?;
    let server = runtime.block_on(server::start(&config, false)).map_err(|error| error.to_string())?;
    super::print(&format!(
        "Rallypoint runs on http://{}, with its data in {}.\n",
        server.api_address,
        dir.0.display()
    ))?;
    let shown = show_use_case(&server, &dir.0);
    if let (Ok(to_paste), true) = (&shown, args.stay) {
        super::print(&format!("\nThe server stays until Ctrl-C. To paste:\n{to_paste}"))?;
        // SIGHUP, which reloads the configuration of other servers, means here that the terminal was closed.
        runtime.block_on(async {
            tokio::select! {
                () = signals.next() => {}
                _ = hangup.recv() => {}
            }
        });
    }
    runtime.block_on(server.stop()).map_err(|error| error.to_string())?;
    shown?;
    if !args.stay {
        super::print("Next: start a server of your own with `rallypoint serve`.\n")?;
    }
    Ok(())
}

/// The default configuration, with an allocator that starts this program as a dedicated server, and with a queue.
fn configuration() -> Result<Config, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = program.to_str().ok_or("the path of this program is not UTF-8")?;
    let text = dedicated_server::configuration(program) + matchmaking::CONFIGURATION;
    let config = Config::parse(&text, "the configuration of the demo", &[]);
    let mut config = config.map_err(|error| error.to_string())?;
    matchmaking::allow_parties_to_queue(&mut config);
    Ok(config)
}

fn token(key: &DevelopmentKey, player: Uuid, platform: Platform) -> String {
    let grant = Grant {
        player: Some(PlayerUuid(player)),
        permissions: player_permissions(),
        platform: Some(platform),
        player_id: None,
        ttl: TOKEN_TTL,
    };
    key.sign(&grant, Clock::System.now())
}

fn client(platform: Platform) -> Value {
    json!({ "client_version": "1.0.0", "client_settings": { "platform": platform.name(), "input": "gamepad" }, "team_id": 0 })
}

/// A player and a token.
struct DemoPlayer {
    uuid: Uuid,
    token: String,
}

impl DemoPlayer {
    /// A request of this player. `what` says what it shows.
    fn request<'a>(
        &'a self,
        what: &'a str,
        method: &'static str,
        path: impl Into<String>,
    ) -> DemoRequest<'a> {
        DemoRequest::new(what, &self.token, method, path)
    }
}

/// Shows the use case. Returns curl commands that repeat its main requests.
fn show_use_case(server: &Server, data_dir: &Path) -> Result<String, String> {
    let key =
        DevelopmentKey::load_or_create(data_dir, &Entropy::System).map_err(|error| error.to_string())?;
    let player = |platform| {
        let uuid = Entropy::System.uuid();
        DemoPlayer { uuid, token: token(&key, uuid, platform) }
    };
    let (alice, bob) = (player(Platform::XboxLive), player(Platform::XboxLive));
    let (stranger, friend) = (player(Platform::Steam), player(Platform::Steam));
    let mut runner = Runner::new(server.api_address);
    let to_paste = show_platform_session(&mut runner, &alice, &bob, &stranger)?;
    let party = show_party(&mut runner, server, &alice, &bob, &stranger)?;
    dedicated_server::show(&mut runner, server, &party, (&bob, &alice))?;
    matchmaking::show(&mut runner, server, &party, (&bob, &alice), (&stranger, &friend))?;
    runner.result()?;
    super::print("\nAll answers are OK.\n")?;
    Ok(to_paste)
}

/// Links a platform session, and reads it as a member, as a stranger, and with invalid ids.
fn show_platform_session(
    runner: &mut Runner,
    alice: &DemoPlayer,
    bob: &DemoPlayer,
    stranger: &DemoPlayer,
) -> Result<String, String> {
    runner.section("A platform session, and who may read it")?;
    let create = alice.request("Alice creates a party", "POST", "/v1/session").body(creation());
    let created = runner.call(create, &Expected::OK)?;
    let session_id = created.body["session_id"].as_str().unwrap_or_default().to_owned();
    let path = format!("/v1/platform/XboxLive/platform-session/{XBOX_SESSION}");
    let link = format!("{path}/session/{session_id}");
    runner.call(alice.request("Alice links her Xbox session to it", "POST", link), &Expected::OK)?;
    let join = bob.request("Bob joins through the Xbox session", "POST", format!("{path}/player/me"));
    runner.call(join.body(client(Platform::XboxLive)), &Expected::OK)?;

    let get = bob.request("Bob, a member, gets the platform session", "GET", path.as_str());
    let info = runner.call(get, &Expected::OK)?;
    let players_seen = info.body["players"].as_array().map_or(0, Vec::len);
    runner.check("the platform session names both players", players_seen == 2);
    let has_linked_id = info.body["platform_session_id_base64"] == XBOX_SESSION;
    runner.check("the platform session has the id that was linked", has_linked_id);
    let again = bob.request("Bob gets it again, with the ETag: not modified", "GET", path.as_str());
    runner.call(again.if_none_match(&info.etag), &Expected::status(304))?;

    let forbidden = Expected::refused(403, "not_active_in_session");
    runner.call(stranger.request("a stranger may not read it", "GET", path.as_str()), &forbidden)?;
    let unknown = "/v1/platform/XboxLive/platform-session/bm8gc3VjaCBzZXNzaW9u";
    let not_found = Expected::refused(404, "platform_session_not_found");
    runner.call(bob.request("Bob gets an unknown platform session", "GET", unknown), &not_found)?;
    let bad = format!("/v1/platform/Xbox/platform-session/{XBOX_SESSION}");
    runner.call(bob.request("Bob names an unknown platform", "GET", bad), &Expected::status(422))?;

    Ok(format!(
        "  TOKEN='{token}'\n  \
         # the platform session: 200, with an ETag\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}{path}'\n  \
         # the same while nothing has changed: 304\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" -H 'If-None-Match: {etag}' '{base}{path}'\n  \
         # the session\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}/v1/session/{session_id}'\n  \
         # the sessions of the player\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}/v1/player/me/session'\n",
        base = runner.base(),
        token = bob.token,
        etag = info.etag,
    ))
}

/// Shows an invite, a wait, a promotion, a short code and a kick in a party. Returns its path; Bob leads it.
fn show_party(
    runner: &mut Runner,
    server: &Server,
    alice: &DemoPlayer,
    bob: &DemoPlayer,
    stranger: &DemoPlayer,
) -> Result<String, String> {
    runner.section("A party, and who leads it")?;
    let create = alice.request("Alice creates another party", "POST", "/v1/session").body(creation());
    let created = runner.call(create, &Expected::OK)?;
    let party = format!("/v1/session/{}", created.body["session_id"].as_str().unwrap_or_default());
    show_promotion(runner, server, &party, alice, bob)?;
    show_short_code(runner, &party, bob, stranger)?;
    Ok(party)
}

/// Bob is invited, joins while Alice waits, and becomes the leader.
fn show_promotion(
    runner: &mut Runner,
    server: &Server,
    party: &str,
    alice: &DemoPlayer,
    bob: &DemoPlayer,
) -> Result<(), String> {
    let bob_in_party = format!("/v2{}/player/{}", &party["/v1".len()..], bob.uuid);
    let invite = alice.request("Alice invites Bob", "POST", format!("{bob_in_party}:invite"));
    let invited = runner.call(invite.body(json!({})), &Expected::OK)?;
    runner.check("Bob is invited", invited.body["status"] == "invited");
    let wait = alice.request("Alice waits for a change of the party, instead of polling it", "GET", party);
    let accept = bob.request("Bob accepts the invite", "POST", format!("{party}/player/me"));
    let accept = accept.body(client(Platform::XboxLive));
    let changed = runner.call_during_wait(server, (wait, &invited.etag), (accept, &Expected::OK))?;
    let mut players = changed.body["teams"][0]["players"].as_array().into_iter().flatten();
    let has_joined = players.any(|player| player["status"] == "member");
    runner.check("the answer to Alice's wait shows that Bob has joined", has_joined);
    let promote = alice.request("Alice makes Bob the leader", "POST", format!("{bob_in_party}:promote"));
    let promoted = runner.call(promote, &Expected::OK)?;
    runner.check("Bob leads", promoted.body["status"] == "leader");
    let kick = format!("{party}/player/{}", bob.uuid);
    let kick = alice.request("Alice, no longer the leader, may not kick Bob", "DELETE", kick);
    runner.call(kick, &Expected::refused(403, "session_right_missing"))?;
    Ok(())
}

/// A stranger joins by a short code once the party is open, and is kicked.
fn show_short_code(
    runner: &mut Runner,
    party: &str,
    bob: &DemoPlayer,
    stranger: &DemoPlayer,
) -> Result<(), String> {
    let generate = format!("{party}:generate-short-code");
    let made = runner.call(bob.request("Bob makes a short code", "POST", generate), &Expected::OK)?;
    let code = made.body["short_code"].as_str().unwrap_or_default().to_lowercase();
    let by_code = format!("/v1/session/{code}/player/me");
    let join = stranger.request("a stranger has the code, but the party is closed", "POST", by_code.as_str());
    let closed = Expected::refused(403, "session_not_joinable");
    runner.call(join.body(client(Platform::Steam)), &closed)?;
    let open = bob.request("Bob opens it", "PATCH", party);
    runner.call(open.body(json!({ "joinability": { "open": true } })), &Expected::OK)?;
    let join = stranger.request("the stranger joins by the code", "POST", by_code);
    runner.call(join.body(client(Platform::Steam)), &Expected::OK)?;
    let kick = format!("{party}/player/{}?reason=demo", stranger.uuid);
    runner.call(bob.request("Bob kicks the stranger", "DELETE", kick), &Expected::status(204))?;
    let get = bob.request("Bob gets the party: two players are left", "GET", party);
    let left = runner.call(get, &Expected::OK)?;
    runner.check("two are left", left.body["teams"][0]["players"].as_array().map_or(0, Vec::len) == 2);
    Ok(())
}

fn creation() -> Value {
    json!({
        "session_type": "party", "client_version": "1.0.0",
        "client_settings": { "platform": "XboxLive", "input": "gamepad" },
    })
}
