//! Checks of signatures. They use `ring`, which is several times as fast as `jsonwebtoken`'s own code: a forged token
//! costs the server a check of its signature.

use jsonwebtoken::Algorithm;
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

/// What checks the signatures of one key. Its type decides the algorithm.
#[derive(Clone)]
pub(super) enum SignatureCheck {
    /// RS256.
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// ES256.
    P256(UnparsedPublicKey<Vec<u8>>),
    /// EdDSA.
    Ed25519(UnparsedPublicKey<Vec<u8>>),
    /// HS256.
    Secret(hmac::Key),
}

impl SignatureCheck {
    /// An RSA key with this modulus and exponent, both without leading zeros.
    pub fn rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Self {
        Self::Rsa(RsaPublicKeyComponents { n: modulus, e: exponent })
    }

    /// A point on P-256, uncompressed (SEC 1, 2.3.3).
    pub fn p256(point: Vec<u8>) -> Self {
        Self::P256(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point))
    }

    /// An Ed25519 key (RFC 8032, 5.1.5).
    pub fn ed25519(key: Vec<u8>) -> Self {
        Self::Ed25519(UnparsedPublicKey::new(&ED25519, key))
    }

    /// A shared secret.
    pub fn secret(secret: &[u8]) -> Self {
        Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The algorithm of these signatures.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::RS256,
            Self::P256(_) => Algorithm::ES256,
            Self::Ed25519(_) => Algorithm::EdDSA,
            Self::Secret(_) => Algorithm::HS256,
        }
    }

    /// Whether this key made the signature of a message.
    pub fn is_valid(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
            Self::P256(key) | Self::Ed25519(key) => key.verify(message, signature).is_ok(),
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}
