//! Commits: one statement, in one round trip, checks every expectation and makes every change, or makes no change.
//!
//! **Why this is correct.** A commit locks every key that it concerns, holds all locks at one moment before it ends,
//! and checks its expectations against the locked rows. So commits that share a key happen one after the other, as if
//! each ran alone. The statement (`APPLY` in [`sql`](super::sql)) sees the snapshot of its start. It handles later
//! changes by others as follows:
//!
//! - *Existing rows* are locked in key order with `FOR UPDATE`. This waits for transactions that change a row, and then
//!   returns the newest version of the row, or no row if it was deleted. Expectations are checked against these rows,
//!   and nothing is changed before all of them are locked.
//! - *An expected version that is absent* never comes back, because no version is used twice. The conflict remains a
//!   conflict, whatever others have done since.
//! - *A key that is expected to be absent and is put* is locked by inserting it. The unique index makes the insertion
//!   wait for other insertions of the same key, and finds a key that the snapshot does not show. That key is not
//!   overwritten; the statement counts one insertion too few, and fails with a division by zero, which rolls it back.
//!   The retry sees the key.
//! - *A key that is put without an expectation* is locked by inserting or overwriting it.
//! - *A key that is absent and not put* cannot be locked by this statement. A commit that expects or deletes such a key
//!   takes the transactional path: a transaction whose statements are sent together, and so need one round trip as
//!   well. `LOCK` first inserts a placeholder (version 0) for each absent key, `APPLY` then sees a newer snapshot with
//!   everything locked, and `UNLOCK` deletes the placeholders. No other transaction sees them; one that inserts the
//!   same key waits for the end.
//!
//! This holds at READ COMMITTED. It also holds at the higher isolation levels, where databases refuse some commits with
//! a serialization failure. Serialization failures and deadlocks are retried. A deadlock needs an absent key that was
//! inserted while other commits were in flight: every commit first locks existing rows in key order, then absent keys
//! in key order.
//!
//! **If the answer is lost**, the commit may have happened, may not have happened, or may still happen, because the
//! statement can be delayed on its way to the server. The commit is sent again with the same version:
//!
//! - If it has happened, its version is found, and the commit succeeds.
//! - If it has not happened, it happens now. It cannot happen twice if it changes a key that it expects: the first
//!   makes the expectation of the second fail for good. The exception is an expected absence, which holds again after
//!   the key is deleted; connections have a time limit for unsent data, so that an abandoned statement is not delivered
//!   that late.
//! - If an expectation fails and the version is not found, then either another commit was first, or others have changed
//!   everything since. This remains unknown and is returned as [`StoreError::Unsure`].
//!
//! A commit that changes no key that it expects is not sent again; the server only looks for its version.
//!
//! Commits that share no key may share the statement and its version; see [`commit_batcher`](super::commit_batcher).
//! Then all of them are applied or none, and each can still be sent alone afterwards, because all of the above holds
//! for each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::circuit_breaker::CircuitBreaker;
use super::connection::{Connection, ConnectionPool, Connector, OpenConnection};
use super::metrics::Purpose;
use super::retry::Retry;
use super::statement_error::StatementError;
use super::{Inner, new_version};
use crate::env::Entropy;
use crate::store::{Batch, ChangeEvent, CommitError, Key, StoreError, Version};

/// What one commit expects and changes.
pub(super) struct CommitRequest {
    pub(super) expected: Vec<(Key, Option<Version>)>,
    changed: BTreeMap<Key, Option<Bytes>>,
}

impl CommitRequest {
    pub(super) fn of(mut batch: Batch) -> Self {
        let expected = std::mem::take(&mut batch.expect);
        Self { expected, changed: batch.into_changes() }
    }

    fn is_empty(&self) -> bool {
        self.expected.is_empty() && self.changed.is_empty()
    }

    fn is_put(&self, key: &[u8]) -> bool {
        self.changed.get(key).is_some_and(Option::is_some)
    }

    /// Every key that the commit concerns; some keys occur twice.
    pub(super) fn touched_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.changed.keys().chain(self.expected.iter().map(|(key, _)| key)).map(Vec::as_slice)
    }

    /// The keys that the commit expects to have a value, and deletes. Empty if the commit also puts a value.
    fn expected_deletes(&self) -> Vec<Key> {
        if self.changed.values().any(Option::is_some) {
            return Vec::new();
        }
        let is_deleted =
            |(key, version): &&(Key, Option<Version>)| version.is_some() && self.changed.contains_key(key);
        self.expected.iter().filter(is_deleted).map(|(key, _)| key.clone()).collect()
    }

    /// Size of the changed keys and their values, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.changed.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len)).sum()
    }

    /// Whether the commit must lock an absent key that it does not put. Then it needs a transaction.
    pub(super) fn locks_absent_keys(&self) -> bool {
        self.expected.iter().any(|(key, version)| version.is_none() && !self.is_put(key))
    }

    /// Whether the commit may be sent again after a lost answer: once applied, a second attempt conflicts.
    pub(super) fn is_safe_to_resend(&self) -> bool {
        let changes_expected = |(key, version): &(Key, Option<Version>)| match version {
            Some(_) => self.changed.contains_key(key),
            None => self.is_put(key),
        };
        self.changed.is_empty() || self.expected.iter().any(changes_expected)
    }
}

