//! Secrets of clients. A secret is 32 random bytes, so a fast hash of it is safe: nobody can try that many.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::env::Entropy;

/// Length of a secret, in bytes, before it is encoded as text.
const SECRET_BYTES: usize = 32;
/// Start of a hash's text; the hash follows in hexadecimal digits.
const HASH_PREFIX: &str = "sha256:";

/// A client's secret. `Debug` masks it.
pub struct ClientSecret(String);

impl ClientSecret {
    /// A new random secret: 43 characters of base64url.
    pub fn random(entropy: &Entropy) -> Self {
        Self(URL_SAFE_NO_PAD.encode(entropy.bytes::<SECRET_BYTES>()))
    }

    /// A secret that was stored as text, as in the file of a launched server.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text that the client presents. Write it to private files only.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash to keep.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The SHA-256 of a client's secret. As text: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of a presented secret.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads the text of a hash; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(HASH_PREFIX)?;
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() || !digits.is_ascii() {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Whether this is the hash of a presented secret. Takes the same time for every secret of a length.
    pub fn fits(&self, secret: &str) -> bool {
        self.0.ct_eq(&Self::of(secret).0).into()
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HASH_PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_secret_only_and_its_text_round_trips() {
        let entropy = Entropy::seeded(1);
        let (secret, other) = (ClientSecret::random(&entropy), ClientSecret::random(&entropy));
        let hash = secret.hash();
        assert!(hash.fits(secret.as_str()) && !hash.fits(other.as_str()) && !hash.fits(""));
        assert_eq!(SecretHash::parse(&hash.to_string()), Some(hash));
        let digits = "0".repeat(64);
        for text in
            ["", "sha256:", &digits, &format!("sha256:{}", &digits[1..]), &format!("sha256:{digits}0")]
        {
            assert_eq!(SecretHash::parse(text), None, "{text}");
        }
        for text in [format!("sha256:g{}", &digits[1..]), format!("sha256:é{}", &digits[2..])] {
            assert_eq!(SecretHash::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let secret = ClientSecret::random(&Entropy::seeded(1));
        assert_eq!(format!("{secret:?} {:?}", secret.hash()), "*** ***");
    }
}
