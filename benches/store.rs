//! Compares storage engines under the group commit, and the embedded store with a shared database. See `README.md` in
//! this directory.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{
    Mutex, RwLock,
    atomic::{AtomicU64, Ordering},
};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use rallypoint::config::PostgresSection;
use rallypoint::records::keys::KEY_UPGRADE;
use rallypoint::runtime::settings::postgres_settings;
use rallypoint::store::{
    Backend, Batch, Embedded, Engine, Entry, GroupCommit, Key, Postgres, StoreError, Version, Writes,
};
use redb::{ReadableDatabase, TableDefinition};
use support::postgres::Cluster;
use support::{Rng, median, spread};
use tempfile::TempDir;
use tokio::task::JoinSet;

const VALUES: u64 = 50_000;
const VALUE_BYTES: usize = 1_536;
/// Sizes of the values that a join writes, in bytes: the session, the player's entry, and the player's reference to it.
const JOIN_BYTES: [usize; 3] = [800, 250, 150];
const ROUNDS: usize = 7;
const READ_TIME: Duration = Duration::from_millis(200);
const COMMIT_TIME: Duration = Duration::from_millis(400);
/// Page cache of redb, in bytes; as large as the block cache of fjall in the embedded store.
const REDB_CACHE_BYTES: usize = 64 << 20;

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("data");

/// The engine redb.
struct Redb(redb::Database);

impl Redb {
    fn open(dir: &Path) -> Self {
        let db = redb::Builder::new().set_cache_size(REDB_CACHE_BYTES).create(dir.join("redb")).unwrap();
        let transaction = db.begin_write().unwrap();
        transaction.open_table(TABLE).unwrap();
        transaction.commit().unwrap();
        Self(db)
    }
}

fn decode(record: &[u8]) -> Entry {
    let (version, value) = record.split_first_chunk().unwrap();
    Entry { version: Version(u64::from_be_bytes(*version)), value: value.to_vec().into() }
}

fn encode(entry: &Entry) -> Vec<u8> {
    [&entry.version.0.to_be_bytes(), &entry.value[..]].concat()
}

impl Engine for Redb {
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let table = self.0.begin_read().unwrap().open_table(TABLE).unwrap();
        Ok(table.get(key).unwrap().map(|record| decode(record.value())))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        let table = self.0.begin_read().unwrap().open_table(TABLE).unwrap();
        let found = table.range(from..to).unwrap().take(limit).map(Result::unwrap);
        Ok(found.map(|(key, record)| (key.value().to_vec(), decode(record.value()))).collect())
    }

    fn apply(&self, writes: Writes) -> Result<(), StoreError> {
        let transaction = self.0.begin_write().unwrap();
        {
            let mut table = transaction.open_table(TABLE).unwrap();
            for (key, entry) in writes {
                match entry {
                    Some(entry) => drop(table.insert(&key[..], &encode(&entry)[..]).unwrap()),
                    None => drop(table.remove(&key[..]).unwrap()),
                }
            }
        }
        transaction.commit().unwrap();
        Ok(())
    }

    fn next_epoch(&self) -> Result<u64, StoreError> {
        Ok(1)
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A lower bound for the cost of a durable group: it appends the same bytes to a file with one fsync, and keeps values
/// in memory.
struct Raw {
    file: Mutex<File>,
    values: RwLock<BTreeMap<Key, Entry>>,
}

impl Raw {
    fn open(dir: &Path) -> Self {
        let file = Mutex::new(File::create(dir.join("raw")).unwrap());
        Self { file, values: RwLock::default() }
    }
}

impl Engine for Raw {
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(self.values.read().unwrap().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        let values = self.values.read().unwrap();
        let found = values.range(from.to_vec()..to.to_vec()).take(limit);
        Ok(found.map(|(key, entry)| (key.clone(), entry.clone())).collect())
    }

    fn apply(&self, writes: Writes) -> Result<(), StoreError> {
        let mut journal = Vec::new();
        for (key, entry) in &writes {
            journal.extend_from_slice(key);
            journal.extend(entry.as_ref().map(encode).unwrap_or_default());
        }
        let mut file = self.file.lock().unwrap();
        file.write_all(&journal).unwrap();
        file.sync_all().unwrap();
        let mut values = self.values.write().unwrap();
        for (key, entry) in writes {
            match entry {
                Some(entry) => values.insert(key, entry),
                None => values.remove(&key),
            };
        }
        Ok(())
    }

    fn next_epoch(&self) -> Result<u64, StoreError> {
        Ok(1)
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn session_key(n: u64) -> Key {
    format!("session/{n:032x}").into_bytes()
}

async fn preload<B: Backend>(store: &B) {
    let mut rng = Rng(1);
    for start in (0..VALUES).step_by(1_000) {
        let puts = (start..start + 1_000).map(|n| (session_key(n), rng.text(VALUE_BYTES).into()));
        store.commit(Batch { put: puts.collect(), ..Batch::default() }).await.unwrap();
    }
}

/// Measures point reads a second by `threads` threads.
fn reads_per_second<E: Engine>(store: &GroupCommit<E>, threads: u64) -> f64 {
    let reads = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for seed in 0..threads {
            let reads = &reads;
            scope.spawn(move || {
                let mut rng = Rng(seed);
                let mut done = 0;
                while start.elapsed() < READ_TIME {
                    for _ in 0..100 {
                        let key = session_key(rng.next_u31() % VALUES);
                        let entry = store.get(&key).now_or_never().unwrap().unwrap();
                        assert!(entry.is_some());
                    }
                    done += 100;
                }
                reads.fetch_add(done, Ordering::Relaxed);
            });
        }
    });
    reads.into_inner() as f64 / start.elapsed().as_secs_f64()
}

/// Measures durable commits a second by `callers` tasks, each with sessions of its own.
async fn commits_per_second<B: Backend + Clone>(store: &B, callers: u64) -> f64 {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut rng = Rng(caller);
            let texts = JOIN_BYTES.map(|bytes| rng.text(bytes));
            let mut done = 0_u64;
            while start.elapsed() < COMMIT_TIME {
                let n = rng.next_u31() % (VALUES / callers) * callers + caller;
                let session = store.get(&session_key(n)).await.unwrap().unwrap();
                let batch = Batch::default()
                    .expect_version(session_key(n), session.version)
                    .put(session_key(n), texts[0].clone())
                    .put(format!("member/{n:032x}/{caller:08x}"), texts[1].clone())
                    .put(format!("player/{caller:08x}/{n:032x}"), texts[2].clone());
                store.commit(batch).await.unwrap();
                done += 1;
            }
            done
        });
    }
    let done: u64 = tasks.join_all().await.into_iter().sum();
    done as f64 / start.elapsed().as_secs_f64()
}

