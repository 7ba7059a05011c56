//! A pooler between a server and its database: session pooling works, and transaction pooling is refused.

use std::time::Duration;

use rallypoint::store::{Backend as _, Batch, CommitError, Postgres, PostgresSettings, StoreError};
use rallypoint::store_conformance;

use crate::support::pooler::{PoolMode, Pooler};
use crate::support::postgres::Database;
use crate::support::process::soon;

store_conformance!(through_a_session_pooler, through_a_session_pooler().await);

/// The advice in the error for transaction pooling.
const ADVICE: &str = "connect to the database directly, or use session pooling (pool_mode = session)";

async fn through_a_session_pooler() -> (Postgres, (Database, Pooler)) {
    let database = Database::new().await;
    let pooler = Pooler::before(&database.settings().address, PoolMode::Session, 20, false).await;
    let store = Postgres::open(database.settings_at(pooler.address)).await.unwrap();
    (store, (database, pooler))
}

#[tokio::test]
async fn transaction_pooling_is_refused_with_advice() {
    let database = Database::new().await;
    for (pool_size, is_round_robin) in [(1, false), (2, false), (20, false), (2, true), (3, true), (20, true)]
    {
        let direct = &database.settings().address;
        let pooler = Pooler::before(direct, PoolMode::Transaction, pool_size, is_round_robin).await;
        for attempt in 0..3 {
            let refused = Postgres::open(database.settings_at(pooler.address)).await.err();
            let message = refused.map(|error| error.to_string()).unwrap_or_default();
            assert!(
                message.starts_with("the store failed: cannot use the database ") && message.contains(ADVICE),
                "{pool_size} {is_round_robin} {attempt}: {message}"
            );
        }
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()";
    let made: i64 = database.client().await.query_one(tables, &[]).await.unwrap().get(0);
    assert_eq!(made, 0);
}

#[tokio::test]
async fn a_database_is_accepted_if_the_pooler_check_cannot_be_made() {
    let database = Database::new().await;
    // The pool has one connection, so that the second connection of the check cannot be made.
    let pooler = Pooler::before(&database.settings().address, PoolMode::Session, 1, false).await;
    let connect_timeout = Duration::from_millis(500);
    let settings = PostgresSettings { connect_timeout, ..database.settings_at(pooler.address) };
    let store = Postgres::open(settings).await.unwrap();
    store.commit(Batch::default().put("key", "value")).await.unwrap();
    assert!(database.open().await.get(b"key").await.unwrap().is_some());
}

#[tokio::test]
async fn a_pooler_that_changes_to_transaction_pooling_is_reported_and_recovered_from() {
    let (store, (_database, pooler)) = through_a_session_pooler().await;
    let put = || store.commit(Batch::default().put("key", "value"));
    for made in futures_util::future::join_all([put(), put(), put(), put()]).await {
        made.unwrap();
    }
    pooler.set(PoolMode::Transaction);
    let error = soon("a prepared statement is missing", async {
        loop {
            for made in futures_util::future::join_all([put(), put(), put(), put()]).await {
                if let Err(CommitError::Store(StoreError::Failed(error))) = made {
                    return error;
                }
            }
        }
    });
    let error = error.await;
    assert!(error.starts_with("prepared statement ") && error.contains(ADVICE), "{error}");

    pooler.set(PoolMode::Session);
    let recovered = async {
        while futures_util::future::join_all([put(), put(), put(), put()]).await.iter().any(Result::is_err) {}
    };
    soon("the statements are prepared again", recovered).await;
}
