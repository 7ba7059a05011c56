//! A circuit breaker for commits that get no answer, for example because the database waits for a standby that is away.
//!
//! A client that gives up such a commit leaves a backend process of the database behind, which waits until the standby
//! is back; nothing else ends it. Further commits would pile up such processes. The states are:
//!
//! - **closed**: commits are sent. A commit that times out opens the circuit.
//! - **open**: commits are refused as [`StatementError::Unreachable`].
//! - **half-open**: one probe commit, which changes nothing, waits for its answer; other commits are still refused.
//!   Each probe that times out doubles the time limit of the next. The first answer closes the circuit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::commit::{ApplyOutcome, CommitParams, CommitRequest, Committer};
use super::connection::Connection;
use super::new_version;
use super::statement_error::StatementError;
use crate::env::Entropy;
use crate::store::Batch;

/// Longest time limit of a probe, unless the setting for answers is longer.
const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// Pause after a failed probe.
const PAUSE: Duration = Duration::from_millis(500);
const CAUSE: &str =
    "commits get no answer: if the database waits for standbys, check that they are connected";

/// The circuit breaker; closed at first.
#[derive(Default)]
pub(super) struct CircuitBreaker {
    is_open: AtomicBool,
}

impl CircuitBreaker {
    /// Whether a commit may be sent.
    ///
    /// # Errors
    /// [`StatementError::Unreachable`] unless the circuit is closed.
    pub(super) fn check(&self) -> Result<(), StatementError> {
        if self.is_open.load(Ordering::Acquire) {
            return Err(StatementError::Unreachable(CAUSE.into()));
        }
        Ok(())
    }

    /// Opens the circuit after a commit got no answer. The first call starts the task that probes.
    pub(super) fn open(&self, committer: &Arc<Committer>) {
        let was_open = self.is_open.swap(true, Ordering::AcqRel);
        if !was_open {
            tokio::spawn(probe_until_answered(Arc::clone(committer)));
        }
    }

    fn close(&self) {
        self.is_open.store(false, Ordering::Release);
    }
}

/// Sends probe commits until one is answered, then closes the circuit. Ends early if the store is closed.
async fn probe_until_answered(committer: Arc<Committer>) {
    let mut answer_timeout = committer.connector.settings().answer_timeout();
    let timeout_max = PROBE_TIMEOUT_MAX.max(answer_timeout);
    let mut is_logged = false;
    loop {
        let cause = match probe(&committer, answer_timeout).await {
            Ok(ApplyOutcome::Applied) => break,
            Ok(_) => "the probe commit was refused".into(),
            Err(StatementError::Permanent(_)) if committer.connector.is_closed() => return,
            Err(StatementError::Permanent(error)) => error.to_string(),
            Err(StatementError::TimedOut(cause)) => {
                answer_timeout = (answer_timeout * 2).min(timeout_max);
                cause
            }
            Err(
                StatementError::Unreachable(cause)
                | StatementError::ConnectionLost(cause)
                | StatementError::Retryable(cause),
            ) => cause,
        };
        // Not logged if the first probe succeeds: then a single statement was slow, and commits work.
        if !is_logged {
            tracing::error!(cause, "{CAUSE}; commits are refused until a probe commit is answered");
            is_logged = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    committer.circuit_breaker.close();
    if is_logged {
        tracing::info!("commits are answered again");
    }
}

/// Commits on a new connection, without a change. The commit must be written nevertheless: it locks a key that is
/// absent, and stays absent.
async fn probe(committer: &Committer, answer_timeout: Duration) -> Result<ApplyOutcome, StatementError> {
    let connection = Connection::new(&committer.connector);
    let request = CommitRequest::of(Batch::default().expect_absent(Entropy::System.bytes::<16>()));
    let params = CommitParams::of(&[&request], new_version());
    committer.run_transaction(&connection, &params, answer_timeout).await
}
