//! Deletes refresh tokens that have ended.

use tokio_util::sync::CancellationToken;

use super::Round;
use crate::app::{App, Failure};

/// Looks at the next refresh tokens, if a sweep over all of them is under way or due.
pub async fn round(app: &App, stop: &CancellationToken) -> Round {
    let Some(login) = &app.login else { return Round::default() };
    let checked_time = async {
        app.sessions.check_clock().await?;
        Ok(app.sessions.now_and_last_clock_step_ms())
    };
    match login.sweep(checked_time).await {
        Ok(more) => Round { more: more && !stop.is_cancelled(), ..Round::default() },
        Err(error) => Failure::Store(error).into(),
    }
}
