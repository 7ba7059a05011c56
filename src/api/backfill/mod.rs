//! Backfill: how often a host must confirm that it still wants players. Sessions have no backfill yet.

use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::policies::*;
use crate::app::App;
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{Plain, Reply};
use crate::http::surface::Tag;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new("Backfill", "Players who join a match that is already running.");

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "backfill_config", "/v1/backfill/config", config, READ_CONFIG, "Read how often hosts must confirm a backfill")
            .about("The time between two confirmations. Sessions have no backfill yet, so hosts have nothing to confirm."),
    ]
}

/// How often hosts must confirm a backfill.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BackfillSettingsResponse")]
pub struct BackfillSettingsView {
    /// Seconds between two confirmations.
    timeout: f64,
}

async fn config(app: Arc<App>, _: Caller, _: Input) -> Result<Reply<Plain<BackfillSettingsView>>, Error> {
    let timeout = app.catalog().matchmaking.backfill.ack_every_s.into();
    Ok(Reply::plain(&BackfillSettingsView { timeout }))
}
