//! Deletes the answers that have been kept for long enough. There is no queue of them by time, which would be one more
//! write for each request. Instead each node reads on through all of them.

use std::sync::{MutexGuard, PoisonError};

use super::Idempotency;
use crate::records::StoredAnswer;
use crate::records::keys::{self, RequestHash};
use crate::store::{Batch, CommitError, Key, StoreError, next_key};

/// Answers that a round reads.
const READ_AT_ONCE: usize = 2_048;
/// Answers that are deleted in one commit. If another node is faster with one of them, the commit changes nothing.
const DELETED_AT_ONCE: usize = 256;
/// A pass over all answers starts at most this often in the time for which they are kept.
const PASSES_WHILE_KEPT: i64 = 8;

/// Where the pass over all answers is.
#[derive(Debug, Default)]
pub struct Sweep {
    /// The range that is left: start, and end (excluded). `None`: no pass is under way.
    left: Option<(Key, Key)>,
    /// The range from the start of all answers, which follows after that. A pass begins in the middle, so that nodes
    /// seldom read the same answers.
    then: Option<(Key, Key)>,
    /// No pass starts before, by the monotonic clock.
    not_before_up_ms: i64,
}

impl Idempotency {
    /// Whether a pass over all answers is under way or due.
    pub fn is_sweep_due(&self) -> bool {
        self.next_range().is_some()
    }

    /// Looks at the next answers, if a pass over all of them is under way or due, and deletes those that have been kept
    /// for long enough. Returns whether it deleted some and more are left to look at.
    ///
    /// # Errors
    /// Errors of the store. A later round tries again.
    pub async fn sweep(&self) -> Result<bool, StoreError> {
        let Some((from, to)) = self.next_range() else { return Ok(false) };
        let found = self.store.scan(&from, &to, READ_AT_ONCE).await?;
        let rest = found.last().filter(|_| found.len() == READ_AT_ONCE).map(|(last, _)| (next_key(last), to));
        // Before anything can fail, so that nothing holds up the pass.
        let has_more = {
            let mut sweep = self.sweep_state();
            sweep.left = rest.or_else(|| sweep.then.take());
            sweep.left.is_some()
        };
        let is_over = |value: &[u8]| match StoredAnswer::decode(value) {
            Ok(answer) => self.is_over(&answer),
            // It may be of a newer version, which deletes it.
            Err(_) => false,
        };
        let over: Vec<_> = found.into_iter().filter(|(_, entry)| is_over(&entry.value)).collect();
        let mut has_deleted = false;
        for some in over.chunks(DELETED_AT_ONCE) {
            let delete = |batch: Batch, key: &Key, version| {
                batch.expect_version(key.clone(), version).delete(key.clone())
            };
            let batch =
                some.iter().fold(Batch::default(), |batch, (key, entry)| delete(batch, key, entry.version));
            match self.store.commit(batch).await {
                Ok(_) => has_deleted = true,
                // Another node was faster, or a client has used the key again. A later pass finds the others.
                Err(CommitError::Conflict { .. }) => {}
                Err(CommitError::Store(error)) => return Err(error),
            }
        }
        Ok(has_deleted && has_more)
    }

    /// The range to read next. Starts a pass if one is due.
    fn next_range(&self) -> Option<(Key, Key)> {
        let mut sweep = self.sweep_state();
        let up_ms = self.clock.up_ms();
        if sweep.left.is_none() && up_ms >= sweep.not_before_up_ms {
            let (start, end) = keys::all_answers();
            let middle = keys::answer(&self.entropy.bytes::<{ size_of::<RequestHash>() }>());
            let not_before_up_ms = up_ms.saturating_add(self.settings.keep_ms / PASSES_WHILE_KEPT);
            *sweep =
                Sweep { left: Some((middle.clone(), end)), then: Some((start, middle)), not_before_up_ms };
        }
        sweep.left.clone()
    }

    fn sweep_state(&self) -> MutexGuard<'_, Sweep> {
        self.sweep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
