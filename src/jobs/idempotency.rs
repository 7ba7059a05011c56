//! Deletes the answers to requests with an idempotency key that have been kept for long enough.

use tokio_util::sync::CancellationToken;

use super::Round;
use crate::app::{App, Failure};

/// Looks at the next answers, if a pass over all of them is under way or due.
pub async fn round(app: &App, stop: &CancellationToken) -> Round {
    if !app.idempotency.is_sweep_due() {
        return Round::default();
    }
    // A clock that is ahead would delete the answers of all nodes.
    let swept = async {
        app.sessions.check_clock().await?;
        app.idempotency.sweep().await
    };
    match swept.await {
        Ok(more) => Round { more: more && !stop.is_cancelled(), ..Round::default() },
        Err(error) => Failure::Store(error).into(),
    }
}
