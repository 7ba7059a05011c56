//! The kinds of desertion: reading them, and clearing all statuses of a kind.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::DeserterPath;
use crate::app::App;
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::operation::Input;
use crate::http::reply::{NoContent, Plain, Reply};
use crate::http::utc_time::UtcTime;

/// All deserter configurations.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeserterConfigResponse")]
pub struct DeserterConfigs {
    /// Deserter configurations by id.
    deserter_configs: Vec<DeserterConfig>,
}

/// A deserter configuration: a kind of desertion.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeserterConfig")]
pub struct DeserterConfig {
    /// Id of the configuration.
    deserter_id: Uuid,
    /// Time at which all statuses of this kind were last cleared. Absent if they never were.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_cleared_timestamp: Option<UtcTime>,
}

impl DeserterConfig {
    fn of(deserter_id: Uuid, last_cleared: Option<&Timestamp>) -> Self {
        Self { deserter_id, last_cleared_timestamp: last_cleared.copied().map(UtcTime) }
    }
}

/// Reads all kinds of desertion.
pub async fn all(app: Arc<App>, _: Caller, _: Input) -> Result<Reply<Plain<DeserterConfigs>>, Error> {
    let catalog = app.catalog();
    let ids = catalog.matchmaking.deserters.keys();
    let cleared = app.deserters.last_cleared(ids.clone().copied()).await?;
    let deserter_configs = ids.map(|id| DeserterConfig::of(*id, cleared.get(id))).collect();
    Ok(Reply::plain(&DeserterConfigs { deserter_configs }))
}

/// Reads a kind of desertion.
pub async fn one(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<DeserterPath>,
) -> Result<Reply<Plain<DeserterConfig>>, Error> {
    let id = app.catalog().matchmaking.deserter(&path.deserter_id)?;
    let cleared = app.deserters.last_cleared([id].into_iter()).await?;
    Ok(Reply::plain(&DeserterConfig::of(id, cleared.get(&id))))
}

/// Clears all statuses of every kind.
pub async fn clear_all(
    app: Arc<App>,
    _: Caller,
    Input { conditions, .. }: Input,
) -> Result<Reply<NoContent>, Error> {
    let kinds: Vec<_> = app.catalog().matchmaking.deserters.keys().copied().collect();
    app.deserters.clear(&kinds, Reply::no_content().stored_for(&conditions)).await?;
    Ok(Reply::no_content())
}

/// Clears all statuses of a kind.
pub async fn clear(
    app: Arc<App>,
    _: Caller,
    Input { path, conditions, .. }: Input<DeserterPath>,
) -> Result<Reply<NoContent>, Error> {
    let kind = app.catalog().matchmaking.deserter(&path.deserter_id)?;
    app.deserters.clear(&[kind], Reply::no_content().stored_for(&conditions)).await?;
    Ok(Reply::no_content())
}
