//! Kicked players: they need an invite to return, by every join path.

use crate::domain::{PlayerUuid, Refused, Session};

/// How many kicked players a session remembers. Beyond that it forgets the player who was kicked first. A player takes
/// 18 bytes of the stored session.
pub const KICKED_MAX: usize = 256;

impl Session {
    /// Remembers a player who was kicked, as the latest one.
    pub(super) fn note_kicked(&mut self, player: PlayerUuid) {
        self.forget_kicked(player);
        self.kicked.push(player);
        let excess = self.kicked.len().saturating_sub(KICKED_MAX);
        self.kicked.drain(..excess);
    }

    /// Forgets that a player was kicked. An invite alone does not: the player may decline it, or it may be withdrawn.
    pub(super) fn forget_kicked(&mut self, player: PlayerUuid) {
        self.kicked.retain(|kicked| *kicked != player);
    }

    /// Whether the player was kicked and has no invite or reservation since. A player with an entry is not kept out:
    /// an older build, which ignores the list, may have let the player join.
    pub fn keeps_out(&self, player: PlayerUuid) -> bool {
        self.kicked.contains(&player) && !self.players.contains_key(&player)
    }

    /// Refuses a player who was kicked and has no invite since.
    pub(super) fn require_not_kicked(&self, player: PlayerUuid) -> Result<(), Refused> {
        if self.keeps_out(player) { Err(Refused::PlayerKicked) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "kicked_tests.rs"]
mod tests;
