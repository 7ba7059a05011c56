//! Sessions: create or join, read, change, end.

pub mod short_code;
pub mod team;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::instance::InstanceRequest;
use super::player::join;
use super::wire::client::{ClientSettings, CustomDataBody, JoinRequest, client};
use super::wire::session::{JoinabilityBody, SessionView, session_document};
use crate::app::{App, CachedSession, Failure};
use crate::auth::{Caller, Permission};
use crate::domain::Session;
use crate::domain::client::CrossplayPreferences;
use crate::domain::password::PasswordHash;
use crate::domain::session::join::{JoinPath, Joiner};
use crate::domain::session::listing::Listing;
use crate::domain::session::{Joinability, NewSession, SessionChange, TeamChange};
use crate::domain::template::{TEAMS_MAX, Template};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::{RefreshQuery, RefreshTtl, SessionPath};
use crate::http::operation::Input;
use crate::http::reply::{NoContent, Plain, Reply, Versioned};

/// How many open sessions create-or-join tries before it makes a new one.
const AUTO_JOIN_TRIES_MAX: usize = 32;
/// Open sessions that it looks at together.
const AUTO_JOIN_PAGE: usize = 64;
/// How often it looks further, past sessions that are not worth a try.
const AUTO_JOIN_PAGES_MAX: usize = 32;

/// A request to create or join a session.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "CreateOrJoinRequest")]
pub struct CreateOrJoinRequest {
    /// The game's version.
    client_version: String,
    /// Platform and input.
    client_settings: ClientSettings,
    /// Whom the player agrees to play with; without any, everyone.
    crossplay_preferences: Option<CrossplayPreferences>,
    /// Type of session.
    session_type: String,
    /// A password for the session, should a new one be made; also given when joining one.
    #[schemars(length(min = 1, max = 128))]
    password: Option<String>,
    /// Preferred region.
    #[schemars(length(min = 1, max = 128))]
    region_id: Option<String>,
    /// What the player says of themselves; where absent, the fields above serve.
    player: Option<JoinRequest>,
}

/// The session that a player is in now.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionJoinResponse")]
pub struct SessionJoined {
    /// Its id.
    #[schemars(length(min = 1, max = 128))]
    session_id: String,
}

/// A change of a session; what is absent stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "SessionUpdate")]
pub struct SessionUpdate {
    /// Preferred region.
    #[schemars(length(min = 1, max = 128))]
    region_id: Option<String>,
    /// The session's data, replaced whole.
    custom_data: Option<CustomDataBody>,
    /// Deprecated: the same as `joinability.open`, which wins where both are given.
    joinable: Option<bool>,
    /// Ways in without an invite, replaced whole.
    joinability: Option<JoinabilityBody>,
    /// The wanted teams, as many as there shall be.
    #[schemars(length(max = TEAMS_MAX))]
    teams: Option<Vec<TeamUpdate>>,
    /// A password to join with.
    #[schemars(length(min = 1, max = 128))]
    password: Option<String>,
}

/// A wanted team; what is absent stays.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct TeamUpdate {
    /// MembershipList.
    #[schemars(range(min = 1, max = 100))]
    max_size: Option<u32>,
    /// The product's data about it, replaced whole.
    custom_data: Option<CustomDataBody>,
}

/// Joins the oldest open session of a type that takes the caller, or makes a new one.
pub async fn create_or_join(
    app: Arc<App>,
    caller: Caller,
    Input { body: Json(request), .. }: Input<(), (), Json<CreateOrJoinRequest>>,
) -> Result<Reply<Plain<SessionJoined>>, Error> {
    let catalog = app.catalog();
    let template = catalog.templates.get(&request.session_type).ok_or(Error::TemplateNotFound)?;
    catalog.check_region(request.region_id.as_deref())?;
    let CreateOrJoinRequest { session_type, password, region_id, .. } = &request;
    let (session_type, password, region_id) = (session_type.clone(), password.clone(), region_id.clone());
    let joiner = joiner(&caller, request)?;
    let joined = match template.joins_first() {
        true => join_open(&app, &session_type, region_id.as_deref(), &joiner).await?,
        false => None,
    };
    let cached = match joined {
        Some(cached) => cached,
        None if template.can_be_created_by_players_directly => {
            let now = app.clock.now();
            let id = app.entropy.uuid().into();
            let password = password.map(|password| hashed(&app, &password));
            let new = NewSession { id, session_type, now, region_id, password };
            create(&app, &caller, template, new, &joiner).await?
        }
        None => return Err(Error::SessionTypeNotCreatable),
    };
    Ok(Reply::plain(&SessionJoined { session_id: cached.session.id.to_string() }))
}

/// The caller, as the rules see them. Without `player` the fields at the top serve, on the first team.
fn joiner(caller: &Caller, request: CreateOrJoinRequest) -> Result<Joiner, Error> {
    let player = caller.require_player()?;
    if let Some(player_request) = request.player {
        let mut joiner = player_request.joiner(caller, player, &["body", "player"])?;
        joiner.password = joiner.password.or(request.password);
        return Ok(joiner);
    }
    let (version, crossplay) = (request.client_version, request.crossplay_preferences);
    Ok(Joiner {
        player,
        player_id: caller.token().player_id,
        client: Some(client(
            caller.token().platform,
            version,
            &request.client_settings,
            crossplay,
            &["body"],
        )?),
        team_id: Some(0),
        custom_data: None,
        password: request.password,
        friend: None,
    })
}

