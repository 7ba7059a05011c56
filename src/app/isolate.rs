//! One item of background work must not take the others down with it.

use std::panic::AssertUnwindSafe;

use futures_util::future::FutureExt as _;

use super::Failure;
use crate::domain::SessionId;
use crate::telemetry::Metrics;

/// Works on one session. A panic is counted, logged, and becomes a failure of this item alone.
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
