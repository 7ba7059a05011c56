//! Background jobs, one task each. A round of a job takes no input. It reads from the store what is due, so no notice
//! of it can get lost, and a round that runs twice does no harm. Each item of a round fails alone.

mod audit;
mod deserters;
mod expiry;
mod idempotency;
mod inboxes;
mod launches;
mod lists;
mod logins;
mod presence;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Failure};

/// The outcome of one round of a job.
#[derive(Debug, Default)]
struct Round {
    /// How many sessions the round ended.
    ended: usize,
    /// Whether another round has more to do at once.
    more: bool,
    /// The first failure, if something failed. A later round tries it again.
    failure: Option<Failure>,
}

impl From<Failure> for Round {
    fn from(failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::default() }
    }
}

/// A background job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// Writes the deadlines that moved in memory to the store.
    Deadlines,
    /// Ends sessions whose deadline has passed.
    Expiry,
    /// Syncs presence with other nodes and acts on timeouts.
    Presence,
    /// Finds the templates that the configuration does not have and sessions use.
    Templates,
    /// Forgets when the lists of players without sessions changed.
    Lists,
    /// Deletes refresh tokens that have ended.
    Logins,
    /// Deletes posted messages that are too old.
    Inboxes,
    /// Deletes answers to repeated requests that were kept for long enough.
    Idempotency,
    /// Deletes audit events that are too old, or too many.
    Audit,
    /// Deletes statuses of deserters that ended long ago.
    Deserters,
    /// Gives requested instances their dedicated servers.
    Launches,
    /// Says which matches this node makes, and finds out which others do. A job of its own, since rounds of `Matches` can
    /// take long.
    MatcherNodes,
    /// Makes matches of parties in queues.
    Matches,
    /// Wakes requests that have waited long enough.
    Waits,
    /// Looks for changes by other nodes that requests wait for.
    Sweep,
}

/// Time between two parts of the sweep.
const SWEEP_EVERY: Duration = Duration::from_millis(50);

impl Job {
    const ALL: [Self; 15] = [
        Self::Deadlines,
        Self::Expiry,
        Self::Presence,
        Self::Templates,
        Self::Lists,
        Self::Logins,
        Self::Inboxes,
        Self::Idempotency,
        Self::Audit,
        Self::MatcherNodes,
        Self::Matches,
        Self::Deserters,
        Self::Launches,
        Self::Waits,
        Self::Sweep,
    ];

    /// Runs one round. A round stops early once `stop` is cancelled. Each round is on the heap by itself. Otherwise, in
    /// a build without optimization, the stack has room for the rounds of all jobs whenever one of them runs.
    fn round<'a>(self, app: &'a App, stop: &'a CancellationToken) -> BoxFuture<'a, Round> {
        let done = |()| Round::default();
        match self {
            Self::Deadlines => app.sessions.flush_deadlines().map(done).boxed(),
            Self::Expiry => expiry::round(app, stop).boxed(),
            Self::Presence => presence::round(app).boxed(),
            Self::Templates => {
                app.keep_used_templates().map(move |kept| kept.map_or_else(Round::from, done)).boxed()
            }
            Self::Lists => lists::round(app, stop).boxed(),
            Self::Logins => logins::round(app, stop).boxed(),
            Self::Inboxes => inboxes::round(app, stop).boxed(),
            Self::Idempotency => idempotency::round(app, stop).boxed(),
            Self::Audit => audit::round(app, stop).boxed(),
            Self::Deserters => deserters::round(app, stop).boxed(),
            Self::Launches => launches::round(app).boxed(),
            Self::MatcherNodes => {
                app.matchmaker.meet(app).map(move |met| met.map_or_else(Round::from, done)).boxed()
            }
            Self::Matches => {
                let round = app.matchmaker.round(app, stop);
                round
                    .map(|more| more.map_or_else(Round::from, |more| Round { more, ..Round::default() }))
                    .boxed()
            }
            Self::Waits => {
                let wake = async move {
                    app.waits.wake_due();
                    Round::default()
                };
                wake.boxed()
            }
            Self::Sweep => {
                app.invalidations.sweep().map(move |swept| swept.map_or_else(Round::from, done)).boxed()
            }
        }
    }

