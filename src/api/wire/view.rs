//! The view of a session that a caller gets, and the document of the session in that view.

use crate::api::wire::session::SessionView;
use crate::app::{App, CachedSession, Detail, View, VisiblePlayers};
use crate::auth::{Caller, Permission};
use crate::document::Document;
use crate::domain::session::{Player, Status};
use crate::domain::template::Visibility;
use crate::domain::{PlayerUuid, Refused, Session};

/// Whose view it is.
#[derive(Clone, Copy)]
struct Reader {
    player: Option<PlayerUuid>,
    /// Whether the reader sees every session whole.
    reads_any: bool,
}

impl Reader {
    fn of(caller: &Caller) -> Self {
        Self { player: caller.player(), reads_any: caller.may(Permission::ReadAny) }
    }

    fn view(self, session: &Session) -> View {
        let own = self.own_entry(session);
        let view = if self.reads_any { View::FULL } else { view_of(session, own) };
        view.with_own(own)
    }

    fn own_entry(self, session: &Session) -> Option<(PlayerUuid, &Player)> {
        let player = self.player?;
        Some((player, session.entry(player).ok()?))
    }
}

/// The view of a caller, of single players and of pages of players. The caller's status in the session decides how much
/// of it is shown; the visibility settings of its template decide which players are shown. The caller's own entry is
/// always shown, and whole.
pub fn view_for(caller: &Caller, session: &Session) -> View {
    Reader::of(caller).view(session)
}

/// The view of a caller of the whole session.
pub fn document_view(app: &App, caller: &Caller, cached: &CachedSession) -> View {
    whole_view(app, Reader::of(caller), cached)
}

/// The view of the whole session. If the session has too many players, it shows the reader's own entry only.
fn whole_view(app: &App, reader: Reader, cached: &CachedSession) -> View {
    let view = reader.view(&cached.session);
    if !is_suppressed(app, cached) {
        return view;
    }
    let nobody = View { players: VisiblePlayers::Nobody, own: None, ..view };
    nobody.with_own(reader.own_entry(&cached.session))
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
        // One's own entry is in every view.
        (Visibility::Team, None) | (Visibility::Oneself | Visibility::None, _) => VisiblePlayers::Nobody,
    };
    View { detail, players, own: None }
}

/// The document of a session in the view of a caller.
pub fn session_document(app: &App, caller: &Caller, cached: &CachedSession) -> Document {
    document_in(app, cached, document_view(app, caller, cached))
}

/// The document of a session that a player reads. `caller` is told about the player: the player's own permissions count
/// if that is the same one, and are not known otherwise.
pub fn session_document_of(
    app: &App,
    player: PlayerUuid,
    caller: &Caller,
    cached: &CachedSession,
) -> Document {
    let reads_any = caller.player() == Some(player) && caller.may(Permission::ReadAny);
    let reader = Reader { player: Some(player), reads_any };
    document_in(app, cached, whole_view(app, reader, cached))
}

/// The document of a session in a view.
pub fn document_in(app: &App, cached: &CachedSession, view: View) -> Document {
    cached.document(view, || render(app, cached, view))
}

/// The document of a session in the full view; `None` if the session has too many players to show them.
pub fn full_document<'a>(app: &App, cached: &'a CachedSession) -> Option<&'a Document> {
    let is_suppressed = is_suppressed(app, cached);
    (!is_suppressed).then(|| cached.full_document(|| render(app, cached, View::FULL)))
}

fn render(app: &App, cached: &CachedSession, view: View) -> Document {
    Document::of(&SessionView::of(&cached.session, view, is_suppressed(app, cached)))
}

/// Whether a session has too many players to show them (`players_shown_max`).
fn is_suppressed(app: &App, cached: &CachedSession) -> bool {
    cached.player_count() > app.settings.players_shown_max
}

/// A rule that changes players, for a caller who may not see all of them. For such a caller, a player whom the view
/// hides must not differ from one who is not in the session: the rule is applied to a copy of the session without the
/// hidden players first, and its refusals are those of the copy. Callers who reach all players are not restricted.
pub fn seen_by<T, R>(
    caller: &Caller,
    players: &[PlayerUuid],
    mut rule: R,
) -> impl FnMut(&mut Session) -> Result<T, Refused> + use<T, R>
where
    R: FnMut(&mut Session) -> Result<T, Refused>,
{
    let (caller, players) = (caller.clone(), players.to_vec());
    move |session| {
        if !caller.reaches_all() {
            let view = view_for(&caller, session);
            let is_hidden = |player: &PlayerUuid| {
                session.entry(*player).is_ok_and(|entry| view.shown(*player, entry).is_none())
            };
            let hidden: Vec<_> = players.iter().copied().filter(is_hidden).collect();
            if !hidden.is_empty() {
                let mut without = session.clone();
                without.players.retain(|player, _| !hidden.contains(player));
                rule(&mut without)?;
            }
        }
        rule(session)
    }
}
