//! Log out.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::App;
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::operation::Input;
use crate::http::reply::{EmptyObject, Reply};

/// A request to log out. It has a secret, so it has no `Debug`.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "LogoutRequest")]
pub struct LogoutBody {
    /// Refresh token to end.
    #[schemars(length(min = 1))]
    pub refresh_token: String,
}

/// Ends a refresh token.
pub async fn logout(
    app: Arc<App>,
    _: Caller,
    input: Input<(), (), Json<LogoutBody>>,
) -> Result<Reply<EmptyObject>, Error> {
    let login = app.login.as_ref().ok_or(Error::PathNotFound)?;
    login.logout(&input.body.0.refresh_token).await?;
    Ok(Reply::empty_object())
}
