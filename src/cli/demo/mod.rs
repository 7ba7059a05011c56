//! `rallypoint demo`: the main job in one command, shown and checked.

mod stage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::SignalKind;
use uuid::Uuid;

use self::stage::{Expected, Stage};
use super::token::player_permissions;
use crate::auth::{DevelopmentKey, Grant};
use crate::config::Config;
use crate::domain::{Platform, PlayerUuid};
use crate::env::{Clock, Entropy};
use crate::runtime::server;

/// A platform session's id as an Xbox client encodes it: URL-safe base64, padded.
const XBOX_SESSION: &str = "bXlnYW1lfnBhcnR5fjdmM2E5YzI=";
/// How long the tokens that `--stay` prints are good for.
const STAY_TTL: Duration = Duration::from_secs(24 * 3600);

/// A data directory that goes with the demo.
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
        // Left behind at worst, in the folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the demo; fails if any answer was not as the contract has it.
pub fn run(stay: bool) -> Result<(), String> {
    let dir = TemporaryDir::new()?;
    let mut config = Config::default();
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.store.data_dir.clone_from(&dir.0);
    let runtime = super::runtime()?;
    let (mut signals, mut hangup) = runtime.block_on(async {
        Ok::<_, String>((super::StopSignals::listen()?, super::listen(SignalKind::hangup())?))
    })?;
    let server = runtime.block_on(server::start(&config, false)).map_err(|error| error.to_string())?;
    super::print(&format!(
        "Rallypoint runs on http://{}, with its data in {}.\n",
        server.api_address,
        dir.0.display()
    ))?;
    let played = play(server.api_address, &dir.0);
    if let (Ok(to_paste), true) = (&played, stay) {
        super::print(&format!("\nThe server stays until Ctrl-C. To paste:\n{to_paste}"))?;
        // There is no file to read again, and a terminal that was closed watches no more.
        runtime.block_on(async {
            tokio::select! {
                () = signals.next() => {}
                _ = hangup.recv() => {}
            }
        });
    }
    runtime.block_on(server.stop()).map_err(|error| error.to_string())?;
    played.map(|_| ())
}

fn token(key: &DevelopmentKey, player: Uuid, platform: Platform) -> String {
    let grant = Grant {
        player: Some(PlayerUuid(player)),
        permissions: player_permissions(),
        platform: Some(platform),
        player_id: None,
        ttl: STAY_TTL,
    };
    key.sign(&grant, Clock::System.now())
}

fn client(platform: Platform) -> Value {
    json!({ "client_version": "1.0.0", "client_settings": { "platform": platform.name(), "input": "gamepad" }, "team_id": 0 })
}

/// Who plays: a player and their token.
struct Role {
    uuid: Uuid,
    token: String,
}

/// Plays the demo; answers curl lines that ask for the same again.
fn play(address: SocketAddr, data_dir: &Path) -> Result<String, String> {
    let key =
        DevelopmentKey::load_or_create(data_dir, &Entropy::System).map_err(|error| error.to_string())?;
    let role = |platform| {
        let uuid = Entropy::System.uuid();
        Role { uuid, token: token(&key, uuid, platform) }
    };
    let (alice, bob, stranger) = (role(Platform::XboxLive), role(Platform::XboxLive), role(Platform::Steam));
    let mut stage = Stage::new(address);
    let to_paste = link_scene(&mut stage, &alice, &bob, &stranger)?;
    party_scene(&mut stage, &alice, &bob, &stranger)?;
    stage.verdict()?;
    super::print("\nEvery answer was right.\n")?;
    Ok(to_paste)
}

