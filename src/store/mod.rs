//! The store: ordered keys, versioned values and conditional commits. It does not know what keys and values mean. The
//! layers above use only these few methods, so that a new backend needs one file and one line for the conformance
//! suite.

mod batch;
mod error;
mod memory;
mod messages;
mod group_commit;
mod embedded;
mod postgres;
pub mod copy;
pub mod conformance;

pub use batch::{Batch, KEY_BYTES_MAX, RESERVED_KEY};
pub use embedded::{Embedded, Fjall, KeyUpgrade, LeftOut, Salvaged, Verified};
pub use error::{CommitError, StoreError};
pub use group_commit::{Engine, GroupCommit, Stats, Writes};
pub use memory::Memory;
pub use messages::{MESSAGE_BYTES_MAX, MessageEvent, Messages};
pub use postgres::{
    MessageMode, Postgres, PostgresMetrics, PostgresSettings, PostgresTls, parse_postgres_url,
};

use std::fmt;
use std::future::Future;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;

/// A key: 1 to [`KEY_BYTES_MAX`] bytes of any value, ordered byte by byte.
pub type Key = Vec<u8>;

/// Number of changes that a watcher may fall behind before it misses some.
const WATCH_CAPACITY: usize = 1_024;

/// Identifies the commit that wrote a value. Equal versions of a key mean equal values. Versions have no order, because
/// a backend may choose them at random. A store never uses a version twice.
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
    /// The version of the commit that wrote the value.
    pub version: Version,
    /// The bytes of the value.
    pub value: Bytes,
}

/// The result of [`Backend::get_if_changed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionalRead {
    /// The value still has the known version.
    Unchanged,
    /// The value has another version: the current entry.
    Changed(Entry),
    /// The key has no value.
    Absent,
}

/// Tells a watcher which keys a commit changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeEvent {
    /// The version of the commit.
    pub version: Version,
    /// The keys that the commit put or deleted, in key order.
    pub keys: Vec<Key>,
}

/// The operations of a store. The module `conformance` tests the guarantees.
///
/// The trait requires neither a single process nor ordered versions, so that a database that several servers share can
/// implement it.
pub trait Backend: Send + Sync + 'static {
    /// Reads the entry of `key`; `None` if the key has no value. The read sees every commit that was answered before
    /// the call. If an earlier read saw one change of a commit, this read sees all its changes.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn get(&self, key: &[u8]) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Reads the entry of `key` like [`get`](Self::get), for a caller that holds the value of version `known`. A
    /// backend across a network overrides this method, to transfer a value only if it has changed.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn get_if_changed(
        &self,
        key: &[u8],
        known: Version,
    ) -> impl Future<Output = Result<ConditionalRead, StoreError>> + Send {
        async move {
            Ok(match self.get(key).await? {
                Some(entry) if entry.version == known => ConditionalRead::Unchanged,
                Some(entry) => ConditionalRead::Changed(entry),
                None => ConditionalRead::Absent,
            })
        }
    }

    /// Reads the first `limit` entries from `from` (included) to `to` (excluded; an empty `to` means no end), in key
    /// order, all of the same moment. A range that ends before it starts is empty.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Key, Entry)>, StoreError>> + Send;

    /// Reads the first entries from `from` (included) on, in key order: at most `limit`. The page ends with the entry
    /// that brings the size of all keys and values to `bytes_max` bytes. With pages, a caller reads the whole store in
    /// bounded memory, whatever the size of values. Entries of a page may be of different moments.
    ///
    /// This default reads one entry after the other; a backend that can read a page at once overrides it.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn page(
        &self,
        from: &[u8],
        limit: usize,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Vec<(Key, Entry)>, StoreError>> + Send {
        async move {
            let mut page = Vec::new();
            let mut from = from.to_vec();
            let mut bytes = 0;
            while page.len() < limit && bytes < bytes_max {
                let Some((key, entry)) = self.scan(&from, &[], 1).await?.pop() else { break };
                bytes += key.len() + entry.value.len();
                from = next_key(&key);
                page.push((key, entry));
            }
            Ok(page)
        }
    }

    /// Commits all changes of `batch` or none, and returns once the commit would survive a crash. Every value that the
    /// batch puts gets the returned version. Dropping the future does not undo a commit that has started.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] with the key of the first expectation that did not hold; nothing was changed.
    /// [`CommitError::Store`] if the store failed; [`StoreError::changed_nothing`] tells whether changes are possible.
    fn commit(&self, batch: Batch) -> impl Future<Output = Result<Version, CommitError>> + Send;

    /// Returns a receiver of the changes that are committed from now on. The events are only a hint: they may be late,
    /// a slow receiver misses some (`RecvError::Lagged`), and a backend may not report the commits of other processes.
    /// A watcher must be correct without them.
    fn watch(&self) -> broadcast::Receiver<Arc<ChangeEvent>>;

    /// Whether no other process can change the store. Then the last value of a key that this process committed or read
    /// is the current value.
    fn sole_writer(&self) -> bool;

    /// Messages to and from the other servers that share the store; `None` if it has none. They may be lost, late or
    /// repeated: a server must be correct without them. Called once by each server, on the runtime.
    fn messages(&self) -> Option<Messages> {
        None
    }
}

