//! Inviting all players of a session to another, and taking them out again.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::player::roster::{InviteRequest, updated_players};
use crate::api::wire::player::PlayerUpdated;
use crate::api::wire::view::session_document;
use crate::app::App;
use crate::auth::{Caller, Permission};
use crate::domain::{PlayerUuid, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Changed, Reply, Versioned};
use crate::telemetry::Departure;

params! {
    /// The path of a session that is invited to another.
    InvitedSessionPath in "path" {
        /// The session invited to.
        session_id: SessionId,
        /// The session whose players are invited.
        invited_session_id: SessionId,
    }
}

params! {
    /// The path of a session whose players are taken out of another.
    KickedSessionPath in "path" {
        /// The session they are taken out of.
        session_id: SessionId,
        /// The session whose players go.
        kicked_session_id: SessionId,
    }
}

/// The players of an invited session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionInviteResponse")]
pub struct SessionInvited {
    /// Those who were invited.
    players: Vec<PlayerUpdated>,
}

/// Invites the active players of a session to another.
pub async fn invite_session(
    app: Arc<App>,
    caller: Caller,
    Input { path, body: Json(request), .. }: Input<InvitedSessionPath, (), Json<InviteRequest>>,
) -> Result<Reply<Versioned<SessionInvited>>, Error> {
    // Asked first what the rule asks again, so that standing is judged before the other session is looked for.
    let standing = caller.actor_unless(Permission::UpdatePlayerAny);
    app.sessions.get_latest(&path.invited_session_id).await?.session.require_active(standing)?;
    let (actor, version_check) = (caller.actor(), app.settings.version_check);
    let invite = request.invite(&app, &caller, Some(path.invited_session_id.clone()));
    let rule = move |session: &mut Session, invited: &Session| {
        invited.require_active(standing)?;
        let active = invited.active_players().into_iter();
        let party: Vec<_> = active.map(|(player, entry)| (player, entry.client.clone())).collect();
        session.invite_session(actor, &party, &invite, version_check)
    };
    let (players, cached) =
        app.sessions.update_beside(&path.session_id, &path.invited_session_id, rule).await?;
    let players = updated_players(&cached, &players)?;
    let document = session_document(&app, &caller, &cached);
    Ok(Reply::with_etag_of(&SessionInvited { players }, &document))
}

/// Takes those out of a session who are active in another.
pub async fn kick_session(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<KickedSessionPath>,
) -> Result<Reply<Changed>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session, kicked: &Session| {
        session.kick_all(actor, &active_players(kicked).collect::<Vec<_>>())
    };
    let (gone, cached) = app.sessions.update_beside(&path.session_id, &path.kicked_session_id, rule).await?;
    for player in gone {
        app.metrics.departed(Departure::Kicked);
        let (session_id, by) = (&path.session_id, caller.player().map(tracing::field::display));
        tracing::info!(%session_id, player_uuid = %player, by, "player kicked from session with their own");
    }
    Ok(Reply::changed(&session_document(&app, &caller, &cached)))
}

/// The active players of a session, longest-standing first.
fn active_players(session: &Session) -> impl Iterator<Item = PlayerUuid> {
    session.active_players().into_iter().map(|(player, _)| player)
}
