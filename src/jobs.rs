//! Background work. A tick takes no input: it finds what is due by looking, so that nothing is forgotten when
//! nobody said so, and it may run twice without harm.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::app::{App, Failure};
use crate::domain::SessionId;
use crate::net::stopped;
use crate::store::keys;

/// Sessions ended at once: enough to share an fsync, few enough to leave room for callers.
const DUE_AT_ONCE: usize = 256;

/// Ends idle sessions and writes moved deadlines, every so often, until `stop` turns true.
pub async fn run(app: Arc<App>, every: Duration, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            () = tokio::time::sleep(every) => {}
        }
        if let Err(error) = tick(&app).await {
            tracing::error!(%error, "idle sessions could not be ended; the next try is in {every:?}");
        }
    }
    // A stop is no reason to forget who was asked for a moment ago.
    app.deadlines.flush(&app.sessions).await;
}

/// Writes moved deadlines, then ends every session that is due. Answers how many it ended.
pub async fn tick(app: &App) -> Result<u64, Failure> {
    app.deadlines.flush(&app.sessions).await;
    let now_ms = app.clock.now_ms();
    let (mut from, to) = keys::due_until(now_ms);
    let mut ended = 0;
    loop {
        let due = app.sessions.store().scan(&from, &to, DUE_AT_ONCE).await?;
        let Some((last, _)) = due.last() else { break };
        // The next look starts behind this one: what could not be ended now must not be met again.
        from = [last.as_slice(), &[0]].concat();
        let due = due.iter().filter_map(|(key, _)| keys::parse_due(key));
        let expired = join_all(due.map(|(due_ms, id)| expire(app, id, due_ms, now_ms))).await;
        ended += expired.into_iter().try_fold(0, |sum, ended| ended.map(|ended| sum + u64::from(ended)))?;
    }
    app.metrics.expired(ended);
    Ok(ended)
}

async fn expire(app: &App, id: SessionId, due_ms: i64, now_ms: i64) -> Result<bool, Failure> {
    if app.deadlines.is_moving(&id) {
        return Ok(false);
    }
    let ended = app.sessions.expire(&id, due_ms, now_ms).await?;
    if ended {
        tracing::info!(session_id = %id, "session ended for being idle");
    }
    Ok(ended)
}
