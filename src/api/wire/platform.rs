//! What callers see of a platform session: the body of Get Platform Session Info.

use schemars::JsonSchema;
use serde::Serialize;

use super::CustomDataBody;
use crate::app::CachedSession;
use crate::document::Document;
use crate::domain::{Platform, PlayerUuid, Session};

/// A platform session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformSession")]
pub struct PlatformSessionView {
    /// Platform.
    platform: Platform,
    /// The platform's own name of its kind.
    #[schemars(length(min = 1, max = 128))]
    platform_session_type: String,
    /// The platform's own id of it, as it was linked.
    #[schemars(length(min = 1, max = 4096))]
    platform_session_id_base64: String,
    /// Deprecated: its players, longest-standing first.
    players: Vec<PlatformPlayerView>,
    /// The product's data about it.
    custom_data: CustomDataBody,
}

/// A player of a platform session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformSessionPlayer")]
pub struct PlatformPlayerView {
    /// The older, numeric id, where the player's token named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    player_id: Option<i64>,
    /// Who.
    player_uuid: PlayerUuid,
    /// Whether the player leads the platform session.
    leader: bool,
}

/// A linked platform session's document; `None` where the platform has none.
pub fn platform_document(cached: &CachedSession, platform: Platform) -> Option<&Document> {
    cached.platform_document(platform, || Document::of(&PlatformSessionView::of(&cached.session, platform)))
}

impl PlatformSessionView {
    /// A linked platform session; `None` where the platform has none.
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
