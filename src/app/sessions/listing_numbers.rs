//! Numbers for listings of the session browser. No number is used twice, so a page can continue after the last number
//! of the page before.

use std::ops::Range;

use tokio::sync::Mutex;

use crate::app::Failure;
use crate::records::keys;
use crate::records::values::{decode_listing_number, encode_listing_number};
use crate::store::{Batch, CommitError, Store};

/// How many numbers a node reserves at once. Numbers that are left when the node stops are never used.
const BLOCK: u64 = 256;

/// The numbers that this node has reserved and not used yet. Several nodes use their blocks at the same time, so a
/// newer listing may get a lower number than an older one.
#[derive(Default)]
pub struct ListingNumbers {
    /// Empty after a start.
    unused: Mutex<Range<u64>>,
}

impl ListingNumbers {
    /// A number that no other listing on any node gets. Reserves a new block if none is left.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn next(&self, store: &Store) -> Result<u64, Failure> {
        let mut unused = self.unused.lock().await;
        if unused.is_empty() {
            *unused = reserve_block(store).await?;
        }
        let number = unused.start;
        unused.start += 1;
        Ok(number)
    }
}

/// Reserves the next block. If another node reserves the same block first, tries the block after it.
async fn reserve_block(store: &Store) -> Result<Range<u64>, Failure> {
    let key = keys::next_listing_number();
    loop {
        let entry = store.get(&key).await?;
        // The first page starts after number 0, so 0 must not be the number of a listing.
        let first = match &entry {
            Some(entry) => decode_listing_number(&entry.value)?,
            None => 1,
        };
        let batch = match entry {
            Some(entry) => Batch::default().expect_version(key.clone(), entry.version),
            None => Batch::default().expect_absent(key.clone()),
        };
        match store.commit(batch.put(key.clone(), encode_listing_number(first + BLOCK))).await {
            Ok(_) => return Ok(first..first + BLOCK),
            Err(CommitError::Conflict { .. }) => {}
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
    }
}
