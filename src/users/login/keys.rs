//! The public key of the login, and the check of a token.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::auth::{self, Caller};
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{EmptyObject, Plain, Reply};

/// The keys that verify access tokens, as a JWK Set (RFC 7517).
#[derive(Serialize, JsonSchema)]
pub struct PublicKeyList {
    /// The keys.
    pub keys: Vec<PublicKey>,
}

/// A key that verifies access tokens, as a JWK.
#[derive(Serialize, JsonSchema)]
pub struct PublicKey {
    /// Id of the key.
    pub kid: String,
    /// Type of the key: always `RSA`.
    pub kty: &'static str,
    /// Modulus, in base64url.
    pub n: String,
    /// Exponent, in base64url.
    pub e: String,
}

params! {
    /// Path of a key.
    KeyPath in "path" {
        /// Id of the key.
        key_id: String,
    }
}

fn public_key(app: &App) -> Result<PublicKey, Error> {
    let login = app.login.as_ref().ok_or(Error::PathNotFound)?;
    let auth::PublicKey { kid, n, e } = login.public_key().clone();
    Ok(PublicKey { kid, kty: "RSA", n, e })
}

/// Answers with all keys.
pub async fn all(app: Arc<App>, _: Caller, _: Input) -> Result<Reply<Plain<PublicKeyList>>, Error> {
    Ok(Reply::plain(&PublicKeyList { keys: vec![public_key(&app)?] }))
}

/// Answers with one key.
pub async fn one(app: Arc<App>, _: Caller, input: Input<KeyPath>) -> Result<Reply<Plain<PublicKey>>, Error> {
    let key = public_key(&app)?;
    if key.kid == input.path.key_id { Ok(Reply::plain(&key)) } else { Err(Error::KeyNotFound) }
}

/// Answers if the token of the request is valid, which the pipeline has checked.
pub async fn verify(_: Arc<App>, _: Caller, _: Input) -> Result<Reply<EmptyObject>, Error> {
    Ok(Reply::empty_object())
}
