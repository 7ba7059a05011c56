//! Queues: joining and leaving them as a party, and the changes of the party that end its ticket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::Player;
use crate::domain::client::{Client, CrossplayPreferences, Input, VersionCheck};
use crate::domain::matchmaking::deserter::Bans;
use crate::domain::matchmaking::rank::Skill;
use crate::domain::matchmaking::ruleset::Party;
use crate::domain::matchmaking::ticket::{JoinParams, Ticket, TicketEnd};
use crate::domain::matchmaking::{Claims, MatchTemplate, Matchmaking};
use crate::domain::region::Region;
use crate::domain::template::Template;
use crate::domain::{Actor, Platform, PlayerUuid, Refused, Session};

/// What a party asks for when it joins queues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueRequest {
    /// Ids of the queues, each once. At least one.
    pub queue_ids: Vec<String>,
    /// Numbers, texts and tags of the ticket.
    pub params: JoinParams,
    /// Ids or names of maps, most wanted first.
    pub map_preferences: Vec<String>,
    /// Time that the party claims to have waited before, in seconds.
    pub passed_s: u64,
}

/// What joining a queue depends on beside the session and the request.
#[derive(Clone, Copy, Debug)]
pub struct QueueRules<'a> {
    /// The current time.
    pub now: Timestamp,
    /// The id of a new ticket.
    pub ticket_id: Uuid,
    /// The template of the session's type.
    pub template: Option<&'a Template>,
    /// The regions of the configuration.
    pub regions: &'a BTreeMap<String, Region>,
    /// Queues, templates and profiles of the configuration.
    pub matchmaking: &'a Matchmaking,
    /// Until when players may not queue. It must know all active players, if a profile keeps deserters out.
    pub bans: &'a Bans,
    /// How far the versions of two clients must agree.
    pub version_check: VersionCheck,
    /// The caller's player, and the platform in the player's token: the player may have joined on another one.
    pub plays_on: Option<(PlayerUuid, Platform)>,
    /// Numbers of the caller's token that ranks read. They replace those that the caller's player has joined with.
    pub caller_claims: Option<(PlayerUuid, &'a Claims)>,
    /// Most time that a player may claim to have waited before, in seconds.
    pub passed_s_max: u64,
    /// Most profiles of a ticket.
    pub profiles_max: usize,
}

impl Session {
    /// Lets the party join queues, or refuses. The same request again gives the ticket that is there: its caller may
    /// not have got the answer. That no player is in another party's ticket is left to the commit.
    pub fn join_queue(
        &mut self,
        actor: Actor,
        request: &QueueRequest,
        rules: &QueueRules<'_>,
    ) -> Result<Arc<Ticket>, Refused> {
        self.require_leader(actor)?;
        if !rules.template.is_some_and(|template| template.can_join_matchmaking) {
            return Err(Refused::MatchmakingNotAllowed);
        }
        let mut players: Vec<_> = self.active_players().into_iter().map(|(player, _)| player).collect();
        if players.is_empty() {
            return Err(Refused::QueueGroupEmpty);
        }
        if let Some(ticket) = &self.matchmaking {
            let is_same = ticket.queue_ids == request.queue_ids
                && ticket.params == request.params
                && ticket.map_preferences == request.map_preferences;
            return if is_same { Ok(Arc::clone(ticket)) } else { Err(Refused::AlreadyInQueue) };
        }
        rules.matchmaking.check_queues(&request.queue_ids, players.len())?;
        let region = self.region_id.as_ref().and_then(|id| rules.regions.get(id));
        if region.is_some_and(|region| region.custom_only) {
            return Err(Refused::RegionCustomOnly);
        }
        if let Some((player, platform)) = rules.plays_on {
            self.note_platform(player, platform);
        }
        if let Some((player, claims)) = rules.caller_claims {
            self.note_claims(player, claims);
        }
        self.check_clients(rules.version_check)?;
        // Rules of templates look at the leader first.
        players.sort_by_key(|player| self.leader() != Some(*player));
        let party = Party { players: &players, region_id: self.region_id.as_deref() };
        let templates = rules.matchmaking.templates_for(&party, &request.queue_ids)?;
        refuse_deserters(&party, &templates, rules)?;
        let profiles =
            rules.matchmaking.profiles_for(&party, &templates, &request.params, rules.profiles_max)?;
        let is_trusted = actor == Actor::Anyone;
        let known = |player, rank| self.skill_of(player, rank, rules.matchmaking);
        let skills = profiles.iter().filter_map(|entered| {
            let skill = rules.matchmaking.skill(entered, &party, &request.params, is_trusted, known)?;
            Some((entered.id.to_owned(), skill))
        });
        let skills = skills.collect();
        let profile_ids = profiles.iter().map(|entered| entered.id.to_owned()).collect();
        let version_group = self.version_group(rules.version_check);
        players.sort_unstable();
        let ticket = Arc::new(Ticket {
            id: rules.ticket_id,
            queue_ids: request.queue_ids.clone(),
            profile_ids,
            params: request.params.clone(),
            map_preferences: request.map_preferences.clone(),
            passed_s: if is_trusted { request.passed_s } else { request.passed_s.min(rules.passed_s_max) },
            enqueued: rules.now,
            players,
            version_group,
            skills,
        });
        self.matchmaking = Some(Arc::clone(&ticket));
        Ok(ticket)
    }

