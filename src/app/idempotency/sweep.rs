//! Deletes the answers that have been kept for long enough. There is no queue of them by time, which would be one more
//! write for each request. Instead each node reads on through all of them.
//!
//! Some answers have no time to judge them by: those that this version cannot read, and those that say they were stored
//! in the future, by a clock that was ahead. Each node keeps them for as long as others from when it has first found
//! them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::{Idempotency, UNREADABLE};
use crate::app::passes::{KeyRange, Passes, Step};
use crate::records::StoredAnswer;
use crate::records::keys::{self, RequestHash};
use crate::store::{Batch, CommitError, Entry, Key, StoreError, Version};

/// Answers that a round reads.
const READ_AT_ONCE: usize = 2_048;
/// Answers that are deleted in one commit. If another node is faster with one of them, the commit changes nothing.
const DELETED_AT_ONCE: usize = 256;
/// A pass over all answers starts at most this often in the time for which they are kept.
const PASSES_WHILE_KEPT: i64 = 8;
/// Most answers without a time of which a node notes when it has found them. It finds the others in later passes.
const WITHOUT_TIME_MAX: usize = 16_384;

/// The passes over all answers.
pub struct Sweep {
    passes: Passes,
    without_time: Mutex<WithoutTime>,
}

/// The answers without a time to judge them by, and when this node has first found each, by the monotonic clock.
#[derive(Default)]
struct WithoutTime {
    /// Those of the pass before.
    before: HashMap<(Key, Version), i64>,
    /// Those of the pass under way.
    found: HashMap<(Key, Version), i64>,
    /// How many of the pass under way this version cannot read.
    unreadable: usize,
}

impl Sweep {
    /// No pass yet. Answers are kept for `keep_ms` milliseconds.
    pub fn new(keep_ms: i64) -> Self {
        Self { passes: Passes::every_ms(keep_ms / PASSES_WHILE_KEPT), without_time: Mutex::default() }
    }

    /// For how long this node has known of an answer without a time, in milliseconds.
    fn known_for_ms(&self, key: &Key, version: Version, up_ms: i64, is_readable: bool) -> i64 {
        let mut without_time = self.without_time.lock().unwrap_or_else(PoisonError::into_inner);
        without_time.unreadable += usize::from(!is_readable);
        let answer = (key.clone(), version);
        let since_up_ms = without_time.before.get(&answer).copied().unwrap_or(up_ms);
        if without_time.found.len() < WITHOUT_TIME_MAX {
            without_time.found.insert(answer, since_up_ms);
        }
        up_ms.saturating_sub(since_up_ms)
    }

    /// Ends a pass.
    fn end_pass(&self) {
        let mut without_time = self.without_time.lock().unwrap_or_else(PoisonError::into_inner);
        without_time.before = std::mem::take(&mut without_time.found);
        let count = std::mem::take(&mut without_time.unreadable);
        if count > 0 {
            tracing::error!(count, "{UNREADABLE}");
        }
    }
}

impl Idempotency {
    /// Deletes the answers that have been kept for long enough. Each call looks at the next answers of a pass over all
    /// of them, and does nothing until a pass is due. Returns whether it deleted some and more are left to look at.
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] if this node's clock is wrong: one that is ahead would delete the answers of all
    /// nodes. Other errors of the store. A later round tries again.
    pub async fn sweep(&self) -> Result<bool, StoreError> {
        let passes = &self.sweep.passes;
        let Some(next) = passes.next(self.clock.up_ms(), || self.ranges()) else { return Ok(false) };
        let now_ms = self.sessions.check_clock().await?;
        let Step { mut found, has_more } = passes.read(self.sessions.store(), next, READ_AT_ONCE).await?;
        found.retain(|(key, entry)| self.is_deletable(key, entry, now_ms));
        if !has_more {
            self.sweep.end_pass();
        }
        let mut has_deleted = false;
        for some in found.chunks(DELETED_AT_ONCE) {
            let delete = |batch: Batch, key: &Key, version| {
                batch.expect_version(key.clone(), version).delete(key.clone())
            };
            let batch =
                some.iter().fold(Batch::default(), |batch, (key, entry)| delete(batch, key, entry.version));
            match self.sessions.store().commit(batch).await {
                Ok(_) => has_deleted = true,
                // Another node was faster, or a client has used the key again. A later pass finds the others.
                Err(CommitError::Conflict { .. }) => {}
                Err(CommitError::Store(error)) => return Err(error),
            }
        }
        Ok(has_deleted && has_more)
    }

    /// What a pass reads. It begins in the middle, so that nodes seldom read the same answers.
    fn ranges(&self) -> Vec<KeyRange> {
        let (start, end) = keys::all_answers();
        let middle = keys::answer(&self.entropy.bytes::<{ size_of::<RequestHash>() }>());
        vec![(middle.clone(), end), (start, middle)]
    }

    fn is_deletable(&self, key: &Key, entry: &Entry, now_ms: i64) -> bool {
        match StoredAnswer::decode(&entry.value) {
            Ok(answer) if answer.stored_ms <= now_ms => self.is_over(&answer, now_ms),
            other => {
                let known_for_ms =
                    self.sweep.known_for_ms(key, entry.version, self.clock.up_ms(), other.is_ok());
                known_for_ms >= self.settings.keep_ms
            }
        }
    }
}