/// The configured store; the layers above use this one type. Clones share the data.
#[derive(Clone)]
pub enum Store {
    /// In memory, for one process; lost when it ends.
    Memory(Memory),
    /// In files on this machine, for one process at a time.
    Embedded(Embedded),
    /// In a database that several servers share.
    Postgres(Postgres),
}

/// Calls the same method of the backend that is in use.
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
    /// [`StoreError`] if the store cannot be read.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        delegate!(self, backend => backend.get(key).await)
    }

    /// See [`Backend::get_if_changed`].
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub async fn get_if_changed(&self, key: &[u8], known: Version) -> Result<ConditionalRead, StoreError> {
        delegate!(self, backend => backend.get_if_changed(key, known).await)
    }

    /// See [`Backend::scan`].
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub async fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        delegate!(self, backend => backend.scan(from, to, limit).await)
    }

    /// See [`Backend::page`].
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
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
    /// [`CommitError::Conflict`] if an expectation did not hold; [`CommitError::Store`] if the store failed.
    pub async fn commit(&self, batch: Batch) -> Result<Version, CommitError> {
        delegate!(self, backend => backend.commit(batch).await)
    }

    /// See [`Backend::watch`].
    pub fn watch(&self) -> broadcast::Receiver<Arc<ChangeEvent>> {
        delegate!(self, backend => backend.watch())
    }

    /// See [`Backend::sole_writer`].
    pub fn sole_writer(&self) -> bool {
        delegate!(self, backend => backend.sole_writer())
    }

    /// See [`Backend::messages`].
    pub fn messages(&self) -> Option<Messages> {
        delegate!(self, backend => backend.messages())
    }

    /// Checks whether the store accepts commits. An embedded store refuses them after a failed write, until a restart.
    /// A database is asked, and takes none if it is read-only, its disk is full, or a newer primary has replaced it.
    ///
    /// # Errors
    /// [`StoreError::Failed`] or [`StoreError::Unavailable`] with the cause, if the store refuses commits. Reads may
    /// still work.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Postgres(postgres) => postgres.check_writable().await,
            Self::Embedded(embedded) => embedded.check_writable(),
        }
    }

    /// Compares this machine's clock with the database's, if several servers share the store: they compare deadlines
    /// with their own clocks. `now_ms` returns this machine's time in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] if the clocks differ by more than the setting allows; another [`StoreError`] if the
    /// database's clock cannot be read.
    pub async fn check_clock(&self, now_ms: impl Fn() -> i64) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) | Self::Embedded(_) => Ok(()),
            Self::Postgres(postgres) => postgres.check_clock(now_ms).await,
        }
    }

    /// Whether the last [`check_clock`](Self::check_clock) found this machine's clock right. Cheap: it compares a
    /// number.
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] if the clocks differed by more than the setting allows. Then every commit fails so.
    pub fn require_right_clock(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) | Self::Embedded(_) => Ok(()),
            Self::Postgres(postgres) => postgres.require_right_clock(),
        }
    }

    /// Finishes the commits in progress and closes the files or connections. Afterwards every method returns
    /// [`StoreError::Closed`]. A store in memory stays open.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the files could not be flushed.
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

/// The smallest key greater than every key that starts with `prefix`: `scan(prefix, prefix_end(prefix))` finds exactly
/// the keys with that prefix. For an empty prefix and one of `0xff` bytes alone there is no such key; the result is the
/// empty key, which means no end to a scan.
pub fn prefix_end(prefix: &[u8]) -> Key {
    let length = prefix.iter().rposition(|&byte| byte != 0xff).map_or(0, |last| last + 1);
    let mut end = prefix[..length].to_vec();
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

/// The bounds of a scan, or `None` if the range is empty: an ordered map would panic for it.
fn scan_bounds<'a>(from: &'a [u8], to: &'a [u8]) -> Option<ScanBounds<'a>> {
    match to {
        [] => Some((Bound::Included(from), Bound::Unbounded)),
        to => (from < to).then_some((Bound::Included(from), Bound::Excluded(to))),
    }
}
