//! The backfill of a session on the wire.

use schemars::JsonSchema;
use serde::Serialize;

use super::queue::TextsBody;
use crate::domain::session::backfill::Backfill;

/// The backfill of a session: its host wants players who join while the match is played.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BackfillInfo")]
pub struct BackfillView {
    /// Id of the backfill.
    #[schemars(length(min = 1))]
    backfill_id: String,
    /// Data of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<TextsBody>,
}

impl BackfillView {
    /// The wire form of a backfill. Only a full view has the data of the host.
    pub fn of(backfill: &Backfill, is_full: bool) -> Self {
        let extensions = Some(&backfill.extensions).filter(|extensions| is_full && !extensions.is_empty());
        Self { backfill_id: backfill.id.clone(), extensions: extensions.cloned().map(TextsBody) }
    }
}
