//! Joining and leaving matchmaking queues.

use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::MISSING;
use crate::api::change::{After, Change};
use crate::api::policies::*;
use crate::api::wire::queue::JoinParamsBody;
use crate::app::App;
use crate::auth::Caller;
use crate::domain::matchmaking::Matchmaking;
use crate::domain::matchmaking::deserter::Bans;
use crate::domain::matchmaking::ticket::{Ticket, TicketEnd};
use crate::domain::session::queue::{QueueRequest, QueueRules};
use crate::domain::{Actor, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::param_types::{RefreshQuery, RefreshTtl, SessionPath};
use crate::http::input::params::params;
use crate::http::input::violation::ViolationKind;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{NoContent, Plain, Reply};
use crate::http::surface::Tag;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new("Queues", "Parties that wait for a match.");

/// How often a party is looked at again if players join it while it joins a queue.
const ATTEMPTS_MAX: usize = 8;

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::POST, "join_queue", "/v1/session/{session_id}/queue", join, UPDATE_SESSION, "Join matchmaking queues").may_fail(MISSING).takes_if_match()
            .about("The session waits for a match, with all of its active players. The caller must be the leader, and the template of the session must allow it. The same request again answers with the same ticket. A change of the party ends the ticket."),
        Operation::new(M::DELETE, "leave_queue", "/v1/session/{session_id}/queue", leave, UPDATE_SESSION, "Leave the matchmaking queues").may_fail(MISSING).takes_if_match()
            .about("The session leaves all of its queues. The caller must be the leader. A 404 `not_in_queue` can mean that a match was made a moment before."),
    ]
}

/// A request to join matchmaking queues: at least one of `queue_id` and `queue_ids`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct QueueJoinRequest {
    /// Queue to join, as the first one.
    #[schemars(length(min = 1, max = 128))]
    queue_id: Option<String>,
    /// Queues to join.
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)))]
    queue_ids: Option<Vec<String>>,
    /// What the party asks for.
    additional_join_params: Option<JoinParamsBody>,
    /// Ids or names of maps, most wanted first. Unknown ones are ignored.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)))]
    map_preferences: Vec<String>,
    /// Time that the party has waited already, in seconds. The server limits what a player may claim.
    #[serde(default)]
    passed_queue_time_seconds: u64,
}

/// The ticket of a session that is in a queue.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "QueueJoinResponse")]
pub struct QueueJoined {
    /// Id of the ticket.
    ticket_id: String,
    /// Queues in the order of the request.
    #[schemars(inner(length(min = 1, max = 128)))]
    queue_ids: Vec<String>,
    /// Matchmaking profiles that the ticket waits for.
    #[schemars(inner(length(min = 1, max = 128)))]
    profile_ids: Vec<String>,
}

params! {
    /// Query of leaving the queues.
    LeaveQuery in "query" {
        /// Why the session leaves. It counts only from callers with permissions for every session.
        reason: TicketEnd,
        /// Whether this request keeps the session alive.
        refresh_ttl: RefreshTtl,
    }
}

impl QueueJoinRequest {
    /// The request for the rules. The queues are those of both fields, each once.
    fn read(self, queues_max: usize) -> Result<QueueRequest, Error> {
        let mut queue_ids: Vec<String> = Vec::new();
        for id in self.queue_id.into_iter().chain(self.queue_ids.into_iter().flatten()) {
            if !queue_ids.contains(&id) {
                queue_ids.push(id);
            }
        }
        let violation = match queue_ids.len() {
            0 => Some(ViolationKind::MISSING),
            count if count > queues_max => Some(ViolationKind::too_many_items(queues_max as u64)),
            _ => None,
        };
        if let Some(kind) = violation {
            return Err(Error::Invalid(vec![kind.at(["body".into(), "queue_ids".into()])]));
        }
        Ok(QueueRequest {
            queue_ids,
            params: self.additional_join_params.map(Into::into).unwrap_or_default(),
            map_preferences: self.map_preferences,
            passed_s: self.passed_queue_time_seconds,
        })
    }
}

