//! The errors of the application.

use crate::auth::Denied;
use crate::domain::Refused;
use crate::store::{CommitError, StoreError};

/// An error of the application.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A rule of the domain refused the request.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller's token does not permit the request.
    #[error("the token does not permit this")]
    Denied(Denied),
    /// Other changes of the same session were first in every attempt.
    #[error("too many changes at once")]
    Contended,
    /// Background work on one item panicked. The log has the message and the place of the panic.
    #[error("the work panicked")]
    Panicked,
}

impl Failure {
    /// Whether the store is away. Then other requests to it would fail as well, each after the full timeout.
    pub fn is_store_away(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable(_) | StoreError::Unsure(_)))
    }

    /// Whether this node's clock differs too much from the clock of the store. The store itself answers.
    pub fn is_clock_wrong(&self) -> bool {
        matches!(self, Self::Store(StoreError::ClockSkew { .. }))
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
