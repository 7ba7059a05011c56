//! The guarantees of every backend, as tests: `store_conformance!(name, backend)` makes one test of each guarantee. A
//! guarantee that does not hold panics.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::{
    Backend, Batch, CommitError, ConditionalRead, Entry, KEY_BYTES_MAX, Key, RESERVED_KEY, StoreError,
    Version, next_key, prefix_end,
};

/// Makes a module `$name` with one test for each guarantee. Each test evaluates `$backend` in async code. The
/// expression returns a fresh backend and a guard that must live as long, for example `(Memory::default(), ())`.
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $backend:expr) => {
        $crate::store_conformance!($name, $backend,
            values_are_put_read_and_deleted
            every_put_gets_a_new_version
            one_commit_gives_all_its_puts_one_version
            a_put_over_an_absent_expectation_conflicts
            a_stale_version_conflicts
            the_first_failed_expectation_is_reported
            a_conflict_changes_nothing
            expectations_are_checked_before_changes
            a_key_put_and_deleted_is_deleted
            an_empty_batch_commits
            scans_are_ordered_bounded_and_limited
            scans_of_a_prefix_find_exactly_its_keys
            pages_end_with_the_value_that_fills_them
            concurrent_scans_return_their_own_ranges
            scans_see_commits_whole
            reads_see_commits_whole
            concurrent_increments_lose_nothing
            one_of_many_creators_wins
            watchers_see_commits_and_no_conflicts
            known_versions_are_not_sent_again
            large_and_empty_values_come_back
            any_bytes_make_a_key
            unusable_keys_are_refused
        );
    };
    ($name:ident, $backend:expr, $($guarantee:ident)+) => {
        mod $name {
            #[allow(unused_imports, reason = "some expressions do not use the imports")]
            use super::*;

            $(
                #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $guarantee() {
                    let (backend, _guard) = $backend;
                    $crate::store::conformance::$guarantee(backend).await;
                }
            )+
        }
    };
}

async fn put(store: &impl Backend, key: &[u8], value: impl Into<Bytes>) -> Version {
    store.commit(Batch::default().put(key, value)).await.expect("a commit without expectations succeeds")
}

async fn get(store: &impl Backend, key: &[u8]) -> Option<Entry> {
    store.get(key).await.expect("the store can be read")
}

async fn scan_keys(store: &impl Backend, from: &[u8], to: &[u8], limit: usize) -> Vec<Key> {
    let found = store.scan(from, to, limit).await.expect("the store can be scanned");
    found.into_iter().map(|(key, _)| key).collect()
}

fn conflict(key: &[u8]) -> Result<Version, CommitError> {
    Err(CommitError::Conflict { key: key.into() })
}

/// A read finds a value from its put until its delete.
pub async fn values_are_put_read_and_deleted(store: impl Backend) {
    assert_eq!(get(&store, b"key").await, None);
    let version = put(&store, b"key", "value").await;
    assert_eq!(get(&store, b"key").await, Some(Entry { version, value: "value".into() }));
    store.commit(Batch::default().delete("key").delete("never was")).await.expect("deletes commit");
    assert_eq!(get(&store, b"key").await, None);
}

