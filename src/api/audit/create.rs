//! Reporting an event.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::event::EventFields;
use crate::api::policies::{CREATE_PLAYER_AUDIT, CREATE_SESSION_AUDIT};
use crate::app::audit::PostedEvent;
use crate::app::{App, HookWrites};
use crate::auth::Caller;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::operation::Input;
use crate::http::reply::{EmptyObject, Reply};

/// What the names of reported events start with.
const NAME_PREFIX: &str = "customer.";
/// Largest length of a name, in characters (contract: `event_name`).
const NAME_CHARS_MAX: usize = 128;

/// An event in a session.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "CreateAuditRequest")]
pub struct AuditRequest {
    #[serde(flatten)]
    fields: EventFields,
    /// Players to whom the event happened. It is stored as one event for each of them.
    #[serde(default)]
    #[schemars(length(max = 100))]
    players: Vec<PlayerUuid>,
}

/// Stores an event for each of its players, or one.
pub async fn create(
    app: Arc<App>,
    caller: Caller,
    Input { body: Json(request), conditions, .. }: Input<(), (), Json<AuditRequest>>,
) -> Result<Reply<EmptyObject>, Error> {
    let AuditRequest { mut fields, players } = request;
    let session_id = SessionId::parse(&fields.session_id).map_err(|_| Refused::SessionNotFound)?;
    let cached = app.sessions.get(&session_id).await?;
    let players: BTreeSet<_> = players.into_iter().chain(fields.player_uuid.take()).collect();
    require_standing(&caller, &cached.session, &players)?;
    fields.event_name = reported_name(&fields.event_name);
    fields.session_id = session_id.to_string();
    // Whoever reads the audit must not learn from it how to connect.
    fields.join_params = None;
    let Ok(Value::Object(mut stored)) = serde_json::to_value(&fields) else {
        unreachable!("an event has no value that JSON does not have");
    };
    note_requester(&mut stored, caller.player());
    let event = PostedEvent { session: session_id, fields: stored, players: players.into_iter().collect() };
    let stores_answer = move || match &conditions.recorder {
        Some(recorder) => recorder.writes(Reply::empty_object().into_answer().to_store(), || None),
        None => HookWrites::default(),
    };
    app.audit.post(event, stores_answer).await?;
    Ok(Reply::empty_object())
}

/// Whether the caller may report an event about this session, or one that is about these players alone.
fn require_standing(caller: &Caller, session: &Session, players: &BTreeSet<PlayerUuid>) -> Result<(), Error> {
    let about_players = || {
        let caller = caller.narrowed(CREATE_PLAYER_AUDIT)?;
        players.iter().try_for_each(|player| caller.require_reach(*player))
    };
    if !players.is_empty() && about_players().is_ok() {
        return Ok(());
    }
    let caller = caller.narrowed(CREATE_SESSION_AUDIT)?;
    let host = session.instance.as_ref().and_then(|instance| instance.host_player);
    if host.is_some() && host == caller.player() {
        return Ok(());
    }
    Ok(session.require_active(caller.actor())?)
}

fn reported_name(name: &str) -> String {
    let prefix = if name.starts_with(NAME_PREFIX) { "" } else { NAME_PREFIX };
    prefix.chars().chain(name.chars()).take(NAME_CHARS_MAX).collect()
}

fn note_requester(stored: &mut Map<String, Value>, player: Option<PlayerUuid>) {
    if let Some(player) = player {
        stored.insert("requesting_user_uuid".into(), player.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_reported_event_has_the_prefix_once() {
        assert_eq!(reported_name("a"), "customer.a");
        assert_eq!(reported_name("customer.a"), "customer.a");
        let long = reported_name(&"é".repeat(128));
        assert_eq!((long.chars().count(), long.starts_with("customer.é")), (128, true));
    }
}
