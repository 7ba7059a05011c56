//! Deserters: the kinds of desertion that the configuration has.

use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::api::MISSING;
use crate::api::policies::*;
use crate::app::App;
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{Plain, Reply};
use crate::http::surface::Tag;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new("Deserter", "Players who leave matches, and may not queue for some time.");

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_all_deserter_configs", "/v1/deserter", configs, READ_CONFIG, "Read all deserter configurations")
            .about("The kinds of desertion. A matchmaking profile names the one that keeps players from queueing for it."),
        Operation::new(M::GET, "get_specific_deserter_config", "/v1/deserter/{deserter_id}", config, READ_CONFIG, "Read a deserter configuration").may_fail(MISSING)
            .about("One kind of desertion."),
    ]
}

params! {
    /// Path of a deserter configuration.
    DeserterPath in "path" {
        /// Id of the deserter configuration.
        deserter_id: String,
    }
}

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
}

async fn configs(app: Arc<App>, _: Caller, _: Input) -> Result<Reply<Plain<DeserterConfigs>>, Error> {
    let catalog = app.catalog();
    let ids = catalog.matchmaking.deserters.keys();
    let deserter_configs = ids.map(|id| DeserterConfig { deserter_id: *id }).collect();
    Ok(Reply::plain(&DeserterConfigs { deserter_configs }))
}

async fn config(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<DeserterPath>,
) -> Result<Reply<Plain<DeserterConfig>>, Error> {
    let deserter_id = app.catalog().matchmaking.deserter(&path.deserter_id)?;
    Ok(Reply::plain(&DeserterConfig { deserter_id }))
}
