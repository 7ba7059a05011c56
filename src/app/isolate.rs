//! Isolation of items of background work: a panic in one item must not stop the others.

use std::panic::AssertUnwindSafe;

use futures_util::future::FutureExt as _;

use super::Failure;
use crate::domain::SessionId;
use crate::telemetry::Metrics;

/// Runs background work on one session. A panic is counted in the metrics, logged, and returned as
/// [`Failure::Panicked`].
pub async fn isolate<T>(
    metrics: &Metrics,
    id: &SessionId,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        metrics.panicked();
        tracing::error!(session_id = %id, "background work on a session panicked; it is tried again");
        Err(Failure::Panicked)
    })
}
