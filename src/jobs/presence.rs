//! Syncs presence with other nodes, then acts on timeouts.

use super::{Round, grant_grace};
use crate::app::{App, Failure};

/// One sync, then one check for timeouts. With a wrong clock the node does neither: its heartbeats would mislead other
/// nodes, and everything would time out too early or too late. If the sync fails as a whole, the node does not act
/// on timeouts: it may have missed heartbeats at other nodes. If single sessions could not be synced, the others still
/// time out: each check reads first what other nodes know of its session.
pub async fn round(app: &App) -> Round {
    if let Err(error) = app.sessions.check_clock().await {
        let failure = Failure::Store(error);
        grant_grace(app, &failure);
        return failure.into();
    }
    let sync_failure = app.presence.sync().await.err();
    if let Some(failure) = sync_failure.as_ref().filter(|failure| !failure.is_of_one_session()) {
        grant_grace(app, failure);
        return Round { failure: sync_failure, ..Round::default() };
    }
    let expiry_failure = app.presence.expire_inactive().await.err();
    if let Some(failure) = expiry_failure.as_ref().filter(|failure| failure.is_store_away()) {
        grant_grace(app, failure);
    }
    Round { failure: sync_failure.or(expiry_failure), ..Round::default() }
}
