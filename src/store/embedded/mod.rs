//! The store in files on this machine: the engine fjall with group commit.
//!
//! Before the engine opens the files, [`inspect`] looks for damage. A new store is [created](create) under another
//! name, so that a folder with the right name is always whole.

mod acknowledged;
mod create;
mod inspect;
mod journal;
mod link;
mod lock;
mod salvage;
mod search;
mod tables;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, UserValue};

use super::{Engine, Entry, GroupCommit, Key, StoreError, Version, Writes, scan_bounds};
use crate::private_dir;
use acknowledged::Acknowledged;
use inspect::{Fault, Inspection};
use link::{LINK_KEY, Link, Secret};
use lock::{lock_directory, lock_file};
pub use salvage::{LeftOut, Salvaged};

/// The folder of the store within the data directory.
const FOLDER: &str = "store";
/// File in the folder of the store that the engine locks.
const LOCK_FILE: &str = "lock";
/// The format number that this server reads and writes. A new format needs an upgrade in `check_format`.
const FORMAT: u32 = 2;
/// The format before, in which some keys had other names; see [`KeyUpgrade`].
const FORMAT_BEFORE_KEY_UPGRADE: u32 = 1;
/// Key of the format number (u32, big-endian) in the keyspace `meta`.
const FORMAT_KEY: &str = "format";
/// Key of the last epoch in use (u64, big-endian) in the keyspace `meta`. Links have it too.
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
    /// wrote it, [`StoreError::Damaged`] or [`StoreError::Unfinished`] if files are damaged or missing; then no file
    /// was changed. [`StoreError::Corrupt`] or [`StoreError::Failed`] if it cannot be read or written.
    pub fn open(data_dir: &Path, upgrade: KeyUpgrade) -> Result<Self, StoreError> {
        Self::start(Fjall::open(data_dir, upgrade)?)
    }

    /// The folder of the store in `data_dir`. The folder may not exist.
    pub fn folder(data_dir: &Path) -> PathBuf {
        data_dir.join(FOLDER)
    }

    /// Looks for damage in the files of the store in `data_dir`, which must exist, and changes nothing. Reads all of
    /// them.
    ///
    /// # Errors
    /// Those of [`Embedded::open`].
    pub fn verify(data_dir: &Path) -> Result<Verified, StoreError> {
        let folder = Self::folder(data_dir);
        let _locks = (lock_directory(data_dir)?, lock_file(data_dir, OpenOptions::new().read(true))?);
        let inspected = inspect::inspect(&folder).and_then(|inspection| {
            inspect::verify_tables(&inspection.tables)?;
            Ok(inspection)
        });
        let Inspection { torn, journals, batches, tables, knows_newest } =
            inspected.map_err(|fault| refusal(data_dir, fault))?;
        let torn_bytes = torn.iter().map(|torn| torn.bytes).sum();
        Ok(Verified { journals, batches, tables: tables.len(), torn_bytes, knows_newest })
    }

    /// Copies the store in `from` to the directory `to`. If the damaged part of a journal is in the tables too, nothing
    /// is lost; otherwise the changes after the damage are left out. `from` keeps its files.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the store is not damaged, if `to` has a store, or if a file cannot be copied;
    /// [`StoreError::Damaged`] if nothing can be salvaged.
    pub fn salvage(from: &Path, to: &Path) -> Result<Salvaged, StoreError> {
        let _locks = (lock_directory(from)?, lock_file(from, OpenOptions::new().read(true))?);
        salvage::salvage(from, to)
    }
}

/// What was found in a store without damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Journal files.
    pub journals: usize,
    /// Batches in the journals. Each has the changes of one or more commits.
    pub batches: u64,
    /// Tables, which have the older changes.
    pub tables: usize,
    /// Length of the unfinished write that a crash left at the end of a journal, in bytes. The next start removes it.
    pub torn_bytes: u64,
    /// Whether the file `acknowledged` is there and whole. Without it the loss of the newest changes cannot be found.
    pub knows_newest: bool,
}

