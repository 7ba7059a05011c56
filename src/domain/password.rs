//! Session passwords, stored as a salted hash and compared in constant time.
//!
//! The hash is fast on purpose. The players of a session share the password, and it lives as long as the session. A
//! slow hash would let every caller spend seconds of processor time with one request.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The salted hash of a password: SHA-256 over salt and password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    salt: [u8; 16],
    hash: [u8; 32],
}

impl PasswordHash {
    /// Hashes a password. The caller passes 16 random bytes as salt.
    pub fn new(password: &str, salt: [u8; 16]) -> Self {
        Self { salt, hash: hash(password, &salt) }
    }

    /// Whether this is the password. The comparison takes constant time.
    pub fn matches(&self, password: &str) -> bool {
        hash(password, &self.salt).ct_eq(&self.hash).into()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

fn hash(password: &str, salt: &[u8; 16]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(password.as_bytes()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_matches_and_equal_passwords_have_different_hashes() {
        let hash = PasswordHash::new("open sesame", [1; 16]);
        assert!(hash.matches("open sesame"));
        assert!(!hash.matches("open Sesame"));
        assert_ne!(hash, PasswordHash::new("open sesame", [2; 16]));
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }
}
