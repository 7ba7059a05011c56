//! Ends sessions that nobody asks for.

use tokio_util::sync::CancellationToken;

use super::{Round, note_store_away};
use crate::app::sessions::Expired;
use crate::app::{App, Failure};

/// Ends due sessions, as many as fit in a round.
pub async fn round(app: &App, stop: &CancellationToken) -> Result<Round, Failure> {
    let expired = app.sessions.expire_due(|| stop.is_cancelled()).await;
    let Expired { ended, more, failures } = expired.inspect_err(|_| note_store_away(app))?;
    if failures.iter().any(Failure::is_store_away) {
        note_store_away(app);
    }
    match failures.into_iter().next() {
        Some(failure) => Err(failure),
        None => Ok(Round { ended, more: more && !stop.is_cancelled() }),
    }
}
