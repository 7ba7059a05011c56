//! A database that is away, slow, or lost in the middle of a commit, and what callers get then.

use std::io::{ErrorKind, Read as _};
use std::time::Duration;

use futures_util::future::join_all;
use rallypoint::env::Clock;
use rallypoint::runtime::admin;
use rallypoint::store::{Backend as _, Batch, CommitError, Postgres, PostgresSettings, Store, StoreError};
use rallypoint::store_conformance;

use crate::harness::Server;
use crate::support::postgres::Database;
use crate::support::process::soon;
use crate::support::proxy::{Network, Proxy};

store_conformance!(through_a_proxy, through_a_proxy().await);

async fn through_a_proxy() -> (Postgres, (Database, Proxy)) {
    let database = Database::new().await;
    let proxy = Proxy::before(&database.settings().address).await;
    let store = Postgres::open(database.settings_through(&proxy)).await.unwrap();
    (store, (database, proxy))
}

/// A store that does not retry, another on the same database, and the proxy before the first.
async fn without_retries() -> (Postgres, Postgres, Proxy) {
    let database = Database::new().await;
    let proxy = Proxy::before(&database.settings().address).await;
    let store = Postgres::open(database.settings_without_retries_through(&proxy)).await.unwrap();
    store.commit(Batch::default().put("key", "old")).await.unwrap();
    assert!(store.get(b"key").await.unwrap().is_some());
    (store, database.open().await, proxy)
}

/// Commits over a network that goes down during the commit, and comes back after `meanwhile`.
async fn commit_over(
    network: Network,
    batch: impl AsyncFn(&Postgres) -> Batch,
    meanwhile: impl AsyncFn(&Postgres),
) -> (Result<rallypoint::store::Version, CommitError>, Postgres) {
    let (store, (database, proxy)) = through_a_proxy().await;
    let beside = database.open().await;
    store.commit(Batch::default().put("key", "old").put("other", "old")).await.unwrap();
    let batch = batch(&store).await;
    proxy.set(network);
    let committing = tokio::spawn(async move { store.commit(batch).await });
    soon("the network goes down", proxy.becomes(Network::Down)).await;
    meanwhile(&beside).await;
    proxy.set(Network::Open);
    (soon("the commit is answered", committing).await.unwrap(), beside)
}

/// The ways to lose an answer or a request, whole or in part.
const LOSSES: [Network; 4] =
    [Network::DownAtAnswer, Network::DownWithinAnswer, Network::DownAtRequest, Network::DownWithinRequest];

