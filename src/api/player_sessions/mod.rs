//! The list of a player's sessions, invites and reservations.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::MISSING;
use crate::api::examples;
use crate::api::policies::*;
use crate::api::wire::Named;
use crate::app::App;
use crate::app::touch::touch_sessions_of;
use crate::app::waits::{Seen, Topic, WaitOn};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::session::Status;
use crate::domain::{PlayerUuid, SessionId};
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{Plain, Reply, Watched};
use crate::http::surface::Tag;
use crate::records::Membership;

/// The group of these operations in the API document.
pub const TAG: Tag =
    Tag::new("A player's sessions", "The sessions in which a player is active, invited or reserved.");

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_player_sessions_self", "/v1/player/me/session", own, READ_ME, "Read the caller's sessions, invites and reservations")
            .about("The list is grouped by type of session. To learn of invites, poll it with the ETag of the last answer.")
            .example(examples::PLAYER_SESSIONS),
        Operation::new(M::GET, "get_player_sessions_by_uuid_v2", "/v1/player/{player_uuid}/session", by_uuid, READ_PLAYER, "Read a player's sessions, invites and reservations")
            .about("The list is grouped by type of session. For other players, the token needs a permission for all players."),
        Operation::new(M::GET, "get_player_sessions_by_uuid", "/v1/player/uuid/{player_uuid}/session", by_uuid, READ_PLAYER, "Deprecated: read a player's sessions, invites and reservations").deprecated()
            .about("The same operation, at an older path."),
        Operation::new(M::GET, "get_player_sessions", "/v1/player/id/{player_id}/session", by_id, READ_PLAYER, "Deprecated: read a player's sessions, invites and reservations").may_fail(MISSING).deprecated()
            .about("The same operation, by the player's older, numeric id."),
    ]
}

params! {
    /// Path of a player.
    PlayerPath in "path" {
        /// Player UUID.
        player_uuid: PlayerUuid,
    }
}

params! {
    /// Path of a player, by their older, numeric id.
    PlayerIdPath in "path" {
        /// Older, numeric id of the player.
        player_id: i64,
    }
}

/// The sessions of a player, grouped by type.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayerSessions")]
pub struct PlayerSessions {
    /// Sessions of the player, by type of session.
    sessions: Named<PlayerSessionsOfType>,
    /// Time of the last change of the list. It differs from the times of all earlier changes. Absent if the player had no session for long.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    last_updated_timestamp: Option<Timestamp>,
}

/// The sessions of one type of a player.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayerSession")]
pub struct PlayerSessionsOfType {
    /// Type of session.
    #[serde(rename = "type")]
    session_type: String,
    /// Ids of the sessions in which the player is active.
    #[schemars(inner(length(min = 1, max = 128)), extend("uniqueItems" = true))]
    session_ids: Vec<String>,
    /// Invites that the player has not answered, by session id.
    pending_invites: Named<PendingInvite>,
    /// Ids of the sessions with a reservation for the player.
    #[schemars(inner(length(min = 1, max = 128)), extend("uniqueItems" = true))]
    reserved_sessions: Vec<String>,
}

/// An unanswered invite.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayerSessionInvite")]
pub struct PendingInvite {
    /// Id of the session to which the player is invited.
    #[schemars(length(min = 1, max = 128))]
    session_id: String,
    /// UUID of the player who sent the invite.
    #[serde(skip_serializing_if = "Option::is_none")]
    inviting_player_uuid: Option<PlayerUuid>,
}

/// Reads the caller's list of sessions.
pub async fn own(app: Arc<App>, caller: Caller, _: Input) -> Result<Reply<Watched<PlayerSessions>>, Error> {
    let player = caller.require_player()?;
    sessions(&app, &caller, player).await
}

/// Reads a player's list of sessions.
pub async fn by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlayerPath>,
) -> Result<Reply<Watched<PlayerSessions>>, Error> {
    caller.require_reach(path.player_uuid)?;
    sessions(&app, &caller, path.player_uuid).await
}

/// Deprecated: reads the list of sessions of a player, by the player's older id.
pub async fn by_id(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlayerIdPath>,
) -> Result<Reply<Plain<PlayerSessions>>, Error> {
    let player = match caller.player_of_own_id(path.player_id) {
        Some(player) => player,
        None if caller.reaches_all() => app.sessions.player_of_id(path.player_id).await?,
        None => return Err(caller.out_of_reach().into()),
    };
    let Listed { list, active, .. } = list(&app, player).await?;
    if caller.player() == Some(player) {
        touch_sessions_of(&app, player, &active).await;
    }
    Ok(Reply::plain(&list))
}

async fn sessions(
    app: &App,
    caller: &Caller,
    player: PlayerUuid,
) -> Result<Reply<Watched<PlayerSessions>>, Error> {
    let Listed { list, active, seen, depends_on_templates } = list(app, player).await?;
    let again_after_ms = match caller.player() == Some(player) {
        true => touch_sessions_of(app, player, &active).await,
        false => None,
    };
    let mut wait_on = WaitOn::topic(Topic::List(player)).again_after_ms(again_after_ms).seen(seen);
    if depends_on_templates {
        wait_on = wait_on.and(Topic::Catalog);
    }
    Ok(Reply::watched(&Document::of(&list), wait_on))
}

/// A player's list as it was read.
struct Listed {
    list: PlayerSessions,
    /// The sessions in which the player is active.
    active: Vec<SessionId>,
    /// What the store had of the list before; `None` if that is not known.
    seen: Option<Seen>,
    /// Whether the list has a session or not, as its template says.
    depends_on_templates: bool,
}

async fn list(app: &App, player: PlayerUuid) -> Result<Listed, Error> {
    let catalog = app.catalog();
    let mut by_type: BTreeMap<String, PlayerSessionsOfType> = BTreeMap::new();
    let mut active = Vec::new();
    let (memberships, seen) = app.sessions.watched_memberships(player).await?;
    let exist = app.sessions.which_exist(memberships.entries.iter().map(|(id, _)| id)).await?;
    for ((id, membership), exists) in memberships.entries.iter().zip(exist) {
        // An entry for a session that no longer exists is left over from a failure. It is removed here.
        if !exists {
            if let Err(error) = app.sessions.forget_membership(player, id).await {
                tracing::warn!(session_id = %id, %error, "cannot remove a stale entry of a player's list");
            }
            continue;
        }
        if !catalog.shows(membership) {
            continue;
        }
        let Membership { session_type, status, inviting_player } = membership.clone();
        let of_type = by_type.entry(session_type.clone()).or_insert_with(|| PlayerSessionsOfType {
            session_type,
            session_ids: Vec::new(),
            pending_invites: Named::new(),
            reserved_sessions: Vec::new(),
        });
        let session_id = id.to_string();
        match status {
            Status::Leader | Status::Member => {
                active.push(id.clone());
                of_type.session_ids.push(session_id);
            }
            Status::Reserved => of_type.reserved_sessions.push(session_id),
            Status::Invited => {
                let invite =
                    PendingInvite { session_id: session_id.clone(), inviting_player_uuid: inviting_player };
                of_type.pending_invites.insert(session_id, invite);
            }
        }
    }
    let depends_on_templates = memberships.depends_on_templates();
    let list = PlayerSessions { sessions: by_type, last_updated_timestamp: memberships.changed };
    Ok(Listed { list, active, seen, depends_on_templates })
}
