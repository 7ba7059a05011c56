//! Log in.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::result::LoginResult;
use crate::app::App;
use crate::app::login::{GrantType, LoginFailure, LoginRequest, NameField, PresentedClient};
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::violation::{Violation, ViolationKind};
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};
use crate::users::{LOGIN_HEADER, LOGIN_HEADER_VALUE};

/// A request to log in. It has secrets, so it has no `Debug`.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "LoginRequestV1")]
#[allow(dead_code, reason = "the contract has these fields; some have no effect here")]
pub struct LoginBody {
    /// Way to log in.
    pub grant_type: GrantType,
    /// What the grant checks: the name of an `anon` player, `USERNAME:PASSWORD`, or a refresh token.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    pub portal_access_token: String,
    /// Display name of the player. Without it, the player's id on the platform is shown.
    #[serde(default)]
    pub portal_display_name: String,
    /// No effect.
    #[serde(default)]
    pub portal_parent_access_token: String,
    /// No effect.
    #[serde(default)]
    pub portal_parent_display_name: String,
    /// Whether the answer of a player's login contains a refresh token.
    #[serde(default)]
    pub include_refresh: bool,
    /// No effect: agreements count as accepted.
    #[serde(default)]
    pub accept_eula: bool,
    /// No effect: agreements count as accepted.
    #[serde(default)]
    pub accept_tos: bool,
    /// No effect: agreements count as accepted.
    #[serde(default)]
    pub accept_privacy_policy: bool,
}

/// Logs a player or a service in.
pub async fn login(
    app: Arc<App>,
    caller: Caller,
    input: Input<(), (), Json<LoginBody>>,
) -> Result<Reply<Plain<LoginResult>>, Error> {
    let login = app.login.as_ref().ok_or(Error::PathNotFound)?;
    let Json(body) = input.body;
    let client = caller.basic().map(|basic| PresentedClient { id: &basic.id, secret: &basic.secret });
    let request = LoginRequest {
        grant: body.grant_type,
        token: &body.portal_access_token,
        display_name: &body.portal_display_name,
        include_refresh: body.include_refresh,
        client,
        address: caller.address(),
    };
    let logged_in = login.login(request).await.map_err(refused)?;
    Ok(Reply::plain(&LoginResult::of(logged_in)).with_header(LOGIN_HEADER, LOGIN_HEADER_VALUE))
}

fn refused(failure: LoginFailure) -> Error {
    match failure {
        LoginFailure::Refused(refusal) => Error::Login(refusal),
        LoginFailure::NameInvalid(field) => Error::Invalid(vec![invalid_name(field)]),
        LoginFailure::Limited => Error::LoginLimited,
        LoginFailure::Store(error) => Error::Unavailable(error),
    }
}

/// The violation of a name that is too long or has control characters. It does not repeat the name.
fn invalid_name(field: NameField) -> Violation {
    let name = match field {
        NameField::Token => "portal_access_token",
        NameField::DisplayName => "portal_display_name",
    };
    let kind = ViolationKind {
        msg: "a name has 1 to 256 characters and no control characters".into(),
        kind: "value_error.str.regex",
    };
    kind.at(["body".into(), name.into()])
}
