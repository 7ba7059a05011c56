//! A database whose standby is away: commits get no answer there, however long they are waited for.

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

/// A store that waits for nobody, on a database of its own, since the setting is one of the whole server.
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
        let impatient = PostgresSettings {
            statement_timeout: Duration::from_millis(500),
            patience: Duration::ZERO,
            ..database.settings()
        };
        let store = Postgres::open(impatient).await.unwrap();
        let client = database.client().await;
        Self { store, client, database, _server: server }
    }

    /// What becomes of commits that share no key.
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

    /// Takes the standby away, until all commits are refused. Those that find out are told that they may have been made.
    async fn lose_standby(&self) {
        self.client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'away'").await.unwrap();
        self.client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        soon("commits are refused", async { while !self.commit_all().await.iter().all(is_refused) {} }).await;
    }

    async fn go_on_without_standby(&self) {
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
    // Beside those who found out, those that were tried since.
    let waiting_max = i64::try_from(stage.database.settings().write_connections).unwrap() + 2;
    assert!((1..=waiting_max).contains(&waiting), "{waiting} wait");
    stage.go_on_without_standby().await;
    let none_waits = async { while stage.database.waiting_for_standby(&stage.client).await > 0 {} };
    soon("nothing waits", none_waits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_taken_out_for_a_time_in_which_nothing_could_be_written() {
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
        // Whoever has come to another node is not told to this one.
        alice.get(&format!("/v1/session/{session}?refresh_ttl=false")).await.expect(200);
        jobs::tick(&node.app).await.unwrap_err();
    }
    stage.go_on_without_standby().await;
    jobs::tick(&node.app).await.unwrap();
    assert_eq!(alice.sees_place(&session, &bob).await.0, json!("member"));
    for _ in 0..4 {
        node.clock.advance(30 * SECOND);
        alice.get(&format!("/v1/session/{session}?refresh_ttl=false")).await.expect(200);
        jobs::tick(&node.app).await.unwrap();
    }
    assert_eq!(alice.sees(&session, &bob).await, json!(null), "as ever, once all can be written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_store_was_away_others_may_say_first_what_was_asked_for_meanwhile() {
    let stage = Stage::new().await;
    let node = harness::Server::over(Store::Postgres(stage.store.clone()), |config| {
        config.sessions.idle_s = 60;
    });
    let alice = node.lasting_player();
    let [asked_for, idle] = [alice.creates("party").await, alice.creates("party").await];
    let other = node.another_node(Store::Postgres(stage.database.open().await));
    let there = harness::Client { server: other.clone(), ..alice.clone() };
    stage.lose_standby().await;
    for _ in 0..4 {
        node.clock.advance(30 * SECOND);
        there.session(&asked_for).await.expect(200);
    }
    jobs::tick(&node.app).await.unwrap_err();
    stage.go_on_without_standby().await;
    assert_eq!(jobs::tick(&node.app).await.unwrap(), 0, "the other node has yet to tell");
    jobs::tick(&other.app).await.unwrap();
    node.clock.advance(10 * SECOND);
    jobs::tick(&node.app).await.unwrap();
    alice.session(&asked_for).await.expect(200);
    alice.session(&idle).await.refused(404, "session_not_found");
}
