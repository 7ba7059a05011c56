//! The store: ordered keys, versioned values and conditional commits. Everything above is written on these few
//! methods, so that a new backend is one file and one line in the conformance suite.

mod batch;
mod error;
mod memory;
mod group_commit;
mod embedded;
mod postgres;
pub mod copy;
pub mod conformance;

pub use batch::{Batch, KEY_BYTES_MAX};
pub use embedded::{Embedded, Fjall, KeyUpgrade};
pub use error::{CommitError, StoreError};
pub use group_commit::{Engine, GroupCommit, Stats, Writes};
pub use memory::Memory;
pub use postgres::{
    Counts as PostgresCounts, Postgres, Settings as PostgresSettings, Tls as PostgresTls,
    parse_url as parse_postgres_url,
};

use std::fmt;
use std::future::Future;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;

/// A key: any 1 to [`KEY_BYTES_MAX`] bytes, ordered byte by byte.
pub type Key = Vec<u8>;

/// How many changes a watcher may fall behind before it misses some.
const CHANGES_KEPT: usize = 1_024;

/// Which commit wrote a value. Opaque: equal versions of a key mean equal values, and nothing else is promised;
/// above all no order, since a backend may draw versions at random. Never used twice by one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A stored value and the commit that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The commit that wrote it.
    pub version: Version,
    /// The bytes, as they were put.
    pub value: Bytes,
}

/// What a reader that knows an earlier version learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The known version is the current one.
    Unchanged,
    /// Another version is current: this one.
    Changed(Entry),
    /// There is no value.
    Absent,
}

/// What one commit changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The commit's version.
    pub version: Version,
    /// The keys it put or deleted, in key order.
    pub keys: Vec<Key>,
}

/// What a store is. `conformance` states the promises as tests.
///
/// Nothing here asks for a single process or for ordered versions, so that a database which several servers share
/// can stand behind it.
pub trait Backend: Send + Sync + 'static {
    /// The value of `key`, if it has one. Sees every commit that was answered before the call, and all of every
    /// commit of which an earlier call saw a part.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    fn get(&self, key: &[u8]) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Like [`get`](Self::get), for a caller that holds the value of version `known`: a backend across a network
    /// overrides this to send a value only where it changed.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    fn get_if_changed(
        &self,
        key: &[u8],
        known: Version,
    ) -> impl Future<Output = Result<Read, StoreError>> + Send {
        async move {
            Ok(match self.get(key).await? {
                Some(entry) if entry.version == known => Read::Unchanged,
                Some(entry) => Read::Changed(entry),
                None => Read::Absent,
            })
        }
    }

    /// The first `limit` values from `from` (included) to `to` (excluded; empty is no end), in key order, as they
    /// stood at one moment. A range that ends before it starts is empty.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Key, Entry)>, StoreError>> + Send;

    /// The first values from `from` (included) on, in key order: at most `limit`, and none after the one with which
    /// their keys and values take `bytes_max` bytes. For reading all there is with a bound on memory, whatever the
    /// size of values; each is as it stood at some moment meanwhile. A backend that can read such a page at once
    /// overrides this, which reads one value after the other.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    fn page(
        &self,
        from: &[u8],
        limit: usize,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Vec<(Key, Entry)>, StoreError>> + Send {
        async move {
            let (mut page, mut from, mut bytes) = (Vec::new(), from.to_vec(), 0);
            while page.len() < limit && bytes < bytes_max {
                let Some((key, entry)) = self.scan(&from, &[], 1).await?.pop() else { break };
                bytes += key.len() + entry.value.len();
                from = next_key(&key);
                page.push((key, entry));
            }
            Ok(page)
        }
    }

    /// Commits all of `batch` or nothing of it, and answers once the outcome would survive a crash. Every value
    /// put gets the returned version. Dropping the future does not undo a commit under way.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] names the first expectation that did not hold; nothing was changed.
    /// [`CommitError::Store`] where the store cannot say: see [`StoreError::changed_nothing`].
    fn commit(&self, batch: Batch) -> impl Future<Output = Result<Version, CommitError>> + Send;

    /// Committed changes from now on. A hint and never the source of truth: it may lag, and a slow receiver misses
    /// some (`RecvError::Lagged`), so whoever listens must also be right without it.
    fn watch(&self) -> broadcast::Receiver<Arc<Change>>;

    /// True where no other process can change what this one reads, so that what this process last committed or
    /// read of a key is current.
    fn sole_writer(&self) -> bool;
}

