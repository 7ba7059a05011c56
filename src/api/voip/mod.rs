//! Tokens for voice services: Vivox, and Epic.

mod epic;
mod vivox;

use http::{HeaderName, HeaderValue, Method, header};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::api::MISSING;
use crate::api::policies::*;
use crate::domain::{PlayerUuid, Refused, Session};
use crate::http::input::params::Param;
use crate::http::input::violation::ViolationKind;
use crate::http::operation::Operation;
use crate::http::surface::Tag;
use crate::voice::room_name;

/// The group of these operations in the API document.
pub const TAG: Tag =
    Tag::new("Voice", "Tokens with which players join voice channels of their session or team.");

/// No cache may keep a token.
const NO_STORE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
/// The header in the API document.
const NO_STORE_DOC: &[(&str, &str)] = &[("cache-control", "Always `no-store`.")];

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_vivox_login_token", "/v1/voip/vivox:login", vivox::login, VIVOX_LOGIN, "Get a token to log in to Vivox").answers_with(NO_STORE_DOC)
            .about("The token can be used once, and for a short time."),
        Operation::new(M::GET, "get_vivox_action_token_me", "/v1/session/{session_id}/player/me/voip/vivox:{vivox_action}", vivox::own_action, VIVOX_OWN_ACTION, "Get a token for an action of the caller in Vivox").may_fail(MISSING).answers_with(NO_STORE_DOC)
            .about("The channel is that of the session, or of the caller's team. The caller must be active in the session. Which permission is needed depends on the action."),
        Operation::new(M::GET, "get_vivox_action_token", "/v1/session/{session_id}/player/{player_uuid}/voip/vivox:{vivox_action}", vivox::action, VIVOX_ACTION, "Get a token for an action in Vivox").may_fail(MISSING).answers_with(NO_STORE_DOC)
            .about("The channel is that of the session, or of the player's team. `kick` and `mute` act on the player; the others are for oneself. Which permission is needed depends on the action."),
        Operation::new(M::GET, "get_epic_voice_join_token_me", "/v1/session/{session_id}/player/me/voip/epic:join", epic::join, EPIC_JOIN, "Get credentials to join a voice room of Epic").may_fail(MISSING).answers_with(NO_STORE_DOC)
            .about("The room is that of the session, or of the caller's team. The caller must be active in the session. The server asks Epic for the credentials, and answers 503 `voice_unavailable` if Epic does not give any in time."),
    ]
}

/// Whose channel or room it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(rename = "VoipSessionType", rename_all = "snake_case")]
pub enum VoipSessionType {
    /// The whole session's.
    Session,
    /// A team's.
    Team,
}

impl Param for VoipSessionType {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        match text {
            "session" => Ok(Self::Session),
            "team" => Ok(Self::Team),
            _ => Err(ViolationKind::not_permitted(["'session'".to_owned(), "'team'".to_owned()].into_iter())),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

/// The name of the channel or room of a session, or of a player's team.
fn room_of(session: &Session, player: PlayerUuid, kind: VoipSessionType) -> Result<String, Refused> {
    let team_id = session.entry(player)?.team_id;
    Ok(room_name(&session.id, (kind == VoipSessionType::Team).then_some(team_id)))
}