/// The parameters of `APPLY` for one or more commits.
pub(super) struct CommitParams<'a> {
    expected_keys: Vec<&'a [u8]>,
    expected_versions: Vec<Option<i64>>,
    touched_keys: Vec<&'a [u8]>,
    put_keys: Vec<&'a [u8]>,
    put_values: Vec<&'a [u8]>,
    expected_absent_keys: Vec<&'a [u8]>,
    deleted_keys: Vec<&'a [u8]>,
    version: i64,
}

impl<'a> CommitParams<'a> {
    /// The parameters of `requests`, which must have no key in common.
    pub(super) fn of(requests: &[&'a CommitRequest], version: Version) -> Self {
        let mut params = Self {
            expected_keys: Vec::new(),
            expected_versions: Vec::new(),
            touched_keys: requests.iter().flat_map(|request| request.touched_keys()).collect(),
            put_keys: Vec::new(),
            put_values: Vec::new(),
            expected_absent_keys: Vec::new(),
            deleted_keys: Vec::new(),
            version: version_to_sql(version),
        };
        params.touched_keys.sort_unstable();
        params.touched_keys.dedup();
        for (key, version) in requests.iter().flat_map(|request| &request.expected) {
            params.expected_keys.push(key);
            params.expected_versions.push(version.map(version_to_sql));
            if version.is_none() {
                params.expected_absent_keys.push(key);
            }
        }
        for (key, value) in requests.iter().flat_map(|request| &request.changed) {
            match value {
                Some(value) => {
                    params.put_keys.push(key);
                    params.put_values.push(value);
                }
                None => params.deleted_keys.push(key),
            }
        }
        params
    }

    fn as_sql(&self) -> [&(dyn ToSql + Sync); 8] {
        [
            &self.expected_keys,
            &self.expected_versions,
            &self.touched_keys,
            &self.put_keys,
            &self.put_values,
            &self.expected_absent_keys,
            &self.deleted_keys,
            &self.version,
        ]
    }
}

/// A version as it is stored. It has 63 random bits, so the number is never negative.
pub(super) fn version_to_sql(version: Version) -> i64 {
    version.0.cast_signed()
}

/// The outcome of `APPLY`.
pub(super) enum ApplyOutcome {
    /// The changes were made, now or by an earlier attempt.
    Applied,
    /// The expectation with this index, from 0, does not hold. Nothing was changed.
    Conflict(usize),
    /// A key to delete is absent, and so could not be locked. Nothing was changed.
    KeyNotLocked,
}

impl ApplyOutcome {
    fn of(rows: &[Row]) -> Result<Self, StatementError> {
        let [row] = rows else {
            let cause = format!("a commit was answered with {} rows", rows.len());
            return Err(StoreError::Failed(cause).into());
        };
        let is_applied: bool = row.get(0);
        let failed: Option<i64> = row.get(1);
        let is_all_locked: bool = row.get(2);
        Ok(match failed {
            _ if is_applied => Self::Applied,
            Some(ordinal) => Self::Conflict(usize::try_from(ordinal - 1).unwrap_or_default()),
            None if !is_all_locked => Self::KeyNotLocked,
            None => Self::Applied,
        })
    }
}

impl Inner {
    /// See [`Backend::commit`](crate::store::Backend::commit).
    pub(super) async fn commit(&self, batch: Batch) -> Result<Version, CommitError> {
        batch.check_keys()?;
        let request = CommitRequest::of(batch);
        if request.is_empty() {
            return Ok(new_version());
        }
        let is_watched = self.changes.receiver_count() > 0;
        let keys: Vec<_> = request.changed.keys().filter(|_| is_watched).cloned().collect();
        let expected_deletes = request.expected_deletes();
        let outcome = if request.is_safe_to_resend() && !request.locks_absent_keys() {
            self.commit_in_group(request).await
        } else {
            self.commit_alone(&request).await
        };
        let version = match outcome {
            Err(CommitError::Store(StoreError::Unsure(cause))) if !expected_deletes.is_empty() => {
                self.verify_deletes(&expected_deletes, cause).await?
            }
            outcome => outcome?,
        };
        if !keys.is_empty() {
            // Fails if the last watcher has gone meanwhile.
            let _ = self.changes.send(Arc::new(ChangeEvent { version, keys }));
        }
        Ok(version)
    }

