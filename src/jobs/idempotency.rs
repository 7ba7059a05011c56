//! Deletes the answers to requests with an idempotency key that have been kept for long enough.

use tokio_util::sync::CancellationToken;

use super::Round;
use crate::app::{App, Failure};

/// Looks at the next answers, if a pass over all of them is under way or due.
pub async fn round(app: &App, stop: &CancellationToken) -> Round {
    match app.idempotency.sweep().await {
        Ok(more) => Round { more: more && !stop.is_cancelled(), ..Round::default() },
        Err(error) => Failure::Store(error).into(),
    }
}
