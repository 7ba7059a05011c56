//! The keys of the login for development.

use uuid::Uuid;

use super::{KNOWN_PLAYER, KNOWN_PLAYERS_BY, REFRESH_TOKEN, key, sortable};
use crate::domain::PlayerUuid;
use crate::store::Key;

/// The SHA-256 of a refresh token.
pub type TokenHash = [u8; 32];

/// The key of a refresh token.
pub fn refresh_token(hash: &TokenHash) -> Key {
    key(REFRESH_TOKEN, &[&[0], hash])
}

/// The range of all refresh tokens: start, and end (excluded).
pub fn all_refresh_tokens() -> (Key, Key) {
    (vec![REFRESH_TOKEN, 0], vec![REFRESH_TOKEN, 1])
}

/// The hash in the key of a refresh token.
pub fn parse_refresh_token(key: &[u8]) -> Option<TokenHash> {
    key.strip_prefix(&[REFRESH_TOKEN, 0])?.try_into().ok()
}

/// The entry of a refresh token among those of its player.
pub fn refresh_token_of(player: PlayerUuid, created_ms: i64, hash: &TokenHash) -> Key {
    key(REFRESH_TOKEN, &[&[1], player.0.as_bytes(), &sortable(created_ms), hash])
}

/// The prefix of the entries of a player's refresh tokens.
pub fn refresh_tokens_of(player: PlayerUuid) -> Key {
    key(REFRESH_TOKEN, &[&[1], player.0.as_bytes()])
}

/// The hash in such an entry.
pub fn parse_refresh_token_of(key: &[u8]) -> Option<TokenHash> {
    let rest = key.strip_prefix(&[REFRESH_TOKEN, 1])?;
    rest.get(16 + 8..)?.try_into().ok()
}

/// The key of a player who has logged in.
pub fn known_player(player: PlayerUuid) -> Key {
    key(KNOWN_PLAYER, &[player.0.as_bytes()])
}

/// The entry of such a player by the time of the last login.
pub fn last_login(last_login_ms: i64, player: PlayerUuid) -> Key {
    key(KNOWN_PLAYERS_BY, &[&[0], &sortable(last_login_ms), player.0.as_bytes()])
}

/// The range of all such entries, the longest ago first: start, and end (excluded).
pub fn all_last_logins() -> (Key, Key) {
    (vec![KNOWN_PLAYERS_BY, 0], vec![KNOWN_PLAYERS_BY, 1])
}

/// The player of such an entry.
pub fn parse_last_login(key: &[u8]) -> Option<PlayerUuid> {
    let player = key.strip_prefix(&[KNOWN_PLAYERS_BY, 0])?.get(8..)?;
    Uuid::from_slice(player).ok().map(PlayerUuid)
}

/// The entry of such a player by the display name.
pub fn display_name(name: &str, player: PlayerUuid) -> Key {
    key(KNOWN_PLAYERS_BY, &[&[1], name.as_bytes(), &[0], player.0.as_bytes()])
}

/// The prefix of the entries of all players with a display name.
pub fn display_name_of(name: &str) -> Key {
    key(KNOWN_PLAYERS_BY, &[&[1], name.as_bytes(), &[0]])
}

/// The player of such an entry of this name.
pub fn parse_display_name(name: &str, key: &[u8]) -> Option<PlayerUuid> {
    let player = key.strip_prefix(display_name_of(name).as_slice())?;
    Uuid::from_slice(player).ok().map(PlayerUuid)
}
