//! The values beside sessions: entries of players' lists, listings, deadlines, ids and numbers. [`keys`](super::keys)
//! lists the format of each: JSON or fixed bytes.

use jiff::Timestamp;
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
    /// The player who sent the invite, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inviting_player: Option<PlayerUuid>,
}

impl Membership {
    /// The entry of a player in a session.
    pub fn of(session: &Session, entry: &Player) -> Self {
        let session_type = session.session_type.clone();
        Self { session_type, status: entry.status, inviting_player: entry.inviting_player }
    }

    /// Decodes a stored entry.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes are not such an entry.
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(value)
            .map_err(|error| StoreError::Corrupt(format!("a player's list: {error}")))
    }
}

/// A listing: a session as the session browser shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The id of the session.
    pub session_id: SessionId,
    /// Its preferred region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_id: Option<String>,
    /// The number of active players.
    pub players: usize,
    /// The number of slots of all teams together.
    #[serde(rename = "places")]
    pub slots: usize,
    /// The health of its instance; `None` without an instance or a health report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The custom data of the listing.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

impl Listed {
    /// The listing of a session, with this custom data.
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

    /// Decodes a stored listing.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes are not a listing.
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("a listing: {error}")))
    }
}

/// Decodes the session id in an index entry.
///
/// # Errors
/// [`StoreError::Corrupt`] if the bytes are not a session id.
pub fn decode_session_id(value: &[u8]) -> Result<SessionId, StoreError> {
    let id = std::str::from_utf8(value).ok().and_then(|text| SessionId::parse(text).ok());
    id.ok_or_else(|| StoreError::Corrupt("an index entry names no session".into()))
}

/// Decodes the player that an older, numeric id belongs to.
///
/// # Errors
/// [`StoreError::Corrupt`] if the value is not 16 bytes long.
pub fn decode_player(value: &[u8]) -> Result<PlayerUuid, StoreError> {
    let uuid = Uuid::from_slice(value);
    uuid.map(PlayerUuid).map_err(|_| StoreError::Corrupt("a player id names no player".into()))
}

/// Encodes a deadline, in milliseconds since the epoch.
pub fn encode_deadline(deadline_ms: i64) -> Vec<u8> {
    deadline_ms.to_be_bytes().to_vec()
}

/// Decodes the deadline of session `id`, in milliseconds since the epoch.
///
/// # Errors
/// [`StoreError::Corrupt`] if the value is not 8 bytes long.
pub fn decode_deadline(id: &SessionId, value: &[u8]) -> Result<i64, StoreError> {
    let ms = value.try_into().map(i64::from_be_bytes);
    ms.map_err(|_| StoreError::Corrupt(format!("the deadline of session {id}")))
}

/// Encodes the time of a step of the wall clock, in milliseconds since the epoch.
pub fn encode_clock_step(step_ms: i64) -> Vec<u8> {
    step_ms.to_be_bytes().to_vec()
}

/// Decodes the time of a step of the wall clock, in milliseconds since the epoch.
///
/// # Errors
/// [`StoreError::Corrupt`] if the value is not 8 bytes long.
pub fn decode_clock_step(value: &[u8]) -> Result<i64, StoreError> {
    let ms = value.try_into().map(i64::from_be_bytes);
    ms.map_err(|_| StoreError::Corrupt("the last step of the clock".into()))
}

/// Encodes the time at which a player's list changed, in microseconds since the epoch.
pub fn encode_list_changed(at: Timestamp) -> Vec<u8> {
    at.as_microsecond().to_be_bytes().to_vec()
}

/// Decodes the time at which a player's list changed.
///
/// # Errors
/// [`StoreError::Corrupt`] if the value is not 8 bytes long, or not a time.
pub fn decode_list_changed(value: &[u8]) -> Result<Timestamp, StoreError> {
    let us = value.try_into().map(i64::from_be_bytes).ok();
    let at = us.and_then(|us| Timestamp::from_microsecond(us).ok());
    at.ok_or_else(|| StoreError::Corrupt("the time at which a player's list changed".into()))
}

/// Encodes the next free listing number.
pub fn encode_listing_number(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Decodes the next free listing number: no node has reserved this number or a greater one.
///
/// # Errors
/// [`StoreError::Corrupt`] if the value is not 8 bytes long.
pub fn decode_listing_number(value: &[u8]) -> Result<u64, StoreError> {
    let bytes = value.try_into();
    bytes.map(u64::from_be_bytes).map_err(|_| StoreError::Corrupt("the last listing number".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::domain::fixtures;

    const PLAYER: PlayerUuid = PlayerUuid(Uuid::from_u128(1));

    #[test]
    fn memberships_round_trip() {
        for (status, inviting_player) in
            [(Status::Leader, None), (Status::Invited, Some(PLAYER)), (Status::Reserved, None)]
        {
            let membership = Membership { session_type: "game".into(), status, inviting_player };
            assert_eq!(Membership::decode(&Document::render(&membership)), Ok(membership));
        }
    }

    #[test]
    fn listings_round_trip() {
        let session = fixtures::session("L1 M2");
        let custom_data = CustomData::from_iter([("map".to_owned(), "dunes".to_owned())]);
        let mut listed = Listed::of(&session, &custom_data);
        assert_eq!(listed.players, 2);
        for health in [None, Some(Health::Degraded)] {
            listed.health = health;
            assert_eq!(Listed::decode(&Document::render(&listed)), Ok(listed.clone()));
        }
    }

    #[test]
    fn numbers_and_ids_round_trip() {
        let id = SessionId::parse("s").unwrap();
        for deadline_ms in [i64::MIN, -1, 0, 1_795_521_600_125, i64::MAX] {
            assert_eq!(decode_deadline(&id, &encode_deadline(deadline_ms)), Ok(deadline_ms));
            assert_eq!(decode_clock_step(&encode_clock_step(deadline_ms)), Ok(deadline_ms));
        }
        for us in [-1, 0, 1_795_521_600_125_250] {
            let at = Timestamp::from_microsecond(us).unwrap();
            assert_eq!(decode_list_changed(&encode_list_changed(at)), Ok(at));
        }
        for number in [0, 1, u64::MAX] {
            assert_eq!(decode_listing_number(&encode_listing_number(number)), Ok(number));
        }
        assert_eq!(decode_player(PLAYER.0.as_bytes()), Ok(PLAYER));
        assert_eq!(decode_session_id(id.as_str().as_bytes()), Ok(id));
    }

    #[test]
    fn other_bytes_are_corrupt() {
        let id = SessionId::parse("s").unwrap();
        for bytes in [&[][..], &[0xff; 7], &[0xff; 9]] {
            let errors = [
                Membership::decode(bytes).err(),
                Listed::decode(bytes).err(),
                decode_deadline(&id, bytes).err(),
                decode_clock_step(bytes).err(),
                decode_list_changed(bytes).err(),
                decode_listing_number(bytes).err(),
                decode_player(bytes).err(),
                decode_session_id(bytes).err(),
            ];
            for error in errors {
                assert!(matches!(error, Some(StoreError::Corrupt(_))), "{error:?} for {bytes:?}");
            }
        }
    }
}
