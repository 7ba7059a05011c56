//! The store in files on this machine: the engine fjall with group commit.

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, UserValue};

use super::{Engine, Entry, GroupCommit, Key, StoreError, Version, Writes, scan_bounds};
use crate::private_dir;

/// The folder of the store within the data directory.
const FOLDER: &str = "store";
/// The format number that this server reads and writes. A new format needs an upgrade in `check_format`.
const FORMAT: u32 = 2;
/// The format before, in which some keys had other names; see [`KeyUpgrade`].
const FORMAT_BEFORE_KEY_UPGRADE: u32 = 1;
/// Key of the format number (u32, big-endian) in the keyspace `meta`.
const FORMAT_KEY: &str = "format";
/// Key of the last epoch in use (u64, big-endian) in the keyspace `meta`.
const EPOCH_KEY: &str = "epoch";
/// Cache for blocks read from disk, in bytes. The latest writes are in memory in addition.
const CACHE_BYTES: u64 = 64 << 20;
/// Journal size at which fjall flushes its memtables, in bytes. It limits what a start must replay.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;
/// Threads that flush and compact. One thread does not compact: it spins, and uses a whole core, while the others have
/// more compactions than they can run. With fjall's default of one thread per core, that happens on two cores during
/// every compaction.
const WORKER_THREADS: usize = 3;
/// Length of the version that precedes a stored value, in bytes.
const VERSION_BYTES: usize = size_of::<u64>();

/// How the caller's keys changed between format 1 and format 2. The store does not know what keys mean, so that the
/// caller of [`Embedded::open`] says which of them get a new name.
#[derive(Clone, Copy, Debug)]
pub struct KeyUpgrade {
    /// Prefix of the keys that may have a new name.
    pub prefix: &'static [u8],
    /// Returns the new name of a key, or `None` if the key keeps its name.
    pub renamed: fn(&[u8]) -> Option<Key>,
}

/// The store in files on this machine, for one process at a time. Clones share it.
pub type Embedded = GroupCommit<Fjall>;

impl Embedded {
    /// Opens the store in `data_dir`, or creates it there. Blocks while it reads the journal. A store of format 1 is
    /// upgraded with `upgrade`.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it open, [`StoreError::UnknownFormat`] if another server version
    /// wrote it, [`StoreError::Corrupt`] or [`StoreError::Failed`] if it cannot be read or written.
    pub fn open(data_dir: &Path, upgrade: KeyUpgrade) -> Result<Self, StoreError> {
        Self::start(Fjall::open(data_dir, upgrade)?)
    }

    /// The folder of the store in `data_dir`. The folder may not exist.
    pub fn folder(data_dir: &Path) -> PathBuf {
        data_dir.join(FOLDER)
    }
}

/// The engine. The keyspace `data` has the values, each preceded by its version (u64, big-endian). The keyspace `meta`
/// has the format number and the epoch.
pub struct Fjall {
    db: Database,
    data: Keyspace,
    meta: Keyspace,
    dir: PathBuf,
}

impl Fjall {
    /// Opens the engine in `data_dir`, or creates it there.
    ///
    /// # Errors
    /// The errors of [`Embedded::open`].
    pub fn open(data_dir: &Path, upgrade: KeyUpgrade) -> Result<Self, StoreError> {
        let unusable = |error: std::io::Error| {
            let dir = data_dir.display();
            let hint = "name one that this user may write to";
            StoreError::Failed(format!("cannot use the data directory {dir}: {error}; {hint}"))
        };
        // Values may hold private data, such as messages and password hashes.
        private_dir::create(data_dir).map_err(unusable)?;
        let opened = Database::builder(data_dir.join(FOLDER))
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKER_THREADS)
            .open();
        let db = opened.map_err(|error| match error {
            fjall::Error::Locked => StoreError::InUse { dir: data_dir.to_path_buf() },
            fjall::Error::Io(error) => unusable(error),
            error => store_error(error),
        })?;
        let data = db.keyspace("data", KeyspaceCreateOptions::default).map_err(store_error)?;
        let meta = db.keyspace("meta", KeyspaceCreateOptions::default).map_err(store_error)?;
        let engine = Self { db, data, meta, dir: data_dir.to_path_buf() };
        engine.check_format(upgrade)?;
        sync_directory(data_dir)?;
        Ok(engine)
    }

    /// Writes the format number into a new directory, upgrades the format before, and refuses every other format.
    fn check_format(&self, upgrade: KeyUpgrade) -> Result<(), StoreError> {
        match self.meta(FORMAT_KEY)?.map(u32::from_be_bytes) {
            Some(FORMAT) => Ok(()),
            Some(FORMAT_BEFORE_KEY_UPGRADE) => self.rename_keys(upgrade),
            Some(found) => Err(StoreError::UnknownFormat { dir: self.dir.clone(), found, known: FORMAT }),
            None if self.data.is_empty().map_err(store_error)? => {
                self.put_meta(FORMAT_KEY, &FORMAT.to_be_bytes())
            }
            None => Err(StoreError::Corrupt("there are values but no format number".into())),
        }
    }

    /// Upgrades a store of the format before, in one commit.
    fn rename_keys(&self, upgrade: KeyUpgrade) -> Result<(), StoreError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        for entry in self.data.prefix(upgrade.prefix) {
            let (key, value) = entry.into_inner().map_err(store_error)?;
            if let Some(renamed) = (upgrade.renamed)(&key) {
                batch.remove(&self.data, key);
                batch.insert(&self.data, renamed, value);
            }
        }
        batch.insert(&self.meta, FORMAT_KEY, FORMAT.to_be_bytes());
        batch.commit().map_err(store_error)
    }

    fn meta<const N: usize>(&self, key: &str) -> Result<Option<[u8; N]>, StoreError> {
        let Some(value) = self.meta.get(key).map_err(store_error)? else {
            return Ok(None);
        };
        let number = value.as_ref().try_into();
        number.map(Some).map_err(|_| StoreError::Corrupt(format!("{key} has {} bytes, not {N}", value.len())))
    }

    fn put_meta(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, key, value);
        batch.commit().map_err(store_error)
    }
}

