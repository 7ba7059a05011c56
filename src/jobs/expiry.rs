//! Ends sessions whose deadline has passed.

use tokio_util::sync::CancellationToken;

use super::{Round, grant_grace};
use crate::app::sessions::Expired;
use crate::app::{App, Failure};

/// Ends due sessions, as many as fit in a round. Sessions that cannot be ended do not delay the others.
pub async fn round(app: &App, stop: &CancellationToken) -> Round {
    let expired = match app.sessions.expire_due(|| stop.is_cancelled()).await {
        Ok(expired) => expired,
        Err(error) => {
            let failure = Failure::Store(error);
            grant_grace(app, &failure);
            return failure.into();
        }
    };
    let Expired { ended, more, failures } = expired;
    if let Some(failure) = failures.iter().find(|failure| failure.is_store_away()) {
        grant_grace(app, failure);
    }
    Round { ended, more: more && !stop.is_cancelled(), failure: failures.into_iter().next() }
}
