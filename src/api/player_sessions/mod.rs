//! The list of a player's sessions.

use http::Method;

use crate::api::MISSING;
use crate::api::examples;
use crate::api::policies::*;
use crate::http::operation::Operation;
use crate::http::surface::Tag;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::wire::Named;
use crate::app::App;
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::PlayerUuid;
use crate::domain::session::Status;
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply, Versioned};
use crate::records::Membership;

/// The group of these operations in the API document.
pub const TAG: Tag =
    Tag::new("A player's sessions", "Which sessions a player is in, is invited to, or has a place kept in.");

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_player_sessions_self", "/v1/player/me/session", own, READ_ME, "The caller's sessions, invites and reservations")
            .about("By type of session. Poll it for invites, with the ETag of the last answer.")
            .example(examples::PLAYER_SESSIONS),
        Operation::new(M::GET, "get_player_sessions_by_uuid_v2", "/v1/player/{player_uuid}/session", by_uuid, READ_PLAYER, "A player's sessions, invites and reservations")
            .about("By type of session: oneself, or anyone with the permission for all."),
        Operation::new(M::GET, "get_player_sessions_by_uuid", "/v1/player/uuid/{player_uuid}/session", by_uuid, READ_PLAYER, "Deprecated: a player's sessions, invites and reservations").deprecated()
            .about("The same, at an older path."),
        Operation::new(M::GET, "get_player_sessions", "/v1/player/id/{player_id}/session", by_id, READ_PLAYER, "Deprecated: a player's sessions, invites and reservations").may_fail(MISSING).deprecated()
            .about("The same, by the player's older, numeric id."),
    ]
}

params! {
    /// The path of a player.
    PlayerPath in "path" {
        /// The player.
        player_uuid: PlayerUuid,
    }
}

params! {
    /// The path of a player by their older, numeric id.
    PlayerIdPath in "path" {
        /// The player's older, numeric id.
        player_id: i64,
    }
}

/// The sessions of a player, by type.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayerSessions")]
pub struct PlayerSessions {
    /// By session type.
    sessions: Named<PlayerSessionsOfType>,
}

/// The sessions of a player of one type.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayerSession")]
pub struct PlayerSessionsOfType {
    /// The type.
    #[serde(rename = "type")]
    session_type: String,
    /// Sessions the player takes part in.
    #[schemars(inner(length(min = 1, max = 128)), extend("uniqueItems" = true))]
    session_ids: Vec<String>,
    /// Invites the player has not answered, by session.
    pending_invites: Named<PendingInvite>,
    /// Sessions that keep a place for the player.
    #[schemars(inner(length(min = 1, max = 128)), extend("uniqueItems" = true))]
    reserved_sessions: Vec<String>,
}

/// An invite.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayerSessionInvite")]
pub struct PendingInvite {
    /// To this session.
    #[schemars(length(min = 1, max = 128))]
    session_id: String,
    /// From this player.
    #[serde(skip_serializing_if = "Option::is_none")]
    inviting_player_uuid: Option<PlayerUuid>,
}

/// The caller's sessions.
pub async fn own(app: Arc<App>, caller: Caller, _: Input) -> Result<Reply<Versioned<PlayerSessions>>, Error> {
    sessions(&app, caller.require_player()?).await
}

/// A player's sessions.
pub async fn by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlayerPath>,
) -> Result<Reply<Versioned<PlayerSessions>>, Error> {
    caller.require_reach(path.player_uuid)?;
    sessions(&app, path.player_uuid).await
}

/// Deprecated: the sessions of a player named by their older id.
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
    Ok(Reply::plain(&list(&app, player).await?))
}

async fn sessions(app: &App, player: PlayerUuid) -> Result<Reply<Versioned<PlayerSessions>>, Error> {
    Ok(Reply::document(&Document::of(&list(app, player).await?)))
}

async fn list(app: &App, player: PlayerUuid) -> Result<PlayerSessions, Error> {
    let catalog = app.catalog();
    let mut by_type: BTreeMap<String, PlayerSessionsOfType> = BTreeMap::new();
    for (id, membership) in app.sessions.memberships(player).await?.iter() {
        // An entry that names a session which is gone should not be; where one is, reading mends it.
        if !app.sessions.exists(id).await? {
            if let Err(error) = app.sessions.forget_membership(player, id).await {
                tracing::warn!(session_id = %id, %error, "a dangling entry of a player's list stays for now");
            }
            continue;
        }
        let Membership { session_type, status, inviting_player } = membership.clone();
        if status == Status::Reserved && !catalog.tells_of_reservations(&session_type) {
            // Not even that there is something to hear of.
            continue;
        }
        let of_type = by_type.entry(session_type.clone()).or_insert_with(|| PlayerSessionsOfType {
            session_type,
            session_ids: Vec::new(),
            pending_invites: Named::new(),
            reserved_sessions: Vec::new(),
        });
        let session_id = id.to_string();
        match status {
            Status::Leader | Status::Member => of_type.session_ids.push(session_id),
            Status::Reserved => of_type.reserved_sessions.push(session_id),
            Status::Invited => {
                let invite =
                    PendingInvite { session_id: session_id.clone(), inviting_player_uuid: inviting_player };
                of_type.pending_invites.insert(session_id, invite);
            }
        }
    }
    Ok(PlayerSessions { sessions: by_type })
}
