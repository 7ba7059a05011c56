//! Deletes statuses of deserters that ended long ago.

use tokio_util::sync::CancellationToken;

use super::Round;
use crate::app::App;

/// Looks at the next statuses, if a pass over all of them is under way or due.
pub async fn round(app: &App, stop: &CancellationToken) -> Round {
    match app.deserters.forget_old().await {
        Ok(more) => Round { more: more && !stop.is_cancelled(), ..Round::default() },
        Err(failure) => failure.into(),
    }
}
