//! What a request asks of a change beyond its rule.

use std::sync::Arc;

use super::cached::CachedSession;
use crate::app::Failure;
use crate::document::Document;
use crate::store::Batch;
use crate::telemetry::Precondition;

/// The hook of a change whose rule has a result of type `T`; `None` for most changes.
pub type Hook<T> = Option<Arc<dyn ChangeHook<T>>>;

/// Further writes of a commit.
pub type HookWrites = Batch;

/// A part of a change that depends on the request and not on the rule. It is called in each attempt, under the session
/// lock, so it must be quick and must have no side effects outside of itself.
pub trait ChangeHook<T>: Send + Sync {
    /// Judges the condition of the request on the session from which this attempt starts. If the condition fails, so
    /// does the change, with [`Failure::PreconditionFailed`], except where it changes nothing.
    fn judge(&self, _before: &CachedSession) -> Verdict {
        Verdict::Unconditional
    }

    /// Further writes of the commit. `after` is the session as this attempt stores it; only its version is not known
    /// yet. They are committed even if the rule changes nothing. If an expectation of theirs does not hold, the change
    /// begins again.
    ///
    /// # Errors
    /// Any failure. Then nothing is committed.
    fn writes(&self, _result: &T, _after: &CachedSession) -> Result<HookWrites, Failure> {
        Ok(HookWrites::default())
    }
}

/// Whether the condition of a request holds: that the session still is as the caller has read it.
#[derive(Debug)]
pub enum Verdict {
    /// The request has no condition.
    Unconditional,
    /// It holds.
    Holds,
    /// It fails, in this way.
    Fails(Box<Mismatch>),
}

/// How something differs from what the condition of a request says.
#[derive(Debug, Default)]
pub struct Mismatch {
    /// What it is, as the caller would read it; `None` if the caller may not read it.
    pub current: Option<Document>,
    /// Whether a weak tag of the condition would match if it were strong.
    pub has_weak_match: bool,
}

impl Verdict {
    /// How a change is counted that is made under this verdict; `None` if it is not.
    pub fn when_made(&self) -> Option<Precondition> {
        match self {
            Self::Unconditional => None,
            Self::Holds => Some(Precondition::Held),
            Self::Fails(_) => Some(Precondition::AlreadySo),
        }
    }
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
