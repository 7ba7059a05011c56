//! Inviting all players of one session to another, and kicking them again.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::change::{After, Change};
use crate::api::player::roster::{InviteRequest, updated_players};
use crate::api::wire::player::PlayerUpdated;
use crate::api::wire::view::view_for;
use crate::app::join::join_rules;
use crate::app::{App, View};
use crate::auth::{Caller, Permission};
use crate::domain::{PlayerUuid, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Changed, Reply, Versioned};
use crate::telemetry::Departure;

params! {
    /// Path of a session that is invited to another session.
    InvitedSessionPath in "path" {
        /// Id, or a short code, of the session to which the players are invited.
        session_id: SessionId,
        /// Id, or a short code, of the session whose players are invited.
        invited_session_id: SessionId,
    }
}

params! {
    /// Path of a session whose players are kicked from another session.
    KickedSessionPath in "path" {
        /// Id, or a short code, of the session from which the players are kicked.
        session_id: SessionId,
        /// Id, or a short code, of the session whose players are kicked.
        kicked_session_id: SessionId,
    }
}

/// The players who were invited.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionInviteResponse")]
pub struct SessionInvited {
    /// Invited players.
    players: Vec<PlayerUpdated>,
}

/// Invites the active players of one session to another.
pub async fn invite_session(
    app: Arc<App>,
    caller: Caller,
    Input { path, body: Json(request), conditions, .. }: Input<InvitedSessionPath, (), Json<InviteRequest>>,
) -> Result<Reply<Versioned<SessionInvited>>, Error> {
    // The rule checks this again. It is checked first, so that a caller who is not active in the invited session learns
    // nothing about the other session.
    let actor_in_invited = caller.actor_unless(Permission::UpdatePlayerAny);
    let invited = app.sessions.get_latest(&path.invited_session_id).await?;
    invited.session.require_active(actor_in_invited)?;
    let (actor, rules) = (caller.actor(), join_rules(&app));
    let invite = request.invite(&app, &caller, Some(path.invited_session_id.clone()));
    let invited_by = caller.clone();
    let rule = move |session: &mut Session, invited: &Session| {
        invited.require_active(actor_in_invited)?;
        let active = invited.active_players().into_iter();
        let party: Vec<_> = active.map(|(player, entry)| (player, entry.client.clone())).collect();
        let players = session.invite_session(actor, &party, &invite, rules)?;
        let view = view_for(&invited_by, invited);
        let is_seen = |player: &PlayerUuid| sees(&invited_by, view, invited, *player);
        Ok(players.into_iter().partition(is_seen))
    };
    let answer = |(seen, hidden): &(Vec<_>, Vec<_>), after: &After<'_>| {
        // A player is named if the caller sees the player in one of the two sessions: those in the invited one first.
        let (caller, session) = (after.caller, after.session());
        let view = view_for(caller, session);
        let is_seen_now = |player: &&PlayerUuid| sees(caller, view, session, **player);
        let players: Vec<_> = seen.iter().chain(hidden.iter().filter(is_seen_now)).copied().collect();
        let players = updated_players(session, &players)?;
        Ok(Reply::with_etag_of(&SessionInvited { players }, &after.document()))
    };
    let change = Change::by(app, caller, conditions);
    change.run_beside((&path.session_id, &path.invited_session_id), rule, answer, |_, _| ()).await
}

/// Kicks the players from a session who are active in another session, except the caller.
pub async fn kick_session(
    app: Arc<App>,
    caller: Caller,
    Input { path, conditions, .. }: Input<KickedSessionPath>,
) -> Result<Reply<Changed>, Error> {
    let (actor, kicker, now) = (caller.actor(), caller.player(), app.clock.now());
    // The rule checks this again. It is checked first, so that only the leader learns whether the other session exists.
    app.sessions.get_latest(&path.session_id).await?.session.require_leader(actor)?;
    let rule = move |session: &mut Session, kicked: &Session| {
        let players: Vec<_> = active_players(kicked).collect();
        session.kick_all(actor, kicker, &players, now)
    };
    let note = |kicked: &Vec<PlayerUuid>, after: &After<'_>| {
        let (session_id, by) = (&after.session().id, after.caller.player().map(tracing::field::display));
        for player in kicked {
            after.app.metrics.departed(Departure::Kicked);
            tracing::info!(%session_id, player_uuid = %player, by, "player kicked from session with all players of another session");
        }
    };
    let answer = |_: &Vec<_>, after: &After<'_>| Ok(Reply::changed(&after.document()));
    let change = Change::by(app, caller, conditions).removing(path.kicked_session_id.clone());
    change.run_beside((&path.session_id, &path.kicked_session_id), rule, answer, note).await
}

/// Whether a caller sees a player of a session, or reaches all players.
fn sees(caller: &Caller, view: View, session: &Session, player: PlayerUuid) -> bool {
    let is_shown = || session.entry(player).is_ok_and(|entry| view.shown(player, entry).is_some());
    caller.reaches_all() || is_shown()
}

/// The active players of a session, in the order in which they joined.
fn active_players(session: &Session) -> impl Iterator<Item = PlayerUuid> {
    session.active_players().into_iter().map(|(player, _)| player)
}
