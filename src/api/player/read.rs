//! Reading the players of a session: one, or a page.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::wire::player::{PlayerView, TeamView};
use crate::api::wire::view::view_for;
use crate::app::App;
use crate::app::touch::touch;
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::Refused;
use crate::http::error::Error;
use crate::http::input::params::{
    Cursor, PageSize, PlayerInSessionPath, RefreshQuery, RefreshTtl, SessionPath, params,
};
use crate::http::operation::Input;
use crate::http::reply::{Reply, Versioned};

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

/// A page of a session's players, in the order they came.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PagedPlayersResponse")]
pub struct PlayersPage<'a> {
    /// The teams of the players on the page, with no other players.
    teams: Vec<TeamView<'a>>,
    /// Where the next page begins; 0 after the last.
    cursor: u64,
}

/// A player of a session, as the caller may see them.
pub async fn get(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerInSessionPath, RefreshQuery>,
) -> Result<Reply<Versioned<PlayerView<'static>>>, Error> {
    let cached = app.sessions.get(&path.session_id).await?;
    touch(&app, &caller, &cached, query.refresh_ttl.0).await?;
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
    let cached = app.sessions.get(&path.session_id).await?;
    touch(&app, &caller, &cached, query.refresh_ttl.0).await?;
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
