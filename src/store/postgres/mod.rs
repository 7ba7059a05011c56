//! The store in a PostgreSQL database that several servers share, or in a database with the same wire protocol.
//!
//! One table holds the ordered keys. A version is a random number of the commit, stored with every key that the commit
//! puts. The process caches nothing, so that a read sees every commit of any server that was answered before it.

mod circuit_breaker;
mod commit;
mod commit_batcher;
mod connection;
mod connection_task;
mod hosts;
mod listener;
mod metrics;
mod pooler;
mod read;
mod read_batcher;
mod retry;
mod schema;
mod servers;
mod settings;
mod sql;
mod statement_error;
mod timeline;
mod tls;
mod workers;
mod writability;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::{broadcast, mpsc};
use tokio_postgres::Client;

pub use self::metrics::PostgresMetrics;
pub use self::settings::{MessageMode, PostgresSettings, parse_postgres_url};
pub use self::tls::PostgresTls;

use self::commit::Committer;
use self::commit_batcher::PendingCommit;
use self::connection::{ConnectionPool, Connector};
use self::connection_task::ConnectionTask;
use self::listener::{ListenError, Listener};
use self::read::{RangeRead, ValueRead};
use self::read_batcher::ReadBatcher;
use self::retry::Retry;
use self::sql::Statements;
use self::statement_error::{StatementError, describe};
use self::workers::Workers;
use self::writability::Writability;
use super::messages::{self, Messages};
use super::{
    Backend, Batch, ChangeEvent, CommitError, ConditionalRead, Entry, Key, StoreError, Version,
    WATCH_CAPACITY,
};
use crate::env::Entropy;

/// The store in a PostgreSQL database. Clones share the connections.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Arc<Connector>,
    committer: Arc<Committer>,
    /// The queue of commits that may share a statement.
    commits: mpsc::Sender<PendingCommit>,
    read_connections: ConnectionPool,
    value_reads: ReadBatcher<ValueRead>,
    range_reads: ReadBatcher<RangeRead>,
    changes: broadcast::Sender<Arc<ChangeEvent>>,
    /// By how many milliseconds this machine's clock is ahead of the database's, if the last check found it wrong;
    /// otherwise 0.
    clock_skew_ms: AtomicI64,
    writability: Writability,
    /// The tasks that send commits and reads.
    workers: Workers,
}

impl Postgres {
    /// Opens the store in a database; creates or upgrades the tables.
    ///
    /// # Errors
    /// [`StoreError::UnknownSchema`] if a newer server has made the tables, [`StoreError::Failed`] if the database
    /// cannot be reached or used.
    pub async fn open(settings: PostgresSettings) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::new(settings));
        migrate(&connector).await?;
        require_messages(&connector).await?;
        let settings = connector.settings();
        let committer = Arc::new(Committer::new(&connector));
        let read_connections = ConnectionPool::new(&connector, settings.read_connections);
        let mut workers = Workers::default();
        connector.watch_primaries();
        let inner = Inner {
            commits: commit_batcher::start(&committer, settings.write_connections, &mut workers),
            committer,
            value_reads: ReadBatcher::start(&read_connections, settings.retry_deadline, &mut workers),
            range_reads: ReadBatcher::start(&read_connections, settings.retry_deadline, &mut workers),
            read_connections,
            changes: broadcast::Sender::new(WATCH_CAPACITY),
            clock_skew_ms: AtomicI64::new(0),
            writability: Writability::default(),
            workers,
            connector,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens the store if no server uses it. A server is detected by its connections, whose `application_name` is the
    /// one in `settings`; the connections of this store get another name.
    ///
    /// # Errors
    /// [`StoreError::DatabaseInUse`] if a server uses the database; the errors of [`open`](Self::open).
    pub async fn open_alone(settings: PostgresSettings) -> Result<Self, StoreError> {
        let connector = Connector::new(settings.clone());
        let (client, _task) = connect_bare(&connector).await?;
        let connections = servers::count(&client).await;
        if connections > 0 {
            let database = settings.describe();
            let name = servers::name(&settings);
            return Err(StoreError::DatabaseInUse { database, connections, name });
        }
        Self::open(servers::with_other_name(settings)).await
    }

    /// See [`Store::check_clock`](super::Store::check_clock).
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] if the clocks differ by more than the setting allows; [`StoreError::Unavailable`] or
    /// another error if the database's clock cannot be read.
    pub async fn check_clock(&self, now_ms: impl Fn() -> i64) -> Result<(), StoreError> {
        let before_ms = now_ms();
        let database_ms = self.inner.clock_ms().await?;
        let after_ms = now_ms();
        // The database read its clock at some moment between the two.
        let difference_ms = (before_ms - database_ms).max(0) + (after_ms - database_ms).min(0);
        let is_wrong = difference_ms.abs() > self.inner.connector.settings().clock_skew_max_ms;
        self.inner.clock_skew_ms.store(if is_wrong { difference_ms } else { 0 }, Ordering::Release);
        self.require_right_clock()
    }

    /// See [`Store::require_right_clock`](super::Store::require_right_clock).
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] if the last [`check_clock`](Self::check_clock) returned it.
    pub fn require_right_clock(&self) -> Result<(), StoreError> {
        match self.inner.clock_skew_ms.load(Ordering::Acquire) {
            0 => Ok(()),
            difference_ms => {
                let allowed_ms = self.inner.connector.settings().clock_skew_max_ms;
                Err(StoreError::ClockSkew { difference_ms, allowed_ms })
            }
        }
    }

    /// Looks briefly for a newer primary, then checks whether the database takes commits.
    ///
    /// # Errors
    /// Why it takes none: [`StoreError::Unavailable`] or [`StoreError::Failed`].
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        self.inner.workers.check()?;
        self.inner.connector.look_briefly_for_newer_primary().await;
        self.inner.writability.check(&self.inner.committer).await
    }

    /// The metrics of statements, commits and connections.
    pub fn metrics(&self) -> Arc<PostgresMetrics> {
        Arc::clone(self.inner.connector.metrics())
    }

    /// Closes all connections. Afterwards every method returns [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.connector.close();
        self.inner.committer.close().await;
        self.inner.read_connections.close().await;
    }
}