/// The engine. The keyspace `data` has the values, each preceded by its version (u64, big-endian), and the
/// link. The keyspace `meta` has the format number and the epoch.
pub struct Fjall {
    db: Database,
    data: Keyspace,
    meta: Keyspace,
    dir: PathBuf,
    acknowledged: Acknowledged,
    /// The current epoch, which each link has.
    epoch: AtomicU64,
    /// Whether the newest batch has a link. It has none in a new store, and if an older server wrote it.
    is_linked: AtomicBool,
    /// The secret of the store, which each link has.
    secret: Secret,
    /// The lock of the data directory. It is released last.
    _directory: Option<File>,
}

impl Fjall {
    /// Opens the engine in `data_dir`, or creates it there.
    ///
    /// # Errors
    /// The errors of [`Embedded::open`].
    pub fn open(data_dir: &Path, upgrade: KeyUpgrade) -> Result<Self, StoreError> {
        // Values may hold private data, such as messages and password hashes.
        private_dir::create(data_dir).map_err(|error| unusable(data_dir, &error))?;
        let directory = lock_directory(data_dir)?;
        if create::is_needed(data_dir)? {
            create::create(data_dir)?;
        } else {
            prepare(data_dir)?;
        }
        let engine = Self::open_folder(data_dir, &Embedded::folder(data_dir))?;
        let engine = Self { _directory: directory, ..engine };
        engine.check_format(upgrade)?;
        sync_directory(data_dir)?;
        Ok(engine)
    }

