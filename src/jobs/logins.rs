//! Deletes refresh tokens that have ended.

use tokio_util::sync::CancellationToken;

use super::Round;
use crate::app::{App, Failure};

/// Looks at the next refresh tokens, if a sweep over all of them is under way or due.
pub async fn round(app: &App, stop: &CancellationToken) -> Round {
    let Some(login) = &app.login else { return Round::default() };
    match login.sweep(app.sessions.check_clock()).await {
        Ok(more) => Round { more: more && !stop.is_cancelled(), ..Round::default() },
        Err(error) => Failure::Store(error).into(),
    }
}
