//! The match that a session was made for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::CustomDataBody;
use super::match_making::ProfileView;
use super::queue::JoinParamsBody;
use crate::app::{View, VisiblePlayers};
use crate::domain::session::match_made::{MatchResults, MatchedTicket};
use crate::domain::{PlayerUuid, Session};

/// The match that a session was made for.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatchmakingResults")]
pub struct MatchResultsView {
    /// Id of the match.
    match_making_id: String,
    /// Time at which the match was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    created: Timestamp,
    /// Custom data of the matcher.
    custom_data: CustomDataBody,
    /// Tickets that the match was made of, the longest wait first.
    ticket_ids: Vec<String>,
    /// Data of these tickets. Without those whose players the caller does not see.
    ticket_data: Vec<TicketView>,
    /// Always true: the tickets ended when the match was made.
    tickets_assigned: bool,
    /// Profile that the match was made by, as it was then.
    profile: ProfileView,
    /// Time that each ticket waited, in seconds.
    ticket_wait_seconds: BTreeMap<String, u64>,
}

/// A ticket that a match was made of.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TicketData")]
pub struct TicketView {
    /// Id of the ticket.
    ticket_id: String,
    /// Players of the ticket.
    player_uuids: Vec<PlayerUuid>,
    /// Time at which the party joined its queues.
    #[schemars(with = "String", extend("format" = "date-time"))]
    queue_join_datetime: Timestamp,
    /// Region of the party, or else of the match.
    #[schemars(length(min = 1, max = 128))]
    region_id: String,
    /// First queue.
    #[schemars(length(min = 1, max = 128))]
    queue_id: String,
    /// Queues in the order of the request.
    #[schemars(inner(length(min = 1, max = 128)))]
    queue_ids: Vec<String>,
    /// Profiles that the ticket waited for.
    #[schemars(inner(length(min = 1, max = 128)))]
    profile_ids: Vec<String>,
    /// What the party asked for.
    additional_join_params: JoinParamsBody,
    /// Skill of the party, by rank.
    rank_data: Vec<RankView>,
    /// Session that was queued.
    #[schemars(length(min = 1, max = 128))]
    queued_session_id: String,
}

/// The skill of a party in a rank.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RankData")]
pub struct RankView {
    /// Id of the rank.
    rank_uuid: String,
    /// Skill.
    mu: f64,
}

impl MatchResultsView {
    /// The wire form of a match, in a view of its session. A view that hides players hides what their tickets say.
    pub fn of(results: &MatchResults, session: &Session, view: View) -> Self {
        let is_shown = |player: &PlayerUuid| {
            let entry = session.players.get(player);
            view.players == VisiblePlayers::All
                || entry.is_some_and(|entry| view.shown(*player, entry).is_some())
        };
        let tickets = results.tickets.iter().filter_map(|ticket| {
            let shown: Vec<_> = ticket.players.iter().copied().filter(is_shown).collect();
            (!shown.is_empty()).then(|| TicketView::of(ticket, shown))
        });
        let waits = results.tickets.iter().map(|ticket| (ticket.id.to_string(), ticket.wait_s));
        Self {
            match_making_id: results.match_id.clone(),
            created: results.created,
            custom_data: CustomDataBody(results.custom_data.clone()),
            ticket_ids: results.tickets.iter().map(|ticket| ticket.id.to_string()).collect(),
            ticket_data: tickets.collect(),
            tickets_assigned: true,
            profile: ProfileView::of_match(&results.profile),
            ticket_wait_seconds: waits.collect(),
        }
    }
}

impl TicketView {
    fn of(ticket: &MatchedTicket, player_uuids: Vec<PlayerUuid>) -> Self {
        let ranks = ticket.skills.iter().map(|(rank, mu)| RankView { rank_uuid: rank.to_string(), mu: *mu });
        Self {
            ticket_id: ticket.id.to_string(),
            player_uuids,
            queue_join_datetime: ticket.enqueued,
            region_id: ticket.region_id.clone(),
            queue_id: ticket.queue_ids.first().cloned().unwrap_or_default(),
            queue_ids: ticket.queue_ids.clone(),
            profile_ids: ticket.profile_ids.clone(),
            additional_join_params: ticket.params.clone().into(),
            rank_data: ranks.collect(),
            queued_session_id: ticket.session_id.to_string(),
        }
    }
}
