//! The guarantees of every backend, and below them the guarantees of single backends.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rallypoint::domain::{Platform, PlatformSessionId};
use rallypoint::records::keys::{self, KEY_UPGRADE};
use rallypoint::store::{
    Backend, Batch, CommitError, Embedded, Entry, Key, Memory, Postgres, Store, StoreError, Version,
    prefix_end,
};
use rallypoint::store_conformance;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::set_meta;
use crate::support::postgres::Database;

store_conformance!(memory, (Memory::default(), ()));
store_conformance!(memory_shared, (Memory::shared(), ()));
store_conformance!(embedded, open_new());
store_conformance!(postgres, open_new_database().await);

fn open_new() -> (Embedded, TempDir) {
    let dir = TempDir::new().unwrap();
    (Embedded::open(dir.path(), KEY_UPGRADE).unwrap(), dir)
}

async fn open_new_database() -> (Postgres, Database) {
    let database = Database::new().await;
    (database.open().await, database)
}

/// Why opening failed; an open store has no `Debug`.
fn open_error(dir: &TempDir) -> StoreError {
    Embedded::open(dir.path(), KEY_UPGRADE).err().expect("the store does not open")
}

#[test]
fn prefixes_end_before_the_next_key() {
    for (prefix, end) in [
        (&b"a"[..], &b"b"[..]),
        (b"a\0", b"a\x01"),
        (b"a\xff", b"b"),
        (b"a\xff\xff", b"b"),
        (b"a\xfe", b"a\xff"),
        (b"\xff\xff", b""),
        (b"", b""),
    ] {
        assert_eq!(prefix_end(prefix), end);
    }
}

#[tokio::test]
async fn clones_of_a_shared_memory_see_each_other() {
    let one = Memory::shared();
    let other = one.clone();
    let mut changes = other.watch();
    let version = one.commit(Batch::default().put("key", "value")).await.unwrap();
    assert_eq!(other.get(b"key").await.unwrap().unwrap().version, version);
    assert_eq!(changes.recv().await.unwrap().version, version);
    assert!(!one.sole_writer() && !other.sole_writer());
    assert!(Memory::default().sole_writer());
}

#[tokio::test]
async fn a_memory_store_fails_as_often_as_a_test_asks() {
    let memory = Memory::default();
    let store = Store::Memory(memory.clone());
    memory.fail_next_commits(2);
    for _ in 0..2 {
        let failed = store.commit(Batch::default().put("key", "lost")).await;
        assert!(matches!(failed, Err(CommitError::Store(StoreError::Failed(_)))), "{failed:?}");
    }
    assert_eq!(store.get(b"key").await, Ok(None));
    store.commit(Batch::default().put("key", "kept")).await.unwrap();
    memory.fail_next_commits(u64::MAX);
    store.commit(Batch::default().put("key", "lost")).await.unwrap_err();
    store.commit(Batch::default().put("key", "lost")).await.unwrap_err();
    memory.fail_next_commits(0);
    store.commit(Batch::default().delete("key")).await.unwrap();
}

#[tokio::test]
async fn data_and_the_order_of_versions_survive_a_restart() {
    let dir = TempDir::new().unwrap();
    let mut versions = Vec::new();
    for restart in 0..3_u8 {
        let store = Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap());
        for before in 0..restart {
            let entry = store.get(&[before]).await.unwrap().unwrap();
            assert_eq!((entry.version, &entry.value[..]), (versions[usize::from(before)], &[before][..]));
        }
        versions.push(store.commit(Batch::default().put([restart], vec![restart])).await.unwrap());
        store.close().await.unwrap();
        assert_eq!(store.get(b"key").await, Err(StoreError::Closed));
    }
    assert!(versions.is_sorted_by(|earlier, later| earlier < later), "{versions:?}");
}

