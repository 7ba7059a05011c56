//! Deletes audit events that are too old, or too many.

use tokio_util::sync::CancellationToken;

use super::Round;
use crate::app::{App, Failure};

/// Looks at the next events, if a pass over all of them is under way or due.
pub async fn round(app: &App, stop: &CancellationToken) -> Round {
    match app.audit.sweep().await {
        Ok(more) => Round { more: more && !stop.is_cancelled(), ..Round::default() },
        Err(error) => Failure::Store(error).into(),
    }
}
