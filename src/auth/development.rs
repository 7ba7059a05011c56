//! The development key: created in the data directory at first use, so that development needs no token service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::keys::{KeyError, KeySet};
use crate::domain::{Platform, PlayerUuid};
use crate::env::Entropy;
use crate::secret_file;

/// The name of the key's file in the data directory.
const FILE_NAME: &str = "development-key";
/// The key id in tokens.
const KID: &str = "development";
/// Length of the key, in bytes.
const KEY_BYTES: usize = 32;

/// The contents of a development token.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The player. `None` for a server.
    pub player: Option<PlayerUuid>,
    /// Names of the permissions.
    pub permissions: Vec<String>,
    /// The platform of the player.
    pub platform: Option<Platform>,
    /// The player's older, numeric id.
    pub player_id: Option<i64>,
    /// How long the token is valid.
    pub ttl: Duration,
}

impl Grant {
    /// The claims of a token that is signed at `now`.
    pub(super) fn claims(&self, now: Timestamp) -> Value {
        let mut claims = json!({
            "permissions": self.permissions,
            "iat": now.as_second(),
            "exp": now.as_second().saturating_add_unsigned(self.ttl.as_secs()),
        });
        if let Some(player) = self.player {
            claims["sub"] = json!(player);
        }
        if let Some(player_id) = self.player_id {
            claims["player_id"] = json!(player_id);
        }
        if let Some(platform) = self.platform {
            claims["platform"] = json!(platform);
        }
        claims
    }
}

/// The development key, a shared secret. Everyone who can read it can sign tokens for every player and permission.
pub struct DevelopmentKey([u8; KEY_BYTES]);

impl DevelopmentKey {
    /// The path of the key in a data directory.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE_NAME)
    }

    /// Reads the key from a data directory.
    ///
    /// # Errors
    /// If the file does not exist, cannot be read or has no key, or if users other than its owner may access it.
    pub fn load(data_dir: &Path) -> Result<Self, KeyError> {
        let path = Self::path(data_dir);
        let text = secret_file::read_own(&path).map_err(|error| error.to_string());
        text.and_then(|text| Self::parse(&text)).map_err(|cause| KeyError::File { path, cause })
    }

    /// Reads the key from a data directory, or creates it. Processes that do this at the same time get the same key.
    ///
    /// # Errors
    /// If the file cannot be read or written or has no key, or if users other than its owner may access it.
    pub fn load_or_create(data_dir: &Path, entropy: &Entropy) -> Result<Self, KeyError> {
        let path = Self::path(data_dir);
        if !path.exists() {
            let secret = URL_SAFE_NO_PAD.encode(entropy.bytes::<KEY_BYTES>());
            secret_file::create_own_once(&path, &secret, entropy)
                .map_err(|error| KeyError::DataDir { dir: data_dir.into(), error })?;
        }
        Self::load(data_dir)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let key = URL_SAFE_NO_PAD.decode(text.trim()).ok().and_then(|key| key.try_into().ok());
        key.map(Self).ok_or_else(|| "this file has no valid key; delete it to get a new one".into())
    }

    /// A set with only this key.
    pub fn key_set(&self) -> KeySet {
        KeySet::shared_secret(KID, &self.0)
    }

    /// Signs a token.
    ///
    /// # Panics
    /// Never: HS256 accepts every secret, and the claims are plain JSON.
    pub fn sign(&self, grant: &Grant, now: Timestamp) -> String {
        let header = Header { kid: Some(KID.into()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &grant.claims(now), &EncodingKey::from_secret(&self.0));
        token.expect("HS256 signs with any secret")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn load(dir: &Path) -> Result<DevelopmentKey, String> {
        DevelopmentKey::load_or_create(dir, &Entropy::System).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_is_created_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("not/created/yet");
        let made = load(&data_dir).unwrap();
        assert_eq!(load(&data_dir).unwrap().0, made.0);
        let files: Vec<_> = std::fs::read_dir(&data_dir).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(load(dir.path()).unwrap().0, made.0);
    }

    #[test]
    fn threads_that_create_a_key_at_the_same_time_get_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let keys = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| load(dir.path()).unwrap().0)).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unsafe_or_broken_key_is_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let secret = load(dir.path()).map(|key| URL_SAFE_NO_PAD.encode(key.0)).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = load(dir.path()).err().unwrap();
            assert!(refused.contains("chmod 600") && !refused.contains(&secret), "{refused}");
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for broken in ["", &secret[1..], &format!("{secret}AAAA"), &format!("{secret}="), "\u{e9}"] {
            std::fs::write(&path, broken).unwrap();
            let refused = load(dir.path()).err().unwrap();
            assert!(refused.contains("delete it") && !refused.contains(&secret[1..]), "{refused}");
        }
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        load(dir.path()).unwrap();
    }
}
