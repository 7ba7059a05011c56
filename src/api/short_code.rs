//! Short codes: made here, and resolved wherever a path names a session.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::error::Error;
use super::operation::Input;
use super::params::{RefreshQuery, SessionPath};
use super::reply::{Plain, Reply};
use crate::app::{App, Failure};
use crate::auth::Caller;
use crate::domain::{Refused, Session, SessionId, ShortCode};

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
        match app.update_session(&path.session_id, query.refresh_ttl.0, rule).await {
            Ok(_) => return Ok(Reply::plain(&ShortCodeMade { short_code })),
            Err(Failure::Refused(Refused::ShortCodeTaken)) if attempts > 1 => attempts -= 1,
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// The session that a path names by its short code; `None` where it names one by its id, or by nothing we know.
/// Wrong codes are counted per caller: after a few the caller waits.
pub async fn resolve(app: &App, caller: &Caller, named: &str) -> Result<Option<SessionId>, Error> {
    let Some(code) = ShortCode::parse(named) else { return Ok(None) };
    let now_ms = app.clock.now_ms();
    if !app.guesses.may_guess(caller.player(), now_ms) {
        return Err(Refused::TooManyGuesses.into());
    }
    let found = app.sessions.id_of_short_code(&code).await?;
    if found.is_none() {
        app.guesses.guessed_wrong(caller.player(), now_ms);
    }
    Ok(found)
}
