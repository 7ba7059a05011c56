//! Making a match at the request of a matcher of the studio.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::api::wire::CustomDataBody;
use crate::app::instances::InstanceOfMatch;
use crate::app::matchmaking::matches::{self, Made, MatchOrder, Party, Teams};
use crate::app::{App, Catalog, Failure};
use crate::auth::Caller;
use crate::domain::audit::Cause;
use crate::domain::matchmaking::Profile;
use crate::domain::matchmaking::profile::MATCH_PLAYERS_MAX;
use crate::domain::session::Status;
use crate::domain::session::match_made::{MatchPlayer, MatchScores, MatchTeam};
use crate::domain::{PlayerUuid, Refused, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::conversion::as_time;
use crate::http::input::violation::{LocStep, ViolationKind};
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// Most sessions of a match: each has a player at least.
const SESSIONS_MAX: usize = MATCH_PLAYERS_MAX;

/// A match. It needs `session_tickets` or `sessions`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "MatchMakingSessionRequest")]
pub struct MatchRequest {
    /// Teams of the match, whose players are invited.
    #[schemars(length(min = 1, max = 50))]
    teams: Vec<MatchTeamBody>,
    /// Sessions of the match and the ticket of each. The match is made only if each session still has its ticket.
    #[serde(default)]
    session_tickets: SessionTickets,
    /// Sessions of the match, whatever tickets they have. Used if `session_tickets` is empty.
    #[serde(default)]
    #[schemars(length(max = 200), inner(length(min = 1, max = 128)))]
    sessions: Vec<String>,
    /// Deprecated: instance template of the match. Used if the profile names none.
    instance_launch_template_id: Option<Uuid>,
    /// Deprecated: the same under another name, which comes first.
    instance_request_template_id: Option<Uuid>,
    /// Region in which the match is played.
    #[schemars(length(min = 1, max = 128))]
    region_id: String,
    /// Id of the match. Another match has another one.
    #[schemars(length(min = 1, max = 128))]
    match_id: String,
    /// Custom data of the match.
    #[serde(default)]
    custom_data: CustomDataBody,
    /// Score of the match in the matcher. It is kept in the audit event of the match.
    evaluation_score: Option<Score>,
    /// Quality of the match, by the ranks of its players. It is kept in the audit event of the match.
    rank_quality: Option<Score>,
    /// Player who hosts the instance, if its template says that a player does. If it is absent: the leader of the ticket that has waited longest.
    host_player_uuid: Option<PlayerUuid>,
    /// Id of the backfill of the match, which then takes further players whatever its profile says. If it is absent: as the profile says.
    #[schemars(length(min = 1, max = 128))]
    backfill_id: Option<String>,
    /// Time at which the matcher asks for the match. It ends the waits of tickets in `ticket_added_unix_time`.
    #[schemars(with = "String", extend("format" = "date-time"))]
    match_create_request_time: Timestamp,
    /// Profile that the match is made by.
    #[schemars(length(min = 1, max = 128))]
    match_making_profile_id: String,
    /// Unix time since when each ticket has waited, if the matcher knows it better than the server.
    #[serde(default)]
    ticket_added_unix_time: UnixTimes,
}

/// A team of a match.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct MatchTeamBody {
    /// Players of the team.
    #[schemars(length(max = 200))]
    players: Vec<MatchPlayerBody>,
    /// Number of slots.
    #[schemars(range(min = 1, max = 100))]
    max_size: usize,
    /// Tickets on the team.
    #[serde(default)]
    #[schemars(length(max = 200), inner(length(max = 128)))]
    ticket_ids: Vec<String>,
    /// Custom data of the team.
    custom_data: Option<CustomDataBody>,
}

/// A player of a match.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct MatchPlayerBody {
    /// Player UUID.
    player_uuid: PlayerUuid,
    /// Status of the player in the session: `invited`, or `reserved` for a player who is not told yet. Any other status stands for `invited`.
    status: Status,
    /// Custom data of the player.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// Session ids, each with the id of a ticket.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct SessionTickets(BTreeMap<String, String>);

impl JsonSchema for SessionTickets {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SessionTickets".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": "string", "maxLength": 128 },
            "maxProperties": SESSIONS_MAX,
            "propertyNames": { "minLength": 1, "maxLength": 128 },
        })
    }
}

/// A number that a matcher gives a match.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Score(f64);

impl JsonSchema for Score {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Score".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

/// Unix times by ticket.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct UnixTimes(BTreeMap<String, f64>);

impl JsonSchema for UnixTimes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UnixTimes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": "number", "minimum": 0 },
            "maxProperties": SESSIONS_MAX,
            "propertyNames": { "maxLength": 128 },
        })
    }
}

/// The session of a match.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatchMadeSession")]
pub struct MatchMadeSession {
    /// Session id.
    #[schemars(length(min = 1, max = 128))]
    session_id: String,
}

/// Makes a match, or finds the session of the same match.
pub async fn create(
    app: Arc<App>,
    caller: Caller,
    Input { body: Json(request), .. }: Input<(), (), Json<MatchRequest>>,
) -> Result<Reply<Plain<MatchMadeSession>>, Error> {
    request.check()?;
    let created = request.match_create_request_time;
    let match_id = request.match_id.clone();
    if let Some(id) = app.sessions.session_of_match(&match_id).await? {
        return Ok(answer(&id));
    }
    let catalog = app.catalog();
    let order =
        MatchOrder { cause: Cause::Request(caller.player()), ..request.order(&app, &catalog, created)? };
    let made = Box::pin(matches::make(&app, &catalog, order, None)).await;
    let failure = match made {
        Ok(Made::Session(session)) => {
            let id = &session.session.id;
            tracing::info!(session_id = %id, match_id, "a matcher of the studio has made a match");
            return Ok(answer(id));
        }
        Ok(Made::Lacks(parties)) => {
            Refused::TicketNotFound(parties.first().map(|party| party.id.to_string()).unwrap_or_default())
                .into()
        }
        Err(failure) => failure,
    };
    // An equal request may have been first, and have taken the tickets.
    match app.sessions.session_of_match(&match_id).await? {
        Some(id) => Ok(answer(&id)),
        None => Err(Failure::into(failure)),
    }
}

