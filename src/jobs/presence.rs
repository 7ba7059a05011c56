//! Shares presence with other nodes, then acts on timeouts.

use super::{Round, note_store_away};
use crate::app::{App, Failure};

/// One sync, then one look for timeouts. A node whose sync failed does not act: it may have missed what others have seen.
pub async fn round(app: &App) -> Result<Round, Failure> {
    let synced = app.presence.sync().await;
    if let Err(failure @ Failure::Store(_)) = synced {
        note_store_away(app);
        return Err(failure);
    }
    let expired = app.presence.expire_inactive().await;
    if expired.as_ref().is_err_and(Failure::is_store_away) {
        note_store_away(app);
    }
    synced.and(expired).map(|()| Round::default())
}