/// A put changes the version even if the value stays the same, and after a delete.
pub async fn every_put_gets_a_new_version(store: impl Backend) {
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(put(&store, b"key", "same").await);
        seen.push(store.commit(Batch::default().delete("key")).await.expect("deletes commit"));
        seen.push(put(&store, b"other", "same").await);
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

/// A read of every key of a commit finds the version that the commit returned.
pub async fn one_commit_gives_all_its_puts_one_version(store: impl Backend) {
    let batch = Batch::default().put("a", "1").put("b", "2").put("a", "3");
    let version = store.commit(batch).await.expect("puts commit");
    assert_eq!(get(&store, b"a").await, Some(Entry { version, value: "3".into() }));
    assert_eq!(get(&store, b"b").await, Some(Entry { version, value: "2".into() }));
}

/// `expect_absent` holds only while the key has no value.
pub async fn a_put_over_an_absent_expectation_conflicts(store: impl Backend) {
    let create = |value: &'static str| Batch::default().expect_absent("key").put("key", value);
    store.commit(create("first")).await.expect("there is no value yet");
    assert_eq!(store.commit(create("second")).await, conflict(b"key"));
    store.commit(Batch::default().delete("key")).await.expect("deletes commit");
    store.commit(create("third")).await.expect("there is no value any more");
    assert_eq!(get(&store, b"key").await.map(|entry| entry.value), Some("third".into()));
}

/// `expect_version` holds only for the current version.
pub async fn a_stale_version_conflicts(store: impl Backend) {
    let replace = |version| Batch::default().expect_version("key", version).put("key", "new");
    let old = put(&store, b"key", "old").await;
    let new = store.commit(replace(old)).await.expect("the version is current");
    assert_eq!(store.commit(replace(old)).await, conflict(b"key"));
    store.commit(Batch::default().expect_version("key", new).delete("key")).await.expect("still current");
    assert_eq!(store.commit(replace(new)).await, conflict(b"key"));
}

/// Expectations are checked in the order in which they were given, not in key order.
pub async fn the_first_failed_expectation_is_reported(store: impl Backend) {
    let version = put(&store, b"b", "value").await;
    let batch = Batch::default().expect_version("b", version).expect_version("z", version).expect_absent("b");
    assert_eq!(store.commit(batch).await, conflict(b"z"));
    let batch = Batch::default().expect_absent("b").expect_version("a", version);
    assert_eq!(store.commit(batch).await, conflict(b"b"));
}

/// If one expectation does not hold, no change is made.
pub async fn a_conflict_changes_nothing(store: impl Backend) {
    let version = put(&store, b"key-000", "kept").await;
    let mut batch = Batch::default().expect_absent("key-000").delete("key-000");
    for n in 0..100 {
        batch = batch.put(format!("key-{n:03}"), "lost");
    }
    assert_eq!(store.commit(batch.clone()).await, conflict(b"key-000"));
    let found = store.scan(b"key-", &prefix_end(b"key-"), 1_000).await.expect("the store can be scanned");
    assert_eq!(found, [(b"key-000".to_vec(), Entry { version, value: "kept".into() })]);

    batch.expect.clear();
    store.commit(batch).await.expect("nothing is expected any more");
    assert_eq!(scan_keys(&store, b"key-", &prefix_end(b"key-"), 1_000).await.len(), 99);
}

/// A batch does not see its own changes.
pub async fn expectations_are_checked_before_changes(store: impl Backend) {
    let batch = Batch::default().put("key", "1").expect_absent("key");
    let version = store.commit(batch).await.expect("there was no value before");
    let batch = Batch::default().delete("key").expect_version("key", version);
    store.commit(batch).await.expect("the value was there before");
}

/// Deletes apply after puts.
pub async fn a_key_put_and_deleted_is_deleted(store: impl Backend) {
    store.commit(Batch::default().delete("key").put("key", "value")).await.expect("the batch commits");
    assert_eq!(get(&store, b"key").await, None);
}

/// A batch without changes commits, and checks its expectations at one moment.
pub async fn an_empty_batch_commits(store: impl Backend) {
    store.commit(Batch::default()).await.expect("an empty batch has no conflict");
    let version = put(&store, b"key", "value").await;
    store.commit(Batch::default().expect_version("key", version)).await.expect("it has this version");
    assert_eq!(store.commit(Batch::default().expect_absent("key")).await, conflict(b"key"));
    assert_eq!(get(&store, b"key").await.map(|entry| entry.version), Some(version));
}

/// `from` is included, `to` is excluded, and keys are ordered by their bytes.
pub async fn scans_are_ordered_bounded_and_limited(store: impl Backend) {
    let keys: [&[u8]; 6] = [b"a", b"a\0", b"aa", b"b", b"b\xff", b"c"];
    for key in [3, 0, 5, 2, 4, 1] {
        put(&store, keys[key], "value").await;
    }
    assert_eq!(scan_keys(&store, b"a", b"c", 10).await, &keys[0..5]);
    assert_eq!(scan_keys(&store, b"a\0", b"b\xff", 10).await, &keys[1..4]);
    assert_eq!(scan_keys(&store, b"a", b"c", 2).await, &keys[0..2]);
    assert_eq!(scan_keys(&store, b"", b"", 10).await, keys);
    assert_eq!(scan_keys(&store, b"b", b"", 10).await, &keys[3..6]);
    for (from, to, limit) in [("a", "c", 0), ("b", "b", 10), ("c", "a", 10), ("d", "e", 10)] {
        assert!(scan_keys(&store, from.as_bytes(), to.as_bytes(), limit).await.is_empty());
    }
}

/// A scan up to `prefix_end` finds the keys with the prefix and no others.
pub async fn scans_of_a_prefix_find_exactly_its_keys(store: impl Backend) {
    let keys: [&[u8]; 7] = [b"a", b"a/", b"a/\xff\xff", b"a0", b"b", b"\xff", b"\xff\xff\x01"];
    for key in keys {
        put(&store, key, "value").await;
    }
    let prefixes: [&[u8]; 7] = [b"", b"a", b"a/", b"a/\xff", b"c", b"\xff", b"\xff\xff"];
    for prefix in prefixes {
        let expected: Vec<_> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(scan_keys(&store, prefix, &prefix_end(prefix), 10).await, expected, "prefix {prefix:?}");
    }
}

/// Concurrent scans with different ranges and limits do not mix their results.
pub async fn concurrent_scans_return_their_own_ranges(store: impl Backend) {
    let keys: Vec<_> = (0..16).map(|number| vec![number]).collect();
    for key in &keys {
        put(&store, key, key.clone()).await;
    }
    let bounds = (0..16).flat_map(|from| (0..=16).map(move |to| (from, to)));
    let ranges = bounds.flat_map(|bounds| [1, 3, 99].map(|limit| (bounds, limit)));
    let scans = ranges.map(async |((from, to), limit)| {
        let found = scan_keys(&store, &[from], &[to], limit).await;
        let range = keys.get(usize::from(from)..usize::from(to)).unwrap_or_default();
        assert_eq!(found, range[..limit.min(range.len())], "from {from} to {to}, {limit} at most");
    });
    join_all(scans).await;
}

/// A page ends at the limit of entries or bytes, whichever comes first; the next page continues after it.
pub async fn pages_end_with_the_value_that_fills_them(store: impl Backend) {
    let sizes = [1, 3, 0, 100, 2, 2];
    for (n, size) in sizes.into_iter().enumerate() {
        put(&store, format!("key-{n}").as_bytes(), vec![b'v'; size]).await;
    }
    // Each key has 5 bytes.
    for (from, limit, bytes_max, expected) in [
        (0, 10, usize::MAX, 0..6),
        (0, 2, usize::MAX, 0..2),
        (0, 10, 1, 0..1),
        (0, 10, 6, 0..1),
        (0, 10, 7, 0..2),
        (0, 10, 20, 0..4),
        (3, 10, 105, 3..4),
        (3, 10, 106, 3..5),
        (5, 10, 100, 5..6),
        (6, 10, 100, 0..0),
        (0, 0, 100, 0..0),
        (0, 10, 0, 0..0),
    ] {
        let found = store.page(format!("key-{from}").as_bytes(), limit, bytes_max).await;
        let found = found.expect("the store can be read in pages");
        let expected: Vec<_> = expected.map(|n| (format!("key-{n}").into_bytes(), sizes[n])).collect();
        let found: Vec<_> = found.into_iter().map(|(key, entry)| (key, entry.value.len())).collect();
        assert_eq!(found, expected, "from {from}, {limit} values, {bytes_max} bytes");
    }
    let first = store.page(b"", 1, 1).await.expect("the store can be read in pages");
    assert_eq!(first.first().cloned().map(|(_, entry)| entry), get(&store, b"key-0").await);
    let second = store.page(&next_key(b"key-0"), 1, 1).await.expect("the store can be read in pages");
    assert_eq!(second.first().cloned().map(|(_, entry)| entry), get(&store, b"key-1").await);
}

const ROUNDS: u32 = 200;
const PAIR: [&[u8]; 2] = [b"pair-a", b"pair-b"];

/// Writes the number of each round to both keys in one commit.
async fn write_pairs(store: Arc<impl Backend>) {
    for round in 0..ROUNDS {
        let value = round.to_be_bytes().to_vec();
        let batch = Batch::default().put(PAIR[0], value.clone()).put(PAIR[1], value);
        store.commit(batch).await.expect("puts commit");
    }
}

/// A scan during commits finds all changes of a commit or none.
pub async fn scans_see_commits_whole(store: impl Backend) {
    let store = Arc::new(store);
    let writer = tokio::spawn(write_pairs(Arc::clone(&store)));
    while !writer.is_finished() {
        let found = store.scan(PAIR[0], b"", 2).await.expect("the store can be scanned");
        if let [(_, a), (_, b)] = &found[..] {
            assert_eq!(a, b);
        } else {
            assert!(found.is_empty());
        }
    }
    writer.await.expect("the writer is done");
}

/// After a read of one value of a commit, reads of its other keys find no older value.
pub async fn reads_see_commits_whole(store: impl Backend) {
    let store = Arc::new(store);
    let writer = tokio::spawn(write_pairs(Arc::clone(&store)));
    while !writer.is_finished() {
        for [first, second] in [PAIR, [PAIR[1], PAIR[0]]] {
            let first = get(&*store, first).await.map(|entry| entry.value);
            let second = get(&*store, second).await.map(|entry| entry.value);
            assert!(first <= second);
        }
    }
    writer.await.expect("the writer is done");
}

/// Tasks that read, add one, commit and retry after a conflict count every increment.
pub async fn concurrent_increments_lose_nothing(store: impl Backend) {
    const TASKS: u64 = 16;
    const INCREMENTS: u64 = 20;
    let store = Arc::new(store);
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for _ in 0..INCREMENTS {
                increment(&*store).await;
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(get(&*store, b"counter").await.map(|entry| number(&entry)), Some(TASKS * INCREMENTS));
}

async fn increment(store: &impl Backend) {
    loop {
        let current = get(store, b"counter").await;
        let next = current.as_ref().map_or(0, number) + 1;
        let batch = match &current {
            Some(entry) => Batch::default().expect_version("counter", entry.version),
            None => Batch::default().expect_absent("counter"),
        };
        match store.commit(batch.put("counter", next.to_string())).await {
            Ok(_) => return,
            Err(CommitError::Conflict { key }) => assert_eq!(key, b"counter"),
            Err(CommitError::Store(error)) => panic!("{error}"),
        }
    }
}

fn number(entry: &Entry) -> u64 {
    str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()).expect("the value is a number")
}

/// Of many commits that create the same key, one succeeds, and its value is stored.
pub async fn one_of_many_creators_wins(store: impl Backend) {
    let store = Arc::new(store);
    for round in 0..10 {
        let key = format!("round-{round}");
        let mut tasks = JoinSet::new();
        for creator in 0..16 {
            let (store, key) = (Arc::clone(&store), key.clone());
            tasks.spawn(async move {
                let value = creator.to_string();
                let batch = Batch::default().expect_absent(key.clone()).put(key, value.clone());
                store.commit(batch).await.ok().map(|version| Entry { version, value: value.into() })
            });
        }
        let winners: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(get(&*store, key.as_bytes()).await, winners.first().cloned());
    }
}

/// A watcher gets the changes in commit order. A backend may drop events under load, but not in this test.
pub async fn watchers_see_commits_and_no_conflicts(store: impl Backend) {
    put(&store, b"before", "value").await;
    let mut changes = store.watch();
    let first =
        store.commit(Batch::default().put("b", "1").put("a", "1").delete("c")).await.expect("it commits");
    let refused = Batch::default().expect_absent("a").put("never", "1");
    assert_eq!(store.commit(refused).await, conflict(b"a"));
    let second = put(&store, b"d", "2").await;

    for (version, keys) in [(first, &[b"a", b"b", b"c"][..]), (second, &[b"d"])] {
        let change = changes.recv().await.expect("the store is still there");
        assert_eq!(change.version, version);
        assert_eq!(change.keys, keys);
    }
}

/// `get_if_changed` returns a value only if its version differs from the known version.
pub async fn known_versions_are_not_sent_again(store: impl Backend) {
    let old = put(&store, b"key", "old").await;
    assert_eq!(store.get_if_changed(b"key", old).await, Ok(ConditionalRead::Unchanged));
    let new = put(&store, b"key", "new").await;
    let entry = Entry { version: new, value: "new".into() };
    assert_eq!(store.get_if_changed(b"key", old).await, Ok(ConditionalRead::Changed(entry)));
    assert_eq!(store.get_if_changed(b"key", new).await, Ok(ConditionalRead::Unchanged));
    store.commit(Batch::default().delete("key")).await.expect("deletes commit");
    assert_eq!(store.get_if_changed(b"key", new).await, Ok(ConditionalRead::Absent));
}

/// Values of 0 bytes to 1 MiB are returned unchanged; the bytes do not compress.
pub async fn large_and_empty_values_come_back(store: impl Backend) {
    let noise = |len: usize| {
        let mut state = 1_u32;
        let step = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..len).map(step).collect::<Bytes>()
    };
    for len in [0, 1, 4_096, 65_536, 1 << 20] {
        put(&store, b"key", noise(len)).await;
        assert_eq!(get(&store, b"key").await.map(|entry| entry.value), Some(noise(len)));
        assert_eq!(scan_keys(&store, b"key", b"", 1).await, [b"key"]);
    }
}

