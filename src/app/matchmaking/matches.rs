//! Making a match: its parties lose their tickets and its session begins, in one commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::app::instances::InstanceOfMatch;
use crate::app::launches::Launches;
use crate::app::sessions::{Hook, Many, UpdateMany};
use crate::app::{App, CachedSession, Catalog, Failure};
use crate::domain::audit::Cause;
use crate::domain::matchmaking::Profile;
use crate::domain::matchmaking::profile::{BackfillMode, InviteTime, MATCH_PLAYERS_MAX};
use crate::domain::matchmaking::ticket::{Ticket, TicketEnd};
use crate::domain::session::NewSession;
use crate::domain::session::listing::Listing;
use crate::domain::session::match_made::{MatchPlayer, MatchScores, MatchTeam, MatchedTicket, NewMatch};
use crate::domain::{CustomData, PlayerUuid, Refused, Session, SessionId};

/// A match that a matcher wants.
#[derive(Clone, Debug)]
pub struct MatchOrder {
    /// The id of the match: 1 to 128 characters.
    pub match_id: String,
    /// The id of the profile that it is made by.
    pub profile_id: String,
    /// Where it is played.
    pub region_id: String,
    /// Data of the matcher.
    pub custom_data: CustomData,
    /// What the matcher says of how good the match is.
    pub scores: MatchScores,
    /// When a matcher of the studio has asked for it, by its own clock.
    pub requested: Option<Timestamp>,
    /// The sessions that it is made of, each once.
    pub parties: Vec<Party>,
    /// Who is on which team.
    pub teams: Teams,
    /// The instance, if it has one.
    pub instance: Option<InstanceOfMatch>,
    /// The id of its backfill, if the matcher wants one. `None`: as the profile says.
    pub backfill_id: Option<String>,
    /// The player who hosts the instance, if a player does and the matcher says who.
    pub host_player: Option<PlayerUuid>,
    /// The time to which the waits of tickets count, by ticket: until then they wait in the queue.
    pub added: BTreeMap<Uuid, Timestamp>,
    /// What makes the match.
    pub cause: Cause,
}

/// A session that a match is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Party {
    /// The session.
    pub id: SessionId,
    /// The ticket that it must have. `None`: any ticket that it has, or none.
    pub ticket: Option<Uuid>,
}

/// Who is on which team of a match.
#[derive(Clone, Debug)]
pub enum Teams {
    /// By team: the tickets of its parties. Each team has as many slots as the profile says.
    OfTickets(Vec<Vec<Uuid>>),
    /// The teams as a matcher of the studio has made them. `active_only`: each player must be active in one of the
    /// sessions.
    Given {
        /// The teams. The parties of their players are found out.
        teams: Vec<MatchTeam>,
        /// Whether a player who is active in none of the sessions refuses the match.
        active_only: bool,
    },
}

/// What has become of an order.
pub enum Made {
    /// The session of the match.
    Session(Arc<CachedSession>),
    /// Nothing: these of its tickets are no longer there.
    Lacks(Vec<Party>),
}

/// Makes a match. `hook` gets its session.
///
/// # Errors
/// [`Refused::SessionNotFound`] for a party without a demanded ticket; [`Refused::PlayerNotFound`] for a player who is in
/// none of the parties; [`Refused::MatchTooLarge`]; [`Refused::TeamTooFull`]; [`Refused::SessionTooLarge`]; refusals of the catalog, if it does not have what the profile names;
/// [`Failure::Contended`] if there is such a match already, or after 8 lost races; errors of the store.
pub async fn make(
    app: &App,
    catalog: &Arc<Catalog>,
    order: MatchOrder,
    hook: Hook<Vec<Party>>,
) -> Result<Made, Failure> {
    let profile = catalog.matchmaking.profile(&order.profile_id)?;
    let template = catalog.template(&profile.session_type)?;
    let id: SessionId = app.entropy.uuid().into();
    let now = app.clock.now();
    let listing = match template.auto_add_to_browser {
        true => Some(Listing {
            sequence: app.sessions.next_listing_number().await?,
            created: now,
            custom_data: template.auto_browser_params.clone(),
        }),
        false => None,
    };
    let ids = order.parties.iter().map(|party| party.id.clone()).collect();
    let by_profile = || (profile.backfill == BackfillMode::Auto).then(|| app.entropy.uuid().to_string());
    let backfill_id = order.backfill_id.clone().or_else(by_profile);
    let update = UpdateMany { ids, new_id: Some(id.clone()), hook, cause: order.cause };
    let (catalog, launches) = (Arc::clone(catalog), Arc::clone(&app.launches));
    let rule = move |many: &mut Many| {
        let lacking = missing(&order.parties, many)?;
        if lacking.is_empty() {
            let maker = Maker { catalog: &catalog, launches: &launches, order: &order };
            let mut made = maker.session(&id, now, many)?;
            if let Some(backfill_id) = &backfill_id {
                maker.start_backfill(&mut made, backfill_id, many)?;
            }
            many.new = Some(Session { listing: listing.clone(), ..made });
            many.match_id = Some(order.match_id.clone());
            for party in many.sessions.iter_mut().flatten() {
                party.end_ticket(TicketEnd::Assigned);
            }
        }
        Ok(lacking)
    };
    let changed = app.sessions.update_many(update, rule).await?;
    Ok(match changed.new {
        Some(session) => {
            let made = session.session.match_made.as_ref();
            let tickets = made.map(|made| made.results.tickets.as_slice()).unwrap_or_default();
            app.metrics.matches.made(tickets.iter().map(|ticket| ticket.wait_s));
            Made::Session(session)
        }
        None => Made::Lacks(changed.result),
    })
}

