//! A database whose standby is away: commits get no answer there, however long they are waited for.

use std::time::Duration;

use futures_util::future::join_all;
use rallypoint::store::{Backend as _, Batch, CommitError, Postgres, PostgresSettings, StoreError};

use crate::support::postgres::Database;
use crate::support::postgres::server::Server;
use crate::support::process::soon;

const CALLERS: usize = 16;

/// What becomes of a commit that shares no key with another.
async fn commit(store: &Postgres, key: usize) -> Result<(), StoreError> {
    match store.commit(Batch::default().put(format!("key {key}"), "value")).await {
        Ok(_) => Ok(()),
        Err(CommitError::Store(error)) => Err(error),
        Err(conflict) => panic!("{conflict}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_wait_for_a_standby_do_not_pile_up() {
    // It takes the setting of the whole server.
    let server = Server::alone();
    let database = Database::on(&server.url).await;
    let settings = database.settings();
    let impatient = PostgresSettings {
        statement_timeout: Duration::from_millis(100),
        patience: Duration::ZERO,
        ..settings.clone()
    };
    let store = Postgres::open(impatient).await.unwrap();
    let client = database.client().await;
    let commit_all = || join_all((0..CALLERS).map(|key| commit(&store, key)));
    assert_eq!(commit_all().await, [const { Ok(()) }; CALLERS]);

    client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'away'").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    // Reads go on meanwhile. Those who were sent to find out got no answer, and are told that it may have happened.
    let silent = async { while commit_all().await.iter().all(Result::is_ok) {} };
    soon("the database is silent", silent).await;
    store.get(b"key 0").await.unwrap().unwrap();
    let probe = commit(&store, CALLERS);
    let others = async {
        let mut refused = 0;
        while refused < CALLERS {
            if let Err(StoreError::Unavailable(cause)) = commit(&store, refused).await {
                assert!(
                    cause.contains("if the database waits for standbys, see that they are there"),
                    "{cause}"
                );
                refused += 1;
            }
        }
    };
    let (probed, ()) = soon("the others are refused", async { tokio::join!(biased; probe, others) }).await;
    assert!(matches!(probed, Err(StoreError::Unsure(_))), "{probed:?}");
    let waiting = database.waiting_for_standby(&client).await;
    let connections = i64::try_from(settings.write_connections).unwrap();
    assert!((1..=connections + 2).contains(&waiting), "{waiting} wait");

    client.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let made = async { while commit_all().await != [const { Ok(()) }; CALLERS] {} };
    soon("the standby is no longer waited for", made).await;
    assert_eq!(database.waiting_for_standby(&client).await, 0);
}