    /// Opens or creates the engine's files in `folder`, and checks nothing.
    fn open_folder(data_dir: &Path, folder: &Path) -> Result<Self, StoreError> {
        let opened = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKER_THREADS)
            .open();
        let failed = |error| match error {
            fjall::Error::Locked => StoreError::InUse { dir: data_dir.to_path_buf() },
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
                unusable(data_dir, &error)
            }
            error => store_error(error),
        };
        let db = opened.map_err(failed)?;
        let data = db.keyspace("data", KeyspaceCreateOptions::default).map_err(failed)?;
        let meta = db.keyspace("meta", KeyspaceCreateOptions::default).map_err(failed)?;
        let acknowledged = Acknowledged::open(folder).map_err(|error| unusable(data_dir, &error))?;
        let (epoch, is_linked) = (AtomicU64::new(0), AtomicBool::new(false));
        let dir = data_dir.to_path_buf();
        let secret = Secret::new();
        let engine = Self { db, data, meta, dir, acknowledged, epoch, is_linked, secret, _directory: None };
        engine.epoch.store(engine.stored_epoch()?, Ordering::Relaxed);
        let link = engine.link()?;
        engine.is_linked.store(link.is_some(), Ordering::Relaxed);
        // A new store, and a store of an older server, get the new secret.
        let secret = link.and_then(|link| link.secret).unwrap_or(secret);
        Ok(Self { secret, ..engine })
    }

    /// The last epoch in use. It is in the keyspace `meta` and in the newest link: each of them can be newer, after an
    /// older server used the store, or after changes were [salvaged](salvage).
    fn stored_epoch(&self) -> Result<u64, StoreError> {
        let stored = self.meta(EPOCH_KEY)?.map_or(0, u64::from_be_bytes);
        Ok(stored.max(self.link()?.map_or(0, |link| link.epoch)))
    }

    /// The newest link; `None` in a new store, or if an older server wrote the store.
    fn link(&self) -> Result<Option<Link>, StoreError> {
        let Some(value) = self.data.get(LINK_KEY).map_err(store_error)? else { return Ok(None) };
        let link = Link::decode(&value);
        link.map(Some).ok_or_else(|| StoreError::Corrupt("a link is damaged".into()))
    }

    /// Commits a batch durably, with its link.
    fn write(&self, mut batch: fjall::OwnedWriteBatch) -> Result<(), StoreError> {
        // Only one thread writes, so the newest batch is the one before this one.
        let is_linked = self.is_linked.load(Ordering::Relaxed);
        let after = self.newest_batch().filter(|_| is_linked).map_or(0, |newest| newest + 1);
        let link = Link { after, epoch: self.epoch.load(Ordering::Relaxed), secret: Some(self.secret) };
        // Last: a batch ends with the secret.
        batch.insert(&self.data, LINK_KEY, link.encode());
        batch.durability(Some(PersistMode::SyncAll)).commit().map_err(store_error)?;
        self.is_linked.store(true, Ordering::Relaxed);
        if let Some(newest) = self.newest_batch() {
            let written = self.acknowledged.write(newest, self.secret);
            written.unwrap_or_else(
                |error| tracing::warn!(%error, "the number of the newest change was not noted"),
            );
        }
        Ok(())
    }

    /// The sequence number of the newest batch. Every batch changes the keyspace `data`.
    fn newest_batch(&self) -> Option<u64> {
        let tree = &self.data.tree;
        tree.get_highest_memtable_seqno().or_else(|| tree.get_highest_persisted_seqno())
    }

    /// Upgrades the format before, and refuses every other format but the current one.
    fn check_format(&self, upgrade: KeyUpgrade) -> Result<(), StoreError> {
        match self.meta(FORMAT_KEY)?.map(u32::from_be_bytes) {
            Some(FORMAT) => Ok(()),
            Some(FORMAT_BEFORE_KEY_UPGRADE) => self.rename_keys(upgrade),
            Some(found) => Err(StoreError::UnknownFormat { dir: self.dir.clone(), found, known: FORMAT }),
            None => Err(StoreError::Corrupt("there are values but no format number".into())),
        }
    }

    /// Upgrades a store of the format before, in one commit.
    fn rename_keys(&self, upgrade: KeyUpgrade) -> Result<(), StoreError> {
        let mut batch = self.db.batch();
        for entry in self.data.prefix(upgrade.prefix) {
            let (key, value) = entry.into_inner().map_err(store_error)?;
            if let Some(renamed) = (upgrade.renamed)(&key) {
                batch.remove(&self.data, key);
                batch.insert(&self.data, renamed, value);
            }
        }
        batch.insert(&self.meta, FORMAT_KEY, FORMAT.to_be_bytes());
        self.write(batch)
    }

    fn meta<const N: usize>(&self, key: &str) -> Result<Option<[u8; N]>, StoreError> {
        let Some(value) = self.meta.get(key).map_err(store_error)? else {
            return Ok(None);
        };
        let number = value.as_ref().try_into();
        number.map(Some).map_err(|_| StoreError::Corrupt(format!("{key} has {} bytes, not {N}", value.len())))
    }

    fn put_meta(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut batch = self.db.batch();
        batch.insert(&self.meta, key, value);
        self.write(batch)
    }
}