/// Keys may contain zero bytes and `0xff`, and have up to `KEY_BYTES_MAX` bytes.
pub async fn any_bytes_make_a_key(store: impl Backend) {
    let keys =
        [b"\0".to_vec(), b"\0\0".to_vec(), b"\0\xff".to_vec(), vec![b'k'; KEY_BYTES_MAX], vec![0xff; 9]];
    for (n, key) in keys.iter().enumerate() {
        put(&store, key, n.to_string()).await;
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(get(&store, key).await.map(|entry| entry.value), Some(n.to_string().into()));
    }
    assert_eq!(scan_keys(&store, b"", b"", 10).await, keys);
}

/// A commit refuses such a key to put, to delete or to expect; a read finds no value.
pub async fn unusable_keys_are_refused(store: impl Backend) {
    let of_bytes = |bytes| (vec![b'k'; bytes], StoreError::InvalidKey { bytes });
    for (key, error) in
        [of_bytes(0), of_bytes(KEY_BYTES_MAX + 1), (RESERVED_KEY.to_vec(), StoreError::ReservedKey)]
    {
        let refused = Err(error.into());
        let fine = || Batch::default().put("fine", "value");
        assert_eq!(store.commit(fine().put(key.clone(), "value")).await, refused);
        assert_eq!(store.commit(fine().delete(key.clone())).await, refused);
        assert_eq!(store.commit(fine().expect_absent(key.clone())).await, refused);
        assert_eq!(get(&store, &key).await, None);
    }
    assert_eq!(get(&store, b"fine").await, None);
}
