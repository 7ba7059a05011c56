//! Reading the players of a session: one player, or a page of players.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::wire::player::{PlayerView, TeamView, player_document};
use crate::api::wire::view::view_for;
use crate::app::App;
use crate::app::touch::{touch, wait_on_session};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::session::Player;
use crate::http::error::Error;
use crate::http::input::param_types::{
    Cursor, PageSize, PlayerInSessionPath, RefreshQuery, RefreshTtl, SessionPath,
};
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Watched};

params! {
    /// Query of a page of players.
    PlayersQuery in "query" {
        /// Start of the page: 0, or the `cursor` of the previous page.
        cursor: Cursor,
        /// Largest number of players on the page.
        page_size: PageSize,
        /// Whether this request keeps the session alive.
        refresh_ttl: RefreshTtl,
    }
}

/// A page of a session's players, in the order in which they entered the session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PagedPlayersResponse")]
pub struct PlayersPage<'a> {
    /// Teams of the players on the page, with only these players.
    teams: Vec<TeamView<'a>>,
    /// Start of the next page, or 0 on the last page.
    cursor: u64,
}

/// Reads a player of a session, in the caller's view.
pub async fn get(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerInSessionPath, RefreshQuery>,
) -> Result<Reply<Watched<PlayerView<'static>>>, Error> {
    let cached = app.sessions.get(&path.session_id).await?;
    let cached = touch(&app, &caller, cached, query.refresh_ttl.0).await?;
    let document = player_document(&caller, &cached.session, path.player_uuid)?;
    Ok(Reply::watched(&document, wait_on_session(&app, &cached)))
}

/// Reads a page of a session's players. The cursor is the sequence number of the last entry on the page, so entries
/// that are added or removed between two pages neither repeat nor hide others.
pub async fn page(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<SessionPath, PlayersQuery>,
) -> Result<Reply<Watched<PlayersPage<'static>>>, Error> {
    let cached = app.sessions.get(&path.session_id).await?;
    let cached = touch(&app, &caller, cached, query.refresh_ttl.0).await?;
    let session = &cached.session;
    let view = view_for(&caller, session);
    let after = query.cursor.0;
    let mut entries = Vec::new();
    for (player, entry) in &session.players {
        if entry.sequence > after && view.shown(*player, entry).is_some() {
            entries.push(entry);
        }
    }
    entries.sort_by_key(|entry| entry.sequence);
    let is_last_page = entries.len() <= query.page_size.0;
    entries.truncate(query.page_size.0);
    let last = entries.last().map_or(after, |entry| entry.sequence);
    let is_on_page = |entry: &Player| after < entry.sequence && entry.sequence <= last;
    let shown = |player, entry: &Player| view.shown(player, entry).filter(|_| is_on_page(entry));
    let teams = TeamView::all(session, shown).into_iter().filter(TeamView::has_players).collect();
    let cursor = if is_last_page { 0 } else { last };
    Ok(Reply::watched(&Document::of(&PlayersPage { teams, cursor }), wait_on_session(&app, &cached)))
}
