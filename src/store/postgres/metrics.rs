//! Metrics of statements, commits and connections. The module `telemetry` gives them their public names.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio_postgres::error::SqlState;

use super::statement_error::StatementError;
use crate::store::{CommitError, StoreError};

/// What a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Commits, in a single statement.
    Commit,
    /// A commit that needs a transaction of several statements.
    Transaction,
    /// Reads of single values.
    Read,
    /// Reads of ranges.
    Scan,
    /// A read of a page, to copy a store.
    Page,
    /// A read of the database's clock.
    Clock,
    /// A message to other servers.
    Notify,
}

impl Purpose {
    /// The values of the label `purpose`, in the order of the variants.
    const NAMES: [&'static str; 7] = ["commit", "transaction", "read", "scan", "page", "clock", "notify"];
}

/// Why a statement failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Another transaction changed the same data at the same time.
    Conflict,
    /// The server cancelled the statement because it took too long.
    Timeout,
    /// The server takes no writes.
    ReadOnly,
    /// The connection broke, or no answer came in time.
    Lost,
    /// There was no connection to send the statement on.
    Unreachable,
    /// The server refused the statement, and a retry cannot help.
    Failed,
}

impl Reason {
    /// The values of the label `reason`, in the order of the variants.
    const NAMES: [&'static str; 6] = ["conflict", "timeout", "read_only", "lost", "unreachable", "failed"];

    fn of(error: &StatementError, code: Option<&SqlState>) -> Self {
        match error {
            StatementError::Unreachable(_) => Self::Unreachable,
            StatementError::ConnectionLost(_) | StatementError::TimedOut(_) => Self::Lost,
            StatementError::Permanent(_) => Self::Failed,
            StatementError::Retryable(_) => match code {
                Some(&SqlState::QUERY_CANCELED) => Self::Timeout,
                Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Self::ReadOnly,
                _ => Self::Conflict,
            },
        }
    }
}

/// The metrics of one store, since it was opened.
#[derive(Debug)]
pub struct PostgresMetrics {
    /// Commits that succeeded.
    pub commits: Counter,
    /// Commits refused because an expectation did not hold.
    pub conflicts: Counter,
    /// Commits that failed for any other reason.
    pub failures: Counter,
    /// Failed commits (part of `failures`) that may have been made.
    pub unsure: Counter,
    /// Reads of single values that succeeded.
    pub reads: Counter,
    /// Connections that are open now.
    pub connections: Gauge,
    /// Connections that were opened.
    pub connections_made: Counter,
    /// Connections that broke, or were closed because they did not work.
    pub connections_broken: Counter,
    /// 1, or 0 if the last attempt to connect failed.
    pub reachable: Gauge,
    durations: [Histogram; Purpose::NAMES.len()],
    statement_errors: [Counter; Reason::NAMES.len()],
}

impl Default for PostgresMetrics {
    fn default() -> Self {
        let reachable = Gauge::default();
        reachable.set(1);
        Self {
            commits: Counter::default(),
            conflicts: Counter::default(),
            failures: Counter::default(),
            unsure: Counter::default(),
            reads: Counter::default(),
            connections: Gauge::default(),
            connections_made: Counter::default(),
            connections_broken: Counter::default(),
            reachable,
            // Buckets from 50 µs to 3.3 s, in powers of two.
            durations: std::array::from_fn(|_| Histogram::new(exponential_buckets(50e-6, 2.0, 17))),
            statement_errors: Default::default(),
        }
    }
}

impl PostgresMetrics {
    /// The time to answer a statement, in seconds, with the label `purpose`.
    pub fn durations(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        Purpose::NAMES.into_iter().zip(&self.durations)
    }

    /// Statements that failed, with the label `reason`.
    pub fn statement_errors(&self) -> impl Iterator<Item = (&'static str, &Counter)> {
        Reason::NAMES.into_iter().zip(&self.statement_errors)
    }

    /// Counts a statement and its duration, whether it succeeded or failed.
    pub(super) fn observe_statement(&self, purpose: Purpose, took: Duration) {
        self.durations[purpose as usize].observe(took.as_secs_f64());
    }

    /// Counts a statement that failed or could not be sent. `code` is the SQLSTATE, if the server sent one.
    pub(super) fn count_statement_error(&self, error: &StatementError, code: Option<&SqlState>) {
        self.statement_errors[Reason::of(error, code) as usize].inc();
    }

    /// Counts a commit by its outcome.
    pub(super) fn count_commit<T>(&self, outcome: &Result<T, CommitError>) {
        match outcome {
            Ok(_) => self.commits.inc(),
            Err(CommitError::Conflict { .. }) => self.conflicts.inc(),
            Err(CommitError::Store(error)) => {
                if matches!(error, StoreError::Unsure(_)) {
                    self.unsure.inc();
                }
                self.failures.inc()
            }
        };
    }
}
