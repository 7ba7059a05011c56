//! The guarantees of a shared store beyond those of every backend: commits of several servers happen one after the
//! other, and no commit is lost or made twice when connections break.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::{FutureExt as _, join_all};
use rallypoint::env::Entropy;
use rallypoint::store::{
    Backend as _, Batch, CommitError, Entry, Postgres, PostgresSettings, StoreError, Version,
};
use tokio::task::JoinSet;

use crate::support::postgres::Database;
use crate::support::process::soon;

/// Two servers on one database.
async fn two_stores() -> (Database, [Postgres; 2]) {
    let database = Database::new().await;
    let stores = [database.open().await, database.open().await];
    (database, stores)
}

async fn version(store: &Postgres, key: &str) -> Option<Version> {
    store.get(key.as_bytes()).await.unwrap().map(|entry| entry.version)
}

async fn put(store: &Postgres, key: &str, value: &'static str) -> Version {
    store.commit(Batch::default().put(key, value)).await.unwrap()
}

/// Commits two batches at the same time on two servers, 150 times. Each round runs `before`, and checks with `after`.
async fn race(
    before: impl AsyncFn(&Postgres),
    batches: impl AsyncFn(&Postgres) -> [Batch; 2],
    after: impl AsyncFn(&Postgres, [bool; 2]),
) {
    let (_database, [one, other]) = two_stores().await;
    for _ in 0..150 {
        before(&one).await;
        let [first, second] = batches(&one).await;
        let done = tokio::join!(one.commit(first), other.commit(second));
        let done = [done.0, done.1].map(|outcome| match outcome {
            Ok(_) => true,
            Err(CommitError::Conflict { .. }) => false,
            Err(CommitError::Store(error)) => panic!("{error}"),
        });
        after(&one, done).await;
    }
}

/// A trigger that stores the value of `synchronous_commit` when a value is put.
const NOTE: &str = "CREATE TABLE noted (setting text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO noted VALUES (current_setting(''synchronous_commit'')); RETURN NEW; END';
    CREATE TRIGGER note AFTER INSERT ON rallypoint_entries FOR EACH ROW EXECUTE FUNCTION note()";

