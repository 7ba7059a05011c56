//! The store in a PostgreSQL database that several servers share, or in one that speaks the same wire.
//!
//! One table of ordered keys. A version is a random number that a commit draws and writes at every key it puts.
//! Nothing is kept in this process, so that a read sees what any server has committed before it.

mod commit;
mod counts;
mod group;
mod hosts;
mod lane;
mod pooler;
mod read;
mod retry;
mod schema;
mod servers;
mod settings;
mod share;
mod silence;
mod sql;
mod tls;

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc};
use tokio_postgres::Client;

pub use self::counts::Counts;
pub use self::settings::{Settings, parse_url};
pub use self::tls::Tls;

use self::commit::Writer;
use self::group::Job;
use self::lane::{Connector, Driver, Lanes};
use self::read::{Range, Value};
use self::retry::{Fault, Retry, told};
use self::share::Askers;
use self::sql::Statements;
use super::{Backend, Batch, CHANGES_KEPT, Change, CommitError, Entry, Key, Read, StoreError, Version};
use crate::env::Entropy;

/// The store in a PostgreSQL database. Clones share the connections.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Arc<Connector>,
    writer: Arc<Writer>,
    /// To those who make commits together.
    commits: mpsc::Sender<Job>,
    /// For all reads.
    readers: Lanes,
    values: Askers<Value>,
    ranges: Askers<Range>,
    changes: broadcast::Sender<Arc<Change>>,
}

impl Postgres {
    /// Opens the store in a database; makes the tables, or brings them up to date.
    ///
    /// # Errors
    /// [`StoreError::UnknownSchema`] where a newer server made the tables, [`StoreError::Failed`] where the database
    /// cannot be reached or used.
    pub async fn open(settings: Settings) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::new(settings));
        migrate(&connector).await?;
        let settings = connector.settings();
        let writer = Arc::new(Writer::new(&connector));
        let readers = Lanes::new(&connector, settings.read_connections);
        let inner = Inner {
            commits: group::start(&writer, settings.write_connections),
            writer,
            values: Askers::start(&readers, settings.patience),
            ranges: Askers::start(&readers, settings.patience),
            readers,
            changes: broadcast::Sender::new(CHANGES_KEPT),
            connector,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens the store unless a server has it open, as far as the database says who is connected: a server's connections are
    /// called as `settings` have it, this store's are not.
    ///
    /// # Errors
    /// [`StoreError::DatabaseInUse`], and as [`open`](Self::open).
    pub async fn open_alone(settings: Settings) -> Result<Self, StoreError> {
        let connector = Connector::new(settings.clone());
        let (client, _driver) = connect_bare(&connector).await?;
        let connections = servers::count(&client).await;
        if connections > 0 {
            let (database, name) = (settings.shown(), servers::name(&settings));
            return Err(StoreError::DatabaseInUse { database, connections, name });
        }
        Self::open(servers::without_name(settings)).await
    }

    /// See [`Store::check_clock`](super::Store::check_clock).
    ///
    /// # Errors
    /// As there.
    pub async fn check_clock(&self, now_ms: impl Fn() -> i64) -> Result<(), StoreError> {
        let before_ms = now_ms();
        let database_ms = self.inner.clock_ms().await?;
        let after_ms = now_ms();
        // The database has read its clock at some time in between.
        let difference_ms = (before_ms - database_ms).max(0) + (after_ms - database_ms).min(0);
        let allowed_ms = self.inner.connector.settings().clock_skew_max_ms;
        if difference_ms.abs() > allowed_ms {
            return Err(StoreError::ClockSkew { difference_ms, allowed_ms });
        }
        Ok(())
    }

    /// What statements and connections came to.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(self.inner.connector.counts())
    }

    /// Makes no more connections, and lets go of those there are. Afterwards everything answers
    /// [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.connector.close();
        self.inner.writer.close().await;
        self.inner.readers.close().await;
    }
}

/// A connection for what is done at the start.
async fn connect_bare(connector: &Connector) -> Result<(Client, Driver), StoreError> {
    connector.in_time(connector.connect_bare()).await.map_err(|cause| unusable(connector, &cause))
}

fn unusable(connector: &Connector, cause: &str) -> StoreError {
    StoreError::Failed(format!("cannot use the database {}: {cause}", connector.settings().shown()))
}

async fn migrate(connector: &Connector) -> Result<(), StoreError> {
    let (mut client, _driver) = connect_bare(connector).await?;
    let unusable = |cause: &str| unusable(connector, cause);
    pooler::refuse_transactions(connector, &client).await.map_err(unusable)?;
    let migrated = schema::migrate(&mut client, Retry::within(connector.settings().patience)).await;
    // Whether the tables are as they should be: better said now than of the first request.
    let prepared = Statements::prepare(&client).await;
    migrated.map_err(|fault| match fault {
        Fault::Failed(StoreError::Failed(cause)) => unusable(&cause),
        Fault::Failed(error) => error,
        Fault::Unreachable(cause)
        | Fault::Lost(cause)
        | Fault::Unanswered(cause)
        | Fault::Rejected(cause) => unusable(&cause),
    })?;
    prepared.map(drop).map_err(|error| unusable(&told(&error)))
}

/// A version that no other statement draws. Not 0, which marks placeholders.
fn new_version() -> Version {
    Version((u64::from_le_bytes(Entropy::System.bytes()) >> 1).max(1))
}

impl Inner {
    fn count_read<T>(&self, outcome: &Result<T, StoreError>) {
        if outcome.is_ok() {
            self.connector.counts().reads.inc();
        }
    }
}

impl Backend for Postgres {
    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let found = self.inner.get(key).await;
        self.inner.count_read(&found);
        found
    }

    async fn get_if_changed(&self, key: &[u8], known: Version) -> Result<Read, StoreError> {
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
        let outcome = self.inner.commit(batch).await;
        self.inner.connector.counts().ended(&outcome);
        outcome
    }

    fn watch(&self) -> broadcast::Receiver<Arc<Change>> {
        self.inner.changes.subscribe()
    }

    fn sole_writer(&self) -> bool {
        false
    }
}
