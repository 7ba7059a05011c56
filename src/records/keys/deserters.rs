//! The keys of deserters.

use uuid::Uuid;

use super::{DESERTER, DESERTERS_CLEARED, key};
use crate::domain::PlayerUuid;
use crate::store::Key;

/// The key of a player's status for a kind of desertion.
pub fn deserter(player: PlayerUuid, kind: Uuid) -> Key {
    key(DESERTER, &[player.0.as_bytes(), kind.as_bytes()])
}

/// The prefix of all statuses of a player.
pub fn deserters_of(player: PlayerUuid) -> Key {
    key(DESERTER, &[player.0.as_bytes()])
}

/// The range of all statuses: start, and end (excluded).
pub fn all_deserters() -> (Key, Key) {
    (vec![DESERTER], vec![DESERTER + 1])
}

/// The player and the kind of desertion of a status.
pub fn parse_deserter(key: &[u8]) -> Option<(PlayerUuid, Uuid)> {
    let (player, kind) = key.strip_prefix(&[DESERTER])?.split_at_checked(16)?;
    Some((PlayerUuid(Uuid::from_slice(player).ok()?), Uuid::from_slice(kind).ok()?))
}

/// The key of the clears of a kind of desertion.
pub fn deserters_cleared(kind: Uuid) -> Key {
    key(DESERTERS_CLEARED, &[kind.as_bytes()])
}

/// The kind of desertion of such a key.
pub fn parse_deserters_cleared(key: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(key.strip_prefix(&[DESERTERS_CLEARED])?).ok()
}