    /// The skill of a player in a rank, by the claims of the player's token.
    fn skill_of(&self, player: PlayerUuid, rank: Uuid, matchmaking: &Matchmaking) -> Option<Skill> {
        matchmaking.ranks.get(&rank)?.skill_of(&self.players.get(&player)?.claims)
    }

    /// Notes the claims of a player's newest token. A token without any changes nothing.
    fn note_claims(&mut self, player: PlayerUuid, claims: &Claims) {
        let entry = self.players.get_mut(&player).filter(|entry| entry.claims != *claims);
        if let Some(entry) = entry.filter(|_| !claims.is_empty()) {
            Arc::make_mut(entry).claims.clone_from(claims);
        }
    }

    /// Lets the party leave its queues. `end` is the reason that its ticket ends with.
    pub fn leave_queue(&mut self, actor: Actor, end: TicketEnd) -> Result<(), Refused> {
        self.require_leader(actor)?;
        if self.matchmaking.is_none() {
            return Err(Refused::NotInQueue);
        }
        self.end_ticket(end);
        Ok(())
    }

    /// Ends the ticket, if there is one.
    pub fn end_ticket(&mut self, end: TicketEnd) {
        if self.matchmaking.take().is_some() {
            self.ticket_end = Some(end);
        }
    }

    /// Ends the ticket if the party is no longer the one that queued. Every change of a session calls this after its
    /// rule, so that no rule can forget it. Returns the ticket that the change has ended, and why; `before` is the
    /// session before the change.
    pub fn settle_ticket(&mut self, before: &Self) -> Option<(Arc<Ticket>, TicketEnd)> {
        let end = self.ticket_end.take();
        let ticket = before.matchmaking.as_ref()?;
        let stays = self.matchmaking.as_ref().is_some_and(|after| after.id == ticket.id);
        let end = match (stays, self.ended) {
            (false, _) => end.unwrap_or(TicketEnd::PartyChanged),
            (true, true) => TicketEnd::LeftQueue,
            (true, false) if self.is_party_of(ticket, before) => return None,
            (true, false) => TicketEnd::PartyChanged,
        };
        self.matchmaking = self.matchmaking.take().filter(|_| !stays);
        Some((Arc::clone(ticket), end))
    }

    /// Whether the party still is the one with this ticket: the same active players, who play with the same clients,
    /// and the same region. The players are compared with those of the ticket and not with those before the change: a
    /// node of an older version may have changed them without ending the ticket.
    fn is_party_of(&self, ticket: &Ticket, before: &Self) -> bool {
        let active = self.players.iter().filter(|(_, entry)| entry.status.is_active());
        let mut count = 0;
        for (player, entry) in active {
            let is_as_before = before
                .players
                .get(player)
                .is_some_and(|before| Arc::ptr_eq(before, entry) || plays_with(before) == plays_with(entry));
            if !is_as_before || ticket.players.binary_search(player).is_err() {
                return false;
            }
            count += 1;
        }
        count == ticket.players.len() && self.region_id == before.region_id
    }

    /// Checks that the active players can play together: their versions, and then their crossplay preferences.
    fn check_clients(&self, check: VersionCheck) -> Result<(), Refused> {
        let clients: Vec<_> =
            self.active_players().into_iter().map(|(_, entry)| entry.client.as_ref()).collect();
        for (index, client) in clients.iter().enumerate() {
            let Some(client) = client else {
                if check == VersionCheck::Off {
                    continue;
                }
                return Err(Refused::VersionMismatch);
            };
            let mut others = clients[..index].iter().flatten();
            if others.any(|other| !check.admits(&client.version, &other.version)) {
                return Err(Refused::VersionMismatch);
            }
        }
        let accepts = |one: Option<&Client>, other: Option<&Client>| match (one, other) {
            (Some(one), Some(other)) => one.agrees_to(other),
            (Some(one), None) => one.agrees_to_unknown(),
            (None, _) => true,
        };
        for (index, one) in clients.iter().enumerate() {
            if clients[..index].iter().any(|other| !accepts(*one, *other) || !accepts(*other, *one)) {
                return Err(Refused::CrossplayMismatch);
            }
        }
        Ok(())
    }

    /// The version group of a party whose versions fit.
    fn version_group(&self, check: VersionCheck) -> String {
        let clients = self.active_players();
        let client = clients.iter().find_map(|(_, entry)| entry.client.as_ref());
        client.map_or_else(String::new, |client| check.group_of(&client.version))
    }
}

/// What a change of a player's client must leave as it is, for the party to stay the same.
fn plays_with(entry: &Player) -> Option<(&str, Platform, Input, Option<CrossplayPreferences>)> {
    let client = entry.client.as_ref()?;
    Some((&client.version, client.platform, client.input, client.crossplay))
}

/// Refuses a party with a deserter, if one of the profiles of these templates keeps deserters out.
fn refuse_deserters(
    party: &Party<'_>,
    templates: &[&MatchTemplate],
    rules: &QueueRules<'_>,
) -> Result<(), Refused> {
    let profiles = templates.iter().flat_map(|template| &template.profiles);
    let profiles = profiles.filter_map(|id| rules.matchmaking.profiles.get(id));
    let kinds: BTreeSet<_> = profiles.filter_map(|profile| profile.deserter_id).collect();
    let mut players = party.players.iter().filter(|_| !kinds.is_empty());
    players.try_for_each(|player| rules.bans.check(*player, &kinds, rules.now))
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
