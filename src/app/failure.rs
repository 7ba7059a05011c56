//! Why the application could not do something.

use crate::auth::Denied;
use crate::domain::Refused;
use crate::store::{CommitError, StoreError};

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A rule said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller's token does not reach so far.
    #[error("the token does not reach so far")]
    Denied(Denied),
    /// Too many writers raced for the same session.
    #[error("too many changes at once")]
    Contended,
    /// The work on one item panicked; the log says where.
    #[error("the work panicked")]
    Panicked,
}

impl Failure {
    /// Whether the store is away. Everything else would fail as well then, and take as long.
    pub fn is_store_away(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable(_) | StoreError::Unsure(_)))
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict { .. } => Self::Contended,
            CommitError::Store(error) => Self::Store(error),
        }
    }
}
