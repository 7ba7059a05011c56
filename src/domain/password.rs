//! Session passwords. Kept as a salted hash, compared in constant time.
//!
//! A fast hash on purpose: the secret is shared by a lobby and lives as long as the session, and a slow one
//! would let any caller buy seconds of our processor with one request.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A password as it is stored: never the password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    salt: [u8; 16],
    hash: [u8; 32],
}

impl PasswordHash {
    /// Hashes a password with fresh salt.
    pub fn new(password: &str, salt: [u8; 16]) -> Self {
        Self { salt, hash: hash(password, &salt) }
    }

    /// Whether this is the password, found out in constant time.
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
    fn only_the_password_matches_and_salt_tells_equal_ones_apart() {
        let hash = PasswordHash::new("open sesame", [1; 16]);
        assert!(hash.matches("open sesame"));
        assert!(!hash.matches("open Sesame"));
        assert_ne!(hash, PasswordHash::new("open sesame", [2; 16]));
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }
}
