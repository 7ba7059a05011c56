//! `rallypoint demo`: the main job in one command, shown and checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::token::player_permissions;
use crate::auth::{DevelopmentKey, Grant};
use crate::config::Config;
use crate::domain::{Platform, PlayerUuid};
use crate::env::{Clock, Entropy};
use crate::server;

/// A platform session's id as an Xbox client encodes it: URL-safe base64, padded.
const XBOX_SESSION: &str = "bXlnYW1lfnBhcnR5fjdmM2E5YzI=";
/// Longest wait for an answer from our own server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
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
    let stop = runtime.block_on(async { super::stop_signal() })?;
    let server = runtime.block_on(server::start(&config, false)).map_err(|error| error.to_string())?;
    super::print(&format!(
        "Rallypoint runs on http://{}, with its data in {}.\n",
        server.api_address,
        dir.0.display()
    ))?;
    let played = play(server.api_address, &dir.0);
    if let (Ok(to_paste), true) = (&played, stay) {
        super::print(&format!("\nThe server stays until Ctrl-C. To paste:\n{to_paste}"))?;
        runtime.block_on(stop);
    }
    runtime.block_on(server.stop()).map_err(|error| error.to_string())?;
    played.map(|_| ())
}

/// What the demo expects of an answer.
struct Expected {
    status: u16,
    /// The error code, where there is one.
    error_code: Option<&'static str>,
}

/// Sends requests to the demo's server, shows them, and compares the answers with what they should be.
struct Stage {
    base: String,
    agent: ureq::Agent,
    wrong: Vec<String>,
}

struct Answered {
    etag: String,
    body: Value,
}

fn ok() -> Expected {
    Expected { status: 200, error_code: None }
}

impl Stage {
    fn new(address: SocketAddr) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // The server is this process; a proxy that the environment names has no business here.
            .proxy(None)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build()
            .into();
        Self { base: format!("http://{address}/session"), agent, wrong: Vec::new() }
    }

    fn call(
        &mut self,
        what: &str,
        (method, path): (&str, &str),
        token: &str,
        if_none_match: Option<&str>,
        body: Option<&Value>,
        expected: &Expected,
    ) -> Result<Answered, String> {
        let mut shown =
            format!("\n# {what}\n> {method} /session{path}\n> Authorization: Bearer {}…\n", &token[..12]);
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {token}"));
        if let Some(etag) = if_none_match {
            request = request.header("if-none-match", etag);
            shown += &format!("> If-None-Match: {etag}\n");
        }
        if let Some(body) = body {
            shown += &format!("> {body}\n");
        }
        let text = body.map_or_else(String::new, Value::to_string);
        let request = request.body(text).map_err(|error| error.to_string())?;
        let mut response = self.agent.run(request).map_err(|error| error.to_string())?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        shown += &format!("< {status}\n");
        for (name, value) in &headers {
            shown += &format!("< {name}: {}\n", value.to_str().unwrap_or("…"));
        }
        if !text.is_empty() {
            shown += &format!("{}\n", serde_json::to_string_pretty(&answer).unwrap_or(text));
        }
        let code = answer["error_code"].as_str();
        let right = status.as_u16() == expected.status && code == expected.error_code;
        shown += if right { "✓ as it should be\n" } else { "✗ not what the contract says\n" };
        if !right {
            self.wrong.push(what.to_owned());
        }
        super::print(&shown)?;
        let etag = headers.get("etag").and_then(|etag| etag.to_str().ok()).unwrap_or_default();
        Ok(Answered { etag: etag.to_owned(), body: answer })
    }

    /// Notes what is wrong about the content of an answer.
    fn check(&mut self, what: &str, right: bool) {
        if !right {
            self.wrong.push(what.to_owned());
        }
    }
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

/// Plays the demo; answers curl lines that ask for the same again.
fn play(address: SocketAddr, data_dir: &Path) -> Result<String, String> {
    let key =
        DevelopmentKey::load_or_create(data_dir, &Entropy::System).map_err(|error| error.to_string())?;
    let players = [(); 3].map(|()| Entropy::System.uuid());
    let [alice, bob, stranger] = [
        token(&key, players[0], Platform::XboxLive),
        token(&key, players[1], Platform::XboxLive),
        token(&key, players[2], Platform::Steam),
    ];
    let mut stage = Stage::new(address);

    let create = json!({
        "session_type": "party", "client_version": "1.0.0",
        "client_settings": { "platform": "XboxLive", "input": "gamepad" },
    });
    let created =
        stage.call("Alice creates a party", ("POST", "/v1/session"), &alice, None, Some(&create), &ok())?;
    let session_id = created.body["session_id"].as_str().unwrap_or_default().to_owned();
    let seed = format!("/v1/platform/XboxLive/platform-session/{XBOX_SESSION}");
    let link = format!("{seed}/session/{session_id}");
    stage.call("Alice links her Xbox session to it", ("POST", &link), &alice, None, None, &ok())?;
    let join = format!("{seed}/player/me");
    let bob_client = client(Platform::XboxLive);
    stage.call(
        "Bob joins through the Xbox session",
        ("POST", &join),
        &bob,
        None,
        Some(&bob_client),
        &ok(),
    )?;

    let get = ("GET", seed.as_str());
    let info = stage.call("Bob, a member, gets the platform session", get, &bob, None, None, &ok())?;
    let players_seen = info.body["players"].as_array().map_or(0, Vec::len);
    stage.check("the platform session names both players", players_seen == 2);
    stage.check(
        "the platform session comes back as it was linked",
        info.body["platform_session_id_base64"] == XBOX_SESSION,
    );

    let not_modified = Expected { status: 304, error_code: None };
    stage.call("again, with the ETag: nothing new", get, &bob, Some(&info.etag), None, &not_modified)?;
    let forbidden = Expected { status: 403, error_code: Some("not_active_in_session") };
    stage.call("a stranger may not", get, &stranger, None, None, &forbidden)?;
    let unknown = ("GET", "/v1/platform/XboxLive/platform-session/bm8gc3VjaCBzZXNzaW9u");
    let not_found = Expected { status: 404, error_code: Some("platform_session_not_found") };
    stage.call("an unknown platform session", unknown, &bob, None, None, &not_found)?;
    let bad = format!("/v1/platform/Xbox/platform-session/{XBOX_SESSION}");
    let invalid = Expected { status: 422, error_code: None };
    stage.call("a platform that there is not", ("GET", &bad), &bob, None, None, &invalid)?;

    if !stage.wrong.is_empty() {
        return Err(format!("not as it should be: {}", stage.wrong.join("; ")));
    }
    super::print("\nEvery answer was right.\n")?;
    Ok(format!(
        "  TOKEN='{bob}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}{seed}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" -H 'If-None-Match: {etag}' '{base}{seed}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}/v1/session/{session_id}'\n  \
         curl -i -H \"Authorization: Bearer $TOKEN\" '{base}/v1/player/me/session'\n",
        base = stage.base,
        etag = info.etag,
    ))
}
