//! What is stored of deserters: the status of a player, and the clears of a kind of desertion. Both are JSON.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::document::Document;
use crate::domain::matchmaking::deserter::{DeserterClears, DeserterStatus};
use crate::store::StoreError;

/// The stored form of a status.
pub fn encode(status: &DeserterStatus) -> Bytes {
    Document::render(status)
}

/// Decodes a status.
///
/// # Errors
/// [`StoreError::Corrupt`] if the bytes are not one.
pub fn decode(value: &[u8]) -> Result<DeserterStatus, StoreError> {
    from_json(value, "a deserter status")
}

/// The stored form of the clears of a kind of desertion.
pub fn encode_clears(clears: DeserterClears) -> Bytes {
    Document::render(&clears)
}

/// Decodes the clears of a kind of desertion.
///
/// # Errors
/// [`StoreError::Corrupt`] if the bytes do not say them.
pub fn decode_clears(value: &[u8]) -> Result<DeserterClears, StoreError> {
    from_json(value, "the clears of a kind of desertion")
}

fn from_json<T: DeserializeOwned>(value: &[u8], what: &str) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::CustomData;
    use crate::domain::matchmaking::deserter::DeserterReport;

    #[test]
    fn statuses_and_clears_round_trip_and_other_bytes_are_corrupt() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let least =
            DeserterReport { expiration: at(-1), reset: None, count: 0, custom_data: CustomData::new() };
        let most = DeserterReport {
            expiration: at(1),
            reset: Some(at(253_402_207_200_000)),
            count: u64::MAX,
            custom_data: CustomData::from_iter([("a".to_owned(), "b".to_owned())]),
        };
        for report in [least, most] {
            let status = DeserterStatus { report, last_updated: at(1_796_040_000_042), clears: 7 };
            assert_eq!(decode(&encode(&status)), Ok(status));
        }
        let clears = DeserterClears { count: 1, last: at(0) };
        assert_eq!(decode_clears(&encode_clears(clears)), Ok(clears));
        for bytes in [&b""[..], b"{}", b"\xff"] {
            assert!(matches!(decode(bytes), Err(StoreError::Corrupt(_))));
            assert!(matches!(decode_clears(bytes), Err(StoreError::Corrupt(_))));
        }
    }
}
