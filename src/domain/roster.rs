//! Leaving a session, and who leads it then.

use super::session::Status;
use super::{PlayerUuid, Refused, Session};

impl Session {
    /// Takes the player out: leaving, or declining an invite or a reservation. The session ends with its last
    /// active player, unless its template keeps it alive.
    pub fn leave(&mut self, player: PlayerUuid) -> Result<(), Refused> {
        let entry = self.players.remove(&player).ok_or(Refused::PlayerNotFound)?;
        for platform_session in self.platform_sessions.values_mut() {
            platform_session.participants.retain(|other| *other != player);
        }
        if entry.status.is_active() {
            self.succeed_leader();
        }
        Ok(())
    }

    /// The longest-standing active player leads where nobody does; where nobody is active, the session ends.
    fn succeed_leader(&mut self) {
        if self.leader().is_some() {
            return;
        }
        let next = self.active_players().first().map(|(player, _)| *player);
        match next.and_then(|player| self.players.get_mut(&player)) {
            Some(entry) => entry.status = Status::Leader,
            None if self.keep_alive_on_empty => {}
            None => self.end(),
        }
    }
}
