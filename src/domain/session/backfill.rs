//! The backfill of a match-made session: players join while the match is played. Its host says how many it wants, and
//! confirms now and then that it still wants them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::filling::PlayerValues;
use super::invite::Overflow;
use crate::domain::instance::{Health, Instance, JoinStatus};
use crate::domain::matchmaking::ticket::JoinParams;
use crate::domain::{Actor, PlayerUuid, Refused, Session};

/// What a host wants players for (contract: `BackfillStyle`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "BackfillStyle")]
pub enum BackfillStyle {
    /// Certain teams.
    TeamRequest,
    /// Any team.
    Composition,
}

/// The backfill of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backfill {
    /// Its id: 1 to 128 characters.
    pub id: String,
    /// The matchmaking profile whose tickets fill it.
    pub profile_id: String,
    /// When it was made.
    pub created: Timestamp,
    /// From then on its host must confirm it: since it was made, or since the instance last became joinable.
    pub expected_since: Timestamp,
    /// What happens to a party for which no team has enough places. A party is never invited in part.
    #[serde(default)]
    pub overflow_action: Overflow,
    /// What its host wants players for. Empty: certain teams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub styles: Vec<BackfillStyle>,
    /// The host's data. It is kept and shown, and never read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, String>,
    /// What tickets have to fit, if its host has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<JoinParams>,
    /// By team: how many players its host still wants; none on teams that are missing here. `None`: its host has not said
    /// it, and wants one for each free slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<BTreeMap<usize, usize>>,
    /// The players who were invited since its host last confirmed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unconfirmed: Vec<PlayerUuid>,
    /// The texts that all tickets of the match have in common, as far as the profile compares them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<String, String>,
    /// What tickets have said of players who are in the match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<PlayerUuid, PlayerValues>,
}

/// What a host says when it confirms a backfill. `None` keeps the current value.
#[derive(Clone, Debug, Default)]
pub struct BackfillConfirmation {
    /// What happens to a party for which no team has enough places. A party is never invited in part.
    pub overflow_action: Overflow,
    /// What the host wants players for.
    pub styles: Option<Vec<BackfillStyle>>,
    /// The host's data. It replaces all of the old data.
    pub extensions: Option<BTreeMap<String, String>>,
}

impl Session {
    /// Gives the session a backfill, which tickets of this profile fill. It replaces one that is there.
    pub fn start_backfill(&mut self, id: String, profile_id: String, now: Timestamp) {
        self.backfill = Some(Arc::new(Backfill {
            id,
            profile_id,
            created: now,
            expected_since: now,
            overflow_action: Overflow::default(),
            styles: Vec::new(),
            extensions: BTreeMap::new(),
            params: None,
            wanted: None,
            unconfirmed: Vec::new(),
            texts: BTreeMap::new(),
            values: BTreeMap::new(),
        }));
    }

    /// Confirms the backfill at the request of its host. Returns the players who were invited since the last time and
    /// are still there.
    pub fn confirm_backfill(
        &mut self,
        actor: Actor,
        instance_id: &str,
        confirmation: BackfillConfirmation,
    ) -> Result<Vec<PlayerUuid>, Refused> {
        let backfill = self.hosted_backfill(actor, instance_id)?;
        let BackfillConfirmation { overflow_action, styles, extensions } = confirmation;
        let mut after = Backfill { unconfirmed: Vec::new(), overflow_action, ..(**backfill).clone() };
        after.styles = styles.unwrap_or(after.styles);
        after.extensions = extensions.unwrap_or(after.extensions);
        let invited = backfill.unconfirmed.clone();
        if **backfill != after {
            *backfill = Arc::new(after);
        }
        Ok(invited.into_iter().filter(|player| self.players.contains_key(player)).collect())
    }

    /// Changes what the host wants: the number of players by team, none on the teams that are missing, and what their
    /// tickets have to fit; `None` keeps that.
    pub fn update_backfill(
        &mut self,
        actor: Actor,
        instance_id: &str,
        wanted: BTreeMap<usize, usize>,
        params: Option<JoinParams>,
    ) -> Result<(), Refused> {
        let teams = self.teams.len();
        let backfill = self.hosted_backfill(actor, instance_id)?;
        if wanted.keys().any(|team_id| *team_id >= teams) {
            return Err(Refused::TeamNotFound);
        }
        let backfill = Arc::make_mut(backfill);
        backfill.wanted = Some(wanted);
        if params.is_some() {
            backfill.params = params;
        }
        Ok(())
    }

