//! The errors of the application.

use super::Mismatch;
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
    /// Other posts to the same inbox were first in every attempt.
    #[error("too many posts at once")]
    InboxContended,
    /// An equal request with the same idempotency key was answered first, so this one changed nothing.
    #[error("an equal request was answered first")]
    Repeated,
    /// The session is not as the caller has read it, so the change was not made.
    #[error("the session has changed since the caller read it")]
    PreconditionFailed(Box<Mismatch>),
    /// Background work on one item panicked. The log has the message and the place of the panic.
    #[error("the work panicked")]
    Panicked,
}

/// How much of the work of a background job a failure concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    /// One session. Work on the others can go on.
    Session,
    /// More than one session.
    Store,
    /// The store is away, so all work on it would fail.
    StoreAway,
}

impl Failure {
    fn extent(&self) -> Extent {
        match self {
            Self::Store(StoreError::Unavailable(_) | StoreError::Unsure(_)) => Extent::StoreAway,
            Self::Store(StoreError::Corrupt(_))
            | Self::Refused(_)
            | Self::Denied(_)
            | Self::Contended
            | Self::InboxContended
            | Self::Repeated
            | Self::PreconditionFailed(_)
            | Self::Panicked => Extent::Session,
            Self::Store(_) => Extent::Store,
        }
    }

    /// Whether the failure concerns one session only, so that work on other sessions can go on.
    pub fn is_of_one_session(&self) -> bool {
        self.extent() == Extent::Session
    }

    /// Of two outcomes of background work, the failure that concerns more of it, or the first one.
    pub fn worse(first: Result<(), Self>, next: Result<(), Self>) -> Result<(), Self> {
        match (&first, &next) {
            (Ok(()), Err(_)) => next,
            (Err(one), Err(other)) if other.extent() > one.extent() => next,
            _ => first,
        }
    }

    /// Whether the store is away. Then other requests to it would fail as well, each after the full timeout.
    pub fn is_store_away(&self) -> bool {
        self.extent() == Extent::StoreAway
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_that_concerns_more_work_wins() {
        let of_session = || Failure::Store(StoreError::Corrupt("one".into()));
        let of_store = || Failure::Store(StoreError::Failed("two".into()));
        let away = || Failure::Store(StoreError::Unavailable("three".into()));
        let failures: [&dyn Fn() -> Failure; 3] = [&of_session, &of_store, &away];
        for (one, first) in failures.iter().enumerate() {
            for (other, next) in failures.iter().enumerate() {
                let worse = Failure::worse(Err(first()), Err(next())).unwrap_err();
                assert_eq!(worse.to_string(), failures[one.max(other)]().to_string());
            }
            assert!(Failure::worse(Err(first()), Ok(())).is_err());
            assert!(Failure::worse(Ok(()), Err(first())).is_err());
        }
        let worse = Failure::worse(Err(Failure::Contended), Err(of_session())).unwrap_err();
        assert!(matches!(worse, Failure::Contended), "the first of two equal ones");
    }
}
