//! Why a store says no.

use std::path::PathBuf;

use thiserror::Error;

use super::{KEY_BYTES_MAX, Key};

/// Why a store could not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// More commits wait than the queue holds; nothing was changed.
    #[error(
        "the store's write queue is full: try again in a moment, and find faster storage if this goes on"
    )]
    Busy,
    /// The store was closed; nothing was changed.
    #[error("the store is closed because the server is stopping: try again once it is back")]
    Closed,
    /// A key that no store holds; nothing was changed.
    #[error("a key of {bytes} bytes cannot be stored: use 1 to {KEY_BYTES_MAX} bytes")]
    InvalidKey {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The storage below failed. A commit that ends so may or may not be found after a restart.
    #[error("the store failed: {0}")]
    Failed(String),
    /// A database does not answer; nothing was changed.
    #[error("the database does not answer: {0}; try again in a moment")]
    Unavailable(String),
    /// A database was lost in the middle of a commit, which may have happened or not, or may yet happen.
    #[error("the database was lost in the middle of a change, which may have been made: {0}")]
    Unsure(String),
    /// This machine's clock and the database's differ by more than is allowed.
    #[error(
        "this machine's clock differs from the database's by {difference_ms} ms, and {allowed_ms} are allowed: keep both in \
         time (NTP)"
    )]
    ClockSkew {
        /// By how much this one is ahead; negative where it is behind.
        difference_ms: i64,
        /// By how much it may be.
        allowed_ms: i64,
    },
    /// What was read cannot be what was written.
    #[error("the store is damaged: {0}; restore the data directory from a backup")]
    Corrupt(String),
    /// Another server uses the directory.
    #[error(
        "another server uses the data directory {}: stop that server, or give this one a directory of its own",
        .dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A server uses the database.
    #[error(
        "a server uses the database {database}, of which {connections} connections are called {name}: stop it, or, where \
         that is one of another store, give the servers of each an application_name of their own in [postgres] url"
    )]
    DatabaseInUse {
        /// The database, and its hosts.
        database: String,
        /// How many connections there are.
        connections: i64,
        /// What they are called.
        name: String,
    },
    /// The data directory was written in another format.
    #[error(
        "the data directory {} has format {found}, and this server knows format {known}: run a server version \
         that knows format {found}, or start with an empty directory",
        .dir.display()
    )]
    UnknownFormat {
        /// The directory.
        dir: PathBuf,
        /// The directory's format number.
        found: u32,
        /// The format number this server reads and writes.
        known: u32,
    },
    /// A newer server made the tables of the database.
    #[error(
        "the database has schema {found}, and this server knows schemas up to {known}: run a server version that \
         knows schema {found}, or name another database"
    )]
    UnknownSchema {
        /// The database's schema number.
        found: i64,
        /// The last schema number that this server knows.
        known: i64,
    },
}

impl StoreError {
    /// Whether a commit that ended in this error certainly changed nothing, and so may simply be tried again.
    pub fn changed_nothing(&self) -> bool {
        match self {
            Self::Busy | Self::Closed | Self::InvalidKey { .. } | Self::Unavailable(_) => true,
            Self::InUse { .. }
            | Self::DatabaseInUse { .. }
            | Self::UnknownFormat { .. }
            | Self::UnknownSchema { .. } => true,
            Self::ClockSkew { .. } => true,
            Self::Failed(_) | Self::Unsure(_) | Self::Corrupt(_) => false,
        }
    }
}

/// Why a commit did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommitError {
    /// An expectation did not hold; nothing was changed.
    #[error("someone else changed a value first: read it again and retry")]
    Conflict {
        /// The first key whose expectation did not hold.
        key: Key,
    },
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}