#[tokio::test]
async fn dropping_the_last_clone_frees_the_directory() {
    let (store, dir) = open_new();
    let clone = store.clone();
    store.commit(Batch::default().put("key", "value")).await.unwrap();
    drop(store);
    drop(clone);
    let store = Embedded::open(dir.path(), KEY_UPGRADE).unwrap();
    assert_eq!(store.get(b"key").await.unwrap().unwrap().value, "value");
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_free() {
    let (store, dir) = open_new();
    let refused = open_error(&dir);
    assert_eq!(refused, StoreError::InUse { dir: dir.path().into() });
    let message = refused.to_string();
    assert!(message.starts_with("another server uses the data directory "), "{message}");
    assert!(message.ends_with("stop that server, or give this one a directory of its own"), "{message}");
    drop(store);
    Embedded::open(dir.path(), KEY_UPGRADE).unwrap();
}

#[tokio::test]
async fn an_upgrade_from_format_1_renames_long_keys() {
    let (store, dir) = open_new();
    let id = PlatformSessionId::parse(&"x".repeat(4_000)).unwrap();
    let key = keys::platform_session(Platform::Steam, &id);
    store.commit(Batch::default().put(key.clone(), "session").put("p", "other")).await.unwrap();
    let before = contents(&store).await;
    store.close().await.unwrap();

    // Stores the value as format 1 did.
    let db = fjall::Database::builder(dir.path().join("store")).open().unwrap();
    let data = db.keyspace("data", Default::default).unwrap();
    let value = data.get(&key).unwrap().unwrap();
    data.remove(key).unwrap();
    data.insert([b"pSteam\0", id.as_str().as_bytes()].concat(), value).unwrap();
    db.persist(fjall::PersistMode::SyncAll).unwrap();
    drop((data, db));
    set_meta(&dir, "format", &1_u32.to_be_bytes());

    for _ in 0..2 {
        let store = Embedded::open(dir.path(), KEY_UPGRADE).unwrap();
        assert_eq!(contents(&store).await, before);
        store.close().await.unwrap();
    }
}

async fn contents(store: &Embedded) -> Vec<(Key, Entry)> {
    store.scan(&[0], &[], usize::MAX).await.unwrap()
}

#[test]
fn an_unknown_format_is_refused_with_advice() {
    let (store, dir) = open_new();
    drop(store);
    set_meta(&dir, "format", &7_u32.to_be_bytes());
    let refused = open_error(&dir);
    assert_eq!(refused, StoreError::UnknownFormat { dir: dir.path().into(), found: 7, known: 2 });
    let message = refused.to_string();
    assert!(message.contains("has format 7, and this server knows format 2"), "{message}");
    assert!(message.contains("run a server version that knows format 7"), "{message}");

    set_meta(&dir, "format", b"one");
    assert!(matches!(open_error(&dir), StoreError::Corrupt(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_counted_and_grouped() {
    const COMMITS: u64 = 64;
    let (store, _dir) = open_new();
    let mut tasks = JoinSet::new();
    for n in 0..COMMITS {
        let store = store.clone();
        tasks.spawn(
            async move { store.commit(Batch::default().put(n.to_be_bytes(), "value")).await.unwrap() },
        );
    }
    tasks.join_all().await;
    store.commit(Batch::default().expect_absent(0_u64.to_be_bytes())).await.unwrap_err();

    let stats = store.stats();
    assert_eq!((stats.commits, stats.conflicts, stats.failures), (COMMITS, 1, 0));
    assert!((1..=COMMITS).contains(&stats.groups), "{stats:?}");
    assert_eq!(stats.queue_depth, 0);
}

/// The version that an expectation refers to; the numbers differ between stores.
#[derive(Clone, Debug)]
enum Expected {
    Absent,
    Current,
    First,
}

#[derive(Clone, Debug)]
enum Step {
    Commit { expect: Vec<(u8, Expected)>, put: Vec<(u8, u8)>, delete: Vec<u8> },
    Scan { from: u8, to: u8, limit: usize },
    Reopen,
}

/// Few keys, so that steps concern the same keys; of several lengths, so that their order matters.
const KEYS: u8 = 6;

fn key(n: u8) -> Key {
    [&b"\0k\xff"[..usize::from(n % 3) + 1], &[n]].concat()
}

fn step() -> impl Strategy<Value = Step> {
    let expected = prop_oneof![
        2 => Just(Expected::Absent),
        5 => Just(Expected::Current),
        1 => Just(Expected::First),
    ];
    let expect = prop::collection::vec((0..KEYS, expected), 0..3);
    let put = prop::collection::vec((0..KEYS, any::<u8>()), 0..4);
    let delete = prop::collection::vec(0..KEYS, 0..3);
    let commit = (expect, put, delete).prop_map(|(expect, put, delete)| Step::Commit { expect, put, delete });
    let scan = (0..KEYS, 0..KEYS, 0..8_usize).prop_map(|(from, to, limit)| Step::Scan { from, to, limit });
    prop_oneof![12 => commit, 4 => scan, 1 => Just(Step::Reopen)]
}

/// A store and the first version that each key had in it.
struct Subject {
    store: Store,
    first: BTreeMap<u8, Version>,
}

impl Subject {
    fn new(store: Store) -> Self {
        Self { store, first: BTreeMap::new() }
    }

    /// Commits; returns the key of a conflict, and no version, since versions differ between stores.
    async fn commit(
        &mut self,
        expect: &[(u8, Expected)],
        put: &[(u8, u8)],
        delete: &[u8],
    ) -> Result<(), Key> {
        let mut batch = Batch::default();
        for (n, expected) in expect {
            let current = self.store.get(&key(*n)).await.unwrap().map(|entry| entry.version);
            let version = match expected {
                Expected::Absent => None,
                Expected::Current => current,
                Expected::First => self.first.get(n).copied(),
            };
            batch.expect.push((key(*n), version));
        }
        batch.put.extend(put.iter().map(|(n, value)| (key(*n), vec![*value; usize::from(*value)].into())));
        batch.delete.extend(delete.iter().map(|n| key(*n)));
        match self.store.commit(batch).await {
            Ok(version) => {
                for (n, _) in put {
                    self.first.entry(*n).or_insert(version);
                }
                Ok(())
            }
            Err(CommitError::Conflict { key }) => Err(key),
            Err(CommitError::Store(error)) => panic!("{error}"),
        }
    }

    async fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<(Key, Vec<u8>)> {
        let found = self.store.scan(from, to, limit).await.unwrap();
        found.into_iter().map(|(key, entry)| (key, entry.value.to_vec())).collect()
    }
}

async fn check_that_stores_agree(steps: Vec<Step>) {
    let (embedded, dir) = open_new();
    let mut memory = Subject::new(Store::Memory(Memory::default()));
    let mut embedded = Subject::new(Store::Embedded(embedded));
    for step in steps {
        match step {
            Step::Commit { expect, put, delete } => {
                let outcome = memory.commit(&expect, &put, &delete).await;
                assert_eq!(embedded.commit(&expect, &put, &delete).await, outcome);
            }
            Step::Scan { from, to, limit } => {
                let (from, to) = (key(from), key(to));
                assert_eq!(embedded.scan(&from, &to, limit).await, memory.scan(&from, &to, limit).await);
            }
            Step::Reopen => {
                embedded.store.close().await.unwrap();
                embedded.store = Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap());
            }
        }
        assert_eq!(embedded.scan(b"", b"", usize::MAX).await, memory.scan(b"", b"", usize::MAX).await);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_batches_do_the_same_to_every_store(steps in prop::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check_that_stores_agree(steps));
    }
}