#[tokio::test]
async fn commits_are_durable_before_their_answer_whatever_the_default_is() {
    for (usual, noted) in [("off", "on"), ("on", "on"), ("remote_apply", "remote_apply")] {
        let database = Database::new().await;
        let store = database.where_usual("synchronous_commit", usual).open().await;
        let client = database.client().await;
        client.batch_execute(NOTE).await.unwrap();
        put(&store, "key", "value").await;
        let found: String = client.query_one("SELECT setting FROM noted", &[]).await.unwrap().get(0);
        assert_eq!(found, noted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_commits_that_each_expect_what_the_other_puts_one_wins() {
    race(
        async |store| {
            store.commit(Batch::default().delete("a").delete("b")).await.unwrap();
        },
        async |_| {
            [("a", "b"), ("b", "a")].map(|(from, to)| Batch::default().expect_absent(from).put(to, "1"))
        },
        async |_, done| assert_eq!(done.iter().filter(|done| **done).count(), 1, "{done:?}"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_commits_that_each_change_what_the_other_expects_one_wins() {
    race(
        async |store| {
            store.commit(Batch::default().put("a", "0").put("b", "0")).await.unwrap();
        },
        async |store| {
            let version = version(store, "a").await.unwrap();
            [("a", "b"), ("b", "a")]
                .map(|(from, to)| Batch::default().expect_version(from, version).put(to, "1"))
        },
        async |_, done| assert_eq!(done.iter().filter(|done| **done).count(), 1, "{done:?}"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_and_deletes_of_a_commit_stay_together() {
    race(
        async |store| {
            put(store, "a", "0").await;
            store.commit(Batch::default().delete("b")).await.unwrap();
        },
        async |_| [Batch::default().put("a", "1").delete("b"), Batch::default().put("a", "2").put("b", "2")],
        async |store, done| {
            assert_eq!(done, [true, true]);
            let [a, b] = [
                store.get(b"a").await.unwrap().unwrap(),
                store.get(b"b").await.unwrap().unwrap_or_else(none),
            ];
            assert!(a.value == "1" && b.value.is_empty() || a == b, "{a:?} {b:?}");
        },
    )
    .await;
}

/// An entry that represents no value in a comparison.
fn none() -> Entry {
    Entry { version: Version(0), value: "".into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_of_two_commits_do_not_mix() {
    race(
        async |store| {
            store.commit(Batch::default().delete("a").delete("b")).await.unwrap();
        },
        async |_| {
            [Batch::default().put("a", "1").put("b", "1"), Batch::default().put("b", "2").put("a", "2")]
        },
        async |store, _| assert_eq!(store.get(b"a").await.unwrap(), store.get(b"b").await.unwrap()),
    )
    .await;
}

/// Commits two batches that both put the key `a`, the second while the first waits: both statements have started, and
/// so do not see each other, before either can lock `a`.
async fn commit_overlapping(first: Batch, second: Batch) -> (Postgres, [Result<Version, CommitError>; 2]) {
    let (database, stores) = two_stores().await;
    put(&stores[0], "a", "0").await;
    let client = database.client().await;
    let observer = database.client().await;
    let hold = "BEGIN; SELECT key FROM rallypoint_entries WHERE key = 'a' FOR UPDATE";
    client.batch_execute(hold).await.unwrap();
    let mut commits = Vec::new();
    for (store, batch) in stores.iter().zip([first, second]) {
        let store = store.clone();
        commits.push(tokio::spawn(async move { store.commit(batch).await }));
        let waits = async { while database.waiting(&observer).await < commits.len() {} };
        soon("the commit waits for the lock", waits).await;
    }
    client.batch_execute("COMMIT").await.unwrap();
    let [first, second] = commits.try_into().expect("there are two");
    let done = [first.await.unwrap(), second.await.unwrap()];
    let [store, _] = stores;
    (store, done)
}

#[tokio::test]
async fn a_key_that_appears_during_a_commit_is_deleted_by_it() {
    let appears = Batch::default().put("a", "1").put("b", "1");
    let (store, done) = commit_overlapping(appears, Batch::default().put("a", "2").delete("b")).await;
    let [Ok(_), Ok(second)] = done else { panic!("{done:?}") };
    assert_eq!((version(&store, "a").await, version(&store, "b").await), (Some(second), None));
}

#[tokio::test]
async fn a_key_that_appears_during_a_commit_is_no_longer_absent() {
    let appears = Batch::default().put("a", "1").put("b", "1");
    let creates = Batch::default().expect_absent("b").put("a", "2").put("b", "2");
    let (store, [first, second]) = commit_overlapping(appears.clone(), creates).await;
    assert_eq!(second, Err(CommitError::Conflict { key: "b".into() }));
    assert_eq!(version(&store, "a").await, first.clone().ok());
    assert_eq!(version(&store, "b").await, first.ok());

    let relies = Batch::default().expect_absent("b").put("a", "2");
    let (store, [first, second]) = commit_overlapping(appears, relies).await;
    assert_eq!(second, Err(CommitError::Conflict { key: "b".into() }));
    assert_eq!(version(&store, "a").await, first.ok());
}

#[tokio::test]
async fn a_key_that_disappears_during_a_commit_is_put_by_it() {
    let goes = Batch::default().delete("a").put("b", "1");
    let (store, done) = commit_overlapping(goes, Batch::default().put("a", "2").put("b", "2")).await;
    let [Ok(_), Ok(second)] = done else { panic!("{done:?}") };
    assert_eq!((version(&store, "a").await, version(&store, "b").await), (Some(second), Some(second)));
}

#[tokio::test]
async fn waiting_commits_share_a_statement_and_are_checked_one_by_one() {
    let database = Database::new().await;
    let settings = PostgresSettings { write_connections: 1, ..database.settings() };
    let store = Postgres::open(settings).await.unwrap();
    let held = put(&store, "held", "0").await;
    let client = database.client().await;
    let observer = database.client().await;
    let hold = "BEGIN; SELECT key FROM rallypoint_entries WHERE key = 'held' FOR UPDATE";
    client.batch_execute(hold).await.unwrap();
    let first = store.clone();
    let first = tokio::spawn(async move {
        first.commit(Batch::default().expect_version("held", held).put("held", "1")).await
    });
    let waits = async { while database.waiting(&observer).await == 0 {} };
    soon("the commit waits for the lock", waits).await;

    let new = |key: &str| Batch::default().expect_absent(key).put(key, key.to_owned());
    let large = vec![0; 1 << 20];
    let batches = [
        new("a"),
        // Conflicts with the commit before: it shares a key, so that it is in another statement.
        new("a"),
        new("b").expect_version("held", held),
        new("c").delete("not there"),
        new("d"),
        Batch::default().expect_absent("large").put("large", large),
        new("e"),
    ];
    let commits = batches.map(|batch| {
        let store = &store;
        async move { store.commit(batch).await }
    });
    let mut commits = Box::pin(join_all(commits));
    assert!((&mut commits).now_or_never().is_none(), "all commits wait for the first");
    client.batch_execute("COMMIT").await.unwrap();
    let made = commits.await;
    let conflict = |key: &str| Err(CommitError::Conflict { key: key.into() });
    let mut creators = [made[0].clone(), made[1].clone()];
    creators.sort_by_key(Result::is_err);
    assert!(creators[0].is_ok() && creators[1] == conflict("a"), "{creators:?}");
    assert_eq!(made[2], conflict("held"));
    for (key, commit) in ["c", "d", "large", "e"].into_iter().zip(&made[3..]) {
        assert_eq!(version(&store, key).await, Some(commit.clone().unwrap()));
    }
    assert_eq!(made[4], made[6], "they share a statement");
    assert_ne!(made[4], made[5], "a large commit has a statement of its own");
    assert_eq!(version(&store, "b").await, None);
    assert_eq!(version(&store, "held").await, Some(first.await.unwrap().unwrap()));
}

const ACCOUNTS: u64 = 8;
const TOTAL: u64 = 40;

/// The key of an account. Its value is a number of coins; an empty account is deleted.
fn account(number: u64) -> String {
    format!("account-{number}")
}

fn coins(entry: Option<&Entry>) -> u64 {
    entry.map_or(0, |entry| str::from_utf8(&entry.value).unwrap().parse().unwrap())
}

/// Moves a coin from one account to another; returns whether there was one.
async fn transfer(store: &Postgres, from: &str, to: &str) -> Result<bool, CommitError> {
    let held = [store.get(from.as_bytes()).await?, store.get(to.as_bytes()).await?];
    let [mine, theirs] = [coins(held[0].as_ref()), coins(held[1].as_ref())];
    if mine == 0 {
        return Ok(false);
    }
    let mut batch = Batch::default();
    for (key, entry) in [(from, &held[0]), (to, &held[1])] {
        batch.expect.push((key.into(), entry.as_ref().map(|entry| entry.version)));
    }
    batch = match mine {
        1 => batch.delete(from),
        _ => batch.put(from, (mine - 1).to_string()),
    };
    match store.commit(batch.put(to, (theirs + 1).to_string())).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn below(entropy: &Entropy, end: u64) -> u64 {
    u64::from_le_bytes(entropy.bytes()) % end
}

/// Moves coins between accounts on several servers, until `moves` moves were made. Runs `meanwhile` again and again.
async fn move_coins(stores: &[Postgres], moves: u64, meanwhile: impl AsyncFn()) {
    put(&stores[0], "account-0", "40").await;
    let (made, entropy) = (Arc::new(AtomicU64::new(0)), Entropy::seeded(7));
    let mut tasks = JoinSet::new();
    for store in stores.iter().cycle().take(12) {
        let (store, made, entropy) = (store.clone(), Arc::clone(&made), entropy.clone());
        tasks.spawn(async move {
            while made.load(Ordering::Relaxed) < moves {
                let (from, step) = (below(&entropy, ACCOUNTS), 1 + below(&entropy, ACCOUNTS - 1));
                match transfer(&store, &account(from), &account((from + step) % ACCOUNTS)).await {
                    Ok(done) => made.fetch_add(u64::from(done), Ordering::Relaxed),
                    // Whether it was made or not, the number of coins must stay the same.
                    Err(CommitError::Store(StoreError::Unsure(_))) => 0,
                    Err(error) => panic!("{error}"),
                };
            }
        });
    }
    while made.load(Ordering::Relaxed) < moves {
        let all = stores[1].scan(b"account-", b"account:", 100).await.unwrap();
        assert_eq!(all.iter().map(|(_, entry)| coins(Some(entry))).sum::<u64>(), TOTAL);
        meanwhile().await;
    }
    soon("all coins are moved", tasks.join_all()).await;
    let all = stores[1].scan(b"account-", b"account:", 100).await.unwrap();
    assert_eq!(all.iter().map(|(_, entry)| coins(Some(entry))).sum::<u64>(), TOTAL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_transfers_keep_the_number_of_coins() {
    let (_database, stores) = two_stores().await;
    move_coins(&stores, 600, async || {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_over_broken_connections_keep_the_number_of_coins() {
    let (database, stores) = two_stores().await;
    let client = database.client().await;
    let cut = AtomicU64::new(0);
    move_coins(&stores, 600, async || {
        cut.fetch_add(database.cut(&client).await.cast_unsigned(), Ordering::Relaxed);
    })
    .await;
    assert!(cut.load(Ordering::Relaxed) > 0, "connections were broken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_commit_is_made_once_while_connections_break() {
    const WRITERS: u64 = 8;
    const CUTS: i64 = 200;
    let (database, stores) = two_stores().await;
    let client = database.client().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, stop) = (stores[usize::from(writer % 2 == 1)].clone(), Arc::clone(&stop));
        writers.spawn(async move {
            let (key, mut count, mut last) = (format!("counter-{writer}"), 0_u64, None);
            while !stop.load(Ordering::Relaxed) {
                let mut batch = Batch::default().put(format!("{key}/{count:08}"), "made");
                batch.expect.push((key.clone().into(), last));
                // No other task writes these keys, so that every outcome can be determined.
                last = Some(store.commit(batch.put(key.clone(), count.to_string())).await.unwrap());
                count += 1;
            }
            (key, count, last)
        });
    }
    let mut cuts = 0;
    while cuts < CUTS {
        cuts += database.cut(&client).await;
    }
    stop.store(true, Ordering::Relaxed);
    for (key, count, last) in soon("the writers stop", writers.join_all()).await {
        let made =
            stores[0].scan(format!("{key}/").as_bytes(), format!("{key}0").as_bytes(), usize::MAX).await;
        assert_eq!(made.unwrap().len() as u64, count);
        assert_eq!(version(&stores[0], &key).await, last);
    }
}
