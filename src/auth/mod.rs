//! Authentication and authorization: verifies the tokens that a token service issued, and checks their permissions.

mod basic;
mod permission;
mod policy;
mod keys;
mod token;
mod development;
mod id_token;
mod login_key;
mod jwk;
mod jwks;
mod jws;
mod signature;
#[cfg(test)]
mod test_keys;
#[cfg(test)]
mod test_log;
#[cfg(test)]
mod test_service;

pub use basic::BasicCredentials;
pub use development::{DevelopmentKey, Grant};
pub use id_token::{IdTokenRules, verify_id_token};
pub use jwks::{JwksSource, check_jwks_url, fetch_keys, mask_url, refresh_forever};
pub use keys::{KeyError, KeyRing, KeySet, Origin};
pub use login_key::{AUDIENCE, AccessGrant, ISSUER, LoginKey, PublicKey};
pub use permission::{DEFAULT_PLAYER_PERMISSIONS, Permission, Permissions};
pub use policy::{Caller, Denied, Enough, Policy, Reach};
pub use token::{PRODUCT_USER_ID_CHARS_MAX, Service, Token, TokenError, TokenSettings, Verifier};
