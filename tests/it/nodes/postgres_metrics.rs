//! The metrics of a store in PostgreSQL, as `/metrics` shows them.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use rallypoint::store::{Backend as _, Batch, CommitError, Postgres, PostgresSettings, Store, StoreError};

use crate::harness::{Metrics, Reply, Server, creation};
use crate::support::postgres::Database;
use crate::support::process::soon;
use crate::support::proxy::{Network, Proxy};

/// The metrics of a server's store at one moment.
struct StoreMetrics(Metrics);

impl StoreMetrics {
    async fn of(server: &Server) -> Self {
        Self(Metrics::of(server).await)
    }

    /// The value of one sample of the store.
    fn get(&self, sample: &str) -> u64 {
        self.0.get(&format!("store_{sample}"))
    }

    fn statements(&self, purpose: &str) -> u64 {
        self.get(&format!("statement_duration_seconds_count{{purpose=\"{purpose}\"}}"))
    }

    fn faults(&self, reason: &str) -> u64 {
        self.get(&format!("faults_total{{reason=\"{reason}\"}}"))
    }
}

/// Waits until so many connections are open.
async fn connections(server: &Server, count: u64) {
    while StoreMetrics::of(server).await.get("connections") != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn statements_are_counted_by_purpose_and_batched_reads_one_by_one() {
    let database = Database::new().await;
    let settings = PostgresSettings { write_connections: 1, read_connections: 1, ..database.settings() };
    let store = Postgres::open(settings).await.unwrap();
    let server = Server::over(Store::Postgres(store.clone()), |_| {});
    for purpose in ["commit", "transaction", "read", "scan", "page", "clock"] {
        assert_eq!(StoreMetrics::of(&server).await.statements(purpose), 0, "{purpose}");
    }
    store.commit(Batch::default().put("key", "value")).await.unwrap();
    store.commit(Batch::default().expect_absent("other").put("another", "value")).await.unwrap();
    let conflict = store.commit(Batch::default().expect_absent("key").put("key", "value")).await;
    assert!(matches!(conflict, Err(CommitError::Conflict { .. })), "{conflict:?}");
    // All reads are queued before the reader task runs, which is on the same thread.
    let keys: Vec<_> = (0..20).map(|number| format!("key {number}")).collect();
    join_all(keys.iter().map(|key| store.get(key.as_bytes()))).await;
    store.scan(b"", b"z", 1).await.unwrap();
    store.scan(b"", b"", 1).await.unwrap();
    store.page(b"", 1, 1).await.unwrap();
    store.check_clock(|| 0).await.unwrap();

    let metrics = StoreMetrics::of(&server).await;
    assert_eq!((metrics.statements("commit"), metrics.statements("transaction")), (2, 1));
    assert_eq!((metrics.get("commits_total"), metrics.get("conflicts_total")), (2, 1));
    assert_eq!((metrics.get("reads_total"), metrics.statements("read")), (20, 1));
    assert_eq!(
        (metrics.statements("scan"), metrics.statements("page"), metrics.statements("clock")),
        (2, 1, 1)
    );
    assert_eq!((metrics.get("failures_total"), metrics.get("unsure_total")), (0, 0));
    assert_eq!((metrics.get("reachable"), metrics.get("connections_broken_total")), (1, 0));
    // One each for commits, for transactions and for reads.
    soon("the connections of the start are closed", connections(&server, 3)).await;

    store.close().await;
    soon("the connections are closed", connections(&server, 0)).await;
    let metrics = StoreMetrics::of(&server).await;
    assert_eq!((metrics.get("connections_made_total"), metrics.get("connections_broken_total")), (5, 0));
}

#[tokio::test]
async fn the_sessions_of_a_players_list_are_read_together() {
    let database = Database::new().await;
    let settings = PostgresSettings { write_connections: 1, read_connections: 1, ..database.settings() };
    let server = Server::over(Store::Postgres(Postgres::open(settings).await.unwrap()), |_| {});
    let alice = server.player();
    for _ in 0..20 {
        alice.creates("party").await;
    }
    let before = StoreMetrics::of(&server).await;
    assert_eq!(alice.own_list("party").await["session_ids"].as_array().unwrap().len(), 20);
    let after = StoreMetrics::of(&server).await;
    assert!(after.get("reads_total") - before.get("reads_total") >= 20, "one for each session");
    // One for the time of the list, and one for all sessions.
    assert!(after.statements("read") - before.statements("read") <= 2);
    assert_eq!(after.statements("scan") - before.statements("scan"), 1);
}

#[tokio::test]
async fn sessions_that_one_node_creates_at_once_do_not_conflict() {
    let server = Server::over(Store::Postgres(Database::new().await.open().await), |config| {
        let game = config.templates.get_mut("game").unwrap();
        (game.num_teams, game.players_per_team) = (1, 2);
    });
    let players: Vec<_> = (0..400).map(|_| server.player()).collect();
    let body = creation("game");
    let created = join_all(players.iter().map(|player| player.post("/v1/session", &body))).await;
    let id = |reply: Reply| reply.expect(200).body["session_id"].as_str().unwrap().to_owned();
    let sessions: BTreeSet<_> = created.into_iter().map(id).collect();
    assert_eq!(sessions.len(), 200);
    assert_eq!(StoreMetrics::of(&server).await.get("conflicts_total"), 0);
}

#[tokio::test]
async fn failed_statements_are_counted_by_reason() {
    let database = Database::new().await;
    let proxy = Proxy::before(&database.settings().address).await;
    let store = Postgres::open(database.settings_without_retries_through(&proxy)).await.unwrap();
    let server = Server::over(Store::Postgres(store.clone()), |_| {});
    store.commit(Batch::default().put("key", "value")).await.unwrap();
    assert_eq!(StoreMetrics::of(&server).await.get("failures_total"), 0);

    let mut client = database.client().await;
    let holding = client.transaction().await.unwrap();
    holding.batch_execute("SELECT * FROM rallypoint_entries FOR UPDATE").await.unwrap();
    let refused = store.commit(Batch::default().put("key", "value")).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    holding.rollback().await.unwrap();
    let metrics = StoreMetrics::of(&server).await;
    assert_eq!((metrics.faults("timeout"), metrics.get("failures_total")), (1, 1));
    assert_eq!((metrics.get("reachable"), metrics.faults("lost")), (1, 0));

    proxy.set(Network::DownAtAnswer);
    let (mut failures, mut unsure) = (1, 0);
    // Each connection detects the failure when it is used.
    while StoreMetrics::of(&server).await.get("reachable") == 1 {
        let version = rallypoint::store::Version(1);
        let replacing = Batch::default().expect_version("key", version).put("key", "new");
        match store.commit(replacing).await {
            Err(CommitError::Store(error)) => {
                failures += 1;
                unsure += u64::from(matches!(error, StoreError::Unsure(_)));
            }
            other => panic!("{other:?}"),
        }
    }
    let metrics = StoreMetrics::of(&server).await;
    assert!(unsure > 0);
    assert_eq!((metrics.get("failures_total"), metrics.get("unsure_total")), (failures, unsure));
    assert!(metrics.faults("lost") > 0 && metrics.faults("unreachable") > 0);
    assert!(metrics.get("connections_broken_total") > 0);

    let made = metrics.get("connections_made_total");
    proxy.set(Network::Open);
    soon("the database answers", async { while store.get(b"key").await.is_err() {} }).await;
    let metrics = StoreMetrics::of(&server).await;
    assert!(metrics.get("connections_made_total") > made);
    assert_eq!(metrics.get("reachable"), 1);
}