/// Lets a session join matchmaking queues.
pub async fn join(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request), conditions }: Input<
        SessionPath,
        RefreshQuery,
        Json<QueueJoinRequest>,
    >,
) -> Result<Reply<Plain<QueueJoined>>, Error> {
    let settings = app.settings.matchmaking;
    let request = request.read(settings.queues_per_ticket_max)?;
    let token = Arc::clone(caller.token());
    let (actor, plays_on) = (caller.actor(), caller.player().zip(caller.token().platform));
    let (catalog, version_check) = (app.catalog(), app.settings.version_check);
    let (now, ticket_id) = (app.clock.now(), app.entropy.uuid());
    // The rule notes the platform itself, before it compares the players.
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0).without_platform();
    let rule = |bans: Bans| {
        let (catalog, token, request) = (Arc::clone(&catalog), Arc::clone(&token), request.clone());
        move |session: &mut Session| {
            let rules = QueueRules {
                now,
                ticket_id,
                template: catalog.template_of(session),
                regions: &catalog.regions,
                matchmaking: &catalog.matchmaking,
                bans: &bans,
                version_check,
                plays_on,
                caller_claims: token.player.map(|player| (player, &token.claims)),
                passed_s_max: settings.passed_queue_time_max_s,
                profiles_max: settings.profiles_per_ticket_max,
            };
            session.join_queue(actor, &request, &rules)
        }
    };
    let (app, id, mut has_forgotten) = (Arc::clone(&change.app), &path.session_id, false);
    for _ in 0..ATTEMPTS_MAX {
        let bans = bans(&app, id, &request.queue_ids, &catalog.matchmaking).await?;
        match change.clone().run(id, rule(bans), answer).await {
            Err(Error::Refused(Refused::DesertersUnread)) => {}
            Err(Error::Refused(Refused::PlayerAlreadyQueued))
                if !has_forgotten && app.sessions.forget_ended_queue_entries(id).await? =>
            {
                has_forgotten = true;
            }
            joined => return joined,
        }
    }
    Err(Error::Contended)
}

/// Until when the active players of a session may not queue, if these queues keep deserters out. A party that is too large
/// for one of the queues is refused anyway, so nothing is read for it.
async fn bans(
    app: &App,
    id: &SessionId,
    queue_ids: &[String],
    matchmaking: &Matchmaking,
) -> Result<Bans, Error> {
    let kinds = matchmaking.deserters_of(queue_ids);
    if kinds.is_empty() {
        return Ok(Bans::default());
    }
    // The change finds out that there is no such session.
    let Some(cached) = app.sessions.find_latest(id).await? else { return Ok(Bans::default()) };
    let players: Vec<_> = cached.session.active_players().into_iter().map(|(player, _)| player).collect();
    let queues = queue_ids.iter().filter_map(|id| matchmaking.queues.get(id));
    if queues.map(|queue| queue.max_queue_group_size).any(|most| players.len() > most) {
        return Ok(Bans::default());
    }
    Ok(Box::pin(app.deserters.bans(&players, &kinds)).await?)
}

fn answer(ticket: &Arc<Ticket>, _: &After<'_>) -> Result<Reply<Plain<QueueJoined>>, Error> {
    Ok(Reply::plain(&QueueJoined {
        ticket_id: ticket.id.to_string(),
        queue_ids: ticket.queue_ids.clone(),
        profile_ids: ticket.profile_ids.clone(),
    }))
}

/// Lets a session leave its queues.
pub async fn leave(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<SessionPath, LeaveQuery>,
) -> Result<Reply<NoContent>, Error> {
    let actor = caller.actor();
    let end = if actor == Actor::Anyone { query.reason } else { TicketEnd::LeftQueue };
    let rule = move |session: &mut Session| session.leave_queue(actor, end);
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    change.run(&path.session_id, rule, |(), _| Ok(Reply::no_content())).await
}
