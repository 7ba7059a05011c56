//! The development key: made on first use in the data directory, so that a laptop needs no token service.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::keys::{KeyError, KeySet};
use crate::domain::{Platform, PlayerUuid};
use crate::env::Entropy;
use crate::private_dir;

/// The key's file in the data directory.
const FILE_NAME: &str = "development-key";
/// The key's id in tokens.
const KID: &str = "development";
/// Bytes of the key.
const KEY_BYTES: usize = 32;

/// What a development token grants.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The player; none for a server.
    pub player: Option<PlayerUuid>,
    /// Names of permissions.
    pub permissions: Vec<String>,
    /// The platform the player is on.
    pub platform: Option<Platform>,
    /// The player's older, numeric id.
    pub player_id: Option<i64>,
    /// How long it is good for.
    pub ttl: Duration,
}

/// The development key. Whoever reads it can be anyone.
pub struct DevelopmentKey([u8; KEY_BYTES]);

impl DevelopmentKey {
    /// Where the key of a data directory is.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE_NAME)
    }

    /// Reads the key of a data directory.
    ///
    /// # Errors
    /// Where there is none, the file cannot be read or does not hold a key, or others than its owner may read it.
    pub fn load(data_dir: &Path) -> Result<Self, KeyError> {
        let path = Self::path(data_dir);
        let key = File::open(&path).map_err(|error| error.to_string()).and_then(Self::read);
        key.map_err(|cause| KeyError::File { path, cause })
    }

    /// Reads the key of a data directory, or makes one. Of several processes that make one, all get the same.
    ///
    /// # Errors
    /// Where the file cannot be read or written, does not hold a key, or others than its owner may read it.
    pub fn load_or_create(data_dir: &Path, entropy: &Entropy) -> Result<Self, KeyError> {
        let path = Self::path(data_dir);
        let failed = |cause: String| KeyError::File { path: path.clone(), cause };
        let io = |error: std::io::Error| failed(error.to_string());
        match File::open(&path) {
            Ok(file) => return Self::read(file).map_err(failed),
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(io(error));
            }
            Err(_) => {}
        }
        let unusable = |error| KeyError::DataDir { dir: data_dir.into(), error };
        private_dir::create(data_dir).map_err(unusable)?;
        // Written whole beside its place, then linked there: a reader sees no key or all of it, and of two
        // writers the first wins.
        let written = data_dir.join(format!("{FILE_NAME}.{}", entropy.uuid()));
        let linked = write_new(&written, &URL_SAFE_NO_PAD.encode(entropy.bytes::<KEY_BYTES>()))
            .and_then(|()| std::fs::hard_link(&written, &path));
        // The name beside its place is not needed any more, whatever happened.
        let _ = std::fs::remove_file(&written);
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(unusable(error)),
            _ => Self::read(File::open(&path).map_err(io)?).map_err(failed),
        }
    }

    fn read(mut file: File) -> Result<Self, String> {
        let mode = file.metadata().map_err(|error| error.to_string())?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err("others may read this key; say `chmod 600` to it, or delete it for a new one".into());
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| error.to_string())?;
        let key = URL_SAFE_NO_PAD.decode(text.trim()).ok().and_then(|key| key.try_into().ok());
        key.map(Self).ok_or_else(|| "this holds no key; delete it for a new one".into())
    }

    /// The set of this key alone.
    pub fn key_set(&self) -> KeySet {
        KeySet::shared_secret(KID, &self.0)
    }

    /// A token.
    ///
    /// # Panics
    /// Never: the algorithm fits the key, and the claims are plain JSON.
    pub fn sign(&self, grant: &Grant, now: Timestamp) -> String {
        let mut claims = json!({
            "permissions": grant.permissions,
            "iat": now.as_second(),
            "exp": now.as_second().saturating_add_unsigned(grant.ttl.as_secs()),
        });
        if let Some(player) = grant.player {
            claims["sub"] = json!(player);
        }
        if let Some(player_id) = grant.player_id {
            claims["player_id"] = json!(player_id);
        }
        if let Some(platform) = grant.platform {
            claims["platform"] = json!(platform);
        }
        let header = Header { kid: Some(KID.into()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&self.0));
        token.expect("HS256 signs with any secret")
    }
}

/// Writes a file that only its owner may read.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn load(dir: &Path) -> Result<DevelopmentKey, String> {
        DevelopmentKey::load_or_create(dir, &Entropy::System).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("not/there/yet");
        let made = load(&data_dir).unwrap();
        assert_eq!(load(&data_dir).unwrap().0, made.0);
        let files: Vec<_> = std::fs::read_dir(&data_dir).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(load(dir.path()).unwrap().0, made.0);
    }

    #[test]
    fn of_many_that_make_a_key_at_once_all_get_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let keys = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| load(dir.path()).unwrap().0)).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_trusted_is_refused_with_what_to_do() {
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