impl Engine for Fjall {
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        // Read from a snapshot: without one, fjall shows a write batch key by key while it is applied, and a reader
        // could see a new value of a commit and then an old one.
        let record = self.db.snapshot().get(&self.data, key).map_err(store_error)?;
        record.map(|record| decode(&record)).transpose()
    }

    /// Needs no snapshot, because nothing is applied meanwhile, and does not copy the value.
    fn version(&self, key: &[u8]) -> Result<Option<Version>, StoreError> {
        let record = self.data.get(key).map_err(store_error)?;
        record.map(|record| split(&record).map(|(version, _)| version)).transpose()
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        let Some(bounds) = scan_bounds(from, to) else {
            return Ok(Vec::new());
        };
        let found = self.db.snapshot().range::<&[u8], _>(&self.data, bounds).take(limit);
        let read = |record: fjall::Guard| {
            let (key, record) = record.into_inner().map_err(store_error)?;
            Ok((key.to_vec(), decode(&record)?))
        };
        found.map(read).collect()
    }

    /// Writes one journal entry with one fsync. fjall adds a batch to its memtables, where readers find it, only after
    /// the journal is synced, so that no reader sees a change that a crash could undo.
    fn apply(&self, writes: Writes) -> Result<(), StoreError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        for (key, entry) in writes {
            match entry {
                Some(entry) => batch.insert(&self.data, key, encode(&entry)),
                None => batch.remove(&self.data, key),
            }
        }
        batch.commit().map_err(store_error)
    }

    fn next_epoch(&self) -> Result<u64, StoreError> {
        let epoch = self.meta(EPOCH_KEY)?.map_or(0, u64::from_be_bytes) + 1;
        self.put_meta(EPOCH_KEY, &epoch.to_be_bytes())?;
        Ok(epoch)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.db.persist(PersistMode::SyncAll).map_err(store_error)
    }
}

/// Syncs the data directory, so that the name of the store's folder is durable: fjall syncs only the content of the
/// folder.
fn sync_directory(dir: &Path) -> Result<(), StoreError> {
    // Other systems cannot open a directory as a file, and do not need this.
    if cfg!(unix) {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| StoreError::Failed(format!("cannot sync {}: {error}", dir.display())))?;
    }
    Ok(())
}

fn encode(entry: &Entry) -> UserValue {
    let mut record = Vec::with_capacity(VERSION_BYTES + entry.value.len());
    record.extend_from_slice(&entry.version.0.to_be_bytes());
    record.extend_from_slice(&entry.value);
    record.into()
}

/// Copies the value, because a slice of fjall's memory would keep a whole block from being freed.
fn decode(record: &[u8]) -> Result<Entry, StoreError> {
    let (version, value) = split(record)?;
    Ok(Entry { version, value: Bytes::copy_from_slice(value) })
}

fn split(record: &[u8]) -> Result<(Version, &[u8]), StoreError> {
    let Some((version, value)) = record.split_first_chunk::<VERSION_BYTES>() else {
        return Err(StoreError::Corrupt(format!(
            "a record of {} bytes is too short for a version",
            record.len()
        )));
    };
    Ok((Version(u64::from_be_bytes(*version)), value))
}

fn store_error(error: fjall::Error) -> StoreError {
    use fjall::{Error, LsmError};
    match error {
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => StoreError::Failed(error.to_string()),
        Error::Poisoned => StoreError::Failed("an earlier write failed".into()),
        Error::InvalidVersion(_) => StoreError::Failed(
            "another engine version wrote its files: run the server version that wrote them".into(),
        ),
        Error::Storage(error) => StoreError::Corrupt(error.to_string()),
        error @ (Error::JournalRecovery(_)
        | Error::Decompress(_)
        | Error::InvalidTrailer
        | Error::InvalidTag(_)
        | Error::Unrecoverable) => StoreError::Corrupt(error.to_string()),
        error => StoreError::Failed(error.to_string()),
    }
}
