//! The answer to a request with an idempotency key, for its repeats. It is stored in the commit of the request's
//! effect.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// The format: MessagePack without names of fields, after this byte. New fields go to the end, with a default.
const FORMAT: u8 = 1;

/// A stored answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAnswer {
    /// The digest of what the request asked for. A request with the same key and another fingerprint is no repeat.
    pub fingerprint: u128,
    /// When it was stored, in milliseconds since the epoch.
    pub stored_ms: i64,
    /// HTTP status.
    pub status: u16,
    /// ETag, with its quotes.
    pub etag: Option<String>,
    /// JSON body, perhaps empty; `None` if it was too large to be stored.
    pub body: Option<String>,
    /// Where the current version of a body that was too large can be read: path and query. `None` if nowhere.
    pub read_at: Option<String>,
}

impl StoredAnswer {
    /// The stored form.
    ///
    /// # Panics
    /// Never: all fields have a form in MessagePack.
    pub fn encode(&self) -> Bytes {
        let mut encoded = vec![FORMAT];
        rmp_serde::encode::write(&mut encoded, self).expect("answers have a stored form");
        encoded.into()
    }

    /// Decodes a stored answer.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the format is unknown or the bytes are not an answer.
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let corrupt =
            |cause: String| StoreError::Corrupt(format!("an answer to a repeated request: {cause}"));
        match value.split_first() {
            Some((&FORMAT, packed)) => {
                rmp_serde::from_slice(packed).map_err(|error| corrupt(error.to_string()))
            }
            format => Err(corrupt(format!("unknown format {:?}", format.map(|(format, _)| format)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_round_trip_and_are_small() {
        let session = format!("{{\"session_id\":\"{}\"}}", uuid::Uuid::nil());
        for (etag, body, read_at) in [
            (None, Some(session), None),
            (Some("\"0123456789abcdef0123456789abcdef\"".to_owned()), Some(String::new()), None),
            (Some("\"é\"".to_owned()), None, Some("/session/v1/session/x".to_owned())),
        ] {
            let stored_ms = 1_790_000_000_000;
            let answer = StoredAnswer { fingerprint: u128::MAX, stored_ms, status: 200, etag, body, read_at };
            let encoded = answer.encode();
            assert_eq!(StoredAnswer::decode(&encoded), Ok(answer));
            assert!(encoded.len() < 150, "{} bytes", encoded.len());
        }
    }

    #[test]
    fn other_bytes_are_corrupt() {
        for bytes in [&b""[..], &[FORMAT], &[FORMAT + 1, 0x90], &[FORMAT, 0x90]] {
            assert!(matches!(StoredAnswer::decode(bytes), Err(StoreError::Corrupt(_))), "{bytes:?}");
        }
    }
}