    /// Waits for something that the job should do before its next round is due. Most jobs can wait.
    async fn wait_for_news(self, app: &App) {
        match self {
            Self::Launches => app.launches.wait_for_news().await,
            Self::MatcherNodes => app.matchmaker.wait_until_missed(app).await,
            Self::Matches => app.matchmaker.wait_until_due(app).await,
            Self::Waits => app.waits.wait_until_due().await,
            Self::Sweep if !app.sessions.store().sole_writer() => loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                if app.waits.count() > 0 {
                    return;
                }
            },
            _ => std::future::pending().await,
        }
    }

    /// What follows the last round of a job. It does not wait for the other jobs.
    async fn end(self, app: &App) {
        if self == Self::Matches
            && let Err(error) = app.matchmaker.leave(app).await
        {
            tracing::warn!(%error, "other nodes take over the matches of this one only when it counts as gone");
        }
    }
}

/// Runs every job, and the exchange of messages with other nodes, until `stop` is cancelled. Each job pauses for
/// `every` after a round, unless the round left more to do.
pub async fn run(app: Arc<App>, every: Duration, stop: CancellationToken) {
    let exchange = {
        let (app, stop) = (Arc::clone(&app), stop.clone());
        tokio::spawn(async move { app.invalidations.exchange(stop).await })
    };
    let jobs = Job::ALL.map(|job| tokio::spawn(repeat(job, Arc::clone(&app), every, stop.clone())));
    join_all(jobs.into_iter().chain([exchange])).await;
    // A restart must not forget that a client used a session a moment ago.
    app.sessions.flush_deadlines().await;
}

async fn repeat(job: Job, app: Arc<App>, every: Duration, stop: CancellationToken) {
    let mut pause = every;
    let mut has_failed = false;
    // The first failure of the rounds since the last full pause: one line in the log for all of them.
    let mut first_failure = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return job.end(&app).await,
            () = tokio::time::sleep(pause) => {}
            // Not after a failure: news would come again and again, and each would fail.
            () = job.wait_for_news(&app), if !has_failed => {}
        }
        let Ok(round) = AssertUnwindSafe(job.round(&app, &stop)).catch_unwind().await else {
            // Caught and logged: otherwise the job would stop without a trace until the next start.
            app.metrics.panicked();
            tracing::error!(?job, "background work panicked; the next try is in {every:?}");
            pause = every;
            continue;
        };
        has_failed = round.failure.is_some();
        first_failure = first_failure.or(round.failure);
        if round.more {
            pause = Duration::ZERO;
            continue;
        }
        if let Some(error) = first_failure.take() {
            tracing::error!(?job, %error, "background work could not all be done; the next try is in {every:?}");
        }
        pause = every;
    }
}

/// Runs every job once, in order, each until it has nothing more to do at once. Returns the number of sessions that
/// ended. For tests, which advance the clock themselves.
///
/// # Errors
/// The first failure of a job. The other jobs run all the same.
pub async fn tick(app: &App) -> Result<usize, Failure> {
    let never = CancellationToken::new();
    let mut ended = 0;
    let mut first_failure = None;
    for job in Job::ALL {
        loop {
            let round = job.round(app, &never).await;
            ended += round.ended;
            first_failure = first_failure.or(round.failure);
            if !round.more {
                break;
            }
        }
    }
    match first_failure {
        Some(failure) => Err(failure),
        None => Ok(ended),
    }
}

/// Starts the grace periods after a failure, because the store may have been away: clients could not reach their
/// sessions, so no session ends and no player times out for that. Not if the clock is wrong: its time may lie in the
/// future, and the grace periods would last until then.
fn grant_grace(app: &App, failure: &Failure) {
    if failure.is_clock_wrong() {
        return;
    }
    app.sessions.note_store_away();
    app.presence.grant_grace();
}