/// The parties that do not have the ticket any more that they must have.
fn missing(parties: &[Party], many: &Many) -> Result<Vec<Party>, Refused> {
    let mut lacking = Vec::new();
    for (party, session) in parties.iter().zip(&many.sessions) {
        let ticket = session.as_ref().and_then(|session| session.matchmaking.as_ref());
        match party.ticket {
            Some(wanted) if ticket.is_none_or(|ticket| ticket.id != wanted) => lacking.push(party.clone()),
            None if session.is_none() => return Err(Refused::SessionNotFound),
            _ => {}
        }
    }
    Ok(lacking)
}

/// Makes the session of a match from its parties.
struct Maker<'a> {
    catalog: &'a Catalog,
    launches: &'a Launches,
    order: &'a MatchOrder,
}

impl Maker<'_> {
    fn session(&self, id: &SessionId, now: Timestamp, many: &Many) -> Result<Session, Refused> {
        let order = self.order;
        let profile = self.catalog.matchmaking.profile(&order.profile_id)?;
        let template = self.catalog.template(&profile.session_type)?;
        let parties: Vec<&Session> = many.sessions.iter().flatten().collect();
        let teams = match &order.teams {
            Teams::OfTickets(sides) => {
                let team = |tickets: &Vec<Uuid>| side(&parties, tickets, profile);
                sides.iter().map(team).collect()
            }
            Teams::Given { teams, active_only } => given(&parties, teams, *active_only)?,
        };
        let session = NewSession {
            id: id.clone(),
            session_type: profile.session_type.clone(),
            now,
            region_id: Some(order.region_id.clone()),
            password: None,
        };
        let mut made = Session::of_match(NewMatch {
            session,
            match_id: order.match_id.clone(),
            custom_data: order.custom_data.clone(),
            scores: order.scores,
            requested: order.requested,
            profile_id: &order.profile_id,
            profile,
            template,
            teams,
            tickets: self.tickets(&parties, now),
            instance: order.instance.as_ref().map(|instance| instance.at(now)),
            host_player: order.host_player,
        });
        if let Some(mut instance) = made.instance.take() {
            self.launches.link(self.catalog, &made, &mut instance);
            made.instance = Some(instance);
        }
        Ok(made)
    }

    /// Lets the match be filled while it is played. Full or not: players may leave.
    fn start_backfill(&self, made: &mut Session, id: &str, many: &Many) -> Result<(), Refused> {
        let profile = self.catalog.matchmaking.profile(&self.order.profile_id)?;
        made.start_backfill(id.to_owned(), self.order.profile_id.clone(), made.created);
        for party in many.sessions.iter().flatten() {
            if let Some(ticket) = &party.matchmaking {
                made.note_values(party, ticket, profile);
            }
        }
        Ok(())
    }

    /// The tickets of the parties, the longest wait first.
    fn tickets(&self, parties: &[&Session], now: Timestamp) -> Vec<MatchedTicket> {
        let queued = parties.iter().filter_map(|party| Some((*party, party.matchmaking.as_ref()?)));
        let mut queued: Vec<_> = queued.collect();
        queued.sort_by_key(|(_, ticket)| (ticket.since_ms(), ticket.enqueued, ticket.id));
        let (region, matchmaking) = (&self.order.region_id, &self.catalog.matchmaking);
        let matched = queued.into_iter().map(|(party, ticket)| {
            let added = self.order.added.get(&ticket.id).copied();
            MatchedTicket::of(party, ticket, (added, now), region, matchmaking)
        });
        matched.collect()
    }
}

/// The team of some tickets: the players of their parties.
fn side(parties: &[&Session], tickets: &[Uuid], profile: &Profile) -> MatchTeam {
    let party_of = |id: &Uuid| -> Option<(&Session, &Arc<Ticket>)> {
        let queued = parties.iter().filter_map(|party| Some((*party, party.matchmaking.as_ref()?)));
        queued.into_iter().find(|(_, ticket)| ticket.id == *id)
    };
    let place = |party: &Session, player| MatchPlayer {
        player,
        reserve: profile.invite == InviteTime::WhenJoinable,
        custom_data: CustomData::new(),
        source_session: Some(party.id.clone()),
    };
    let players = tickets.iter().filter_map(party_of).flat_map(|(party, ticket)| {
        party.players_of_ticket(ticket).into_iter().map(move |player| place(party, player))
    });
    MatchTeam {
        max_size: profile.max_players_per_side,
        ticket_ids: tickets.iter().map(Uuid::to_string).collect(),
        custom_data: None,
        players: players.collect(),
    }
}

/// The teams of a matcher of the studio, with the parties of their players. What does not exist is refused first.
fn given(parties: &[&Session], teams: &[MatchTeam], active_only: bool) -> Result<Vec<MatchTeam>, Refused> {
    let mut teams = teams.to_vec();
    for place in teams.iter_mut().flat_map(|team| &mut team.players) {
        let party = parties.iter().find(|party| party.is_active(place.player));
        if active_only && party.is_none() {
            return Err(Refused::PlayerNotFound);
        }
        place.source_session = party.map(|party| party.id.clone());
    }
    if teams.iter().map(|team| team.players.len()).sum::<usize>() > MATCH_PLAYERS_MAX {
        return Err(Refused::MatchTooLarge(MATCH_PLAYERS_MAX));
    }
    if teams.iter().any(|team| team.players.len() > team.max_size) {
        return Err(Refused::TeamTooFull);
    }
    Ok(teams)
}
