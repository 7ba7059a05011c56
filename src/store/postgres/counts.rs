//! What statements and connections come to, counted as they go. How the numbers are called is up to
//! [`telemetry`](crate::telemetry).

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio_postgres::error::SqlState;

use super::retry::Fault;
use crate::store::{CommitError, StoreError};

/// What a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A commit.
    Commit,
    /// A commit that needs a transaction.
    Transaction,
    /// Reads of single values.
    Read,
    /// A read of a range.
    Scan,
    /// A read of a page.
    Page,
    /// The database's clock.
    Clock,
}

impl Purpose {
    /// The names of all, in their order.
    const NAMES: [&'static str; 6] = ["commit", "transaction", "read", "scan", "page", "clock"];
}

/// Why a statement did not do what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Others changed the same at the same time.
    Conflict,
    /// The server ended it because it took too long.
    Timeout,
    /// The server takes no writes.
    ReadOnly,
    /// The connection broke, or no answer came in time.
    Lost,
    /// There is no connection.
    Unreachable,
    /// Anything that another try does not mend.
    Failed,
}

impl Reason {
    /// The names of all, in their order.
    const NAMES: [&'static str; 6] = ["conflict", "timeout", "read_only", "lost", "unreachable", "failed"];

    fn of(fault: &Fault, code: Option<&SqlState>) -> Self {
        match (fault, code) {
            (Fault::Unreachable(_), _) => Self::Unreachable,
            (Fault::Lost(_) | Fault::Unanswered(_), _) => Self::Lost,
            (Fault::Failed(_), _) => Self::Failed,
            (Fault::Rejected(_), Some(&SqlState::QUERY_CANCELED)) => Self::Timeout,
            (Fault::Rejected(_), Some(&SqlState::READ_ONLY_SQL_TRANSACTION)) => Self::ReadOnly,
            (Fault::Rejected(_), _) => Self::Conflict,
        }
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Counts {
    /// Commits that succeeded.
    pub commits: Counter,
    /// Commits refused because an expectation did not hold.
    pub conflicts: Counter,
    /// Commits that failed for any other reason.
    pub failures: Counter,
    /// Those of them of which it is not known whether they were made.
    pub unsure: Counter,
    /// Reads of single values that were answered.
    pub reads: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections that were made.
    pub connections_made: Counter,
    /// Connections that broke or were given up.
    pub connections_broken: Counter,
    /// 1 unless the last connection that was tried could not be made.
    pub reachable: Gauge,
    durations: [Histogram; Purpose::NAMES.len()],
    faults: [Counter; Reason::NAMES.len()],
}

impl Default for Counts {
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
            // 50 µs to 3.3 s.
            durations: std::array::from_fn(|_| Histogram::new(exponential_buckets(50e-6, 2.0, 17))),
            faults: Default::default(),
        }
    }
}

impl Counts {
    /// How long statements took, by what they are for.
    pub fn durations(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        Purpose::NAMES.into_iter().zip(&self.durations)
    }

    /// Statements that did not do what they should, by why.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, &Counter)> {
        Reason::NAMES.into_iter().zip(&self.faults)
    }

    /// Counts a statement, whatever became of it.
    pub(super) fn asked(&self, purpose: Purpose, took: Duration) {
        self.durations[purpose as usize].observe(took.as_secs_f64());
    }

    /// Counts a statement that did not do what it should, or could not be sent.
    pub(super) fn failed(&self, fault: &Fault, code: Option<&SqlState>) {
        self.faults[Reason::of(fault, code) as usize].inc();
    }

    /// Counts what became of a commit.
    pub(super) fn ended<T>(&self, outcome: &Result<T, CommitError>) {
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