/// Joins the oldest open session that takes the player. Losing a race for a place means trying the next.
async fn join_open(
    app: &App,
    session_type: &str,
    region_id: Option<&str>,
    joiner: &Joiner,
) -> Result<Option<Arc<CachedSession>>, Error> {
    let (mut tries, mut behind) = (0, None);
    for _ in 0..AUTO_JOIN_PAGES_MAX {
        let page = app.sessions.open(session_type, behind.as_ref(), AUTO_JOIN_PAGE).await?;
        for (_, id) in &page {
            let Some(candidate) = app.sessions.find(id).await? else { continue };
            if !may_suit(&candidate.session, region_id, joiner) {
                continue;
            }
            match join(app, id, true, joiner.clone(), JoinPath::Session, |_| Ok(())).await {
                Ok(cached) => return Ok(Some(cached)),
                Err(Failure::Refused(_)) => tries += 1,
                Err(failure) => return Err(failure.into()),
            }
            if tries == AUTO_JOIN_TRIES_MAX {
                return Ok(None);
            }
        }
        match page.into_iter().nth(AUTO_JOIN_PAGE - 1) {
            Some((last, _)) => behind = Some(last),
            None => break,
        }
    }
    Ok(None)
}

/// Whether an open session is worth a try: what is in another region, or asks for a password that was not given, must
/// not keep the player from what stands behind it.
fn may_suit(session: &Session, region_id: Option<&str>, joiner: &Joiner) -> bool {
    let in_region = region_id.is_none() || session.region_id.as_deref() == region_id;
    // Who is in it already, or invited, is asked for none.
    let is_known = session.players.contains_key(&joiner.player);
    in_region && (is_known || session.password.is_none() || joiner.password.is_some())
}

async fn create(
    app: &App,
    caller: &Caller,
    template: &Template,
    new: NewSession,
    creator: &Joiner,
) -> Result<Arc<CachedSession>, Error> {
    let now = new.now;
    let mut session = Session::new(new, template);
    session.enter_first(creator, now)?;
    // Asked first what is asked again when it is stored, so that a refusal uses up no number.
    app.sessions.check_quotas(&session).await?;
    if template.auto_add_to_browser {
        let sequence = app.listing_numbers.next(app.sessions.store()).await?;
        let custom_data = template.auto_browser_params.clone();
        session.listing = Some(Listing { sequence, created: now, custom_data });
    }
    if let Some(request) = InstanceRequest::at_start(template) {
        session.instance = Some(request.instance(app, caller)?);
    }
    Ok(app.create_session(session).await?)
}

fn hashed(app: &App, password: &str) -> PasswordHash {
    PasswordHash::new(password, app.entropy.bytes())
}

/// A session, as the caller may see it.
pub async fn get(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<SessionPath, RefreshQuery>,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    let cached = app.session(&path.session_id).await?;
    asked_for(&app, &caller, &cached, query.refresh_ttl).await?;
    Ok(Reply::document(&session_document(&app, &caller, &cached)))
}

/// Notes that a session was asked for, and keeps it alive. Strangers who merely look do not.
pub async fn asked_for(
    app: &App,
    caller: &Caller,
    cached: &CachedSession,
    refresh: RefreshTtl,
) -> Result<(), Failure> {
    present(app, caller, cached);
    let belongs = || caller.player().is_some_and(|player| cached.session.players.contains_key(&player));
    if refresh.0 && (caller.may(Permission::ReadAny) || belongs()) {
        app.keep(cached).await?;
    }
    Ok(())
}

/// Notes that a player is there still, where it matters.
pub fn present(app: &App, caller: &Caller, cached: &CachedSession) {
    if let Some(player) = caller.player().filter(|_| cached.culls()) {
        app.presence.heartbeat(&cached.session, player, app.clock.now_ms());
    }
}

/// Changes a session.
pub async fn update(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(update) }: Input<SessionPath, RefreshQuery, Json<SessionUpdate>>,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    let actor = caller.actor();
    let region = app.catalog().check_region(update.region_id.as_deref());
    let change = change(&app, update);
    let rule = move |session: &mut Session| {
        // Readiness comes before what the body says.
        session.require_leader(actor)?;
        region.clone()?;
        session.update(actor, change.clone())
    };
    let ((), cached) = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    Ok(Reply::document(&session_document(&app, &caller, &cached)))
}

fn change(app: &App, update: SessionUpdate) -> SessionChange {
    SessionChange {
        region_id: update.region_id,
        custom_data: update.custom_data.map(|data| data.0),
        joinability: update.joinability.map(Joinability::from),
        joinable: update.joinable,
        teams: update.teams.map(|teams| teams.into_iter().map(team_change).collect()),
        password: update.password.map(|password| hashed(app, &password)),
    }
}

/// A wanted team, as the rules see it.
pub fn team_change(update: TeamUpdate) -> TeamChange {
    TeamChange {
        max_size: update.max_size.and_then(|size| usize::try_from(size).ok()),
        custom_data: update.custom_data.map(|data| data.0),
    }
}

/// Ends a session.
pub async fn delete(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<SessionPath, RefreshQuery>,
) -> Result<Reply<NoContent>, Error> {
    let actor = caller.actor();
    app.sessions.update(&path.session_id, false, move |session: &mut Session| session.end_by(actor)).await?;
    tracing::info!(session_id = %path.session_id, "session ended by request");
    Ok(Reply::no_content())
}
