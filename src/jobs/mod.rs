//! Background work. A tick takes no input: it finds what is due by looking, so that nothing is forgotten when
//! nobody said so, and it may run twice without harm.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::{FutureExt as _, join_all};
use tokio_util::sync::CancellationToken;

use crate::app::presence::Overdue;
use crate::app::presence::sync::SCANNED_AT_ONCE;
use crate::app::{App, Failure};
use crate::domain::{Refused, Session, SessionId};
use crate::records::keys;
use crate::store::{Key, StoreError, next_key};
use crate::telemetry::Departure;

/// Sessions ended at once: enough to share an fsync, few enough that no caller waits long behind them.
const DUE_AT_ONCE: usize = 16;
/// Sessions ended before the rest of the background work has its turn.
const DUE_IN_A_ROW: usize = 64 * DUE_AT_ONCE;
/// After the store was away, other nodes are given so long to write the deadlines that they have moved meanwhile, in
/// milliseconds.
const AFTER_AWAY_MS: i64 = 10_000;
/// Longest pause between those that are ended at once.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Sessions in which silence is acted on together.
const INACTIVE_AT_ONCE: usize = 64;

/// Ends idle sessions, does what silence has come to, and writes moved deadlines, every so often, until `stop` is cancelled.
pub async fn run(app: Arc<App>, every: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(every) => {}
        }
        let is_stopping = || stop.is_cancelled();
        match AssertUnwindSafe(tick_until(&app, is_stopping)).catch_unwind().await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "background work could not all be done; the next try is in {every:?}");
            }
            // A fault of ours must not end all background work, which nobody would notice.
            Err(_) => {
                app.metrics.panicked();
                tracing::error!("background work failed by our fault; the next try is in {every:?}");
            }
        }
    }
    // A stop is no reason to forget who was asked for a moment ago.
    app.deadlines.flush(&app.sessions).await;
}

/// Writes moved deadlines, ends every session that is due, and acts on silence. Answers how many sessions it ended.
///
/// # Errors
/// Where not all of it could be done. With a clock that is not that of all who share the store, it does nothing: it
/// would end what others hold to be alive.
pub async fn tick(app: &App) -> Result<usize, Failure> {
    tick_until(app, || false).await
}

/// The same, but leaves for another time what is still due once it shall stop.
async fn tick_until(app: &App, is_stopping: impl Fn() -> bool) -> Result<usize, Failure> {
    let (mut ended, mut failed) = (0, None);
    loop {
        app.deadlines.flush(&app.sessions).await;
        let now_ms = app.clock.now_ms();
        // While the store is away nobody can be answered, and nobody's silence is their own.
        let grant_grace = || {
            let now_ms = app.clock.now_ms();
            app.presence.grant_grace(now_ms);
            app.store_away_ms.store(now_ms, Ordering::Relaxed);
        };
        let Row { ended: made, tried, mut failures } =
            end_due(app, now_ms, &is_stopping).await.inspect_err(|_| grant_grace())?;
        ended += made;
        let is_away = |failures: &[Failure]| failures.iter().any(Failure::is_store_away);
        // In between, since others go by what they are told of whom this node has heard.
        let told = if is_away(&failures) { Ok(()) } else { app.sync_presence().await };
        // Whoever cannot tell others might not have been told by them either.
        let is_alone = is_away(&failures) || matches!(told, Err(Failure::Store(_)));
        failures.extend(told.err());
        if !is_alone {
            failures.extend(expire_inactive(app).await.err());
        }
        let is_over = tried < DUE_IN_A_ROW || made == 0 || is_stopping();
        if is_alone || is_away(&failures) {
            grant_grace();
            return Err(failures.swap_remove(0));
        }
        failed = failed.or(failures.into_iter().next());
        if is_over {
            return failed.map_or(Ok(ended), Err);
        }
    }
}

/// What became of the sessions that were due.
#[derive(Default)]
struct Row {
    ended: usize,
    tried: usize,
    failures: Vec<Failure>,
}

