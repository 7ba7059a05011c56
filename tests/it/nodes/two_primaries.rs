//! A primary that lives on after its standby was promoted. Both take writes, and only the new one keeps them.

use std::time::Duration;

use rallypoint::runtime::admin;
use rallypoint::store::{Backend as _, Batch, Postgres, PostgresSettings, Store, StoreError};
use tokio_postgres::Client;

use crate::harness::Server;
use crate::support::postgres::Database;
use crate::support::postgres::pair::Pair;
use crate::support::process::soon;

/// A pair whose standby was promoted while the primary lives on, and a node that was connected before.
struct Stage {
    pair: Pair,
    store: Postgres,
    settings: PostgresSettings,
    /// A connection to each server: the old primary and the new one.
    old: Client,
    new: Client,
}

impl Stage {
    /// `synchronous_commit` of the node. With `local` the old primary commits without its standby.
    async fn new(synchronous_commit: &str) -> Self {
        let mut pair = Pair::start().await;
        let database = Database::on(&pair.url).await;
        let settings = PostgresSettings {
            statement_timeout: Duration::from_millis(500),
            retry_deadline: Duration::ZERO,
            ..database.where_usual("synchronous_commit", synchronous_commit).settings()
        };
        let store = Postgres::open(settings.clone()).await.unwrap();
        store.commit(Batch::default().put("before", "value")).await.unwrap();
        let hosts = pair.hosts.clone();
        let client = async |number: usize| {
            let mut one = database.clone();
            one.url = database.url.replace(&hosts.join(","), &hosts[number]);
            one.client().await
        };
        let old = client(0).await;
        // Waits for the standby, and so for everything before.
        old.batch_execute("CREATE TABLE synced ()").await.unwrap();
        old.batch_execute("SET synchronous_commit = local").await.unwrap();
        pair.promote_standby().await;
        let new = client(1).await;
        Self { pair, store, settings, old, new }
    }

    async fn commit(&self, key: &str) -> bool {
        self.store.commit(Batch::default().put(key, "value")).await.is_ok()
    }
}

async fn has(server: &Client, key: &str) -> bool {
    let query = "SELECT count(*) FROM rallypoint_entries WHERE key = $1";
    server.query_one(query, &[&key.as_bytes()]).await.unwrap().get::<_, i64>(0) == 1
}

/// Status and body of `/ready`.
async fn ready(server: &Server) -> (u16, String) {
    let request = http::Request::get("/ready").body(()).unwrap();
    let (parts, body) = admin::handle(&server.readiness(), request).await.into_parts();
    let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    (parts.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_moves_to_the_newer_primary_and_never_back() {
    let mut stage = Stage::new("local").await;
    let node = Server::over(Store::Postgres(stage.store.clone()), |_| {});
    let lost = "INSERT INTO rallypoint_entries (key, value, version) VALUES ('lost', '', 1)";
    stage.old.batch_execute(lost).await.unwrap();

    assert_eq!(ready(&node).await, (200, "ready\n".into()));
    assert!(stage.commit("after").await);
    assert!(has(&stage.new, "after").await && !has(&stage.old, "after").await);
    assert_eq!(stage.store.get(b"lost").await, Ok(None), "only the old primary has it");
    stage.store.get(b"before").await.unwrap().expect("both have it");

    stage.pair.kill_primary().await;
    let refused = async {
        loop {
            if let Err(StoreError::Unavailable(cause)) = stage.store.get(b"lost").await
                && cause.contains("a newer primary with timeline 2 has replaced it")
            {
                break;
            }
        }
    };
    soon("the node refuses the old primary", refused).await;
    let (status, body) = ready(&node).await;
    assert_eq!(status, 503);
    assert!(body.contains("a newer primary with timeline 2 has replaced it"), "{body}");
    assert!(!stage.commit("never").await && !has(&stage.old, "never").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_the_old_primary_does_not_count_once_the_newer_one_is_known() {
    let stage = Stage::new("local").await;
    let node = Server::over(Store::Postgres(stage.store.clone()), |_| {});
    // A commit waits on the old primary while the node learns of the new one.
    stage.old.batch_execute("BEGIN; LOCK TABLE rallypoint_entries IN SHARE MODE").await.unwrap();
    let store = stage.store.clone();
    let commit = tokio::spawn(async move { store.commit(Batch::default().put("late", "value")).await });
    let waits = async { while stage.old.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0) == 0 {} };
    soon("the commit waits", waits).await;
    assert_eq!(ready(&node).await.0, 200);
    stage.old.batch_execute("COMMIT").await.unwrap();
    let outcome = commit.await.unwrap();
    assert_eq!(outcome.is_ok(), has(&stage.new, "late").await, "{outcome:?}");
}

/// The number of statements that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_wait_for_the_lost_standby_go_to_the_newer_primary() {
    let stage = Stage::new("on").await;
    soon("a commit is made", async { while !stage.commit("after").await {} }).await;
    assert!(has(&stage.new, "after").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_uses_the_newer_primary() {
    let stage = Stage::new("local").await;
    let started = Postgres::open(stage.settings.clone()).await.unwrap();
    started.commit(Batch::default().put("after", "value")).await.unwrap();
    assert!(has(&stage.new, "after").await && !has(&stage.old, "after").await);
}
