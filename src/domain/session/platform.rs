//! Platform sessions: a console's or store's own session, linked to ours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Player;
use crate::domain::template::PlatformTemplate;
use crate::domain::{Actor, CustomData, Platform, PlatformSessionId, PlayerUuid, Refused, Session};

/// A linked platform session. Its type and data are fixed when it is linked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlatformSession {
    /// The platform's own id of it.
    pub id: PlatformSessionId,
    /// The platform's own name of its kind: 1 to 128 characters.
    pub platform_session_type: String,
    /// The product's data about it, from the template.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
    /// Active players who linked it or joined through it. Those who merely play on its platform are found by
    /// looking.
    #[serde(default)]
    pub participants: Vec<PlayerUuid>,
}

/// A player of a platform session (contract: `PlatformSessionPlayer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformPlayer {
    /// Who.
    pub player: PlayerUuid,
    /// The older, numeric id, where a token named it.
    pub player_id: Option<i64>,
    /// Whether the player leads the platform session.
    pub leader: bool,
}

impl Session {
    /// Links a platform session. The same pair again adds the linker, if that is news, and nothing else.
    ///
    /// `linker` is the player, if any, who becomes part of the platform session.
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
            self.came_through(platform, linker);
        }
        Ok(())
    }

    /// Takes the link away; the players stay.
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

    /// Refuses where the platform session is not (or no longer) linked to this session.
    pub fn require_linked(&self, platform: Platform, id: &PlatformSessionId) -> Result<(), Refused> {
        let linked = self.platform_sessions.get(&platform).is_some_and(|linked| linked.id == *id);
        if linked { Ok(()) } else { Err(Refused::PlatformSessionNotFound) }
    }

    /// Notes that an active player is in the platform session whatever they play on.
    pub(super) fn came_through(&mut self, platform: Platform, player: PlayerUuid) {
        let active = self.is_active(player);
        if let Some(linked) = self.platform_sessions.get_mut(&platform)
            && active
            && !linked.participants.contains(&player)
        {
            linked.participants.push(player);
        }
    }

    /// The players of a platform session, longest-standing first: active players who linked it, joined through
    /// it, or play on its platform.
    pub fn platform_players(&self, platform: Platform) -> Vec<PlatformPlayer> {
        let Some(linked) = self.platform_sessions.get(&platform) else { return Vec::new() };
        let active = self.active_players();
        let plays_in = |(player, entry): &&(PlayerUuid, &Player)| {
            plays_on(entry, platform) || linked.participants.contains(player)
        };
        let players: Vec<_> = active.iter().filter(plays_in).collect();
        // Leadership is coordinated only where the platform session holds everyone (contract: `leader`).
        let everyone = players.len() == active.len();
        let leader = if everyone { self.leader() } else { players.first().map(|(player, _)| *player) };
        let player = |(player, entry): &(PlayerUuid, &Player)| PlatformPlayer {
            player: *player,
            player_id: entry.player_id,
            leader: leader == Some(*player),
        };
        players.into_iter().map(player).collect()
    }

    /// The scout of each platform that an active player is on: the longest-standing of them. Clients let the
    /// scout alone create and link the platform's session.
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