async fn replacing(store: &Postgres) -> Batch {
    let version = store.get(b"key").await.unwrap().unwrap().version;
    Batch::default().expect_version("key", version).put("key", "new").delete("other")
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_and_one_whose_request_is_lost_is_made() {
    for network in LOSSES {
        let (made, beside) = commit_over(network, replacing, async |_| {}).await;
        let entry = beside.get(b"key").await.unwrap().unwrap();
        assert_eq!((made, entry.value), (Ok(entry.version), "new".into()), "{network:?}");
        assert_eq!(beside.get(b"other").await, Ok(None));
    }
}

#[tokio::test]
async fn a_delete_whose_answer_is_lost_is_found_by_the_absent_keys() {
    let removing = async |store: &Postgres| {
        let version = store.get(b"key").await.unwrap().unwrap().version;
        Batch::default().expect_version("key", version).delete("key").delete("other")
    };
    for network in LOSSES {
        let (made, beside) = commit_over(network, removing, async |_| {}).await;
        assert!(made.is_ok(), "{network:?} {made:?}");
        assert_eq!((beside.get(b"key").await, beside.get(b"other").await), (Ok(None), Ok(None)));
    }
}

#[tokio::test]
async fn a_commit_on_a_half_closed_connection_is_found() {
    let (store, (database, proxy)) = through_a_proxy().await;
    store.commit(Batch::default().put("key", "old").put("other", "old")).await.unwrap();
    let batch = replacing(&store).await;
    proxy.set(Network::HalfClosesAtAnswer);
    let made = soon("the commit is answered", store.commit(batch)).await;
    assert_eq!(proxy.network(), Network::Open, "an answer was lost");
    let entry = database.open().await.get(b"key").await.unwrap().unwrap();
    assert_eq!((made, entry.value), (Ok(entry.version), "new".into()));
    store.get(b"key").await.unwrap();
}

#[tokio::test]
async fn over_a_slow_network_every_commit_is_made_once() {
    let (store, (_database, proxy)) = through_a_proxy().await;
    proxy.set(Network::Slow);
    let counts = join_all((0..32).map(async |key| {
        let key = format!("key {}", key % 8);
        loop {
            let known = store.get(key.as_bytes()).await.unwrap();
            let count = known.as_ref().map_or(0, |entry| entry.value.len());
            let batch = match &known {
                Some(entry) => Batch::default().expect_version(key.clone(), entry.version),
                None => Batch::default().expect_absent(key.clone()),
            };
            match store.commit(batch.put(key.clone(), vec![b'+'; count + 1])).await {
                Ok(_) => return count,
                Err(CommitError::Conflict { .. }) => {}
                Err(failed) => panic!("{failed}"),
            }
        }
    }));
    let mut counts = soon("all are answered", counts).await;
    counts.sort_unstable();
    let each_once: Vec<_> = (0..4).flat_map(|count| [count; 8]).collect();
    assert_eq!(counts, each_once);
}

#[tokio::test]
async fn no_request_waits_longer_than_its_timeout_for_a_silent_network() {
    let (store, (_database, proxy)) = through_a_proxy().await;
    let server = Server::over(Store::Postgres(store), |config| config.http.request_timeout_s = 1);
    let alice = server.player();
    let session = alice.creates("game").await;
    proxy.set(Network::Silent);
    // The retry deadline of the store is one minute, longer than the timeout of a request.
    let answers = async { tokio::join!(alice.session(&session), alice.leaves(&session)) };
    let (read, changed) = soon("both are answered", answers).await;
    read.refused(503, "timed_out");
    changed.refused(503, "timed_out");
    proxy.set(Network::Down);
    proxy.set(Network::Open);
    soon("clients are answered", async { while alice.session(&session).await.status == 503 {} }).await;
}

#[tokio::test]
async fn a_delete_whose_answer_stays_lost_is_unsure() {
    let (store, _beside, proxy) = without_retries().await;
    let version = store.get(b"key").await.unwrap().unwrap().version;
    // Opens the connection for commits, so that the next commit is sent.
    store.commit(Batch::default().expect_absent("other").put("other", "")).await.unwrap();
    proxy.set(Network::DownAtAnswer);
    let removal = Batch::default().expect_version("key", version).delete("key");
    let unsure = store.commit(removal).await;
    let Err(CommitError::Store(error @ StoreError::Unsure(_))) = unsure else { panic!("{unsure:?}") };
    assert!(!error.changed_nothing());
}

#[tokio::test]
async fn a_lost_commit_without_expectations_is_searched_for_and_not_repeated() {
    let blind = async |_: &Postgres| Batch::default().put("key", "new");
    let (made, beside) = commit_over(Network::DownAtAnswer, blind, async |_| {}).await;
    assert_eq!(made, Ok(beside.get(b"key").await.unwrap().unwrap().version));

    let (unsure, beside) = commit_over(Network::DownAtRequest, blind, async |_| {}).await;
    assert!(matches!(unsure, Err(CommitError::Store(StoreError::Unsure(_)))), "{unsure:?}");
    assert_eq!(beside.get(b"key").await.unwrap().unwrap().value, "old");
}

#[tokio::test]
async fn a_lost_commit_that_others_have_overwritten_is_unsure_and_no_conflict() {
    let overwrite = async |beside: &Postgres| {
        beside.commit(Batch::default().put("key", "theirs")).await.unwrap();
    };
    for network in LOSSES {
        let (unsure, beside) = commit_over(network, replacing, overwrite).await;
        let Err(CommitError::Store(error @ StoreError::Unsure(_))) = unsure else { panic!("{unsure:?}") };
        assert!(!error.changed_nothing());
        assert_eq!(beside.get(b"key").await.unwrap().unwrap().value, "theirs");
    }
}

#[tokio::test]
async fn an_unreachable_database_is_distinguished_from_a_lost_answer() {
    let (store, beside, proxy) = without_retries().await;
    let version = store.get(b"key").await.unwrap().unwrap().version;
    let replace = || Batch::default().expect_version("key", version).put("key", "new");
    proxy.set(Network::Down);
    // Each connection detects the failure when it is used; what was sent on it may have arrived.
    let mut outcome = store.commit(replace()).await;
    while let Err(CommitError::Store(StoreError::Unsure(_))) = outcome {
        outcome = store.commit(replace()).await;
    }
    let Err(CommitError::Store(error @ StoreError::Unavailable(_))) = outcome else { panic!("{outcome:?}") };
    assert!(error.changed_nothing());
    for _ in 0..3 {
        let unavailable = store.get(b"key").await;
        assert!(matches!(unavailable, Err(StoreError::Unavailable(_))), "{unavailable:?}");
    }
    let unavailable = store.scan(b"", b"", 1).await;
    assert!(matches!(unavailable, Err(StoreError::Unavailable(_))), "{unavailable:?}");
    assert_eq!(beside.get(b"key").await.unwrap().unwrap().value, "old");

    proxy.set(Network::Open);
    let back = async {
        while store.get(b"key").await.is_err() {}
        while store.commit(replace()).await.is_err() {}
    };
    soon("the database is there again", back).await;
    assert_eq!(beside.get(b"key").await.unwrap().unwrap().value, "new");
}

#[tokio::test]
async fn a_silent_network_ends_in_an_error() {
    let (store, _beside, proxy) = without_retries().await;
    let version = store.get(b"key").await.unwrap().unwrap().version;
    proxy.set(Network::Silent);
    let replace = Batch::default().expect_version("key", version).put("key", "new");
    let (read, made) =
        soon("both are given up", async { tokio::join!(store.get(b"key"), store.commit(replace)) }).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(
        matches!(made, Err(CommitError::Store(StoreError::Unsure(_) | StoreError::Unavailable(_)))),
        "{made:?}"
    );
    proxy.set(Network::Open);
    soon("the database answers again", async { while store.get(b"key").await.is_err() {} }).await;
}

#[tokio::test]
async fn a_silent_host_does_not_prevent_the_next_host() {
    let database = Database::new().await;
    let proxy = Proxy::before(&database.settings().address).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hosts = format!("{},{}", silent.local_addr().unwrap(), proxy.address);
    let connect_timeout = Duration::from_millis(200);
    let settings = PostgresSettings { connect_timeout, ..database.settings_at(&hosts) };
    let store = soon("the other host is found", Postgres::open(settings.clone())).await.unwrap();
    store.commit(Batch::default().put("key", "value")).await.unwrap();

    proxy.set(Network::Down);
    let refused = Postgres::open(settings).await.err().expect("the store does not open").to_string();
    assert!(refused.contains(&format!("{}: no connection within 200ms; ", silent.local_addr().unwrap())));
    assert!(refused.contains(&format!("{}: error ", proxy.address)), "{refused}");
}

#[tokio::test]
async fn a_check_for_ready_does_not_wait_for_a_silent_host() {
    let database = Database::new().await;
    let proxy = Proxy::before(&database.settings().address).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let hosts = format!("{},{}", proxy.address, silent.local_addr().unwrap());
    let store = Postgres::open(database.settings_at(&hosts)).await.unwrap();
    // Proves that the database takes commits, so that the check only looks at the hosts.
    store.commit(Batch::default().put("key", "value")).await.unwrap();
    soon("the check ends", store.check_writable()).await.unwrap();
    // Before the look are the connections of the start and of the commit.
    let (mut look, _) = std::iter::from_fn(|| silent.accept().ok()).last().expect("the look asks all hosts");
    look.set_nonblocking(true).unwrap();
    let read = look.read_to_end(&mut Vec::new());
    assert!(read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "the look does not go on");
}

#[tokio::test]
async fn a_server_is_ready_while_its_database_can_be_reached() {
    let (store, _beside, proxy) = without_retries().await;
    let server = Server::over(Store::Postgres(store), |_| {});
    server.clock.step(Clock::System.now_ms() - server.clock.now_ms());
    let alice = server.player();
    let ready = async || {
        let request = http::Request::get("/ready").body(()).unwrap();
        admin::handle(&server.readiness(), request).await.status().as_u16()
    };
    let session = alice.creates("game").await;
    assert_eq!(ready().await, 200);
    proxy.set(Network::Down);
    assert_eq!(ready().await, 503);
    let away = alice.session(&session).await;
    assert_eq!(away.headers["retry-after"], "1");
    away.refused(503, "store_unavailable");
    proxy.set(Network::Open);
    soon("the server is ready again", async { while ready().await != 200 {} }).await;
    soon("clients are answered", async { while alice.session(&session).await.status != 200 {} }).await;
}

#[tokio::test]
async fn a_closed_store_returns_closed() {
    let store = Database::new().await.open().await;
    store.commit(Batch::default().put("key", "value")).await.unwrap();
    let store = Store::Postgres(store);
    store.close().await.unwrap();
    assert_eq!(store.get(b"key").await, Err(StoreError::Closed));
    assert_eq!(store.scan(b"", b"", 1).await, Err(StoreError::Closed));
    assert_eq!(store.commit(Batch::default().put("key", "value")).await, Err(StoreError::Closed.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_starts_create_the_tables_once() {
    for _ in 0..5 {
        let database = Database::new().await;
        let opening: Vec<_> = (0..8).map(|_| tokio::spawn(Postgres::open(database.settings()))).collect();
        let mut stores = Vec::new();
        for opened in opening {
            stores.push(opened.await.unwrap().unwrap());
        }
        let version = stores[0].commit(Batch::default().put("key", "value")).await.unwrap();
        for store in stores {
            assert_eq!(store.get(b"key").await.unwrap().unwrap().version, version);
        }
    }
}
