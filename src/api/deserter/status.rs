//! The deserter statuses of players.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::DeserterPath;
use crate::api::wire::CustomDataBody;
use crate::app::App;
use crate::auth::Caller;
use crate::domain::PlayerUuid;
use crate::domain::matchmaking::deserter::{DeserterReport, DeserterStatus};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::params;
use crate::http::input::violation::ViolationKind;
use crate::http::operation::Input;
use crate::http::reply::{NoContent, Plain, Reply};
use crate::http::utc_time::UtcTime;

params! {
    /// Path of a player.
    PlayerPath in "path" {
        /// Player UUID.
        player_uuid: PlayerUuid,
    }
}

params! {
    /// Path of a player's status for a deserter configuration.
    PlayerDeserterPath in "path" {
        /// Id of the deserter configuration.
        deserter_id: String,
        /// Player UUID.
        player_uuid: PlayerUuid,
    }
}

/// The deserter status of a player.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayerDeserterStatus")]
pub struct StatusView {
    /// Id of the deserter configuration.
    deserter_id: String,
    /// Whether the player is a deserter now, and may not queue for profiles with this id.
    deserter_status: bool,
    /// The player is a deserter until then. Absent if nothing is known of the player.
    #[serde(skip_serializing_if = "Option::is_none")]
    deserter_expiration: Option<UtcTime>,
    /// From then on the count is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    deserter_reset: Option<UtcTime>,
    /// How often the player has deserted.
    deserter_count: u64,
    /// When the status was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_updated: Option<UtcTime>,
    /// Custom data of the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<CustomDataBody>,
}

/// All deserter statuses of a player.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AllPlayerDeserterStatuses")]
pub struct StatusesView {
    /// Statuses by id of the deserter configuration.
    deserter_statuses: Vec<StatusView>,
}

/// A new deserter status of a player.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "DeserterUpdateRequest")]
pub struct DeserterUpdate {
    /// The player is a deserter until then. A time in the past is kept, too.
    #[schemars(with = "String", extend("format" = "date-time"))]
    deserter_expiration: Timestamp,
    /// From then on the count is 0. Not before `deserter_expiration`.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    deserter_reset: Option<Timestamp>,
    /// How often the player has deserted.
    deserter_count: u64,
    /// Custom data of the status.
    custom_data: Option<CustomDataBody>,
}

impl StatusView {
    /// A status as it is at this time; `None`: nothing is known of the player.
    fn of(id: Uuid, status: Option<&DeserterStatus>, now: Timestamp) -> Self {
        let report = status.map(|status| &status.report);
        let custom_data = report.map(|report| &report.custom_data).filter(|data| !data.is_empty());
        Self {
            deserter_id: id.to_string(),
            deserter_status: status.is_some_and(|status| status.is_deserter(now)),
            deserter_expiration: report.map(|report| UtcTime(report.expiration)),
            deserter_reset: report.and_then(|report| report.reset).map(UtcTime),
            deserter_count: status.map_or(0, |status| status.count(now)),
            last_updated: status.map(|status| UtcTime(status.last_updated)),
            custom_data: custom_data.cloned().map(CustomDataBody),
        }
    }
}

impl DeserterUpdate {
    /// The report of a game server.
    fn read(self) -> Result<DeserterReport, Error> {
        if self.deserter_reset.is_some_and(|reset| reset < self.deserter_expiration) {
            let kind = ViolationKind::before_time_of("deserter_expiration");
            let violation = kind.at(["body".into(), "deserter_reset".into()]);
            return Err(Error::Invalid(vec![violation]));
        }
        Ok(DeserterReport {
            expiration: self.deserter_expiration,
            reset: self.deserter_reset,
            count: self.deserter_count,
            custom_data: self.custom_data.unwrap_or_default().0,
        })
    }
}

/// Reads the caller's status.
pub async fn own(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<DeserterPath>,
) -> Result<Reply<Plain<StatusView>>, Error> {
    status(&app, caller.require_player()?, &path.deserter_id).await
}

/// Reads a player's status.
pub async fn one(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlayerDeserterPath>,
) -> Result<Reply<Plain<StatusView>>, Error> {
    caller.require_reach(path.player_uuid)?;
    status(&app, path.player_uuid, &path.deserter_id).await
}

async fn status(app: &App, player: PlayerUuid, id: &str) -> Result<Reply<Plain<StatusView>>, Error> {
    let kind = app.catalog().matchmaking.deserter(id)?;
    let status = app.deserters.status(player, kind).await?;
    Ok(Reply::plain(&StatusView::of(kind, status.as_ref(), app.sessions.right_time().await?)))
}

/// Reads all statuses of a player.
pub async fn all(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlayerPath>,
) -> Result<Reply<Plain<StatusesView>>, Error> {
    caller.require_reach(path.player_uuid)?;
    let catalog = app.catalog();
    let kinds = catalog.matchmaking.deserters.keys().copied();
    let statuses = app.deserters.statuses(path.player_uuid, kinds).await?;
    let now = app.sessions.right_time().await?;
    let views = statuses.iter().map(|(kind, status)| StatusView::of(*kind, Some(status), now));
    Ok(Reply::plain(&StatusesView { deserter_statuses: views.collect() }))
}

/// Sets a player's status.
pub async fn put(
    app: Arc<App>,
    caller: Caller,
    Input { path, body: Json(update), conditions, .. }: Input<PlayerDeserterPath, (), Json<DeserterUpdate>>,
) -> Result<Reply<Plain<StatusView>>, Error> {
    let report = update.read()?;
    caller.require_reach(path.player_uuid)?;
    let kind = app.catalog().matchmaking.deserter(&path.deserter_id)?;
    // As of the time at which the status was set: the answer is known before the commit that stores it.
    let reply =
        |status: &DeserterStatus| Reply::plain(&StatusView::of(kind, Some(status), status.last_updated));
    let stores_answer = |status: &DeserterStatus| reply(status).stored_for(&conditions);
    let status = app.deserters.put(path.player_uuid, kind, report, stores_answer).await?;
    Ok(reply(&status))
}

/// Deletes a player's status.
pub async fn delete(
    app: Arc<App>,
    caller: Caller,
    Input { path, conditions, .. }: Input<PlayerDeserterPath>,
) -> Result<Reply<NoContent>, Error> {
    caller.require_reach(path.player_uuid)?;
    let kind = app.catalog().matchmaking.deserter(&path.deserter_id)?;
    app.deserters.delete(path.player_uuid, kind, Reply::no_content().stored_for(&conditions)).await?;
    Ok(Reply::no_content())
}

/// Deletes all statuses of a player.
pub async fn delete_all(
    app: Arc<App>,
    caller: Caller,
    Input { path, conditions, .. }: Input<PlayerPath>,
) -> Result<Reply<NoContent>, Error> {
    caller.require_reach(path.player_uuid)?;
    app.deserters.delete_all(path.player_uuid, Reply::no_content().stored_for(&conditions)).await?;
    Ok(Reply::no_content())
}
