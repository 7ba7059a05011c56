//! Platform sessions: the session of a console or store platform that is linked to a session of this server.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Player;
use crate::domain::template::PlatformTemplate;
use crate::domain::{Actor, CustomData, Platform, PlatformSessionId, PlayerUuid, Refused, Session};

/// A linked platform session. Its type and data are set when it is linked and do not change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlatformSession {
    /// The id that the platform gave to its session.
    pub id: PlatformSessionId,
    /// The platform's name for this type of session: 1 to 128 characters.
    pub platform_session_type: String,
    /// The product's data, from the template.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
    /// Active players who linked it or joined through it. Players who only play on its platform are not listed here.
    #[serde(default)]
    pub participants: Vec<PlayerUuid>,
}

/// A player of a platform session (contract: `PlatformSessionPlayer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformPlayer {
    /// The player.
    pub player: PlayerUuid,
    /// The player's older, numeric id, if a token named it.
    pub player_id: Option<i64>,
    /// Whether the player is the leader of the platform session.
    pub leader: bool,
}

impl Session {
    /// Links a platform session, and adds the `linker`, if there is one, to its participants. Linking the same
    /// platform session again only adds the linker.
    pub fn link(
        &mut self,
        actor: Actor,
        linker: Option<PlayerUuid>,
        platform: Platform,
        id: &PlatformSessionId,
        template: Option<&PlatformTemplate>,
    ) -> Result<(), Refused> {
        self.require_active(actor)?;
        match self.platform_sessions.get(&platform) {
            Some(linked) if linked.id != *id => return Err(Refused::PlatformAlreadyLinked),
            Some(_) => {}
            None => {
                let template = template.ok_or(Refused::PlatformNotInTemplate(platform))?;
                let linked = PlatformSession {
                    id: id.clone(),
                    platform_session_type: template.platform_session_type.clone(),
                    custom_data: template.custom_data.clone(),
                    participants: Vec::new(),
                };
                self.platform_sessions.insert(platform, Box::new(linked));
            }
        }
        if let Some(linker) = linker {
            self.add_participant(platform, linker);
        }
        Ok(())
    }

    /// Removes the link. The players stay in the session.
    pub fn unlink(
        &mut self,
        actor: Actor,
        platform: Platform,
        id: &PlatformSessionId,
    ) -> Result<(), Refused> {
        self.require_linked(platform, id)?;
        self.require_active(actor)?;
        self.platform_sessions.remove(&platform);
        Ok(())
    }

    /// Refuses if this platform session is not linked to the session.
    pub fn require_linked(&self, platform: Platform, id: &PlatformSessionId) -> Result<(), Refused> {
        let linked = self.platform_sessions.get(&platform).is_some_and(|linked| linked.id == *id);
        if linked { Ok(()) } else { Err(Refused::PlatformSessionNotFound) }
    }

    /// Adds an active player to the participants of a platform session, whatever platform the player plays on.
    pub(super) fn add_participant(&mut self, platform: Platform, player: PlayerUuid) {
        let is_active = self.is_active(player);
        if let Some(linked) = self.platform_sessions.get_mut(&platform)
            && is_active
            && !linked.participants.contains(&player)
        {
            linked.participants.push(player);
        }
    }

    /// Notes on which platform an active player plays now. A player whose client is not known stays without one.
    pub fn note_platform(&mut self, player: PlayerUuid, platform: Platform) {
        let Some(entry) = self.players.get_mut(&player) else { return };
        let plays_elsewhere = entry.client.as_ref().is_some_and(|client| client.platform != platform);
        if entry.status.is_active() && plays_elsewhere {
            // Only now the entry is copied: other versions of the session share it.
            if let Some(client) = &mut Arc::make_mut(entry).client {
                client.platform = platform;
            }
        }
    }

    /// The players of a platform session, in the order in which they joined the session: active players who linked
    /// it, joined through it, or play on its platform.
    pub fn platform_players(&self, platform: Platform) -> Vec<PlatformPlayer> {
        let Some(linked) = self.platform_sessions.get(&platform) else { return Vec::new() };
        let active = self.active_players();
        let mut players = Vec::new();
        for (player, entry) in &active {
            if plays_on(entry, platform) || linked.participants.contains(player) {
                players.push(PlatformPlayer { player: *player, player_id: entry.player_id, leader: false });
            }
        }
        // The leader of the session also leads the platform session, but only if all active players are in it
        // (contract: `leader`). Otherwise the player who joined first leads it.
        let has_all = players.len() == active.len();
        let first = players.first().map(|first| first.player);
        let leader = if has_all { self.leader() } else { first };
        for player in &mut players {
            player.leader = leader == Some(player.player);
        }
        players
    }

    /// The scout of each platform that an active player plays on: of these players, the one who joined first. Clients
    /// let only the scout create and link a session on the platform.
    pub fn platform_scouts(&self) -> BTreeMap<Platform, PlayerUuid> {
        let mut scouts = BTreeMap::new();
        for (player, entry) in self.active_players() {
            if let Some(client) = &entry.client {
                scouts.entry(client.platform).or_insert(player);
            }
        }
        scouts
    }
}

fn plays_on(entry: &Player, platform: Platform) -> bool {
    entry.client.as_ref().is_some_and(|client| client.platform == platform)
}

#[cfg(test)]
#[path = "platform_tests.rs"]
mod tests;