/// Opens a connection without prepared statements, for the work at the start.
async fn connect_bare(connector: &Connector) -> Result<(Client, ConnectionTask), StoreError> {
    let connected = connector.within_connect_timeout(connector.connect_bare()).await;
    connected.map_err(|cause| unusable(connector, &cause))
}

/// Checks that messages arrive, if the operator wants the start to fail otherwise.
async fn require_messages(connector: &Connector) -> Result<(), StoreError> {
    if connector.settings().messages != MessageMode::On {
        return Ok(());
    }
    match Listener::connect(connector).await {
        Ok(_) => Ok(()),
        Err(ListenError::Unsupported(cause) | ListenError::Unreachable(cause)) => Err(unusable(
            connector,
            &format!("no messages between servers ([postgres] hints = \"on\"): {cause}"),
        )),
    }
}

fn unusable(connector: &Connector, cause: &str) -> StoreError {
    StoreError::Failed(format!("cannot use the database {}: {cause}", connector.settings().describe()))
}

async fn migrate(connector: &Connector) -> Result<(), StoreError> {
    let (mut client, _task) = connect_bare(connector).await?;
    let unusable = |cause: &str| unusable(connector, cause);
    pooler::refuse_transaction_pooling(connector, &client).await.map_err(unusable)?;
    let retry = Retry::within(connector.settings().retry_deadline);
    let migrated = schema::migrate(&mut client, retry).await;
    // Checks that the tables have the right columns, so that the start fails and not the first request.
    let prepared = Statements::prepare(&client).await;
    migrated.map_err(|error| match error {
        StatementError::Permanent(StoreError::Failed(cause)) => unusable(&cause),
        StatementError::Permanent(error) => error,
        StatementError::Unreachable(cause)
        | StatementError::ConnectionLost(cause)
        | StatementError::TimedOut(cause)
        | StatementError::Retryable(cause) => unusable(&cause),
    })?;
    prepared.map(drop).map_err(|error| unusable(&describe(&error)))
}

/// A random version of 63 bits, which no other commit uses. It is never 0, the version of placeholders.
fn new_version() -> Version {
    Version((u64::from_le_bytes(Entropy::System.bytes()) >> 1).max(1))
}

impl Inner {
    fn count_read<T>(&self, outcome: &Result<T, StoreError>) {
        if outcome.is_ok() {
            self.connector.metrics().reads.inc();
        }
    }
}

impl Backend for Postgres {
    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let entry = self.inner.get(key).await;
        self.inner.count_read(&entry);
        entry
    }

    async fn get_if_changed(&self, key: &[u8], known: Version) -> Result<ConditionalRead, StoreError> {
        let read = self.inner.read(key, Some(known)).await;
        self.inner.count_read(&read);
        read
    }

    async fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        self.inner.scan(from, to, limit).await
    }

    async fn page(
        &self,
        from: &[u8],
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Key, Entry)>, StoreError> {
        self.inner.page(from, limit, bytes_max).await
    }

    async fn commit(&self, batch: Batch) -> Result<Version, CommitError> {
        let outcome = match self.require_right_clock() {
            Ok(()) => {
                let outcome = self.inner.commit(batch).await;
                self.inner.writability.note(&outcome);
                outcome
            }
            Err(error) => Err(error.into()),
        };
        self.inner.connector.metrics().count_commit(&outcome);
        outcome
    }

    fn watch(&self) -> broadcast::Receiver<Arc<ChangeEvent>> {
        self.inner.changes.subscribe()
    }

    fn sole_writer(&self) -> bool {
        false
    }

    fn messages(&self) -> Option<Messages> {
        if self.inner.connector.settings().messages == MessageMode::Off {
            return None;
        }
        let (messages, service) = messages::channel();
        tokio::spawn(listener::run(Arc::clone(&self.inner.connector), service));
        Some(messages)
    }
}
