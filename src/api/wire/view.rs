//! The view of a session that a caller gets, and the document of the session in that view.

use crate::api::wire::session::SessionView;
use crate::app::{App, CachedSession, Detail, View, VisiblePlayers};
use crate::auth::{Caller, Permission};
use crate::document::Document;
use crate::domain::session::{Player, Status};
use crate::domain::template::Visibility;
use crate::domain::{PlayerUuid, Session};

/// The view of a caller. The caller's status in the session decides how much of it is shown; the visibility settings of
/// its template decide which players are shown.
pub fn view_for(caller: &Caller, session: &Session) -> View {
    if caller.may(Permission::ReadAny) {
        return View::FULL;
    }
    let own = caller.player().and_then(|player| Some((player, session.entry(player).ok()?)));
    view_of(session, own)
}

/// The view of a caller who is not in the session.
pub fn outside_view(session: &Session) -> View {
    view_of(session, None)
}

fn view_of(session: &Session, own: Option<(PlayerUuid, &Player)>) -> View {
    let active = own.is_some_and(|(_, entry)| entry.status.is_active());
    let detail = if active { Detail::Full } else { Detail::Limited };
    let visibility = match own {
        Some((_, entry)) if entry.status == Status::Leader => session.admin_player_visibility,
        _ => session.player_visibility,
    };
    let players = match (visibility, own) {
        (Visibility::All, _) => VisiblePlayers::All,
        (Visibility::Team, Some((_, entry))) => VisiblePlayers::Team(entry.team_id),
        (Visibility::Oneself, Some((player, _))) => VisiblePlayers::Only(player),
        (Visibility::Team | Visibility::Oneself, None) | (Visibility::None, _) => VisiblePlayers::Nobody,
    };
    View { detail, players }
}

/// The document of a session in the view of a caller.
pub fn session_document(app: &App, caller: &Caller, cached: &CachedSession) -> Document {
    document_in(app, cached, view_for(caller, &cached.session))
}

/// The document of a session in a view.
pub fn document_in(app: &App, cached: &CachedSession, view: View) -> Document {
    cached.document(view, || render(app, cached, view))
}

/// The document of a session in the full view.
pub fn full_document<'a>(app: &App, cached: &'a CachedSession) -> &'a Document {
    cached.full_document(|| render(app, cached, View::FULL))
}

fn render(app: &App, cached: &CachedSession, view: View) -> Document {
    Document::of(&SessionView::of(&cached.session, view, is_suppressed(app, &cached.session)))
}

/// Whether a session has too many players to show any (`players_shown_max`).
pub fn is_suppressed(app: &App, session: &Session) -> bool {
    session.players.len() > app.settings.players_shown_max
}
