//! `rallypoint token`: development tokens.

use std::time::Duration;

use clap::Args;
use uuid::Uuid;

use super::{KeyArgs, parse_uuid};
use crate::auth::{DEFAULT_PLAYER_PERMISSIONS, DevelopmentKey, Grant, Permissions};
use crate::domain::{Platform, PlayerUuid};
use crate::env::{Clock, Entropy};

/// What `rallypoint token --help` teaches.
pub const HELP: &str = "\
Without --permission the token gets what a player's client needs: creating, joining, leaving and reading \
sessions of their own, leading them, and linking platform sessions. With it, the token gets what is named \
and nothing else; --permission 'session:*' opens everything.

The key is that of the data directory, as file, environment (RALLYPOINT_STORE__DATA_DIR) and flag name it for \
serve; where there is none it is made, and said so on standard error. Name the directory that the server uses, \
else the server answers token_invalid. A server with keys of its own takes none of these tokens.

  TOKEN=$(rallypoint token --player 11111111-1111-4111-8111-111111111111)
  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:7700/session/v1/player/me/session";

/// Longest life of a development token.
const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Args)]
pub struct TokenArgs {
    /// The player's uuid; without it, and with permissions of its own, the token is a server's.
    #[arg(long, value_name = "UUID", value_parser = parse_uuid, required_unless_present = "permissions")]
    player: Option<Uuid>,
    /// The player's older, numeric id.
    #[arg(long, value_name = "NUMBER")]
    player_id: Option<i64>,
    /// A permission, as in session:read:any; give it again for more [default: those of a player's client].
    #[arg(long = "permission", value_name = "P")]
    permissions: Vec<String>,
    /// The platform the player is on, as in XboxLive; where the token names none, the request's body does.
    #[arg(long, value_parser = parse_platform)]
    platform: Option<Platform>,
    /// How long the token is good for: a number and s, m, h or d.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    ttl: Duration,
    #[command(flatten)]
    key: KeyArgs,
}

fn parse_platform(name: &str) -> Result<Platform, String> {
    let names = Platform::ALL.map(Platform::name).join(", ");
    name.parse().map_err(|()| format!("the platforms are {names}"))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
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

/// Prints a token.
pub fn print(args: &TokenArgs) -> Result<(), String> {
    let data_dir = args.key.data_dir()?;
    let path = DevelopmentKey::path(&data_dir);
    let was_there = path.exists();
    let key =
        DevelopmentKey::load_or_create(&data_dir, &Entropy::System).map_err(|error| error.to_string())?;
    if !was_there {
        eprintln!(
            "note: there was no development key, so {} was made; a server elsewhere does not take it",
            path.display()
        );
    }
    let permissions =
        if args.permissions.is_empty() { player_permissions() } else { args.permissions.clone() };
    for name in permissions.iter().filter(|name| Permissions::from_names([name.as_str()]).is_empty()) {
        eprintln!("warning: no operation asks for {name:?}; is it spelled as in docs/API.md?");
    }
    let grant = Grant {
        player: args.player.map(PlayerUuid),
        permissions,
        platform: args.platform,
        player_id: args.player_id,
        ttl: args.ttl,
    };
    super::print(&format!("{}\n", key.sign(&grant, Clock::System.now())))
}

/// What a player's client needs.
pub fn player_permissions() -> Vec<String> {
    DEFAULT_PLAYER_PERMISSIONS.iter().map(|permission| permission.name().to_owned()).collect()
}
