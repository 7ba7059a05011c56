//! How a party gets into profiles: by its queues, their templates, and the filters of the profiles.

use uuid::Uuid;

use super::rank::Skill;
use super::ruleset::{NOTHING_OWNED, Party};
use super::ticket::JoinParams;
use super::{MatchTemplate, Matchmaking, Profile, RankSource};
use crate::domain::{PlayerUuid, Refused};

/// A profile that a ticket enters, and the template that names it.
#[derive(Clone, Copy, Debug)]
pub struct Entered<'a> {
    /// The id of the profile.
    pub id: &'a str,
    /// The template.
    pub template: &'a MatchTemplate,
    /// The profile.
    pub profile: &'a Profile,
}

impl Matchmaking {
    /// Checks each queue in turn: whether it exists, can be joined, and takes a party of so many players.
    ///
    /// # Errors
    /// [`Refused::QueueNotFound`], [`Refused::QueueInactive`], [`Refused::QueueGroupTooLarge`].
    pub fn check_queues(&self, ids: &[String], players: usize) -> Result<(), Refused> {
        for id in ids {
            let queue = self.queue(id)?;
            if !queue.active {
                return Err(Refused::QueueInactive(id.clone()));
            }
            if players > queue.max_queue_group_size {
                return Err(Refused::QueueGroupTooLarge(id.clone(), queue.max_queue_group_size));
            }
        }
        Ok(())
    }

    /// For each queue the first template that the party satisfies.
    ///
    /// # Errors
    /// [`Refused::NoMatchingTemplate`] with the first queue that has none.
    pub fn templates_for(
        &self,
        party: &Party<'_>,
        queue_ids: &[String],
    ) -> Result<Vec<&MatchTemplate>, Refused> {
        let template = |id: &String| {
            let group = self.template_group(self.queue(id)?.match_making_template_group_id)?;
            let satisfied = group.first_satisfied(party, NOTHING_OWNED);
            satisfied.ok_or_else(|| Refused::NoMatchingTemplate(id.clone()))
        };
        queue_ids.iter().map(template).collect()
    }

    /// The profiles of these templates that take the party, in order, each once; at most `profiles_max`.
    ///
    /// # Errors
    /// [`Refused::NoMatchingProfile`] if there is none.
    pub fn profiles_for<'a>(
        &'a self,
        party: &Party<'_>,
        templates: &[&'a MatchTemplate],
        params: &JoinParams,
        profiles_max: usize,
    ) -> Result<Vec<Entered<'a>>, Refused> {
        let mut found: Vec<Entered<'_>> = Vec::new();
        for &template in templates {
            for id in template.profiles.iter().map(String::as_str) {
                let Some(profile) = self.profiles.get(id) else { continue };
                let is_new = !found.iter().any(|known| known.id == id);
                let is_taken =
                    profile.active && profile.takes_party_of(party.players.len()) && profile.takes(params);
                if is_new && is_taken && found.len() < profiles_max {
                    found.push(Entered { id, template, profile });
                }
            }
        }
        if found.is_empty() { Err(Refused::NoMatchingProfile) } else { Ok(found) }
    }

    /// The skill of a party in the rank of a profile; `None` if the profile has no rank. `known` is the skill of a player
    /// in a rank, if it is known. `is_trusted`: the caller may change every session.
    pub fn skill(
        &self,
        entered: &Entered<'_>,
        party: &Party<'_>,
        params: &JoinParams,
        is_trusted: bool,
        known: impl Fn(PlayerUuid, Uuid) -> Option<Skill>,
    ) -> Option<f64> {
        let id = entered.profile.rank_id?;
        let rank = self.ranks.get(&id)?;
        let is_heeded = is_trusted || rank.from == RankSource::Anyone;
        let mut given = params.double_args.iter().filter(|_| is_heeded);
        if let Some((_, mu)) = given.find(|(name, _)| Uuid::try_parse(name) == Ok(id)) {
            return Some(rank.bounded(*mu));
        }
        let skill = |player: &PlayerUuid| {
            let known = known(*player, id);
            known.map_or(rank.unknown_skill(), |skill| Skill { mu: rank.bounded(skill.mu), ..skill })
        };
        let players: Vec<Skill> = party.players.iter().map(skill).collect();
        entered.template.mmr_grouping_method.group(&players)
    }
}
