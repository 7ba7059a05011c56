//! Numbers for listings of the browser. Each is given once, so that a page can go on after the last number seen.

use tokio::sync::Mutex;

use crate::app::Failure;
use crate::records::keys;
use crate::records::values::decode_listing_number;
use crate::store::{Batch, CommitError, Store};

/// Numbers taken from the store at once. Those left over at a stop are never given.
const BLOCK: u64 = 256;

/// The numbers this node has taken from the store and not given yet. Numbers of several nodes interleave, so a
/// listing may come before one that was there earlier; it is never given the number of another.
#[derive(Default)]
pub struct ListingNumbers {
    /// The next number and the end of the block.
    left: Mutex<(u64, u64)>,
}

impl ListingNumbers {
    /// A number that no other listing has.
    pub async fn next(&self, store: &Store) -> Result<u64, Failure> {
        let mut left = self.left.lock().await;
        if left.0 >= left.1 {
            *left = take_block(store).await?;
        }
        left.0 += 1;
        Ok(left.0 - 1)
    }
}

/// Takes the next block; where another node was faster, the one after.
async fn take_block(store: &Store) -> Result<(u64, u64), Failure> {
    let key = keys::last_listing_number();
    loop {
        let entry = store.get(&key).await?;
        // 0 is where pages begin, so it is no listing's number.
        let first = match &entry {
            Some(entry) => decode_listing_number(&entry.value)?,
            None => 1,
        };
        let batch = match entry {
            Some(entry) => Batch::default().expect_version(key.clone(), entry.version),
            None => Batch::default().expect_absent(key.clone()),
        };
        match store.commit(batch.put(key.clone(), (first + BLOCK).to_be_bytes().to_vec())).await {
            Ok(_) => return Ok((first, first + BLOCK)),
            Err(CommitError::Conflict { .. }) => {}
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
    }
}
