//! `rallypoint demo`: shows and checks the main use case in one command.

mod runner;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::SignalKind;
use uuid::Uuid;

use self::runner::{Expected, Runner};
use super::signals::{StopSignals, listen};
use super::token::player_permissions;
use crate::auth::{DevelopmentKey, Grant};
use crate::config::Config;
use crate::domain::{Platform, PlayerUuid};
use crate::env::{Clock, Entropy};
use crate::runtime::server;

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
    let mut config = Config::default();
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
    let shown = show_use_case(server.api_address, &dir.0);
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
struct Player {
    uuid: Uuid,
    token: String,
}

/// Shows the use case. Returns curl commands that repeat its main requests.
fn show_use_case(address: SocketAddr, data_dir: &Path) -> Result<String, String> {
    let key =
        DevelopmentKey::load_or_create(data_dir, &Entropy::System).map_err(|error| error.to_string())?;
    let player = |platform| {
        let uuid = Entropy::System.uuid();
        Player { uuid, token: token(&key, uuid, platform) }
    };
    let (alice, bob, stranger) =
        (player(Platform::XboxLive), player(Platform::XboxLive), player(Platform::Steam));
    let mut runner = Runner::new(address);
    let to_paste = show_platform_session(&mut runner, &alice, &bob, &stranger)?;
    show_party(&mut runner, &alice, &bob, &stranger)?;
    runner.result()?;
    super::print("\nAll answers are OK.\n")?;
    Ok(to_paste)
}

/// Links a platform session, and reads it as a member, as a stranger, and with invalid ids.
fn show_platform_session(
    runner: &mut Runner,
    alice: &Player,
    bob: &Player,
    stranger: &Player,
) -> Result<String, String> {
    runner.section("A platform session, and who may read it")?;
    let created = runner.call(
        "Alice creates a party",
        ("POST", "/v1/session"),
        &alice.token,
        None,
        Some(&creation()),
        &Expected::OK,
    )?;
    let session_id = created.body["session_id"].as_str().unwrap_or_default().to_owned();
    let platform_session = format!("/v1/platform/XboxLive/platform-session/{XBOX_SESSION}");
    let link = format!("{platform_session}/session/{session_id}");
    runner.call(
        "Alice links her Xbox session to it",
        ("POST", &link),
        &alice.token,
        None,
        None,
        &Expected::OK,
    )?;
    let join = format!("{platform_session}/player/me");
    let bob_client = client(Platform::XboxLive);
    runner.call(
        "Bob joins through the Xbox session",
        ("POST", &join),
        &bob.token,
        None,
        Some(&bob_client),
        &Expected::OK,
    )?;

    let get = ("GET", platform_session.as_str());
    let info = runner.call(
        "Bob, a member, gets the platform session",
        get,
        &bob.token,
        None,
        None,
        &Expected::OK,
    )?;
    let players_seen = info.body["players"].as_array().map_or(0, Vec::len);
    runner.check("the platform session names both players", players_seen == 2);
    runner.check(
        "the platform session has the id that was linked",
        info.body["platform_session_id_base64"] == XBOX_SESSION,
    );

    let not_modified = Expected::status(304);
    runner.call(
        "Bob gets it again, with the ETag: not modified",
        get,
        &bob.token,
        Some(&info.etag),
        None,
        &not_modified,
    )?;
    let forbidden = Expected::refused(403, "not_active_in_session");
    runner.call("a stranger may not read it", get, &stranger.token, None, None, &forbidden)?;
    let unknown = ("GET", "/v1/platform/XboxLive/platform-session/bm8gc3VjaCBzZXNzaW9u");
    let not_found = Expected::refused(404, "platform_session_not_found");
    runner.call("Bob gets an unknown platform session", unknown, &bob.token, None, None, &not_found)?;
    let bad = format!("/v1/platform/Xbox/platform-session/{XBOX_SESSION}");
    let invalid = Expected::status(422);
    runner.call("Bob names an unknown platform", ("GET", &bad), &bob.token, None, None, &invalid)?;

    Ok(format!(
        "  TOKEN='{token}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}{platform_session}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" -H 'If-None-Match: {etag}' '{base}{platform_session}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}/v1/session/{session_id}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}/v1/player/me/session'\n",
        base = runner.base(),
        token = bob.token,
        etag = info.etag,
    ))
}

