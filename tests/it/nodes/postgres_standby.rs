//! A database whose standby is away: commits get no answer.

use std::time::Duration;

use futures_util::future::join_all;
use rallypoint::jobs;
use rallypoint::store::{Backend as _, Batch, CommitError, Postgres, PostgresSettings, Store, StoreError};
use serde_json::json;
use tokio_postgres::Client;

use crate::harness;
use crate::support::postgres::Database;
use crate::support::postgres::server::Server;
use crate::support::process::soon;

const CALLERS: usize = 16;
const SECOND: Duration = Duration::from_secs(1);

/// A store that does not retry, on a database server of its own: the setting for standbys is one of the whole server.
struct Stage {
    store: Postgres,
    client: Client,
    database: Database,
    _server: Server,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::alone();
        let database = Database::on(&server.url).await;
        let settings = PostgresSettings {
            statement_timeout: Duration::from_millis(500),
            retry_deadline: Duration::ZERO,
            ..database.settings()
        };
        let store = Postgres::open(settings).await.unwrap();
        let client = database.client().await;
        Self { store, client, database, _server: server }
    }

    /// Commits batches without a common key at the same time; returns their outcomes.
    async fn commit_all(&self) -> Vec<Result<(), StoreError>> {
        let commit = async |key: usize| {
            let batch = Batch::default().put(format!("key {key}"), "value");
            match self.store.commit(batch).await {
                Ok(_) => Ok(()),
                Err(CommitError::Store(error)) => Err(error),
                Err(conflict) => panic!("{conflict}"),
            }
        };
        join_all((0..CALLERS).map(commit)).await
    }

    /// Takes the standby away, and waits until all commits are refused. The first commits may have been made.
    async fn lose_standby(&self) {
        self.client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'away'").await.unwrap();
        self.client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        soon("commits are refused", async { while !self.commit_all().await.iter().all(is_refused) {} }).await;
    }

    async fn continue_without_standby(&self) {
        self.client.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
        self.client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        soon("commits are made", async { while !self.commit_all().await.iter().all(Result::is_ok) {} }).await;
    }
}

fn is_refused(made: &Result<(), StoreError>) -> bool {
    matches!(made, Err(StoreError::Unavailable(cause)) if cause.contains("if the database waits for standbys"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_wait_for_a_standby_do_not_pile_up() {
    let stage = Stage::new().await;
    assert!(stage.commit_all().await.iter().all(Result::is_ok));
    stage.lose_standby().await;
    for _ in 0..CALLERS {
        assert!(stage.commit_all().await.iter().all(is_refused));
    }
    stage.store.get(b"key 0").await.unwrap().expect("reads go on");
    let waiting = stage.database.waiting_for_standby(&stage.client).await;
    // The commits that opened the circuit breaker, and the probe commits since.
    let waiting_max = i64::try_from(stage.database.settings().write_connections).unwrap() + 2;
    assert!((1..=waiting_max).contains(&waiting), "{waiting} wait");
    stage.continue_without_standby().await;
    let none_waits = async { while stage.database.waiting_for_standby(&stage.client).await > 0 {} };
    soon("nothing waits", none_waits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_player_is_removed_for_time_in_which_nothing_could_be_written() {
    let stage = Stage::new().await;
    let node = harness::Server::over(Store::Postgres(stage.store.clone()), |config| {
        config.templates.get_mut("game").unwrap().player_culling_timeout = Some(60);
    });
    let [alice, bob] = [node.lasting_player(), node.lasting_player()];
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    jobs::tick(&node.app).await.unwrap();
    stage.lose_standby().await;
    for _ in 0..4 {
        node.clock.advance(30 * SECOND);
        // A heartbeat at another node is not synced to this node while nothing can be written.
        alice.get(&format!("/v1/session/{session}?refresh_ttl=false")).await.expect(200);
        jobs::tick(&node.app).await.unwrap_err();
    }
    stage.continue_without_standby().await;
    jobs::tick(&node.app).await.unwrap();
    assert_eq!(alice.sees_status_and_team(&session, &bob).await.0, json!("member"));
    for _ in 0..4 {
        node.clock.advance(30 * SECOND);
        alice.get(&format!("/v1/session/{session}?refresh_ttl=false")).await.expect(200);
        jobs::tick(&node.app).await.unwrap();
    }
    assert_eq!(
        alice.sees(&session, &bob).await,
        json!(null),
        "players time out again once changes can be written"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_store_was_away_a_session_waits_for_the_heartbeats_of_other_nodes() {
    let stage = Stage::new().await;
    let node = harness::Server::over(Store::Postgres(stage.store.clone()), |config| {
        config.sessions.idle_s = 60;
    });
    let alice = node.lasting_player();
    let [polled, idle] = [alice.creates("party").await, alice.creates("party").await];
    let other = node.another_node(Store::Postgres(stage.database.open().await));
    let there = harness::Client { server: other.clone(), ..alice.clone() };
    stage.lose_standby().await;
    for _ in 0..4 {
        node.clock.advance(30 * SECOND);
        there.session(&polled).await.expect(200);
    }
    jobs::tick(&node.app).await.unwrap_err();
    stage.continue_without_standby().await;
    assert_eq!(jobs::tick(&node.app).await.unwrap(), 0, "the other node has not synced its heartbeats yet");
    jobs::tick(&other.app).await.unwrap();
    node.clock.advance(10 * SECOND);
    jobs::tick(&node.app).await.unwrap();
    alice.session(&polled).await.expect(200);
    alice.session(&idle).await.refused(404, "session_not_found");
}