    async fn commit_alone(&self, request: &CommitRequest) -> Result<Version, CommitError> {
        let version = new_version();
        match self.committer.commit_alone(request, version, false, Instant::now()).await {
            Err(CommitError::Store(StoreError::Unsure(cause))) if !request.is_safe_to_resend() => {
                self.verify_puts(request, version, cause).await
            }
            outcome => outcome.map(|()| version),
        }
    }

    /// Resolves the unknown outcome of a commit that only deletes: it succeeded if all its keys are absent now. If
    /// others have deleted them, the result is the same.
    ///
    /// # Errors
    /// [`StoreError::Unsure`] with `cause` if a key has a value or cannot be read.
    async fn verify_deletes(&self, deleted: &[Key], cause: String) -> Result<Version, CommitError> {
        for key in deleted {
            let entry = self.get(key).await.map_err(|_| StoreError::Unsure(cause.clone()))?;
            if entry.is_some() {
                return Err(StoreError::Unsure(cause).into());
            }
        }
        Ok(new_version())
    }

    /// Resolves the unknown outcome of a commit that may not be sent again: it succeeded if one of its keys has its
    /// version.
    ///
    /// # Errors
    /// [`StoreError::Unsure`] with `cause` if no key has the version: the commit may still have happened, or may still
    /// happen.
    async fn verify_puts(
        &self,
        request: &CommitRequest,
        version: Version,
        cause: String,
    ) -> Result<Version, CommitError> {
        for key in request.changed.keys().filter(|key| request.is_put(key)) {
            let entry = self.get(key).await.map_err(|_| StoreError::Unsure(cause.clone()))?;
            if entry.is_some_and(|entry| entry.version == version) {
                return Ok(version);
            }
        }
        Err(StoreError::Unsure(cause).into())
    }
}

/// Sends commits to the database.
pub(super) struct Committer {
    pub(super) connector: Arc<Connector>,
    connections: ConnectionPool,
    /// For commits that need a transaction, one at a time.
    transaction_connection: Connection,
    transaction_lock: Mutex<()>,
    pub(super) circuit_breaker: CircuitBreaker,
}

impl Committer {
    pub(super) fn new(connector: &Arc<Connector>) -> Self {
        Self {
            connector: Arc::clone(connector),
            connections: ConnectionPool::new(connector, connector.settings().write_connections),
            transaction_connection: Connection::new(connector),
            transaction_lock: Mutex::default(),
            circuit_breaker: CircuitBreaker::default(),
        }
    }

    /// Closes the connections. They are opened again when needed, unless the connector is closed.
    pub(super) async fn close(&self) {
        self.connections.close().await;
        self.transaction_connection.close().await;
    }

    /// Sends one commit, and retries it until the retry deadline, which is counted from `since`.
    ///
    /// `is_unknown` says that an earlier attempt got no answer. Then the commit may have been made, and a failure is
    /// returned as [`StoreError::Unsure`].
    pub(super) async fn commit_alone(
        self: &Arc<Self>,
        request: &CommitRequest,
        version: Version,
        mut is_unknown: bool,
        since: Instant,
    ) -> Result<(), CommitError> {
        let mut retry = Retry::until(since + self.connector.settings().retry_deadline);
        let mut needs_transaction = request.locks_absent_keys();
        let params = CommitParams::of(&[request], version);
        loop {
            let outcome = if needs_transaction {
                self.try_commit_in_transaction(&params).await
            } else {
                self.try_commit(&params).await
            };
            let cause = match outcome {
                Ok(ApplyOutcome::Applied) => return Ok(()),
                Ok(ApplyOutcome::KeyNotLocked) => {
                    needs_transaction = true;
                    continue;
                }
                Ok(ApplyOutcome::Conflict(index)) if !is_unknown => {
                    let key = request.expected.get(index).map(|(key, _)| key.clone()).unwrap_or_default();
                    return Err(CommitError::Conflict { key });
                }
                Ok(ApplyOutcome::Conflict(_)) => {
                    return Err(StoreError::Unsure("the same keys were changed meanwhile".into()).into());
                }
                Err(StatementError::Permanent(error)) if !is_unknown => return Err(error.into()),
                Err(StatementError::Permanent(error)) => {
                    return Err(StoreError::Unsure(error.to_string()).into());
                }
                Err(StatementError::ConnectionLost(cause) | StatementError::TimedOut(cause)) => {
                    if !request.is_safe_to_resend() {
                        return Err(StoreError::Unsure(cause).into());
                    }
                    is_unknown = true;
                    cause
                }
                Err(StatementError::Unreachable(cause) | StatementError::Retryable(cause)) => cause,
            };
            if !retry.pause().await {
                let error = if is_unknown { StoreError::Unsure } else { StoreError::Unavailable };
                return Err(error(cause).into());
            }
        }
    }

