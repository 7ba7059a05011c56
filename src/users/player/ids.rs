//! The older, numeric ids of players. This login gives players none: published clients hold the id in 32 bits, and no
//! number that follows from a name fits. Tokens of other sources may name one.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::links::PlayerPath;
use crate::app::App;
use crate::auth::Caller;
use crate::domain::Refused;
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// The older id of a player.
#[derive(Serialize, JsonSchema)]
pub struct PlayerIdWrapper {
    /// Older id of the player.
    pub player_id: i64,
}

/// A player, found by older id.
#[derive(Serialize, JsonSchema)]
pub struct PlayerUuidFromId {
    /// UUID of the player.
    pub uuid: Uuid,
}

params! {
    /// Path of a player with an older id.
    PlayerIdPath in "path" {
        /// Older id of the player.
        player_id: i64,
    }
}

/// The caller's own older id, if the token names one.
pub async fn of_caller(
    _: Arc<App>,
    caller: Caller,
    _: Input,
) -> Result<Reply<Plain<PlayerIdWrapper>>, Error> {
    caller.player().ok_or(Error::TokenWithoutPlayer)?;
    let player_id = caller.token().player_id.ok_or(Refused::PlayerNotFound)?;
    Ok(Reply::plain(&PlayerIdWrapper { player_id }))
}

/// The older id of a player. Only the caller's own is known.
pub async fn of_player(
    app: Arc<App>,
    caller: Caller,
    input: Input<PlayerPath>,
) -> Result<Reply<Plain<PlayerIdWrapper>>, Error> {
    if caller.player() != Some(input.path.player_uuid) {
        return Err(Refused::PlayerNotFound.into());
    }
    of_caller(app, caller, Input { path: (), query: (), body: (), conditions: input.conditions }).await
}

/// The player with an older id that a token has named.
pub async fn uuid(
    app: Arc<App>,
    _: Caller,
    input: Input<PlayerIdPath>,
) -> Result<Reply<Plain<PlayerUuidFromId>>, Error> {
    let player = app.sessions.player_of_id(input.path.player_id).await?;
    Ok(Reply::plain(&PlayerUuidFromId { uuid: player.0 }))
}
