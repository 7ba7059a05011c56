//! Players of a session: reading them, joining, leaving, kicking.

pub mod rights;
pub mod roster;

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::session::asked_for;
use super::wire::client::{CustomDataBody, JoinRequest};
use super::wire::session::{PlayerView, TeamView, session_document, view_for};
use crate::app::{App, CachedSession, Failure};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::session::Status;
use crate::domain::session::join::{JoinPath, Joiner};
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::{
    Cursor, PageSize, PlayerInSessionPath, Reason, RefreshQuery, RefreshTtl, SessionPath, params,
};
use crate::http::operation::Input;
use crate::http::reply::{Changed, NoContent, Reply, Versioned};
use crate::telemetry::Departure;

params! {
    /// The path of a player of a session, by their older, numeric id.
    PlayerIdInSessionPath in "path" {
        /// The session.
        session_id: SessionId,
        /// The player's older, numeric id.
        player_id: i64,
    }
}

params! {
    /// The query of leaving and kicking.
    LeaveQuery in "query" {
        /// Why; logged.
        reason: Reason,
        /// Whether this request keeps the session alive.
        refresh_ttl: RefreshTtl,
    }
}

params! {
    /// The query of a page of players.
    PlayersQuery in "query" {
        /// Where the page begins: 0, or the cursor of the page before.
        cursor: Cursor,
        /// Most players on the page.
        page_size: PageSize,
        /// Whether this request keeps the session alive.
        refresh_ttl: RefreshTtl,
    }
}

/// A player's place after a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPlayerUpdateResponse")]
pub struct PlayerUpdated {
    /// Who.
    player_uuid: PlayerUuid,
    /// Readiness.
    status: Status,
    /// Index of the team.
    team_id: usize,
    /// The player's own data.
    custom_data: CustomDataBody,
}

/// A page of a session's players, in the order they came.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PagedPlayersResponse")]
pub struct PlayersPage<'a> {
    /// The teams of the players on the page, with no other players.
    teams: Vec<TeamView<'a>>,
    /// Where the next page begins; 0 after the last.
    cursor: u64,
}

impl PlayerUpdated {
    /// A player's place in a session as it is now.
    pub fn of(session: &Session, player: PlayerUuid) -> Result<Self, Refused> {
        let entry = session.entry(player)?;
        Ok(Self {
            player_uuid: player,
            status: entry.status,
            team_id: entry.team_id,
            custom_data: CustomDataBody(entry.custom_data.clone()),
        })
    }
}

/// A player's place after a change, with the version of the session as the caller would now read it.
pub fn updated(
    app: &App,
    caller: &Caller,
    cached: &CachedSession,
    player: PlayerUuid,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let updated = PlayerUpdated::of(&cached.session, player)?;
    Ok(Reply::with_etag_of(&updated, &session_document(app, caller, cached)))
}

/// A player of a session, as the caller may see them.
pub async fn get(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerInSessionPath, RefreshQuery>,
) -> Result<Reply<Versioned<PlayerView<'static>>>, Error> {
    let cached = app.session(&path.session_id).await?;
    asked_for(&app, &caller, &cached, query.refresh_ttl).await?;
    let (entry, view) = (cached.session.entry(path.player_uuid)?, view_for(&caller, &cached.session));
    if !view.shows(path.player_uuid, entry) {
        return Err(Refused::PlayerNotFound.into());
    }
    Ok(Reply::document(&Document::of(&PlayerView::of(path.player_uuid, entry, view.depth))))
}

/// A page of a session's players. The cursor is the number of the last entry seen, so that entries which come or
/// go meanwhile neither repeat nor hide another.
pub async fn page(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<SessionPath, PlayersQuery>,
) -> Result<Reply<Versioned<PlayersPage<'static>>>, Error> {
    let cached = app.session(&path.session_id).await?;
    asked_for(&app, &caller, &cached, query.refresh_ttl).await?;
    let (session, view) = (&cached.session, view_for(&caller, &cached.session));
    let shown = session.players.iter().filter(|(player, entry)| view.shows(**player, entry));
    let mut entries: Vec<_> =
        shown.map(|(_, entry)| entry).filter(|entry| entry.sequence > query.cursor.0).collect();
    entries.sort_by_key(|entry| entry.sequence);
    let more = entries.len() > query.page_size.0;
    entries.truncate(query.page_size.0);
    let last = entries.last().map_or(query.cursor.0, |entry| entry.sequence);
    let team_ids: BTreeSet<_> = entries.iter().map(|entry| entry.team_id).collect();
    let on_page = |sequence: u64| query.cursor.0 < sequence && sequence <= last;
    let team = |team_id| {
        TeamView::with_players(session, team_id, |player, entry| {
            (on_page(entry.sequence) && view.shows(player, entry)).then_some(view.depth)
        })
    };
    let page =
        PlayersPage { teams: team_ids.into_iter().map(team).collect(), cursor: if more { last } else { 0 } };
    Ok(Reply::document(&Document::of(&page)))
}

