//! The sessions of a player as notifications show them.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::app::waits::Seen;
use crate::app::{App, CachedSession, Failure};
use crate::domain::{PlayerUuid, SessionId};

/// The sessions on a player's list, whatever the player's status in them.
#[derive(Default)]
pub struct ListedSessions {
    /// The sessions.
    pub found: Vec<Arc<CachedSession>>,
    /// Sessions that are stored and cannot be read. They keep nothing else from being told.
    pub unreadable: Vec<SessionId>,
    /// What the store had of the list before the sessions were read; `None` if that is not known.
    pub seen: Option<Seen>,
    /// Whether the player may see a session or not, as its template says.
    pub depends_on_templates: bool,
}

/// The sessions on a player's list.
///
/// # Errors
/// Errors of the store that concern more than one session.
pub async fn sessions_of(app: &App, player: PlayerUuid) -> Result<ListedSessions, Failure> {
    let catalog = app.catalog();
    let (list, seen) = app.sessions.watched_memberships(player).await?;
    let shown = list.entries.iter().filter(|(_, membership)| catalog.shows(membership));
    let ids: Vec<_> = shown.map(|(id, _)| id).collect();
    let depends_on_templates = list.depends_on_templates();
    let mut listed = ListedSessions { seen, depends_on_templates, ..ListedSessions::default() };
    for (id, found) in ids.iter().zip(join_all(ids.iter().map(|id| app.sessions.find(id))).await) {
        match found.map_err(Failure::from) {
            // The list and the sessions are read one after the other: the player may have left in between.
            Ok(found) => {
                listed.found.extend(found.filter(|cached| cached.session.players.contains_key(&player)));
            }
            Err(failure) if failure.is_of_one_session() => {
                app.unreadable.note("a session", id, &failure);
                listed.unreadable.push((*id).clone());
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(listed)
}
