//! Deletes posted messages that are too old.

use tokio_util::sync::CancellationToken;

use super::Round;
use crate::app::App;

/// Looks at the next inboxes, if a pass over all inboxes is under way or due.
pub async fn round(app: &App, stop: &CancellationToken) -> Round {
    match app.inboxes.expire().await {
        Ok(more) => Round { more: more && !stop.is_cancelled(), ..Round::default() },
        Err(failure) => failure.into(),
    }
}
