//! Short codes in paths: each stands for a session's id.

use super::params::{RawParams, SESSION_PARAMS};
use crate::app::{App, ClientKey};
use crate::domain::{Refused, ShortCode};
use crate::http::error::Error;

/// Resolves the short codes in a path. Answers for each whether it exists. The caller of this function counts the wrong ones
/// once the rest of the input is valid, before the client learns anything about the codes.
///
/// # Errors
/// [`Refused::TooManyGuesses`] after too many wrong codes.
pub async fn resolve(app: &App, client_key: ClientKey, raw: &mut RawParams<'_>) -> Result<Vec<bool>, Error> {
    let mut guesses = Vec::new();
    for param in SESSION_PARAMS {
        let Some(code) = raw.path.get(param).and_then(ShortCode::parse) else { continue };
        if !app.short_code_limiter.allows(client_key, app.clock.now_ms()) {
            return Err(Refused::TooManyGuesses.into());
        }
        let found = app.sessions.id_of_short_code(&code).await?;
        guesses.push(found.is_some());
        raw.by_short_code.extend(found.map(|id| (param, id)));
    }
    Ok(guesses)
}