/// The store that was configured: handlers see this one type. Clones share the data.
#[derive(Clone)]
pub enum Store {
    /// In memory, gone with the process.
    Memory(Memory),
    /// In files of this machine, for one process at a time.
    Embedded(Embedded),
    /// In a database that several servers share.
    Postgres(Postgres),
}

/// Calls the same method of whichever backend there is.
macro_rules! delegate {
    ($store:expr, $backend:ident => $call:expr) => {
        match $store {
            Store::Memory($backend) => $call,
            Store::Embedded($backend) => $call,
            Store::Postgres($backend) => $call,
        }
    };
}

impl Store {
    /// See [`Backend::get`].
    ///
    /// # Errors
    /// As there.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        delegate!(self, backend => backend.get(key).await)
    }

    /// See [`Backend::get_if_changed`].
    ///
    /// # Errors
    /// As there.
    pub async fn get_if_changed(&self, key: &[u8], known: Version) -> Result<Read, StoreError> {
        delegate!(self, backend => backend.get_if_changed(key, known).await)
    }

    /// See [`Backend::scan`].
    ///
    /// # Errors
    /// As there.
    pub async fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        delegate!(self, backend => backend.scan(from, to, limit).await)
    }

    /// See [`Backend::page`].
    ///
    /// # Errors
    /// As there.
    pub async fn page(
        &self,
        from: &[u8],
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Key, Entry)>, StoreError> {
        delegate!(self, backend => backend.page(from, limit, bytes_max).await)
    }

    /// See [`Backend::commit`].
    ///
    /// # Errors
    /// As there.
    pub async fn commit(&self, batch: Batch) -> Result<Version, CommitError> {
        delegate!(self, backend => backend.commit(batch).await)
    }

    /// See [`Backend::watch`].
    pub fn watch(&self) -> broadcast::Receiver<Arc<Change>> {
        delegate!(self, backend => backend.watch())
    }

    /// See [`Backend::sole_writer`].
    pub fn sole_writer(&self) -> bool {
        delegate!(self, backend => backend.sole_writer())
    }

    /// Fails where nothing can be written until a restart, and says why. Reads may go on.
    ///
    /// # Errors
    /// As said.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) | Self::Postgres(_) => Ok(()),
            Self::Embedded(embedded) => embedded.check_writable(),
        }
    }

    /// Fails where several servers share the store and this one's clock, which `now_ms` reads, is not that of all:
    /// deadlines are compared by the clocks of the servers.
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] as said, and where the store cannot be read.
    pub async fn check_clock(&self, now_ms: impl Fn() -> i64) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) | Self::Embedded(_) => Ok(()),
            Self::Postgres(postgres) => postgres.check_clock(now_ms).await,
        }
    }

    /// Finishes the commits under way and lets go of the files or the database; afterwards all but a store in memory,
    /// which takes no notice, answer [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError::Failed`] where the files could not be flushed.
    pub async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Embedded(embedded) => embedded.close().await,
            Self::Postgres(postgres) => {
                postgres.close().await;
                Ok(())
            }
        }
    }
}

/// Where the keys that start with `prefix` end: `scan(prefix, prefix_end(prefix))` finds exactly those. It is the
/// smallest key greater than all of them; a prefix of nothing but `0xff` has none, and gets the empty key, which
/// a scan takes for no end.
pub fn prefix_end(prefix: &[u8]) -> Key {
    let kept = prefix.iter().rposition(|&byte| byte != 0xff).map_or(0, |last| last + 1);
    let mut end = prefix[..kept].to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// The smallest key after `key`.
pub fn next_key(key: &[u8]) -> Key {
    [key, &[0]].concat()
}

type ScanBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The bounds of a scan, or `None` where it is empty (which ordered maps answer with a panic).
fn scan_bounds<'a>(from: &'a [u8], to: &'a [u8]) -> Option<ScanBounds<'a>> {
    match to {
        [] => Some((Bound::Included(from), Bound::Unbounded)),
        to => (from < to).then_some((Bound::Included(from), Bound::Excluded(to))),
    }
}
