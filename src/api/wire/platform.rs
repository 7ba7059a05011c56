//! A platform session on the wire: the body of Get Platform Session Info.

use schemars::JsonSchema;
use serde::Serialize;

use super::CustomDataBody;
use crate::app::{CachedSession, PlatformKey};
use crate::auth::{Caller, Permission};
use crate::document::Document;
use crate::domain::{Platform, PlayerUuid, Refused, Session};

/// A platform session that is linked to a session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformSession")]
pub struct PlatformSessionView {
    /// Platform.
    platform: Platform,
    /// Type of the platform session, as the platform names it.
    #[schemars(length(min = 1, max = 128))]
    platform_session_type: String,
    /// The platform's own id of the platform session, as it was linked.
    #[schemars(length(min = 1, max = 4096))]
    platform_session_id_base64: String,
    /// Deprecated: players of the platform session, in the order in which they joined the session.
    players: Vec<PlatformPlayerView>,
    /// Custom data of the platform session, from the session's template.
    custom_data: CustomDataBody,
}

/// A player of a platform session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformSessionPlayer")]
pub struct PlatformPlayerView {
    /// Older, numeric id of the player. Absent unless the player's token had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    player_id: Option<i64>,
    /// Player UUID.
    player_uuid: PlayerUuid,
    /// Whether the player is the leader of the platform session.
    leader: bool,
}

/// The document of the session's platform session on a platform; `None` if there is none.
pub fn platform_document(cached: &CachedSession, platform: Platform) -> Option<&Document> {
    cached.platform_document(platform, || Document::of(&PlatformSessionView::of(&cached.session, platform)))
}

/// The document of a platform session, for a caller who reads it.
///
/// # Errors
/// If it is not linked to the session, or if the caller is neither active in the session nor may read any session.
pub fn readable_platform_document<'a>(
    caller: &Caller,
    cached: &'a CachedSession,
    key: &PlatformKey,
) -> Result<&'a Document, Refused> {
    cached.session.require_linked(key.0, &key.1)?;
    cached.session.require_active(caller.actor_unless(Permission::ReadAny))?;
    platform_document(cached, key.0).ok_or(Refused::PlatformSessionNotFound)
}

impl PlatformSessionView {
    /// The session's platform session on a platform; `None` if there is none.
    pub fn of(session: &Session, platform: Platform) -> Option<Self> {
        let linked = session.platform_sessions.get(&platform)?;
        let players = session.platform_players(platform).into_iter().map(|player| PlatformPlayerView {
            player_id: player.player_id,
            player_uuid: player.player,
            leader: player.leader,
        });
        Some(Self {
            platform,
            platform_session_type: linked.platform_session_type.clone(),
            platform_session_id_base64: linked.id.as_str().to_owned(),
            players: players.collect(),
            custom_data: CustomDataBody(linked.custom_data.clone()),
        })
    }
}
