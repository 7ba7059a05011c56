//! `rallypoint token`: development tokens.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use uuid::Uuid;

use super::config::KeyArgs;
use super::parse_uuid;
use crate::auth::{AccessGrant, DEFAULT_PLAYER_PERMISSIONS, DevelopmentKey, Grant, LoginKey, Permissions};
use crate::domain::{Platform, PlayerUuid};
use crate::env::{Clock, Entropy};

/// Text after `rallypoint token --help`.
pub const HELP: &str = "\
The token is the only output on standard output, so that a script can use it.

Permissions: without --permission, the token grants what a player's client needs: create, join, leave and read the \
player's own sessions, lead them, and link platform sessions. With --permission, it grants the named permissions and \
no others; --permission 'session:*' grants everything.

Key: the development key is in the data directory, which --data-dir, RALLYPOINT_STORE__DATA_DIR or the configuration \
file names, as for serve. If there is no key yet, the command creates it, with a note on standard error. A server with \
another data directory answers token_invalid. With --login-key, the token is signed with the login key in the same \
directory, as the tokens of a login are. A server with jwks_file or jwks_url under [auth] accepts no development \
tokens.

  TOKEN=$(rallypoint token --player 11111111-1111-4111-8111-111111111111)
  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:7700/session/v1/player/me/session

Next: create a session. docs/GETTING-STARTED.md has the requests; /docs on a running server has every operation.";

/// The client id in tokens of the login key.
const CLIENT_ID: &str = "rallypoint-token";

/// Longest lifetime of a development token.
const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Args)]
pub struct TokenArgs {
    /// UUID of the player. Without it, the token is for a service, such as a game server, and needs --permission.
    #[arg(long, value_name = "UUID", value_parser = parse_uuid, required_unless_present = "permissions")]
    player: Option<Uuid>,
    /// Older, numeric id of the player.
    #[arg(long, value_name = "NUMBER")]
    player_id: Option<i64>,
    /// Permission, as in session:read:any; repeat the flag for more [default: those of a player's client].
    #[arg(long = "permission", value_name = "P")]
    permissions: Vec<String>,
    /// Platform of the player, as in XboxLive. Without it, the server takes the platform from the body of a request.
    #[arg(long, value_parser = parse_platform)]
    platform: Option<Platform>,
    /// Sign with the login key (RS256), whose public part a server shows at /users/v1/publickeys. For programs that
    /// verify tokens with it.
    #[arg(long)]
    login_key: bool,
    /// Lifetime of the token: a number and s, m, h or d.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    ttl: Duration,
    #[command(flatten)]
    key: KeyArgs,
}

fn parse_platform(name: &str) -> Result<Platform, String> {
    let names = Platform::ALL.map(Platform::name).join(", ");
    name.parse().map_err(|()| format!("the platforms are {names}"))
}

/// Parses a time span: a number and s, m, h or d.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "this takes a number and s, m, h or d, as in 90s or 1h, up to 366d".to_owned();
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit_s = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(wrong()),
    };
    let seconds = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_s));
    let ttl = seconds.map(Duration::from_secs).filter(|ttl| (Duration::from_secs(1)..=TTL_MAX).contains(ttl));
    ttl.ok_or_else(wrong)
}

/// Runs the command.
pub fn run(args: &TokenArgs) -> Result<(), String> {
    let data_dir = args.key.data_dir()?;
    let key = SigningKey::load_or_create(args.login_key, &data_dir)?;
    let permissions =
        if args.permissions.is_empty() { player_permissions() } else { args.permissions.clone() };
    for name in permissions.iter().filter(|name| Permissions::from_names([name.as_str()]).is_empty()) {
        eprintln!(
            "warning: no operation needs the permission {name:?}; check its spelling against docs/API.md"
        );
    }
    let grant = Grant {
        player: args.player.map(PlayerUuid),
        permissions,
        platform: args.platform,
        player_id: args.player_id,
        ttl: args.ttl,
    };
    super::print(&format!("{}\n", key.sign(grant)))
}

/// The key that signs a token.
enum SigningKey {
    Development(DevelopmentKey),
    Login(Box<LoginKey>),
}

impl SigningKey {
    /// Loads a key of a data directory. Creates it, with a note, if there is none.
    fn load_or_create(is_login_key: bool, data_dir: &Path) -> Result<Self, String> {
        let path = if is_login_key { LoginKey::path(data_dir) } else { DevelopmentKey::path(data_dir) };
        let existed = path.exists();
        let key = match is_login_key {
            true => {
                LoginKey::load_or_create(data_dir, &Entropy::System).map(|key| Self::Login(Box::new(key)))
            }
            false => DevelopmentKey::load_or_create(data_dir, &Entropy::System).map(Self::Development),
        };
        let key = key.map_err(|error| error.to_string())?;
        if !existed {
            let name = if is_login_key { "login key" } else { "development key" };
            eprintln!(
                "note: created the {name} {}; a server with another data directory rejects its tokens",
                path.display()
            );
        }
        Ok(key)
    }

    fn sign(&self, grant: Grant) -> String {
        let now = Clock::System.now();
        match self {
            Self::Development(key) => key.sign(&grant, now),
            Self::Login(key) => {
                let (client_id, token_id) = (CLIENT_ID.to_owned(), Entropy::System.uuid());
                key.sign(&AccessGrant { grant, client_id, name: None, token_id }, now)
            }
        }
    }
}

/// Permissions that a player's client needs.
pub fn player_permissions() -> Vec<String> {
    DEFAULT_PLAYER_PERMISSIONS.iter().map(|permission| permission.name().to_owned()).collect()
}