    /// Ends the backfill at the request of its host.
    pub fn delete_backfill(&mut self, actor: Actor, instance_id: &str) -> Result<(), Refused> {
        self.hosted_backfill(actor, instance_id)?;
        self.backfill = None;
        Ok(())
    }

    /// The backfill, for the host of the instance with this id.
    fn hosted_backfill(&mut self, actor: Actor, instance_id: &str) -> Result<&mut Arc<Backfill>, Refused> {
        self.require_host(actor)?;
        if self.instance.as_ref().is_none_or(|instance| instance.instance_id != instance_id) {
            return Err(Refused::InstanceNotFound);
        }
        self.backfill.as_mut().ok_or(Refused::BackfillNotFound)
    }

    /// How many players the host wants now, by team: never more than there are free slots. Empty without a backfill.
    pub fn wanted_places(&self) -> Vec<usize> {
        let Some(backfill) = &self.backfill else { return Vec::new() };
        let teams = self.teams.iter().enumerate();
        let places = teams.map(|(team_id, team)| {
            let free = team.max_size.saturating_sub(self.slots_taken(team_id));
            match &backfill.wanted {
                Some(wanted) => wanted.get(&team_id).copied().unwrap_or_default().min(free),
                None => free,
            }
        });
        places.collect()
    }

    /// Whether players may be sent into the match now, as far as the session tells: its instance can be joined, and is not
    /// known to be ill. Whether the host has confirmed the backfill lately is not known here.
    pub fn can_be_filled(&self) -> bool {
        let is_ill =
            |instance: &Instance| matches!(instance.health, Some(Health::Unhealthy | Health::Unknown));
        self.backfill.is_some() && self.is_joinable() && !self.instance.as_ref().is_some_and(is_ill)
    }

    /// Whether the host must confirm the backfill. Before and while the instance cannot be joined, it does not.
    pub fn expects_confirmation(&self) -> bool {
        self.backfill.is_some() && self.is_joinable()
    }

    fn is_joinable(&self) -> bool {
        self.instance.as_ref().is_some_and(|instance| instance.join_status == JoinStatus::Joinable)
    }

    /// Notes that these players were invited to a team to fill the match: the host wants so many less, and the next
    /// confirmation names them.
    pub fn note_backfilled(&mut self, team_id: usize, players: &[PlayerUuid]) {
        let Some(backfill) = &mut self.backfill else { return };
        let backfill = Arc::make_mut(backfill);
        if let Some(wanted) = backfill.wanted.as_mut().and_then(|wanted| wanted.get_mut(&team_id)) {
            *wanted = wanted.saturating_sub(players.len());
        }
        let here = &self.players;
        backfill.unconfirmed.retain(|player| here.contains_key(player) && !players.contains(player));
        backfill.unconfirmed.extend(players);
    }

    /// Ends the backfill, because its host is inactive.
    pub fn expire_backfill(&mut self) {
        self.backfill = None;
    }

    /// Ends the backfill with its instance, and notes when the instance becomes joinable. Every change of a session calls
    /// this after its rule, so that no rule can forget it; `before` is the session before the change.
    pub fn settle_backfill(&mut self, before: &Self, now: Timestamp) {
        if self.backfill.is_none() {
            return;
        }
        let lives = |instance: &&Instance| !instance.is_closed();
        if let Some(instance) = before.instance.as_ref().filter(lives) {
            let now_there = self.instance.as_ref().filter(lives);
            if now_there.is_none_or(|other| other.instance_id != instance.instance_id) {
                self.backfill = None;
            }
        }
        let becomes_joinable = self.is_joinable() && !before.is_joinable();
        if let Some(backfill) = self.backfill.as_mut().filter(|_| becomes_joinable) {
            Arc::make_mut(backfill).expected_since = now;
        }
    }
}

#[cfg(test)]
#[path = "backfill_tests.rs"]
mod tests;
