//! Errors of the store.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{KEY_BYTES_MAX, Key};

/// Why a store could not read, write or open.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The queue of commits is full. Nothing was changed.
    #[error(
        "the store's write queue is full: try again in a moment, and use faster storage if this continues"
    )]
    Busy,
    /// The store is closed. Nothing was changed.
    #[error("the store is closed because the server is stopping: try again after it has started")]
    Closed,
    /// The length of a key is not allowed. Nothing was changed.
    #[error("a key of {bytes} bytes cannot be stored: use 1 to {KEY_BYTES_MAX} bytes")]
    InvalidKey {
        /// The length of the key, in bytes.
        bytes: usize,
    },
    /// The store uses this key itself. Nothing was changed.
    #[error("this key cannot be stored: the store uses it itself")]
    ReservedKey,
    /// The disk or the database failed. A commit with this error may or may not be found after a restart.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The database cannot be reached. Nothing was changed.
    #[error("the database does not answer: {0}; try again in a moment")]
    Unavailable(String),
    /// The answer to a commit was lost. The commit may have happened, or may still happen.
    #[error("the answer of the database was lost, so the change may or may not have been made: {0}")]
    Unsure(String),
    /// This machine's clock and the database's differ by more than the setting allows.
    #[error(
        "this machine's clock differs from the database's by {difference_ms} ms, and {allowed_ms} ms are allowed: \
         synchronise both clocks (NTP)"
    )]
    ClockSkew {
        /// Milliseconds by which this machine's clock is ahead; negative if it is behind.
        difference_ms: i64,
        /// Largest allowed difference, in milliseconds.
        allowed_ms: i64,
    },
    /// The stored data is damaged.
    #[error("the store is damaged: {0}; restore the data directory from a backup")]
    Corrupt(String),
    /// Files of the embedded store are damaged or missing. The store was not opened, and no file was changed.
    #[error("the store in {} is damaged: {what}; no file was changed; {}", .dir.display(), advice(.dir, *.can_salvage))]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// What is damaged.
        what: String,
        /// Whether the changes before the damage can be salvaged.
        can_salvage: bool,
    },
    /// The creation of an embedded store was interrupted, and nothing was ever stored in it.
    #[error(
        "{} has no data, because its creation was interrupted: delete it (rm -r '{}'), and start again",
        .folder.display(), .folder.display()
    )]
    Unfinished {
        /// The folder of the store.
        folder: PathBuf,
    },
    /// Another server uses the data directory.
    #[error(
        "another server uses the data directory {}: stop that server, or give this one a directory of its own",
        .dir.display()
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// A server uses the database.
    #[error(
        "a server uses the database {database}: it has {connections} connections with the application_name {name}; stop \
         the server, or, if it uses another store, give the servers of each store an application_name of their own in \
         [postgres] url"
    )]
    DatabaseInUse {
        /// The database and its hosts.
        database: String,
        /// The number of connections of servers.
        connections: i64,
        /// The `application_name` of these connections.
        name: String,
    },
    /// The data directory has a format that this server does not know.
    #[error(
        "the data directory {} has format {found}, and this server knows format {known}: run a server version \
         that knows format {found}, or start with an empty directory",
        .dir.display()
    )]
    UnknownFormat {
        /// The data directory.
        dir: PathBuf,
        /// The format number of the directory.
        found: u32,
        /// The format number this server reads and writes.
        known: u32,
    },
    /// A newer server has upgraded the tables of the database.
    #[error(
        "the database has schema {found}, and this server knows schemas up to {known}: run a server version that \
         knows schema {found}, or name another database"
    )]
    UnknownSchema {
        /// The schema number of the database.
        found: i64,
        /// The highest schema number that this server knows.
        known: i64,
    },
}

impl StoreError {
    /// Whether a commit with this error has certainly changed nothing, so that it may be repeated.
    pub fn changed_nothing(&self) -> bool {
        match self {
            Self::Busy
            | Self::Closed
            | Self::InvalidKey { .. }
            | Self::ReservedKey
            | Self::Damaged { .. }
            | Self::Unfinished { .. }
            | Self::Unavailable(_)
            | Self::InUse { .. }
            | Self::DatabaseInUse { .. }
            | Self::UnknownFormat { .. }
            | Self::UnknownSchema { .. }
            | Self::ClockSkew { .. } => true,
            Self::Failed(_) | Self::Unsure(_) | Self::Corrupt(_) => false,
        }
    }
}

/// What to do about a damaged store.
fn advice(dir: &Path, can_salvage: bool) -> String {
    let dir = dir.display();
    if can_salvage {
        format!(
            "restore the data directory from a backup; or, if you can do without the changes after the damage, copy the \
             changes before it with: rallypoint store salvage --from '{dir}' --to NEW_DIRECTORY"
        )
    } else {
        "restore the data directory from a backup, or start with an empty one".into()
    }
}

/// Why a commit failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommitError {
    /// An expectation did not hold. Nothing was changed.
    #[error("another commit changed a value first: read it again and retry")]
    Conflict {
        /// The first key whose expectation did not hold.
        key: Key,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