    /// Sends one or more commits once, in a single statement.
    pub(super) async fn try_commit(
        self: &Arc<Self>,
        params: &CommitParams<'_>,
    ) -> Result<ApplyOutcome, StatementError> {
        self.check_accepting()?;
        let pooled = self.connections.least_busy();
        let connection = pooled.open().await?;
        let params = params.as_sql();
        let query = connection.client().query(&connection.statements.apply, &params);
        let rows = connection.run(Purpose::Commit, query).await;
        self.note_timeout(&rows);
        ApplyOutcome::of(&rows?)
    }

    /// Sends a commit once, in a transaction. No other statement may come between those of the transaction, so that it
    /// has the connection to itself.
    async fn try_commit_in_transaction(
        self: &Arc<Self>,
        params: &CommitParams<'_>,
    ) -> Result<ApplyOutcome, StatementError> {
        let _lock = self.transaction_lock.lock().await;
        self.check_accepting()?;
        let answer_timeout = self.connector.settings().answer_timeout();
        let outcome = self.run_transaction(&self.transaction_connection, params, answer_timeout).await;
        self.note_timeout(&outcome);
        outcome
    }

    pub(super) async fn run_transaction(
        &self,
        connection: &Connection,
        params: &CommitParams<'_>,
        answer_timeout: Duration,
    ) -> Result<ApplyOutcome, StatementError> {
        let connection = connection.open().await?;
        let transaction = send_transaction(&connection, params);
        let rows = connection.run_within(answer_timeout, Purpose::Transaction, transaction).await?;
        ApplyOutcome::of(&rows)
    }

    /// Inserts a row with this value and deletes it again, in one transaction.
    pub(super) async fn probe_write(self: &Arc<Self>, value: &[u8]) -> Result<(), StatementError> {
        let _lock = self.transaction_lock.lock().await;
        self.check_accepting()?;
        let connection = self.transaction_connection.open().await?;
        let key = Entropy::System.bytes::<16>();
        let written = connection.run(Purpose::Transaction, send_probe(&connection, &key, value)).await;
        self.note_timeout(&written);
        written
    }

    fn check_accepting(&self) -> Result<(), StatementError> {
        if self.connector.is_closed() {
            return Err(StoreError::Closed.into());
        }
        self.circuit_breaker.check()
    }

    fn note_timeout<T>(self: &Arc<Self>, outcome: &Result<T, StatementError>) {
        if let Err(StatementError::TimedOut(_)) = outcome {
            self.circuit_breaker.open(self);
        }
    }
}

/// Sends all statements of a [probe](Committer::probe_write) at once, then waits for the answers.
async fn send_probe(
    connection: &OpenConnection,
    key: &[u8],
    value: &[u8],
) -> Result<(), tokio_postgres::Error> {
    let (client, statements) = (connection.client(), &connection.statements);
    let (probe_params, keys): ([&(dyn ToSql + Sync); 2], _) = ([&key, &value], [key]);
    let unlock_params: [&(dyn ToSql + Sync); 1] = [&keys.as_slice()];
    let (begun, inserted, deleted, committed) = tokio::join!(
        biased;
        client.batch_execute("BEGIN"),
        client.execute(&statements.probe, &probe_params),
        client.execute(&statements.unlock, &unlock_params),
        client.batch_execute("COMMIT"),
    );
    begun?;
    inserted?;
    deleted?;
    committed
}

/// Sends all statements of the transaction at once, then waits for the answers. If a statement fails, the server
/// refuses the statements after it, and the `COMMIT` rolls back.
async fn send_transaction(
    connection: &OpenConnection,
    params: &CommitParams<'_>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let client = connection.client();
    let statements = &connection.statements;
    let apply_params = params.as_sql();
    let lock_params: [&(dyn ToSql + Sync); 1] = [&params.touched_keys];
    let (begun, locked, applied, unlocked, committed) = tokio::join!(
        biased;
        client.batch_execute("BEGIN"),
        client.execute(&statements.lock, &lock_params),
        client.query(&statements.apply, &apply_params),
        client.execute(&statements.unlock, &lock_params),
        client.batch_execute("COMMIT"),
    );
    begun?;
    locked?;
    let rows = applied?;
    unlocked?;
    committed?;
    Ok(rows)
}