/// A platform session is linked, and read by those who may and those who may not.
fn link_scene(stage: &mut Stage, alice: &Role, bob: &Role, stranger: &Role) -> Result<String, String> {
    stage.scene("A platform session, and who may read it")?;
    let created = stage.call(
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
    stage.call(
        "Alice links her Xbox session to it",
        ("POST", &link),
        &alice.token,
        None,
        None,
        &Expected::OK,
    )?;
    let join = format!("{platform_session}/player/me");
    let bob_client = client(Platform::XboxLive);
    stage.call(
        "Bob joins through the Xbox session",
        ("POST", &join),
        &bob.token,
        None,
        Some(&bob_client),
        &Expected::OK,
    )?;

    let get = ("GET", platform_session.as_str());
    let info =
        stage.call("Bob, a member, gets the platform session", get, &bob.token, None, None, &Expected::OK)?;
    let players_seen = info.body["players"].as_array().map_or(0, Vec::len);
    stage.check("the platform session names both players", players_seen == 2);
    stage.check(
        "the platform session comes back as it was linked",
        info.body["platform_session_id_base64"] == XBOX_SESSION,
    );

    let not_modified = Expected::status(304);
    stage.call(
        "again, with the ETag: nothing new",
        get,
        &bob.token,
        Some(&info.etag),
        None,
        &not_modified,
    )?;
    let forbidden = Expected::refused(403, "not_active_in_session");
    stage.call("a stranger may not", get, &stranger.token, None, None, &forbidden)?;
    let unknown = ("GET", "/v1/platform/XboxLive/platform-session/bm8gc3VjaCBzZXNzaW9u");
    let not_found = Expected::refused(404, "platform_session_not_found");
    stage.call("an unknown platform session", unknown, &bob.token, None, None, &not_found)?;
    let bad = format!("/v1/platform/Xbox/platform-session/{XBOX_SESSION}");
    let invalid = Expected::status(422);
    stage.call("a platform that there is not", ("GET", &bad), &bob.token, None, None, &invalid)?;

    Ok(format!(
        "  TOKEN='{token}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}{platform_session}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" -H 'If-None-Match: {etag}' '{base}{platform_session}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}/v1/session/{session_id}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}/v1/player/me/session'\n",
        base = stage.base(),
        token = bob.token,
        etag = info.etag,
    ))
}

/// A party changes hands: an invite, a promotion, a short code, a kick.
fn party_scene(stage: &mut Stage, alice: &Role, bob: &Role, stranger: &Role) -> Result<(), String> {
    stage.scene("A party, and who leads it")?;
    let (create, create_body) = (("POST", "/v1/session"), creation());
    let created =
        stage.call("Alice creates another", create, &alice.token, None, Some(&create_body), &Expected::OK)?;
    let party = format!("/v1/session/{}", created.body["session_id"].as_str().unwrap_or_default());
    let player = |uuid: Uuid, verb: &str| format!("/v2{}/player/{uuid}{verb}", &party[3..]);
    let (me, no_words) = (format!("{party}/player/me"), json!({}));

    let invite = player(bob.uuid, ":invite");
    let invite = ("POST", invite.as_str());
    let invited =
        stage.call("Alice invites Bob", invite, &alice.token, None, Some(&no_words), &Expected::OK)?;
    stage.check("Bob is invited", invited.body["status"] == "invited");
    let join = ("POST", me.as_str());
    let bob_client = client(Platform::XboxLive);
    stage.call("Bob accepts", join, &bob.token, None, Some(&bob_client), &Expected::OK)?;
    let promote = player(bob.uuid, ":promote");
    let promoted = stage.call(
        "Alice makes Bob the leader",
        ("POST", &promote),
        &alice.token,
        None,
        None,
        &Expected::OK,
    )?;
    stage.check("Bob leads", promoted.body["status"] == "leader");
    let kick = format!("{party}/player/{}", bob.uuid);
    let not_hers = Expected::refused(403, "session_right_missing");
    stage.call("Alice leads no more", ("DELETE", &kick), &alice.token, None, None, &not_hers)?;

    let generate = format!("{party}:generate-short-code");
    let made =
        stage.call("Bob makes a short code", ("POST", &generate), &bob.token, None, None, &Expected::OK)?;
    let code = made.body["short_code"].as_str().unwrap_or_default().to_lowercase();
    let by_code = format!("/v1/session/{code}/player/me");
    let closed = Expected::refused(403, "session_not_joinable");
    let steam_client = client(Platform::Steam);
    let join = ("POST", by_code.as_str());
    stage.call(
        "a code is no invite: the party is closed to strangers",
        join,
        &stranger.token,
        None,
        Some(&steam_client),
        &closed,
    )?;
    let open = json!({ "joinability": { "open": true } });
    stage.call("Bob opens it", ("PATCH", &party), &bob.token, None, Some(&open), &Expected::OK)?;
    stage.call(
        "the stranger joins by the code",
        join,
        &stranger.token,
        None,
        Some(&steam_client),
        &Expected::OK,
    )?;
    let kick = format!("{party}/player/{}?reason=demo", stranger.uuid);
    let gone = Expected::status(204);
    stage.call("Bob kicks the stranger", ("DELETE", &kick), &bob.token, None, None, &gone)?;
    let left = stage.call("two are left", ("GET", &party), &bob.token, None, None, &Expected::OK)?;
    stage.check("two are left", left.body["teams"][0]["players"].as_array().map_or(0, Vec::len) == 2);
    Ok(())
}

fn creation() -> Value {
    json!({
        "session_type": "party", "client_version": "1.0.0",
        "client_settings": { "platform": "XboxLive", "input": "gamepad" },
    })
}
