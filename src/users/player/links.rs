//! The platform accounts of a player. Published clients show the display name, and ask it before they accept an invite.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::app::App;
use crate::auth::Caller;
use crate::domain::{Platform, PlayerUuid, Refused};
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// The older id of players and platforms that have none. Clients require the field.
pub const NO_ID: i32 = 0;

/// A player and their platform accounts.
#[derive(Serialize, JsonSchema)]
pub struct PlayerLinkedPortalsResponse {
    /// Player.
    pub player: PlayerPersonResponse,
    /// Platform accounts of the player.
    pub linked_portals: Vec<PortalUserResponse>,
}

/// A player and the person behind the player.
#[derive(Serialize, JsonSchema)]
pub struct PlayerPersonResponse {
    /// Deprecated: always 0.
    pub player_id: i32,
    /// Player.
    pub player_uuid: PlayerUuid,
    /// Person behind the player.
    pub person_id: Uuid,
}

/// A platform account.
#[derive(Serialize, JsonSchema)]
pub struct PortalUserResponse {
    /// Deprecated: number of the platform, or 0 if it has none.
    pub portal_id: i32,
    /// Platform.
    pub platform: Platform,
    /// The player's id on the platform.
    pub portal_user_id: String,
    /// Display name of the last login.
    pub display_name: String,
    /// Deprecated: always 0.
    pub player_id: i32,
    /// Player.
    pub player_uuid: PlayerUuid,
}

params! {
    /// Path of a player.
    PlayerPath in "path" {
        /// Player UUID.
        player_uuid: PlayerUuid,
    }
}

/// The platform accounts of the caller's own player.
pub async fn of_caller(
    app: Arc<App>,
    caller: Caller,
    _: Input,
) -> Result<Reply<Plain<PlayerLinkedPortalsResponse>>, Error> {
    links(&app, caller.player().ok_or(Error::TokenWithoutPlayer)?).await
}

/// The platform accounts of a player.
pub async fn of_player(
    app: Arc<App>,
    _: Caller,
    input: Input<PlayerPath>,
) -> Result<Reply<Plain<PlayerLinkedPortalsResponse>>, Error> {
    links(&app, input.path.player_uuid).await
}

async fn links(app: &App, player: PlayerUuid) -> Result<Reply<Plain<PlayerLinkedPortalsResponse>>, Error> {
    let login = app.login.as_ref().ok_or(Error::PathNotFound)?;
    let known = login.player(player).await?.ok_or(Refused::PlayerNotFound)?;
    let person =
        PlayerPersonResponse { player_id: NO_ID, player_uuid: player, person_id: known.identity.person() };
    let account = PortalUserResponse {
        portal_id: known.identity.platform.legacy_id().map_or(NO_ID, i32::from),
        platform: known.identity.platform,
        portal_user_id: known.identity.user_id,
        display_name: known.display_name,
        player_id: NO_ID,
        player_uuid: player,
    };
    Ok(Reply::plain(&PlayerLinkedPortalsResponse { player: person, linked_portals: vec![account] }))
}