/// Measures point reads a second by `callers` tasks, which await each read.
async fn awaited_reads_per_second<B: Backend + Clone>(store: &B, callers: u64) -> f64 {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for seed in 0..callers {
        let store = store.clone();
        tasks.spawn(async move {
            let (mut rng, mut done) = (Rng(seed), 0_u64);
            while start.elapsed() < READ_TIME {
                assert!(store.get(&session_key(rng.next_u31() % VALUES)).await.unwrap().is_some());
                done += 1;
            }
            done
        });
    }
    let done: u64 = tasks.join_all().await.into_iter().sum();
    done as f64 / start.elapsed().as_secs_f64()
}

const CASES: [&str; 5] = [
    "reads/s, 1 thread",
    "reads/s, 2 threads",
    "commits/s, 1 caller",
    "commits/s, 8 callers",
    "commits/s, 64 callers",
];

/// One short run of every case.
async fn round<E: Engine>(store: &GroupCommit<E>) -> [f64; CASES.len()] {
    [
        reads_per_second(store, 1),
        reads_per_second(store, 2),
        commits_per_second(store, 1).await,
        commits_per_second(store, 8).await,
        commits_per_second(store, 64).await,
    ]
}

const SHARED_CASES: [&str; 5] = [
    "reads/s, 1 caller",
    "reads/s, 64 callers",
    "commits/s, 1 caller",
    "commits/s, 8 callers",
    "commits/s, 64 callers",
];

/// One short run of every case that compares the embedded store with a database.
async fn shared_round<B: Backend + Clone>(store: &B) -> [f64; SHARED_CASES.len()] {
    [
        awaited_reads_per_second(store, 1).await,
        awaited_reads_per_second(store, 64).await,
        commits_per_second(store, 1).await,
        commits_per_second(store, 8).await,
        commits_per_second(store, 64).await,
    ]
}

fn print_shared(rounds: &[[[f64; SHARED_CASES.len()]; 2]]) {
    println!("\n{:22} {:>10} {:>10} {:>22}", "", "fjall", "postgres", "postgres/fjall");
    for (case, name) in SHARED_CASES.iter().enumerate() {
        let of = |store: usize| median(rounds.iter().map(|round| round[store][case]));
        let ratio = spread(rounds.iter().map(|round| round[1][case] / round[0][case]));
        println!("{name:22} {:>10.0} {:>10.0} {ratio:>22}", of(0), of(1));
    }
}

/// Opens a store in a database on this machine.
async fn open_postgres(cluster: &Cluster) -> Postgres {
    cluster.create("store", None).await;
    let settings = PostgresSection { url: Some(cluster.url("store")), ..Default::default() };
    Postgres::open(postgres_settings(&settings).unwrap()).await.unwrap()
}

fn print(rounds: &[[[f64; CASES.len()]; 3]]) {
    println!("{:22} {:>10} {:>10} {:>10} {:>22}", "", "fjall", "redb", "raw", "fjall/redb (spread)");
    for (case, name) in CASES.iter().enumerate() {
        let of = |engine: usize| median(rounds.iter().map(|round| round[engine][case]));
        let ratio = spread(rounds.iter().map(|round| round[0][case] / round[1][case]));
        println!("{name:22} {:>10.0} {:>10.0} {:>10.0} {ratio:>22}", of(0), of(1), of(2));
    }
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let fjall = Embedded::open(dir.path(), KEY_UPGRADE).unwrap();
        let redb = GroupCommit::start(Redb::open(dir.path())).unwrap();
        let raw = GroupCommit::start(Raw::open(dir.path())).unwrap();
        preload(&fjall).await;
        preload(&redb).await;
        preload(&raw).await;
        let cluster = Cluster::start();
        let postgres = open_postgres(&cluster).await;
        preload(&postgres).await;

        // Interleaved, so that a slow moment of the machine affects all stores.
        let (mut rounds, mut shared_rounds) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            rounds.push([round(&fjall).await, round(&redb).await, round(&raw).await]);
            shared_rounds.push([shared_round(&fjall).await, shared_round(&postgres).await]);
        }
        print(&rounds);
        print_shared(&shared_rounds);
        let stats = fjall.stats();
        println!("fjall: {:.1} commits per group", stats.commits as f64 / stats.groups as f64);
    });
}
