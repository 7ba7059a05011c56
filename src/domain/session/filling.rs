//! Filling a match that has begun: what is known of its players, so that others fit them, and the places of those who come.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::match_made::MatchPlayer;
use crate::domain::client::Client;
use crate::domain::matchmaking::Profile;
use crate::domain::matchmaking::profile::RANK_FIELD;
use crate::domain::matchmaking::ticket::Ticket;
use crate::domain::{CustomData, PlayerUuid, Session};

/// What the ticket of a player has said, and the player's party.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlayerValues {
    /// The client that the player was in the party with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// By field of the profile: the value of the ticket. Fields that the ticket does not have are missing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, f64>,
}

impl Session {
    /// Notes what the ticket of a party says of those of its players who are in the match. `profile` is the one of the
    /// backfill. Does nothing without a backfill.
    pub fn note_values(&mut self, party: &Self, ticket: &Ticket, profile: &Profile) {
        let Some(backfill) = &mut self.backfill else { return };
        let backfill = Arc::make_mut(backfill);
        let skill = ticket.skills.get(&backfill.profile_id);
        let number = |name: &String| match name.as_str() {
            RANK_FIELD => skill.copied(),
            _ => ticket.params.double_args.get(name).copied(),
        };
        let fields = profile.fields.iter().map(|field| &field.name);
        let numbers = fields.filter_map(|name| Some((name.clone(), number(name).filter(|n| n.is_finite())?)));
        let numbers: BTreeMap<_, _> = numbers.collect();
        let here = &self.players;
        backfill.values.retain(|player, _| here.contains_key(player));
        for player in ticket.players.iter().filter(|player| here.contains_key(player)) {
            let client = party.players.get(player).and_then(|entry| entry.client.clone());
            backfill.values.insert(*player, PlayerValues { client, numbers: numbers.clone() });
        }
        let text = |name: &String| Some((name.clone(), ticket.params.string_args.get(name)?.clone()));
        backfill.texts = profile.equal.iter().filter_map(text).collect();
    }

    /// Whether players may be sent into the match together: none of them is in it already, or was kicked from it.
    pub fn may_be_sent(&self, players: &[PlayerUuid]) -> bool {
        !players.iter().any(|player| self.players.contains_key(player) || self.kicked.contains(player))
    }

    /// Invites the players of a party to a team, to fill the match. The caller has found that they fit, and ends the ticket.
    pub fn fill_with(
        &mut self,
        team_id: usize,
        party: &Self,
        ticket: &Ticket,
        profile: &Profile,
        now: Timestamp,
    ) {
        let players = party.players_of_ticket(ticket);
        for player in &players {
            let place = MatchPlayer {
                player: *player,
                // The instance can be joined, so nobody waits for it.
                reserve: false,
                custom_data: CustomData::new(),
                source_session: Some(party.id.clone()),
            };
            self.give_place(team_id, place, profile.accept_timeout_s, now);
        }
        self.note_backfilled(team_id, &players);
        self.note_values(party, ticket, profile);
    }
}

#[cfg(test)]
#[path = "filling_tests.rs"]
mod tests;
