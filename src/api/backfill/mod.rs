//! Backfill: the hosts of running matches confirm that they want players, and say how many.

mod confirm;

use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::MISSING;
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
            .about("The time between two confirmations. A backfill whose host is silent for longer gets no players, and ends after a while."),
        Operation::new(M::POST, "acknowledge_backfill_request", "/v1/backfill/session/{session_id}", confirm::confirm, UPDATE_SESSION, "Confirm that a match wants players").may_fail(MISSING).takes_if_match()
            .about("The answer names the players who were invited to the match since the last confirmation. The caller must be the host of the instance. A 404 means that the backfill has ended, or that the session has another instance."),
        Operation::new(M::PATCH, "update_backfill_request", "/v1/backfill/session/{session_id}", confirm::update, UPDATE_SESSION, "Change how many players a match wants").may_fail(MISSING).takes_if_match()
            .about("Teams that are left out want nobody. Before the first such request, a match wants a player for each free slot. It is no confirmation."),
        Operation::new(M::DELETE, "delete_backfill_request", "/v1/backfill/session/{session_id}", confirm::delete, UPDATE_SESSION, "End the backfill of a match").may_fail(MISSING).takes_if_match()
            .about("The match gets no more players. It cannot be undone. The request has a body."),
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
