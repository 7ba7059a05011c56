//! Forgets when the lists of players without sessions changed.

use tokio_util::sync::CancellationToken;

use super::Round;
use crate::app::App;

/// Looks at the next lists, if a pass over all lists is under way or due. There is more to do at once only while it
/// finds something to forget.
pub async fn round(app: &App, stop: &CancellationToken) -> Round {
    match app.sessions.forget_empty_lists().await {
        Ok(more) => Round { more: more && !stop.is_cancelled(), ..Round::default() },
        Err(failure) => failure.into(),
    }
}
