//! Copies a store into another store of any backend, and verifies the copy.
//!
//! The copy does not prevent a server from changing the source meanwhile: a server may open a shared store at any
//! moment. Therefore the source is read again at the end, and the copy fails if the source has changed.

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{Batch, CommitError, Entry, Key, Store, StoreError, next_key};

/// Most entries of a page. A page is read at once and written in one commit.
const PAGE_VALUES_MAX: usize = 1_000;
/// Size of keys and values at which a page ends, in bytes.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// A digest of all keys and values. Equal summaries mean equal keys and values; versions do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The number of keys.
    pub keys: u64,
    /// The size of all keys and values, in bytes.
    pub bytes: u64,
    /// The SHA-256 of all keys and values in key order, each preceded by its length (u64, big-endian).
    pub sha256: [u8; 32],
}

/// The steps of a copy, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStep {
    /// Entries are read from the source and written to the target.
    Copy,
    /// The target is read.
    CheckTarget,
    /// The source is read again.
    CheckSource,
}

/// The progress of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    /// The current step.
    pub step: CopyStep,
    /// The number of keys so far in this step.
    pub keys: u64,
    /// The size of these keys and their values, in bytes.
    pub bytes: u64,
}

/// Why a copy failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CopyError {
    /// The source is empty: probably the wrong store was named.
    #[error("the source holds nothing: check that it is the store that your servers use")]
    SourceEmpty,
    /// The target holds other data.
    #[error("the target is not empty")]
    TargetNotEmpty,
    /// The first entry of the target equals that of the source, including its version.
    #[error("source and target are the same store, or the files of one were copied from the other")]
    SameStore,
    /// The source cannot be read.
    #[error("the source cannot be read: {0}")]
    Source(StoreError),
    /// The target cannot be read or written.
    #[error("the target cannot be used: {0}")]
    Target(StoreError),
    /// A key appeared in the target during the copy.
    #[error("another program writes to the target: stop every server that uses it")]
    TargetChanged,
    /// The source changed during the copy.
    #[error("the source has changed while it was copied: stop every server that uses it")]
    SourceChanged,
    /// The target does not hold what was copied.
    #[error(
        "the target does not hold what was copied: {} keys of {} bytes were copied, and it holds {} keys of {} bytes \
         with another checksum; stop every server that uses it, and check its disk",
        .copied.keys, .copied.bytes, .found.keys, .found.bytes
    )]
    TargetDiffers {
        /// The summary of the data read from the source.
        copied: Summary,
        /// The summary of the target.
        found: Summary,
    },
}

impl CopyError {
    /// Whether the copy has certainly changed nothing in the target.
    pub fn changed_nothing(&self) -> bool {
        matches!(self, Self::SourceEmpty | Self::TargetNotEmpty | Self::SameStore)
    }
}

/// Copies `source` into `target`, which must be empty, and calls `report` after each page. Values keep their bytes and
/// get new versions.
///
/// # Errors
/// [`CopyError`] if the copy is not complete and verified. The target may then hold a part of the data; see
/// [`CopyError::changed_nothing`].
pub async fn copy(
    source: &Store,
    target: &Store,
    mut report: impl FnMut(CopyProgress),
) -> Result<Summary, CopyError> {
    check_source_and_target(source, target).await?;
    let copied = transfer(source, target, |tally| report(tally.progress(CopyStep::Copy))).await?;
    let found = summarize(target, |tally| report(tally.progress(CopyStep::CheckTarget))).await;
    let found = found.map_err(CopyError::Target)?;
    if found != copied {
        return Err(CopyError::TargetDiffers { copied, found });
    }
    let again = summarize(source, |tally| report(tally.progress(CopyStep::CheckSource))).await;
    if again.map_err(CopyError::Source)? != copied {
        return Err(CopyError::SourceChanged);
    }
    Ok(copied)
}

/// Refuses an empty source, a target that is not empty, and a source that is also the target.
async fn check_source_and_target(source: &Store, target: &Store) -> Result<(), CopyError> {
    let first_of_source = source.page(&[], 1, 1).await.map_err(CopyError::Source)?;
    let first_of_target = target.page(&[], 1, 1).await.map_err(CopyError::Target)?;
    if first_of_source.is_empty() {
        return Err(CopyError::SourceEmpty);
    }
    if first_of_target.is_empty() {
        return Ok(());
    }
    let is_same = first_of_source == first_of_target;
    Err(if is_same { CopyError::SameStore } else { CopyError::TargetNotEmpty })
}

