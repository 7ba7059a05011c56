//! The error format of this API: the codes of its contract, and the body of a refused login.

use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;

use super::{LOGIN_HEADER, LOGIN_HEADER_VALUE};
use crate::auth::TokenError;
use crate::http::error::{Error, ErrorBody};
use crate::http::error_format::ErrorFormat;
use crate::http::input::violation::ValidationBody;
use crate::http::reply::Answer;

/// The body of a refused login.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LoginCompleteMessage {
    /// Always false: the caller has no token.
    pub auth_success: bool,
    /// Stable code of the refusal, for programs.
    pub error_code: &'static str,
    /// Description of the refusal, for people.
    pub desc: String,
    /// Always false: agreements count as accepted.
    pub needs_eula: bool,
    /// Always false: agreements count as accepted.
    pub needs_tos: bool,
    /// Always false: agreements count as accepted.
    pub needs_privacy_policy: bool,
    /// Always empty: this server restricts no players.
    pub restrictions: [Restriction; 0],
}

/// A restriction of a player.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Restriction {
    /// Kind of the restriction.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// The error format.
pub fn format() -> ErrorFormat {
    ErrorFormat {
        answer,
        body: SchemaGenerator::subschema_for::<ErrorBody>,
        violations: SchemaGenerator::subschema_for::<ValidationBody>,
    }
}

fn answer(error: &Error) -> Answer {
    let mut answer = match error {
        // A refused login has this body, and it fits the other operations without a token, too.
        Error::Login(_) | Error::Elsewhere(_) => {
            let (status, error_code) = error.parts();
            let body = LoginCompleteMessage {
                auth_success: false,
                error_code,
                desc: error.to_string(),
                needs_eula: false,
                needs_tos: false,
                needs_privacy_policy: false,
                restrictions: [],
            };
            Answer::json(status, &body)
        }
        Error::TokenMissing => error.answer_with_code("auth_not_jwt"),
        Error::TokenInvalid(why) => error.answer_with_code(token_code(*why)),
        _ => error.answer(),
    };
    if matches!(error, Error::Login(_) | Error::Elsewhere(_) | Error::LoginLimited) {
        answer.headers.insert(LOGIN_HEADER, LOGIN_HEADER_VALUE);
    }
    answer
}

/// The contract's code of a refused token.
fn token_code(why: TokenError) -> &'static str {
    match why {
        TokenError::TooLong | TokenError::Malformed | TokenError::Header(_) | TokenError::Critical => {
            "auth_not_jwt"
        }
        TokenError::UnknownKey => "auth_invalid_key_id",
        TokenError::Signature => "auth_token_sig_invalid",
        TokenError::Expired => "auth_token_expired",
        TokenError::Issuer
        | TokenError::Audience
        | TokenError::Claim(_)
        | TokenError::Player
        | TokenError::Permissions => "auth_token_invalid_claim",
        TokenError::Algorithm | TokenError::NotYetValid => "auth_token_unknown",
    }
}