/// Tries to end the sessions that are due, as many as are to be ended in a row.
async fn end_due(app: &App, now_ms: i64, is_stopping: impl Fn() -> bool) -> Result<Row, StoreError> {
    let store = app.sessions.store();
    store.check_clock(|| app.clock.now_ms()).await?;
    if now_ms.saturating_sub(app.store_away_ms.load(Ordering::Relaxed)) < AFTER_AWAY_MS {
        return Ok(Row::default());
    }
    let (first, end) = keys::due_until(now_ms);
    let Some(start) = where_to_start(app, now_ms).await? else { return Ok(Row::default()) };
    let mut row = Row::default();
    for (mut from, to) in [(start.clone(), end), (first, start)] {
        while row.tried < DUE_IN_A_ROW && !is_stopping() {
            let due = store.scan(&from, &to, DUE_AT_ONCE).await?;
            let Some((last, _)) = due.last() else { break };
            let (is_last, began) = (due.len() < DUE_AT_ONCE, Instant::now());
            // The next look starts behind this one: what could not be ended now waits for another.
            from = next_key(last);
            let due = due.iter().filter_map(|(key, _)| keys::parse_due(key));
            for end in join_all(due.map(async |(due_ms, id)| app.expire(&id, due_ms).await)).await {
                row.tried += 1;
                match end {
                    Ok(is_ended) => row.ended += usize::from(is_ended),
                    Err(failure) => row.failures.push(failure),
                }
            }
            if row.failures.iter().any(Failure::is_store_away) {
                return Ok(row);
            }
            if is_last {
                break;
            }
            // Half of the time is for callers alone. Nobody waits for an end: what is overdue reads as gone.
            tokio::time::sleep(began.elapsed().min(PAUSE_MAX)).await;
        }
    }
    Ok(row)
}

/// The place in the queue of deadlines to start from, if anything is due: a random one where much is, so that several
/// nodes seldom meet, and what cannot be ended keeps nobody else waiting.
async fn where_to_start(app: &App, now_ms: i64) -> Result<Option<Key>, StoreError> {
    let (store, (first, end)) = (app.sessions.store(), keys::due_until(now_ms));
    let oldest = store.scan(&first, &end, DUE_AT_ONCE).await?;
    let Some((oldest_ms, _)) = oldest.first().and_then(|(key, _)| keys::parse_due(key)) else {
        return Ok(None);
    };
    if oldest.len() < DUE_AT_ONCE {
        return Ok(Some(first));
    }
    // Often all fell due in a short time long ago: where nothing is due behind a random time, one before it is tried.
    let mut late_ms_end = now_ms.saturating_sub(oldest_ms).max(0) + 1;
    while late_ms_end > 0 {
        let late_ms = (app.entropy.fraction() * late_ms_end as f64) as i64;
        // Of many that are due at the same time, the id decides.
        let start = keys::due(oldest_ms.saturating_add(late_ms), &app.entropy.uuid().into());
        if !store.scan(&start, &end, 1).await?.is_empty() {
            return Ok(Some(start));
        }
        late_ms_end = late_ms;
    }
    Ok(Some(first))
}

/// Queues every session that silence can change: in memory nothing is known of them after a start.
pub async fn watch_stored_sessions(app: &App) -> Result<(), Failure> {
    let (mut from, to) = keys::all_watched();
    loop {
        let found = app.sessions.store().scan(&from, &to, SCANNED_AT_ONCE).await?;
        let Some((last, _)) = found.last() else { return Ok(()) };
        from = next_key(last);
        app.watch(found.iter().filter_map(|(key, _)| keys::parse_watched(key)).collect()).await?;
    }
}