/// Writes each page to the target while it reads the next one.
async fn transfer(
    source: &Store,
    target: &Store,
    mut report: impl FnMut(&Tally),
) -> Result<Summary, CopyError> {
    let mut pages = Pages::of(source);
    let mut tally = Tally::default();
    let mut page = pages.next().await.map_err(CopyError::Source)?;
    while !page.is_empty() {
        tally.add(&page);
        let (put, next) = tokio::join!(target.commit(batch(page)), pages.next());
        put.map_err(|error| match error {
            CommitError::Conflict { .. } => CopyError::TargetChanged,
            CommitError::Store(error) => CopyError::Target(error),
        })?;
        report(&tally);
        page = next.map_err(CopyError::Source)?;
    }
    Ok(tally.finish())
}

/// The commit of a page. It expects all its keys to be absent, so that it overwrites no value of another writer, and so
/// that a backend may send it again after a lost answer.
fn batch(page: Vec<(Key, Entry)>) -> Batch {
    let mut batch = Batch::default();
    for (key, entry) in page {
        batch = batch.expect_absent(key.clone()).put(key, entry.value);
    }
    batch
}

/// Reads a whole store.
async fn summarize(store: &Store, mut report: impl FnMut(&Tally)) -> Result<Summary, StoreError> {
    let mut pages = Pages::of(store);
    let mut tally = Tally::default();
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            return Ok(tally.finish());
        }
        tally.add(&page);
        report(&tally);
    }
}

/// Reads a store page by page. An empty page is the end.
struct Pages<'a> {
    store: &'a Store,
    from: Key,
}

impl<'a> Pages<'a> {
    fn of(store: &'a Store) -> Self {
        Self { store, from: Key::new() }
    }

    async fn next(&mut self) -> Result<Vec<(Key, Entry)>, StoreError> {
        let page = self.store.page(&self.from, PAGE_VALUES_MAX, PAGE_BYTES_MAX).await?;
        if let Some((last, _)) = page.last() {
            self.from = next_key(last);
        }
        Ok(page)
    }
}

/// The counts and the digest of the entries read so far.
#[derive(Default)]
struct Tally {
    keys: u64,
    bytes: u64,
    digest: Sha256,
}

impl Tally {
    fn add(&mut self, page: &[(Key, Entry)]) {
        for (key, entry) in page {
            self.keys += 1;
            for part in [&key[..], &entry.value] {
                let length = part.len() as u64;
                self.bytes += length;
                self.digest.update(length.to_be_bytes());
                self.digest.update(part);
            }
        }
    }

    fn progress(&self, step: CopyStep) -> CopyProgress {
        CopyProgress { step, keys: self.keys, bytes: self.bytes }
    }