/// Lets a player into a session if `also` has nothing against it, whichever door they come to.
pub async fn join(
    app: &App,
    id: &SessionId,
    refresh: bool,
    joiner: Joiner,
    door: JoinPath,
    also: impl Fn(&Session) -> Result<(), Refused> + Send + 'static,
) -> Result<Arc<CachedSession>, Failure> {
    let rules = app.join_rules(app.clock.now());
    let rule = move |session: &mut Session| {
        also(session)?;
        session.join(&joiner, door, rules)
    };
    app.sessions.update(id, refresh, rule).await.map(|((), cached)| cached)
}

/// The caller joins a session.
pub async fn join_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body }: Input<SessionPath, RefreshQuery, Json<JoinRequest>>,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let player = caller.require_player()?;
    let joiner = body.0.joiner(&caller, player, &["body"])?;
    let cached =
        join(&app, &path.session_id, query.refresh_ttl.0, joiner, JoinPath::Session, |_| Ok(())).await?;
    updated(&app, &caller, &cached, player)
}

/// The caller leaves a session, or declines an invite or a reservation.
pub async fn leave_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<SessionPath, LeaveQuery>,
) -> Result<Reply<NoContent>, Error> {
    let player = caller.require_player()?;
    let rule = move |session: &mut Session| session.leave(player);
    match app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await {
        Ok(_) => {
            left(&app, &path.session_id, player, query.reason.0.as_deref());
            Ok(Reply::no_content())
        }
        Err(gone @ Failure::Refused(Refused::SessionNotFound)) => {
            // Clients leave a session that is gone to clean their list up; help them.
            app.sessions.forget_membership(player, &path.session_id).await?;
            Err(gone.into())
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Counts and logs a player who left, whichever door they took.
pub fn left(app: &App, id: &SessionId, player: PlayerUuid, reason: Option<&str>) {
    app.metrics.departed(Departure::Left);
    tracing::info!(session_id = %id, player_uuid = %player, reason, "player left session");
}

/// Takes a player out of a session, or takes back an invite.
pub async fn kick(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerInSessionPath, LeaveQuery>,
) -> Result<Reply<Changed>, Error> {
    let cached = kick_from(&app, &caller, &path.session_id, path.player_uuid, query).await?;
    Ok(Reply::changed(&session_document(&app, &caller, &cached)))
}

/// Deprecated: takes a player, named by their older id, out of a session.
pub async fn kick_by_id(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerIdInSessionPath, LeaveQuery>,
) -> Result<Reply<NoContent>, Error> {
    let player = player_of_id(&app, &caller, &path.session_id, path.player_id).await?;
    kick_from(&app, &caller, &path.session_id, player, query).await?;
    Ok(Reply::no_content())
}

/// The player whom a path names by an older, numeric id, in a session that must be there, so that nobody learns which
/// ids are known without one: the caller's own by their token, others' as tokens in sessions have named it.
pub async fn player_of_id(
    app: &App,
    caller: &Caller,
    id: &SessionId,
    player_id: i64,
) -> Result<PlayerUuid, Error> {
    app.session(id).await?;
    match caller.player_of_own_id(player_id) {
        Some(player) => Ok(player),
        None => Ok(app.sessions.player_of_id(player_id).await?),
    }
}

async fn kick_from(
    app: &App,
    caller: &Caller,
    id: &SessionId,
    player: PlayerUuid,
    query: LeaveQuery,
) -> Result<Arc<CachedSession>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session| session.kick(actor, player);
    let ((), cached) = app.sessions.update(id, query.refresh_ttl.0, rule).await?;
    let reason = query.reason.0.as_deref();
    if caller.player() == Some(player) {
        left(app, id, player, reason);
    } else {
        app.metrics.departed(Departure::Kicked);
        let by = caller.player().map(tracing::field::display);
        tracing::info!(session_id = %id, player_uuid = %player, reason, by, "player kicked from session");
    }
    Ok(cached)
}
