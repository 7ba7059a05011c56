//! Errors of the store.

use std::path::PathBuf;

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