    fn finish(self) -> Summary {
        Summary { keys: self.keys, bytes: self.bytes, sha256: self.digest.finalize().into() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::store::Memory;

    fn memory() -> Store {
        Store::Memory(Memory::default())
    }

    async fn commit(store: &Store, batch: Batch) {
        store.commit(batch).await.unwrap();
    }

    /// A store of two full pages and one more entry.
    async fn filled() -> Store {
        let store = memory();
        let mut batch = Batch::default().put("last", "");
        for n in 0..2 * PAGE_VALUES_MAX {
            batch = batch.put(format!("key-{n:05}"), n.to_string());
        }
        commit(&store, batch).await;
        store
    }

    async fn contents(store: &Store) -> Vec<(Key, bytes::Bytes)> {
        let all = store.scan(&[], &[], usize::MAX).await.unwrap();
        all.into_iter().map(|(key, entry)| (key, entry.value)).collect()
    }

    /// Copies, and commits `batch` to the store `changed` as soon as the step `during` has begun.
    async fn copy_with_commit(
        (source, target): (&Store, &Store),
        during: CopyStep,
        changed: &Store,
        batch: Batch,
    ) -> Result<Summary, CopyError> {
        let mut batch = Some(batch);
        let copied = copy(source, target, |progress| {
            if progress.step == during
                && let Some(batch) = batch.take()
            {
                commit(changed, batch).now_or_never().expect("a store in memory never waits");
            }
        });
        let copied = copied.await;
        assert_eq!(batch, None, "the step has begun");
        copied
    }

    #[tokio::test]
    async fn a_copy_holds_the_same_and_each_page_is_reported() {
        let source = filled().await;
        let target = memory();
        let mut reports = Vec::new();
        // Fills a page by its size.
        commit(&source, Batch::default().put("large", vec![1; PAGE_BYTES_MAX])).await;
        let copied = copy(&source, &target, |progress| reports.push(progress)).await.unwrap();
        assert_eq!(contents(&source).await, contents(&target).await);
        let bytes = contents(&source).await.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        assert_eq!((copied.keys, copied.bytes), (2 * PAGE_VALUES_MAX as u64 + 2, bytes));
        assert_eq!(summarize(&target, |_| {}).await.unwrap(), copied);
        for step in [CopyStep::Copy, CopyStep::CheckTarget, CopyStep::CheckSource] {
            let of_step = reports.iter().filter(|report| report.step == step);
            let keys: Vec<_> = of_step.map(|report| report.keys).collect();
            assert_eq!(keys, [1_000, 2_000, 2_001, 2_002]);
        }
    }

    #[tokio::test]
    async fn equal_summaries_mean_equal_keys_and_values() {
        let one = Batch::default().put("ab", "c").put("d", "");
        let mut seen = Vec::new();
        for other in [
            one,
            Batch::default().put("a", "bc").put("d", ""),
            Batch::default().put("ab", "").put("d", "c"),
            Batch::default().put("ab", "c").put("e", ""),
            Batch::default().put("ab", "d").put("d", ""),
        ] {
            let store = memory();
            commit(&store, other).await;
            seen.push(summarize(&store, |_| {}).await.unwrap().sha256);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 5);
    }

    #[tokio::test]
    async fn a_damaged_copy_is_detected() {
        for damage in [
            Batch::default().delete("key-00007"),
            Batch::default().put("key-00007", "8"),
            Batch::default().delete("key-00007").put("key-00007x", "7"),
            Batch::default().put("zzz", ""),
        ] {
            let source = filled().await;
            let target = memory();
            let copied = copy_with_commit((&source, &target), CopyStep::Copy, &target, damage).await;
            let differs =
                matches!(copied, Err(CopyError::TargetDiffers { copied, found }) if copied != found);
            assert!(differs, "{copied:?}");
        }
    }

    #[tokio::test]
    async fn a_change_of_the_source_is_detected_in_every_step() {
        // A key of a page that was already read, and a key that is read later.
        let passed = || Batch::default().put("key-00000", "new");
        let coming = || Batch::default().put("zzz", "");
        for (during, change, is_copied) in [
            (CopyStep::Copy, passed(), false),
            (CopyStep::Copy, coming(), true),
            (CopyStep::CheckTarget, passed(), false),
            (CopyStep::CheckTarget, coming(), false),
        ] {
            let source = filled().await;
            let target = memory();
            let copied = copy_with_commit((&source, &target), during, &source, change.clone()).await;
            assert_eq!(contents(&source).await == contents(&target).await, is_copied);
            if !is_copied {
                assert_eq!(copied, Err(CopyError::SourceChanged), "{during:?}, {change:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_value_that_another_writer_puts_is_not_overwritten() {
        let source = filled().await;
        let target = memory();
        let theirs = Batch::default().put("last", "theirs");
        let copied = copy_with_commit((&source, &target), CopyStep::Copy, &target, theirs).await;
        assert_eq!(copied, Err(CopyError::TargetChanged));
        assert_eq!(target.get(b"last").await.unwrap().unwrap().value, "theirs");
    }

    #[tokio::test]
    async fn a_wrong_source_or_target_is_refused_and_nothing_is_changed() {
        let source = filled().await;
        let target = memory();
        for (source, target, error) in [
            (&target, &target, CopyError::SourceEmpty),
            (&target, &source, CopyError::SourceEmpty),
            (&source, &source, CopyError::SameStore),
        ] {
            assert_eq!(copy(source, target, |_| {}).await, Err(error));
        }
        commit(&target, Batch::default().put("zzz", "")).await;
        let before = contents(&target).await;
        let refused = copy(&source, &target, |_| {}).await.unwrap_err();
        assert_eq!((&refused, refused.changed_nothing()), (&CopyError::TargetNotEmpty, true));
        assert_eq!(contents(&target).await, before);
    }

    #[tokio::test]
    async fn a_target_that_fails_ends_the_copy() {
        let memory = Memory::default();
        memory.fail_next_commits(u64::MAX);
        let failed = copy(&filled().await, &Store::Memory(memory), |_| {}).await.unwrap_err();
        assert!(matches!(failed, CopyError::Target(_)) && !failed.changed_nothing(), "{failed}");
    }
}