/// Takes out players who no longer ask and invites that nobody answers, and notes the health of silent hosts. What
/// fails for one session is tried again next time, and does not keep the others waiting.
async fn expire_inactive(app: &App) -> Result<(), Failure> {
    let now_ms = app.clock.now_ms();
    let mut result = Ok(());
    // Together, so that they share an fsync; not all of them, so that callers get a turn in between.
    for due in app.presence.take_due(now_ms).chunks(INACTIVE_AT_ONCE) {
        if result.as_ref().is_err_and(Failure::is_store_away) {
            due.iter().for_each(|id| app.presence.put_back(id));
            continue;
        }
        let acts = due.iter().map(|id| expire_inactive_in(app, id, now_ms));
        for (id, acted) in due.iter().zip(join_all(acts).await) {
            if let Err(failure) = acted {
                app.presence.put_back(id);
                result = result.and(Err(failure));
            }
        }
    }
    result
}

async fn expire_inactive_in(app: &App, id: &SessionId, now_ms: i64) -> Result<(), Failure> {
    // First the session, then what was heard of it: a report is told before the session shows it, so that whatever the
    // session shows was heard of.
    let seen = match app.sessions.store().sole_writer() {
        true => None,
        false => app.sessions.find_latest(id).await?,
    };
    app.hear(id).await?;
    let presence = Arc::clone(&app.presence);
    // In the session's turn, so that nobody is taken out who has just answered, and the session is looked at again as
    // it then is, also where nothing is overdue yet.
    let rule = move |session: &mut Session| {
        if seen.as_ref().is_some_and(|seen| seen.session != *session) {
            // It is looked at again with the next tick, after what others have heard meanwhile.
            return Ok((Overdue::default(), Vec::new()));
        }
        let overdue = presence.overdue(session, now_ms);
        let gone =
            session.expire_inactive(&overdue.inactive, &overdue.expired_invites, overdue.health.as_ref());
        Ok((overdue, gone))
    };
    let ((overdue, gone), _) = match app.sessions.update_unlimited(id, false, rule).await {
        Err(Failure::Refused(Refused::SessionNotFound)) => {
            app.presence.forget(id);
            return Ok(());
        }
        settled => settled?,
    };
    if !overdue.is_empty() {
        tracing::info!(session_id = %id, ?overdue, "players, invites or a host of the session are silent");
    }
    for was_active in gone {
        app.metrics.departed(if was_active { Departure::Absent } else { Departure::Expired });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::auth::{DevelopmentKey, KeyRing};
    use crate::config::Config;
    use crate::env::{Clock, Entropy};
    use crate::runtime::server;
    use crate::store::{Batch, Memory, Store};

    /// An application in whose queue so many sessions have fallen due, at the same moment long ago.
    async fn app_with_due(count: usize, due_ms: i64) -> App {
        let (entropy, dir) = (Entropy::seeded(1), tempfile::tempdir().unwrap());
        let key = DevelopmentKey::load_or_create(dir.path(), &entropy).unwrap();
        let (ring, store) = (Arc::new(KeyRing::new(key.key_set())), Store::Memory(Memory::default()));
        let due = (0..count).map(|_| keys::due(due_ms, &entropy.uuid().into()));
        let batch = due.fold(Batch::default(), |batch, key| batch.put(key, ""));
        store.commit(batch).await.unwrap();
        server::new_app(&Config::default(), store, ring, Clock::System, entropy, Arc::default())
    }

    #[tokio::test]
    async fn nodes_start_in_different_places_where_much_fell_due_at_once() {
        let (due_ms, now_ms) = (1_000_000, 9_000_000);
        let app = app_with_due(8 * DUE_AT_ONCE, due_ms).await;
        let (first, end) = keys::due_until(now_ms);
        let mut behind = BTreeSet::new();
        for _ in 0..64 {
            let start = where_to_start(&app, now_ms).await.unwrap().unwrap();
            assert!(start >= first);
            behind.insert(app.sessions.store().scan(&start, &end, usize::MAX).await.unwrap().len());
        }
        assert!(behind.len() > 32 && !behind.contains(&0), "{behind:?}");
    }

    #[tokio::test]
    async fn few_that_are_due_are_taken_from_the_front() {
        let app = app_with_due(DUE_AT_ONCE - 1, 1_000).await;
        assert_eq!(where_to_start(&app, 1_000).await, Ok(Some(keys::due_until(1_000).0)));
        assert_eq!(where_to_start(&app, 999).await, Ok(None));
    }
}
