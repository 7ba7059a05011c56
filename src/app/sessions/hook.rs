//! What a request asks of a change beyond its rule.

use std::sync::Arc;

use super::cached::CachedSession;
use crate::app::Failure;
use crate::store::Batch;

/// The hook of a change whose rule has a result of type `T`; `None` for most changes.
pub type Hook<T> = Option<Arc<dyn ChangeHook<T>>>;

/// Further writes of a commit.
pub type HookWrites = Batch;

/// A part of a change that depends on the request and not on the rule. It is called in each attempt, under the session
/// lock, so it must be quick and must have no side effects outside of itself.
pub trait ChangeHook<T>: Send + Sync {
    /// Whether the caller knows the version from which this attempt starts; `None` if the request does not say. If the
    /// caller does not know it, the change fails with [`Failure::PreconditionFailed`], except where it changes nothing.
    fn knows(&self, _before: &CachedSession) -> Option<bool> {
        None
    }

    /// Further writes of the commit. `after` is the session as this attempt stores it; only its version is not known yet.
    /// They are committed even if the rule changes nothing. If an expectation of theirs does not hold, the change begins
    /// again.
    ///
    /// # Errors
    /// Any failure. Then nothing is committed.
    fn writes(&self, _result: &T, _after: &CachedSession) -> Result<HookWrites, Failure> {
        Ok(HookWrites::default())
    }
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