/// Shows an invite, a promotion, a short code and a kick in a party.
fn show_party(runner: &mut Runner, alice: &Player, bob: &Player, stranger: &Player) -> Result<(), String> {
    runner.section("A party, and who leads it")?;
    let (create, create_body) = (("POST", "/v1/session"), creation());
    let created = runner.call(
        "Alice creates another party",
        create,
        &alice.token,
        None,
        Some(&create_body),
        &Expected::OK,
    )?;
    let party = format!("/v1/session/{}", created.body["session_id"].as_str().unwrap_or_default());
    let player = |uuid: Uuid, verb: &str| format!("/v2{}/player/{uuid}{verb}", &party[3..]);
    let (me, empty_body) = (format!("{party}/player/me"), json!({}));

    let invite = player(bob.uuid, ":invite");
    let invite = ("POST", invite.as_str());
    let invited =
        runner.call("Alice invites Bob", invite, &alice.token, None, Some(&empty_body), &Expected::OK)?;
    runner.check("Bob is invited", invited.body["status"] == "invited");
    let join = ("POST", me.as_str());
    let bob_client = client(Platform::XboxLive);
    runner.call("Bob accepts", join, &bob.token, None, Some(&bob_client), &Expected::OK)?;
    let promote = player(bob.uuid, ":promote");
    let promoted = runner.call(
        "Alice makes Bob the leader",
        ("POST", &promote),
        &alice.token,
        None,
        None,
        &Expected::OK,
    )?;
    runner.check("Bob leads", promoted.body["status"] == "leader");
    let kick = format!("{party}/player/{}", bob.uuid);
    let not_hers = Expected::refused(403, "session_right_missing");
    runner.call(
        "Alice, no longer the leader, may not kick Bob",
        ("DELETE", &kick),
        &alice.token,
        None,
        None,
        &not_hers,
    )?;

    let generate = format!("{party}:generate-short-code");
    let made =
        runner.call("Bob makes a short code", ("POST", &generate), &bob.token, None, None, &Expected::OK)?;
    let code = made.body["short_code"].as_str().unwrap_or_default().to_lowercase();
    let by_code = format!("/v1/session/{code}/player/me");
    let closed = Expected::refused(403, "session_not_joinable");
    let steam_client = client(Platform::Steam);
    let join = ("POST", by_code.as_str());
    runner.call(
        "a stranger has the code, but the party is closed",
        join,
        &stranger.token,
        None,
        Some(&steam_client),
        &closed,
    )?;
    let open = json!({ "joinability": { "open": true } });
    runner.call("Bob opens it", ("PATCH", &party), &bob.token, None, Some(&open), &Expected::OK)?;
    runner.call(
        "the stranger joins by the code",
        join,
        &stranger.token,
        None,
        Some(&steam_client),
        &Expected::OK,
    )?;
    let kick = format!("{party}/player/{}?reason=demo", stranger.uuid);
    let gone = Expected::status(204);
    runner.call("Bob kicks the stranger", ("DELETE", &kick), &bob.token, None, None, &gone)?;
    let left = runner.call(
        "Bob gets the party: two players are left",
        ("GET", &party),
        &bob.token,
        None,
        None,
        &Expected::OK,
    )?;
    runner.check("two are left", left.body["teams"][0]["players"].as_array().map_or(0, Vec::len) == 2);
    Ok(())
}

fn creation() -> Value {
    json!({
        "session_type": "party", "client_version": "1.0.0",
        "client_settings": { "platform": "XboxLive", "input": "gamepad" },
    })
}