impl Engine for Fjall {
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        // Read from a snapshot: without one, fjall shows a write batch key by key while it is applied, and a reader
        // could see a new value of a commit and then an old one.
        if key == LINK_KEY {
            return Ok(None);
        }
        let record = self.db.snapshot().get(&self.data, key).map_err(store_error)?;
        record.map(|record| decode(&record)).transpose()
    }

    /// Needs no snapshot, because nothing is applied meanwhile, and does not copy the value.
    fn version(&self, key: &[u8]) -> Result<Option<Version>, StoreError> {
        if key == LINK_KEY {
            return Ok(None);
        }
        let record = self.data.get(key).map_err(store_error)?;
        record.map(|record| split(&record).map(|(version, _)| version)).transpose()
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        let Some(bounds) = scan_bounds(from, to) else {
            return Ok(Vec::new());
        };
        let found = self.db.snapshot().range::<&[u8], _>(&self.data, bounds);
        let found = found.map(|record| record.into_inner().map_err(store_error));
        let found = found.filter(|record| record.as_ref().map_or(true, |(key, _)| **key != *LINK_KEY));
        found
            .take(limit)
            .map(|record| record.and_then(|(key, record)| Ok((key.to_vec(), decode(&record)?))))
            .collect()
    }

    /// Writes one journal entry with one fsync. fjall adds a batch to its memtables, where readers find it, only after
    /// the journal is synced, so that no reader sees a change that a crash could undo.
    fn apply(&self, writes: Writes) -> Result<(), StoreError> {
        let mut batch = self.db.batch();
        for (key, entry) in writes {
            match entry {
                Some(entry) => batch.insert(&self.data, key, encode(&entry)),
                None => batch.remove(&self.data, key),
            }
        }
        self.write(batch)
    }

    fn next_epoch(&self) -> Result<u64, StoreError> {
        let epoch = self.stored_epoch()? + 1;
        self.epoch.store(epoch, Ordering::Relaxed);
        self.put_meta(EPOCH_KEY, &epoch.to_be_bytes())?;
        Ok(epoch)
    }

    /// The engine refuses writes after a failure of its background work, which the next commit would find out.
    fn check(&self) -> Result<(), StoreError> {
        self.db.persist(PersistMode::Buffer).map_err(|error| match error {
            fjall::Error::Poisoned => StoreError::Failed(
                "background work of the storage engine has failed: see its error in the log, check the disk, then \
                 restart the server"
                    .into(),
            ),
            error => store_error(error),
        })
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.db.persist(PersistMode::SyncAll).map_err(store_error)?;
        self.acknowledged.sync().map_err(|error| StoreError::Failed(error.to_string()))
    }
}

/// Looks for damage in the files of the store, before anything is written. Then removes what a crash left at the end of
/// a journal: the engine refuses some of it.
fn prepare(data_dir: &Path) -> Result<(), StoreError> {
    let folder = Embedded::folder(data_dir);
    let _lock = lock_file(data_dir, OpenOptions::new().read(true).write(true).create(true))?;
    let inspection = inspect::inspect(&folder).map_err(|fault| refusal(data_dir, fault))?;
    if !inspection.knows_newest && inspection.batches > 0 {
        tracing::warn!(
            "the file store/acknowledged is missing or damaged, so the loss of the newest changes could not be found; it \
             is written again (older servers wrote none)"
        );
    }
    for torn in inspection.torn {
        let (journal, bytes) = (torn.journal.display(), torn.bytes);
        tracing::info!(%journal, bytes, "a crash interrupted the last write; its unfinished bytes were removed");
        let cut = OpenOptions::new().write(true).open(&torn.journal).and_then(|file| {
            file.set_len(torn.at)?;
            file.sync_all()
        });
        cut.map_err(|error| unusable(data_dir, &error))?;
    }
    Ok(())
}

fn refusal(data_dir: &Path, fault: Fault) -> StoreError {
    match fault {
        Fault::Io(error) => StoreError::Failed(format!("cannot read the data directory: {error}")),
        Fault::Unfinished => StoreError::Unfinished { folder: Embedded::folder(data_dir) },
        Fault::OtherEngine => other_engine(),
        Fault::Damaged(damage) => {
            StoreError::Damaged { dir: data_dir.into(), what: damage.what, can_salvage: damage.cut.is_some() }
        }
    }
}

fn unusable(data_dir: &Path, error: &io::Error) -> StoreError {
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space, and start again",
        ErrorKind::ResourceBusy => "mount the volume at the data directory, and not at the folder in it",
        _ => "name one that this user may write to",
    };
    StoreError::Failed(format!("cannot use the data directory {}: {error}; {hint}", data_dir.display()))
}

fn other_engine() -> StoreError {
    StoreError::Failed(
        "another engine version wrote its files: run the server version that wrote them".into(),
    )
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
        Error::InvalidVersion(_) => other_engine(),
        Error::Storage(error) => StoreError::Corrupt(error.to_string()),
        error @ (Error::JournalRecovery(_)
        | Error::Decompress(_)
        | Error::InvalidTrailer
        | Error::InvalidTag(_)
        | Error::Unrecoverable) => StoreError::Corrupt(error.to_string()),
        error => StoreError::Failed(error.to_string()),
    }
}
