//! Background work: one task per job. A round of a job takes no input. It finds what is due by looking, so nothing is
//! forgotten, and it may run twice without harm. Each item of a round fails alone.

mod expiry;
mod presence;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt as _, join_all};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Failure};

/// What a round has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    /// Sessions that it ended.
    ended: usize,
    /// Whether another round has more to do at once.
    more: bool,
}

/// Every job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// Writes moved deadlines to the store.
    Deadlines,
    /// Ends sessions that nobody asks for.
    Expiry,
    /// Shares presence with other nodes and acts on timeouts.
    Presence,
}

impl Job {
    const ALL: [Self; 3] = [Self::Deadlines, Self::Expiry, Self::Presence];

    /// One round. It stops early once `stop` is cancelled.
    async fn round(self, app: &App, stop: &CancellationToken) -> Result<Round, Failure> {
        match self {
            Self::Deadlines => {
                app.sessions.flush_deadlines().await;
                Ok(Round::default())
            }
            Self::Expiry => expiry::round(app, stop).await,
            Self::Presence => presence::round(app).await,
        }
    }
}

/// Runs every job until `stop` is cancelled, each with this pause between its rounds.
pub async fn run(app: Arc<App>, every: Duration, stop: CancellationToken) {
    join_all(Job::ALL.map(|job| tokio::spawn(repeat(job, Arc::clone(&app), every, stop.clone())))).await;
    // A session that was asked for a moment ago must not be forgotten because the server stops.
    app.sessions.flush_deadlines().await;
}

async fn repeat(job: Job, app: Arc<App>, every: Duration, stop: CancellationToken) {
    let mut pause = every;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = every;
        match AssertUnwindSafe(job.round(&app, &stop)).catch_unwind().await {
            Ok(Ok(Round { more: true, .. })) => pause = Duration::ZERO,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::error!(?job, %error, "background work could not all be done; the next try is in {every:?}");
            }
            // Nobody would notice if a bug ended all background work.
            Err(_) => {
                app.metrics.panicked();
                tracing::error!(?job, "background work panicked; the next try is in {every:?}");
            }
        }
    }
}

/// Runs every job once, in order, until none has more to do at once. Answers how many sessions were ended. For tests, which
/// advance the clock themselves.
///
/// # Errors
/// The first failure of a job. The jobs after it run all the same.
pub async fn tick(app: &App) -> Result<usize, Failure> {
    let never = CancellationToken::new();
    let (mut ended, mut failed) = (0, None);
    for job in Job::ALL {
        let mut more = true;
        while more {
            let round = job.round(app, &never).await.unwrap_or_else(|failure| {
                failed.get_or_insert(failure);
                Round::default()
            });
            ended += round.ended;
            more = round.more;
        }
    }
    failed.map_or(Ok(ended), Err)
}

/// Notes that the store is away: nobody could ask for a session, so nothing ends or times out for that.
fn note_store_away(app: &App) {
    app.sessions.note_store_away();
    app.presence.grant_grace();
}
