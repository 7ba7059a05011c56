//! Short codes in paths, which replace session ids.

use super::params::{RawParams, SESSION_PARAMS};
use crate::app::{App, ClientKey};
use crate::domain::{Refused, ShortCode};
use crate::http::error::Error;

/// Resolves the short codes in a path to session ids, and returns for each code whether it is known. The rate limiter
/// must record these results after the rest of the input was found valid, and before the client gets an answer.
///
/// # Errors
/// [`Refused::TooManyGuesses`] if the client has named too many unknown codes, and failures of the store.
pub async fn resolve(
    app: &App,
    client_key: ClientKey,
    raw_params: &mut RawParams<'_>,
) -> Result<Vec<bool>, Error> {
    let mut lookups = Vec::new();
    for param in SESSION_PARAMS {
        let code = match raw_params.path(param) {
            Some(Ok(text)) => ShortCode::parse(&text),
            _ => None,
        };
        let Some(code) = code else { continue };
        if !app.short_code_limiter.allows(client_key, app.clock.up_ms()) {
            return Err(Refused::TooManyGuesses.into());
        }
        let found = app.sessions.id_of_short_code(&code).await?;
        lookups.push(found.is_some());
        if let Some(id) = found {
            raw_params.by_short_code.push((param, id));
        }
    }
    Ok(lookups)
}
