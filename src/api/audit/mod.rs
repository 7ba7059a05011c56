//! Audit events: what players and hosts say that happened in a session.

use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::MISSING;
use crate::api::policies::*;
use crate::api::wire::CustomDataBody;
use crate::app::App;
use crate::auth::Caller;
use crate::domain::{PlayerUuid, Refused, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{EmptyObject, Reply};
use crate::http::surface::Tag;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new("Audit", "Events that players and hosts report about a session.");

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::POST, "create_session_audit", "/v1/audit", create, CREATE_AUDIT, "Report an event").may_fail(MISSING)
            .about("Published clients and hosts report who joins and leaves an instance. The server writes the event to its debug log and stores nothing yet."),
    ]
}

/// An event in a session.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "CreateAuditRequest")]
pub struct AuditRequest {
    /// Name of the event.
    #[schemars(length(min = 1, max = 128))]
    event_name: String,
    /// Session in which the event happened.
    #[schemars(length(min = 1, max = 128))]
    session_id: String,
    /// Reason of the event.
    reason: Option<String>,
    /// Player to whom the event happened.
    player_uuid: Option<PlayerUuid>,
    /// Further data of the event.
    #[serde(rename = "custom_data")]
    _custom_data: Option<CustomDataBody>,
}

/// Accepts an event. Its data may be anything that a game knows, so the log has only what names the event.
async fn create(
    app: Arc<App>,
    caller: Caller,
    Input { body: Json(event), .. }: Input<(), (), Json<AuditRequest>>,
) -> Result<Reply<EmptyObject>, Error> {
    let AuditRequest { event_name, session_id, reason, player_uuid, .. } = event;
    let session_id = SessionId::parse(&session_id).map_err(|_| Refused::SessionNotFound)?;
    app.sessions.get(&session_id).await?;
    let (by, player) = (caller.player().map(|player| player.0), player_uuid.map(|player| player.0));
    tracing::debug!(?event_name, %session_id, ?by, ?player, ?reason, "audit event");
    Ok(Reply::empty_object())
}
