//! The login key: an RSA key in the data directory, with which the login for development signs access tokens. The
//! contract publishes the keys of its login as RSA keys, so the development key, a shared secret, cannot sign them.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::RSA_PKCS1_SHA256;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use rsa::rand_core::{CryptoRng, Error as RandomError, RngCore};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::development::Grant;
use super::keys::{KeyError, KeySet};
use crate::env::Entropy;
use crate::secret_file;

/// The name of the key's file in the data directory: PKCS#8 in PEM.
const FILE_NAME: &str = "login-key.pem";
/// Length of a new key, in bits.
const KEY_BITS: usize = 2048;
/// Longest key, in bits: that of the code that verifies tokens.
const KEY_BITS_MAX: usize = 4096;
/// Length of the key id: this many characters of the key's thumbprint.
const KID_CHARS: usize = 16;
/// The `iss` of access tokens.
pub const ISSUER: &str = "rallypoint-development";
/// The `aud` of access tokens.
pub const AUDIENCE: &str = "rallypoint";

/// The contents of an access token.
#[derive(Clone, Debug)]
pub struct AccessGrant {
    /// What every token has.
    pub grant: Grant,
    /// The id of the client that logged in.
    pub client_id: String,
    /// The display name of the player; `None` for a service.
    pub name: Option<String>,
    /// The id of the token.
    pub token_id: Uuid,
}

/// The public part of the key, in the contract's form: base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The key id.
    pub kid: String,
    /// Modulus.
    pub n: String,
    /// Exponent.
    pub e: String,
}

/// The login key. Everyone who can read its file can sign tokens for every player and permission.
pub struct LoginKey {
    pair: KeyPair,
    public: PublicKey,
    key_set: KeySet,
}

impl fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoginKey").field(&self.public.kid).finish()
    }
}

impl LoginKey {
    /// The path of the key in a data directory.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE_NAME)
    }

    /// Reads the key from a data directory, or creates it. Processes that do this at the same time get the same key. To
    /// create one takes up to some seconds of processor time.
    ///
    /// # Errors
    /// If the file cannot be read or written or has no key, or if users other than its owner may access it.
    pub fn load_or_create(data_dir: &Path, entropy: &Entropy) -> Result<Self, KeyError> {
        let path = Self::path(data_dir);
        let failed = |cause: String| KeyError::File { path: path.clone(), cause };
        match secret_file::read_own(&path) {
            Ok(pem) => return Self::from_pem(&pem).map_err(failed),
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(failed(error.to_string()));
            }
            Err(_) => {}
        }
        let pem = new_pem(entropy).map_err(failed)?;
        secret_file::create_own_once(&path, &pem, entropy)
            .map_err(|error| KeyError::DataDir { dir: data_dir.into(), error })?;
        let pem = secret_file::read_own(&path).map_err(|error| failed(error.to_string()))?;
        Self::from_pem(&pem).map_err(failed)
    }

    /// Reads a key from its PEM file.
    ///
    /// # Errors
    /// Why the text is not an RSA key of 2048 to 4096 bits, and what the user can do.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        const UNUSABLE: &str =
            "this file has no RSA key of 2048 to 4096 bits in PKCS#8 form; delete it to get a new one";
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| UNUSABLE)?;
        let pair = KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| UNUSABLE)?;
        if !(KEY_BITS..=KEY_BITS_MAX).contains(&(pair.public().modulus_len() * 8)) {
            return Err(UNUSABLE.into());
        }
        let components = PublicKeyComponents::<Vec<u8>>::from(pair.public());
        let (n, e) = (URL_SAFE_NO_PAD.encode(&components.n), URL_SAFE_NO_PAD.encode(&components.e));
        // The thumbprint of RFC 7638: the required members, sorted by name, without white space.
        let thumbprint = Sha256::digest(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#));
        let mut kid = URL_SAFE_NO_PAD.encode(thumbprint);
        kid.truncate(KID_CHARS);
        let key_set = KeySet::rsa(&kid, components.n, components.e);
        Ok(Self { pair, public: PublicKey { kid, n, e }, key_set })
    }

    /// The public part.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A set with only this key.
    pub fn key_set(&self) -> KeySet {
        self.key_set.clone()
    }

    /// Signs an access token (RS256). Takes about a millisecond.
    ///
    /// # Panics
    /// If the random number generator of the operating system fails.
    pub fn sign(&self, access: &AccessGrant, now: Timestamp) -> String {
        let mut claims = access.grant.claims(now);
        claims["iss"] = json!(ISSUER);
        claims["aud"] = json!(AUDIENCE);
        claims["jti"] = json!(access.token_id);
        claims["client_id"] = json!(access.client_id);
        if let Some(name) = &access.name {
            claims["name"] = json!(name);
        }
        self.sign_claims(&claims)
    }

    fn sign_claims(&self, claims: &Value) -> String {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.public.kid });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        let signed =
            self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature);
        signed.expect("RSA signs with a valid key and working randomness");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Makes a key, as PEM. The crate `rsa` only makes keys; it signs nothing, since its private operations do not run in
/// constant time.
fn new_pem(entropy: &Entropy) -> Result<String, String> {
    let failed = |error: &dyn fmt::Display| format!("the key could not be made: {error}");
    let key = RsaPrivateKey::new(&mut Randomness(entropy), KEY_BITS).map_err(|error| failed(&error))?;
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| failed(&error))?;
    Ok(pem.as_str().to_owned())
}

/// Randomness in the form that the crate `rsa` takes.
struct Randomness<'a>(&'a Entropy);

impl RngCore for Randomness<'_> {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.0.bytes())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.0.bytes())
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(64) {
            chunk.copy_from_slice(&self.0.bytes::<64>()[..chunk.len()]);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Randomness<'_> {}

#[cfg(test)]
#[path = "login_key_tests.rs"]
mod tests;
