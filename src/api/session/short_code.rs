//! Short codes: made here, and resolved wherever a path names a session.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::{App, ClientKey, Failure};
use crate::auth::Caller;
use crate::domain::{Refused, Session, ShortCode};
use crate::http::error::Error;
use crate::http::input::params::{RawParams, RefreshQuery, SESSION_PARAMS, SessionPath};
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// How many codes are tried before giving up: each is taken with a chance far below one in a thousand.
const ATTEMPTS_MAX: usize = 8;

/// A session's short code.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionShortCodeResponse")]
pub struct ShortCodeMade {
    /// The code.
    #[schemars(length(min = 5, max = 12))]
    short_code: String,
}

/// Makes a short code for a session.
pub async fn generate(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<SessionPath, RefreshQuery>,
) -> Result<Reply<Plain<ShortCodeMade>>, Error> {
    let actor = caller.actor();
    let mut attempts = ATTEMPTS_MAX;
    loop {
        let code = ShortCode::from_random(app.entropy.bytes());
        let short_code = code.as_str().to_owned();
        let rule = move |session: &mut Session| session.give_short_code(actor, code.clone());
        match app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await {
            Ok(_) => return Ok(Reply::plain(&ShortCodeMade { short_code })),
            Err(Failure::Refused(Refused::ShortCodeTaken)) if attempts > 1 => attempts -= 1,
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// Lets a short code stand wherever a path names a session. Answers for each whether there is such a code: the guesses,
/// which are to be judged before anything is told of them, where the rest of the request is right. After a few wrong
/// ones the caller waits.
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
