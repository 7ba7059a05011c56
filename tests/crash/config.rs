//! The configuration of the servers.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rallypoint::auth::DevelopmentKey;
use serde_json::json;

/// Session types: parties with the players of one client only; lobbies, which stay when they are empty; and
/// short-lived sessions with known lifetimes. The reporting interval is so long that one report keeps an instance
/// healthy for the whole run.
pub const CONFIG: &str = r#"
[telemetry]
log = "error"
[sessions]
idle_s = 30
invite_expiry_s = 2
[idempotency]
keys_per_caller_max = 1_000_000
[jobs]
every_ms = 100
[audit]
events_per_session_max = 1_000_000
[health]
cadence_s = 3600
[templates.watch]
can_be_created_by_players_directly = true
player_culling_timeout = 1
[templates.brief]
can_be_created_by_players_directly = true
[templates.party]
can_be_created_by_players_directly = true
can_be_added_to_server_browser = true
num_teams = 2
[templates.party.platform_templates]
XboxLive = { platform_session_type = "party" }
PSN = { platform_session_type = "party" }
Steam = { platform_session_type = "party" }
[templates.lobby]
can_be_created_by_players_directly = true
default_public = true
keep_alive_on_empty = true
players_per_team = 100
[templates.lobby.platform_templates]
XboxLive = { platform_session_type = "lobby" }
PSN = { platform_session_type = "lobby" }
Steam = { platform_session_type = "lobby" }
"#;

/// The additional configuration of several servers on one database, with a shared key.
pub fn share(dir: &Path, database_url: &str) -> String {
    let (keys, secret) = (dir.join("jwks.json"), std::fs::read_to_string(DevelopmentKey::path(dir)).unwrap());
    let key = json!({"kty": "oct", "alg": "HS256", "kid": "development", "k": secret.trim()});
    std::fs::write(&keys, json!({"keys": [key]}).to_string()).unwrap();
    std::fs::set_permissions(&keys, Permissions::from_mode(0o600)).unwrap();
    format!(
        "[auth]\njwks_file = {keys:?}\n[store]\nbackend = \"postgres\"\n[postgres]\nurl = {database_url:?}\n"
    )
}
