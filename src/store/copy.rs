//! Copies all that a store holds into another one, whatever backends the two have, and makes sure that it has.
//!
//! Nothing here stops a server from changing what is being copied: where a store is shared, one may open it at any
//! moment. So the source is read a second time at the end, and a copy of what has changed meanwhile is none.

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{Batch, CommitError, Entry, Key, Store, StoreError, next_key};

/// Most values that are read, and put, at a time.
const PAGE_VALUES_MAX: usize = 1_000;
/// Size from which a page takes no more values, in bytes of keys and values.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// What a store holds. Two that are equal are of the same keys and values, in whatever versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many keys have a value.
    pub keys: u64,
    /// The bytes of all keys and values.
    pub bytes: u64,
    /// The SHA-256 of all keys and values, each after its length, in key order.
    pub sha256: [u8; 32],
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Values are read from the source and put into the target.
    Copy,
    /// The target is read.
    CheckTarget,
    /// The source is read again.
    CheckSource,
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The step.
    pub step: Step,
    /// Its keys so far.
    pub keys: u64,
    /// The bytes of these keys and their values.
    pub bytes: u64,
}

/// Why there is no copy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CopyError {
    /// There is nothing to copy. Rather a wrong name than a wish.
    #[error("the source holds nothing; is it the store that your servers use?")]
    SourceEmpty,
    /// The target holds something else.
    #[error("the target is not empty")]
    TargetNotEmpty,
    /// The target begins as the source does, down to the version.
    #[error("source and target are one store, or one is a copy of the other's files")]
    SameStore,
    /// The source cannot be read.
    #[error("the source cannot be read: {0}")]
    Source(StoreError),
    /// The target cannot be read or written.
    #[error("the target cannot be used: {0}")]
    Target(StoreError),
    /// A key is in the target that was not there before.
    #[error("something else writes to the target: stop every server that uses it")]
    TargetChanged,
    /// The source is not what it was.
    #[error("the source has changed while it was copied: stop every server that uses it")]
    SourceChanged,
    /// The target does not hold what the source held.
    #[error(
        "the target does not hold what was copied: {} keys of {} bytes were, and it holds {} keys of {} bytes, with \
         another checksum; stop every server that uses it, and check its disk",
        .copied.keys, .copied.bytes, .found.keys, .found.bytes
    )]
    TargetDiffers {
        /// What was read from the source.
        copied: Summary,
        /// What the target holds.
        found: Summary,
    },
}

impl CopyError {
    /// Whether the target is as it was before.
    pub fn changed_nothing(&self) -> bool {
        matches!(self, Self::SourceEmpty | Self::TargetNotEmpty | Self::SameStore)
    }
}

/// Copies all of `source` into `target`, which must be empty, and tells of each page. Values keep their bytes and get
/// versions of the target.
///
/// # Errors
/// Where the target is not known to hold afterwards what the source holds. It may then hold a part of it.
pub async fn copy(
    source: &Store,
    target: &Store,
    mut tell: impl FnMut(Progress),
) -> Result<Summary, CopyError> {
    check_ends(source, target).await?;
    let copied = transfer(source, target, |tally| tell(tally.progress(Step::Copy))).await?;
    let found = summarize(target, |tally| tell(tally.progress(Step::CheckTarget))).await;
    let found = found.map_err(CopyError::Target)?;
    if found != copied {
        return Err(CopyError::TargetDiffers { copied, found });
    }
    let again = summarize(source, |tally| tell(tally.progress(Step::CheckSource))).await;
    if again.map_err(CopyError::Source)? != copied {
        return Err(CopyError::SourceChanged);
    }
    Ok(copied)
}

/// Refuses what cannot have been meant.
async fn check_ends(source: &Store, target: &Store) -> Result<(), CopyError> {
    let first = source.page(&[], 1, 1).await.map_err(CopyError::Source)?;
    let there = target.page(&[], 1, 1).await.map_err(CopyError::Target)?;
    match (first.is_empty(), there.is_empty()) {
        (true, _) => Err(CopyError::SourceEmpty),
        (false, true) => Ok(()),
        (false, false) if first == there => Err(CopyError::SameStore),
        (false, false) => Err(CopyError::TargetNotEmpty),
    }
}

/// Puts each page into the target while the next one is read.
async fn transfer(
    source: &Store,
    target: &Store,
    mut tell: impl FnMut(&Tally),
) -> Result<Summary, CopyError> {
    let (mut pages, mut tally) = (Pages::of(source), Tally::default());
    let mut page = pages.next().await.map_err(CopyError::Source)?;
    while !page.is_empty() {
        tally.add(&page);
        let (put, next) = tokio::join!(target.commit(batch(page)), pages.next());
        put.map_err(|error| match error {
            CommitError::Conflict { .. } => CopyError::TargetChanged,
            CommitError::Store(error) => CopyError::Target(error),
        })?;
        tell(&tally);
        page = next.map_err(CopyError::Source)?;
    }
    Ok(tally.finish())
}

