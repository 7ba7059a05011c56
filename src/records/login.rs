//! What the login for development stores: players who have logged in, and refresh tokens. Both are JSON. No node of
//! another version shares such a store, because login needs one process.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::domain::Identity;
use crate::store::StoreError;

/// A player who has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPlayer {
    /// The account.
    pub identity: Identity,
    /// The display name of the last login.
    pub display_name: String,
    /// The first login, in milliseconds since the epoch.
    pub first_login_ms: i64,
    /// The last login that was stored, in milliseconds since the epoch.
    pub last_login_ms: i64,
}

/// A refresh token. The token itself is not stored, only its hash, in the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshToken {
    /// The account that it logs in.
    pub identity: Identity,
    /// The client of the login that created it, if that login named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// When it was created, in milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was used last, in milliseconds since the epoch.
    pub used_ms: i64,
}

impl KnownPlayer {
    /// The stored form.
    pub fn encode(&self) -> Bytes {
        Document::render(self)
    }

    /// Decodes a stored player.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes are not one.
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        decode(value, "a player who has logged in")
    }
}

impl RefreshToken {
    /// The stored form.
    pub fn encode(&self) -> Bytes {
        Document::render(self)
    }

    /// Decodes a stored refresh token.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes are not one.
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        decode(value, "a refresh token")
    }
}

fn decode<T: DeserializeOwned>(value: &[u8], what: &str) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Platform;

    #[test]
    fn records_round_trip_and_other_bytes_are_corrupt() {
        let identity = Identity::new(Platform::Anon, "é \u{10ffff}");
        let player = KnownPlayer {
            identity: identity.clone(),
            display_name: "Ann".into(),
            first_login_ms: -1,
            last_login_ms: i64::MAX,
        };
        assert_eq!(KnownPlayer::decode(&player.encode()), Ok(player));
        for client_id in [None, Some("game".to_owned())] {
            let token = RefreshToken { identity: identity.clone(), client_id, created_ms: 1, used_ms: 2 };
            assert_eq!(RefreshToken::decode(&token.encode()), Ok(token));
        }
        for bytes in [&b""[..], b"{}", b"\xff"] {
            assert!(matches!(KnownPlayer::decode(bytes), Err(StoreError::Corrupt(_))));
            assert!(matches!(RefreshToken::decode(bytes), Err(StoreError::Corrupt(_))));
        }
    }
}
