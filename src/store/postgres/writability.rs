//! Whether the database takes commits, for `/ready`.
//!
//! Only a commit tells: a read-only database answers reads, and so does one whose disk is full. If no commit has
//! succeeded within the last seconds, a probe makes sure. It inserts a row and deletes it in the same transaction, so
//! that nobody sees it. The row is large enough to need space on the disk.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::commit::Committer;
use crate::env::Entropy;
use crate::store::{CommitError, StoreError};

/// How long a commit proves that the database takes commits.
const PROOF_LIFETIME: Duration = Duration::from_secs(5);
/// Size of the probe's value, in bytes: several pages of the database, and small for its log.
const PROBE_BYTES: usize = 16 << 10;

/// When the database last took a commit.
#[derive(Default)]
pub(super) struct Writability {
    proved_at: Mutex<Option<Instant>>,
    /// Held by a probe, so that callers share its outcome.
    probing: tokio::sync::Mutex<()>,
}

impl Writability {
    /// Notes the outcome of a commit.
    pub(super) fn note<T>(&self, outcome: &Result<T, CommitError>) {
        match outcome {
            Ok(_) => self.set(Some(Instant::now())),
            // The commit changed nothing, and says nothing of the disk.
            Err(CommitError::Conflict { .. }) => {}
            Err(CommitError::Store(_)) => self.set(None),
        }
    }

    fn set(&self, proved_at: Option<Instant>) {
        *self.proved_at.lock().unwrap_or_else(PoisonError::into_inner) = proved_at;
    }

    fn is_proved(&self) -> bool {
        let proved_at = *self.proved_at.lock().unwrap_or_else(PoisonError::into_inner);
        proved_at.is_some_and(|at| at.elapsed() < PROOF_LIFETIME)
    }

    /// Checks whether the database takes commits.
    ///
    /// # Errors
    /// Why it takes none.
    pub(super) async fn check(&self, committer: &Arc<Committer>) -> Result<(), StoreError> {
        if self.is_proved() {
            return Ok(());
        }
        let _probing = self.probing.lock().await;
        if self.is_proved() {
            return Ok(());
        }
        // Random, because the database compresses values.
        let value = Entropy::System.bytes::<PROBE_BYTES>();
        let probed = committer.probe_write(&value).await;
        self.set(probed.is_ok().then(Instant::now));
        probed.map_err(|error| error.into_read_error())
    }
}