fn answer(id: &SessionId) -> Reply<Plain<MatchMadeSession>> {
    Reply::plain(&MatchMadeSession { session_id: id.to_string() })
}

impl MatchRequest {
    /// Checks what the schema cannot express.
    fn check(&self) -> Result<(), Error> {
        if self.session_tickets.0.is_empty() && self.sessions.is_empty() {
            let missing = ViolationKind::MISSING.at(["body".into(), "session_tickets".into()]);
            return Err(Error::Invalid(vec![missing]));
        }
        let mut seen = BTreeSet::new();
        let mut twice = Vec::new();
        for (team, body) in self.teams.iter().enumerate() {
            for (place, player) in body.players.iter().enumerate() {
                if !seen.insert(player.player_uuid) {
                    let loc: [LocStep; 6] = [
                        "body".into(),
                        "teams".into(),
                        LocStep::Index(team),
                        "players".into(),
                        LocStep::Index(place),
                        "player_uuid".into(),
                    ];
                    twice.push(ViolationKind::REPEATED.at(loc));
                }
            }
        }
        if twice.is_empty() { Ok(()) } else { Err(Error::Invalid(twice)) }
    }

    /// The order for the match.
    fn order(self, app: &App, catalog: &Catalog, created: Timestamp) -> Result<MatchOrder, Error> {
        let profile = catalog.matchmaking.profile(&self.match_making_profile_id)?;
        catalog.check_region(Some(&self.region_id))?;
        let instance = self.instance(app, catalog, profile)?;
        let hosts = self.teams.iter().flat_map(|team| &team.players).map(|player| player.player_uuid);
        if self.host_player_uuid.is_some_and(|host| !hosts.into_iter().any(|player| player == host)) {
            return Err(Refused::PlayerNotFound.into());
        }
        let active_only = !self.session_tickets.0.is_empty();
        let parties = match active_only {
            true => with_tickets(&self.session_tickets.0)?,
            false => without_tickets(&self.sessions)?,
        };
        let now = app.clock.now();
        let added = self.ticket_added_unix_time.0.iter().filter_map(|(ticket, since_s)| {
            // The wait is counted to the time of the request, so a clock of the matcher is compared with itself.
            let waited = created.duration_since(as_time(&Value::from(*since_s))?);
            Some((Uuid::try_parse(ticket).ok()?, now.checked_sub(waited).ok()?))
        });
        Ok(MatchOrder {
            match_id: self.match_id,
            profile_id: self.match_making_profile_id,
            region_id: self.region_id,
            custom_data: self.custom_data.0,
            scores: MatchScores {
                evaluation_score: self.evaluation_score.map(|score| score.0),
                rank_quality: self.rank_quality.map(|score| score.0),
            },
            requested: Some(created),
            backfill_id: self.backfill_id,
            parties,
            added: added.collect(),
            cause: Cause::Server,
            teams: Teams::Given { teams: self.teams.into_iter().map(MatchTeam::from).collect(), active_only },
            instance,
            host_player: self.host_player_uuid,
        })
    }

    /// The instance of the match: of the template that the profile names, or else of the one that the request names.
    fn instance(
        &self,
        app: &App,
        catalog: &Catalog,
        profile: &Profile,
    ) -> Result<Option<InstanceOfMatch>, Refused> {
        let named = self.instance_request_template_id.or(self.instance_launch_template_id);
        let Some(id) = profile.instance_request_template_id.or(named) else { return Ok(None) };
        Ok(Some(InstanceOfMatch::new(app, (id, catalog.instance_template(id)?), &[])))
    }
}

/// The sessions of a match with their tickets. A text that is no ticket id is the id of no ticket.
fn with_tickets(pairs: &BTreeMap<String, String>) -> Result<Vec<Party>, Refused> {
    let party = |(session, ticket): (&String, &String)| {
        let not_found = || Refused::TicketNotFound(session.clone());
        let id = SessionId::parse(session).map_err(|_| not_found())?;
        Ok(Party { id, ticket: Some(Uuid::try_parse(ticket).map_err(|_| not_found())?) })
    };
    pairs.iter().map(party).collect()
}

/// The sessions of a match, each once.
fn without_tickets(sessions: &[String]) -> Result<Vec<Party>, Refused> {
    let once: BTreeSet<&String> = sessions.iter().collect();
    let party = |session: &String| {
        let id = SessionId::parse(session).map_err(|_| Refused::SessionNotFound)?;
        Ok(Party { id, ticket: None })
    };
    once.into_iter().map(party).collect()
}

impl From<MatchTeamBody> for MatchTeam {
    fn from(body: MatchTeamBody) -> Self {
        let player = |player: MatchPlayerBody| MatchPlayer {
            player: player.player_uuid,
            reserve: player.status == Status::Reserved,
            custom_data: player.custom_data.0,
            source_session: None,
        };
        Self {
            max_size: body.max_size,
            ticket_ids: body.ticket_ids,
            custom_data: body.custom_data.map(|data| data.0),
            players: body.players.into_iter().map(player).collect(),
        }
    }
}
