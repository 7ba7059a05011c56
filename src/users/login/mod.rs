//! Logging in and out, and what verifies the tokens of a login.

mod keys;
mod log_in;
mod log_out;
mod result;

use http::{Method, StatusCode};

use crate::http::operation::Operation;
use crate::http::surface::Tag;
use crate::users::errors::LoginCompleteMessage;
use crate::users::policies::*;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new("Login", "Get an access token, end a refresh token, and verify access tokens.");

/// Largest body of these operations, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Header of a login that succeeded, for the API document.
const LOGIN_HEADERS: &[(&str, &str)] =
    &[("x-rallypoint-login", "Always `development`. Other logins do not have this header.")];

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::POST, "login", "/v1/login", log_in::login, LOGIN, "Log in").may_fail(&[StatusCode::FORBIDDEN]).fails_with::<LoginCompleteMessage>(StatusCode::FORBIDDEN).answers_with(LOGIN_HEADERS).body_at_most(BODY_BYTES_MAX)
            .about("Logs a player or a service in, and answers with an access token. `portal_access_token` is what the grant checks. The id and the secret of a client go into `Authorization: Basic`."),
        Operation::new(M::POST, "logout", "/v1/logout", log_out::logout, LOGOUT, "End a refresh token").fails_with::<LoginCompleteMessage>(StatusCode::FORBIDDEN).body_at_most(BODY_BYTES_MAX)
            .about("Ends a refresh token. An unknown one gets the same answer. Access tokens stay valid until they expire."),
        Operation::new(M::GET, "get_all_public_keys", "/v1/publickeys", keys::all, READ_KEYS, "Read the public keys").fails_with::<LoginCompleteMessage>(StatusCode::FORBIDDEN)
            .about("The keys that verify access tokens, as a JWK Set."),
        Operation::new(M::GET, "get_public_key_by_id", "/v1/publickeys/{key_id}", keys::one, READ_KEYS, "Read a public key").fails_with::<LoginCompleteMessage>(StatusCode::FORBIDDEN).may_fail(&[StatusCode::NOT_FOUND])
            .about("A key that verifies access tokens. The header of a token names it as `kid`."),
        Operation::new(M::POST, "verify", "/v1/verify", keys::verify, VERIFY, "Verify an access token")
            .about("Answers 200 if the token of the request is valid."),
    ]
}