/// Puts what is not there: what somebody else has put is not overwritten, and a commit whose answer was lost can be sent
/// again.
fn batch(page: Vec<(Key, Entry)>) -> Batch {
    let put =
        |batch: Batch, (key, entry): (Key, Entry)| batch.expect_absent(key.clone()).put(key, entry.value);
    page.into_iter().fold(Batch::default(), put)
}

/// Reads all of a store.
async fn summarize(store: &Store, mut tell: impl FnMut(&Tally)) -> Result<Summary, StoreError> {
    let (mut pages, mut tally) = (Pages::of(store), Tally::default());
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            return Ok(tally.finish());
        }
        tally.add(&page);
        tell(&tally);
    }
}

/// All of a store, page after page; an empty one is the end.
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

/// What was read so far.
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

    fn progress(&self, step: Step) -> Progress {
        Progress { step, keys: self.keys, bytes: self.bytes }
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

    /// Two pages by count, and one more.
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

    /// Copies, and commits something to a store as soon as a step has begun.
    async fn copy_and_meddle(
        (source, target): (&Store, &Store),
        begun: Step,
        meddled: &Store,
        batch: Batch,
    ) -> Result<Summary, CopyError> {
        let mut batch = Some(batch);
        let copied = copy(source, target, |progress| {
            if progress.step == begun
                && let Some(batch) = batch.take()
            {
                commit(meddled, batch).now_or_never().expect("a store in memory never waits");
            }
        });
        let copied = copied.await;
        assert_eq!(batch, None, "the step has begun");
        copied
    }

    #[tokio::test]
    async fn a_copy_holds_the_same_and_each_page_is_told_of() {
        let (source, target, mut told) = (filled().await, memory(), Vec::new());
        // Fills a page by its bytes.
        commit(&source, Batch::default().put("large", vec![1; PAGE_BYTES_MAX])).await;
        let copied = copy(&source, &target, |progress| told.push(progress)).await.unwrap();
        assert_eq!(contents(&source).await, contents(&target).await);
        let bytes = contents(&source).await.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        assert_eq!((copied.keys, copied.bytes), (2 * PAGE_VALUES_MAX as u64 + 2, bytes));
        assert_eq!(summarize(&target, |_| {}).await.unwrap(), copied);
        for step in [Step::Copy, Step::CheckTarget, Step::CheckSource] {
            let keys: Vec<_> = told.iter().filter(|told| told.step == step).map(|told| told.keys).collect();
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
    async fn a_copy_that_is_not_whole_or_not_the_same_is_noticed() {
        for damage in [
            Batch::default().delete("key-00007"),
            Batch::default().put("key-00007", "8"),
            Batch::default().delete("key-00007").put("key-00007x", "7"),
            Batch::default().put("zzz", ""),
        ] {
            let (source, target) = (filled().await, memory());
            let copied = copy_and_meddle((&source, &target), Step::Copy, &target, damage).await;
            let differs =
                matches!(copied, Err(CopyError::TargetDiffers { copied, found }) if copied != found);
            assert!(differs, "{copied:?}");
        }
    }

    #[tokio::test]
    async fn a_source_that_changes_is_noticed_whenever_it_does() {
        // A value of a page that was read by then, and one that is yet to be read.
        let (passed, coming) =
            (|| Batch::default().put("key-00000", "new"), || Batch::default().put("zzz", ""));
        for (begun, change, is_copied) in [
            (Step::Copy, passed(), false),
            (Step::Copy, coming(), true),
            (Step::CheckTarget, passed(), false),
            (Step::CheckTarget, coming(), false),
        ] {
            let (source, target) = (filled().await, memory());
            let copied = copy_and_meddle((&source, &target), begun, &source, change.clone()).await;
            assert_eq!(contents(&source).await == contents(&target).await, is_copied);
            if !is_copied {
                assert_eq!(copied, Err(CopyError::SourceChanged), "{begun:?}, {change:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_somebody_else_puts_into_the_target_is_not_overwritten() {
        let (source, target) = (filled().await, memory());
        let theirs = Batch::default().put("last", "theirs");
        let copied = copy_and_meddle((&source, &target), Step::Copy, &target, theirs).await;
        assert_eq!(copied, Err(CopyError::TargetChanged));
        assert_eq!(target.get(b"last").await.unwrap().unwrap().value, "theirs");
    }

    #[tokio::test]
    async fn what_cannot_have_been_meant_is_refused_and_changes_nothing() {
        let (source, target) = (filled().await, memory());
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
