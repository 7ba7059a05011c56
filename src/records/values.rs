//! The small values beside sessions: entries of players' lists, listings, deadlines, numbers. JSON, or bytes as the comment of
//! [`keys`](super::keys) says.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::instance::Health;
use crate::domain::session::{Player, Status};
use crate::domain::{CustomData, PlayerUuid, Session, SessionId};
use crate::store::StoreError;

/// A player's entry in a session, as the player's list of sessions shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// The session's type.
    #[serde(rename = "type")]
    pub session_type: String,
    /// The player's status in the session.
    pub status: Status,
    /// The player who sent the invite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inviting_player: Option<PlayerUuid>,
}

impl Membership {
    /// The entry of a player in a session.
    pub fn of(session: &Session, entry: &Player) -> Self {
        let session_type = session.session_type.clone();
        Self { session_type, status: entry.status, inviting_player: entry.inviting_player }
    }

    /// Reads a stored entry.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(value)
            .map_err(|error| StoreError::Corrupt(format!("a player's list: {error}")))
    }
}

/// A session as the browser shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The session.
    pub session_id: SessionId,
    /// Its preferred region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_id: Option<String>,
    /// How many active players it has.
    pub players: usize,
    /// How many slots its teams have together.
    #[serde(rename = "places")]
    pub slots: usize,
    /// The health of its instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The data of the listing.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

impl Listed {
    /// The listing of a session, with this data.
    pub fn of(session: &Session, custom_data: &CustomData) -> Self {
        Self {
            session_id: session.id.clone(),
            region_id: session.region_id.clone(),
            players: session.players.values().filter(|entry| entry.status.is_active()).count(),
            slots: session.teams.iter().map(|team| team.max_size).sum(),
            health: session.instance.as_ref().and_then(|instance| instance.health),
            custom_data: custom_data.clone(),
        }
    }

    /// Reads a stored listing.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("a listing: {error}")))
    }
}

/// Reads the session id that an index entry holds.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub fn decode_session_id(value: &[u8]) -> Result<SessionId, StoreError> {
    let id = std::str::from_utf8(value).ok().and_then(|text| SessionId::parse(text).ok());
    id.ok_or_else(|| StoreError::Corrupt("an index entry names no session".into()))
}

/// Reads the player that an older, numeric id belongs to.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub fn decode_player(value: &[u8]) -> Result<PlayerUuid, StoreError> {
    let uuid = Uuid::from_slice(value);
    uuid.map(PlayerUuid).map_err(|_| StoreError::Corrupt("a player id names no player".into()))
}

/// Reads a stored deadline, in milliseconds since the epoch.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub fn decode_deadline(id: &SessionId, value: &[u8]) -> Result<i64, StoreError> {
    let ms = value.try_into().map(i64::from_be_bytes);
    ms.map_err(|_| StoreError::Corrupt(format!("the deadline of session {id}")))
}

/// Reads the last listing number that was given out.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub fn decode_listing_number(value: &[u8]) -> Result<u64, StoreError> {
    let bytes = value.try_into();
    bytes.map(u64::from_be_bytes).map_err(|_| StoreError::Corrupt("the last listing number".into()))
}
