//! Gives requested instances their servers.

use super::Round;
use crate::app::App;

/// Looks at the launches that were woken or are due. Allocators are called in tasks of their own, so a slow one does
/// not delay a round.
pub async fn round(app: &App) -> Round {
    match app.launches.round().await {
        Ok(more) => Round { more, ..Round::default() },
        Err(failure) => failure.into(),
    }
}
