//! A database that is away, slow, wrong or lost at the worst moment: what is answered then, and what an operator reads.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rallypoint::admin;
use rallypoint::env::Clock;
use rallypoint::store::{
    Backend as _, Batch, CommitError, Postgres, PostgresSettings, Store, StoreError, parse_postgres_url,
};
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

/// One that is not waited for.
async fn impatient() -> (Postgres, Postgres, Proxy) {
    let database = Database::new().await;
    let proxy = Proxy::before(&database.settings().address).await;
    let settings = PostgresSettings {
        statement_timeout: Duration::from_millis(100),
        connect_timeout: Duration::from_millis(500),
        patience: Duration::ZERO,
        ..database.settings_through(&proxy)
    };
    let store = Postgres::open(settings).await.unwrap();
    store.commit(Batch::default().put("key", "old")).await.unwrap();
    assert!(store.get(b"key").await.unwrap().is_some());
    (store, database.open().await, proxy)
}

/// A commit over a network that goes down in the middle of it, and comes back once `meanwhile` is over.
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

async fn replacing(store: &Postgres) -> Batch {
    let version = store.get(b"key").await.unwrap().unwrap().version;
    Batch::default().expect_version("key", version).put("key", "new").delete("other")
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_and_one_whose_request_is_lost_is_made() {
    for network in [Network::DownAtAnswer, Network::DownAtRequest] {
        let (made, beside) = commit_over(network, replacing, async |_| {}).await;
        let entry = beside.get(b"key").await.unwrap().unwrap();
        assert_eq!((made, entry.value), (Ok(entry.version), "new".into()), "{network:?}");
        assert_eq!(beside.get(b"other").await, Ok(None));
    }
}

#[tokio::test]
async fn a_lost_commit_without_expectations_is_looked_for_and_not_made_again() {
    let blind = async |_: &Postgres| Batch::default().put("key", "new");
    let (made, beside) = commit_over(Network::DownAtAnswer, blind, async |_| {}).await;
    assert_eq!(made, Ok(beside.get(b"key").await.unwrap().unwrap().version));

    let (unsure, beside) = commit_over(Network::DownAtRequest, blind, async |_| {}).await;
    assert!(matches!(unsure, Err(CommitError::Store(StoreError::Unsure(_)))), "{unsure:?}");
    assert_eq!(beside.get(b"key").await.unwrap().unwrap().value, "old");
}

#[tokio::test]
async fn a_lost_commit_that_others_have_overwritten_since_is_not_called_a_conflict() {
    let overwrite = async |beside: &Postgres| {
        beside.commit(Batch::default().put("key", "theirs")).await.unwrap();
    };
    for network in [Network::DownAtAnswer, Network::DownAtRequest] {
        let (unsure, beside) = commit_over(network, replacing, overwrite).await;
        let Err(CommitError::Store(error @ StoreError::Unsure(_))) = unsure else { panic!("{unsure:?}") };
        assert!(!error.changed_nothing());
        assert_eq!(beside.get(b"key").await.unwrap().unwrap().value, "theirs");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_told_from_one_that_may_have_heard() {
    let (store, beside, proxy) = impatient().await;
    let version = store.get(b"key").await.unwrap().unwrap().version;
    let replace = || Batch::default().expect_version("key", version).put("key", "new");
    proxy.set(Network::Down);
    // The connections find out one by one; what was sent on one of them may have been heard.
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
async fn a_network_that_says_nothing_is_given_up() {
    let (store, _beside, proxy) = impatient().await;
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
async fn a_server_is_ready_while_it_reaches_its_database() {
    let (store, _beside, proxy) = impatient().await;
    let server = Server::over(Store::Postgres(store), |_| {});
    set_clock(&server);
    let alice = server.player();
    let ready = async || {
        let asked = http::Request::get("/ready").body(()).unwrap();
        admin::handle(&server.app, false, asked).await.status().as_u16()
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

/// Sets a test's clock, which stands still, to the time of this machine.
fn set_clock(server: &Server) {
    let Clock::Manual(ms) = &server.clock else { panic!("tests have a clock of their own") };
    ms.store(Clock::System.now_ms(), Ordering::Release);
}

#[tokio::test]
async fn a_server_whose_clock_is_off_is_not_ready_and_says_so() {
    let database = Database::new().await;
    let settings = PostgresSettings { clock_skew_max_ms: 600_000, ..database.settings() };
    let store = Postgres::open(settings).await.unwrap();
    let server = Server::over(Store::Postgres(store.clone()), |_| {});
    let ready = async || {
        let asked = http::Request::get("/ready").body(()).unwrap();
        let (parts, body) = admin::handle(&server.app, false, asked).await.into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        (parts.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    };
    set_clock(&server);
    assert_eq!(ready().await, (200, "ready\n".into()));
    server.clock.advance(Duration::from_secs(700));
    let (status, told) = ready().await;
    assert_eq!(status, 503);
    assert!(
        told.contains("clock differs from the database's by ") && told.contains("keep both in time"),
        "{told}"
    );
    let now_ms = Clock::System.now_ms();
    let behind = store.check_clock(|| now_ms - 700_000).await;
    assert!(matches!(behind, Err(StoreError::ClockSkew { difference_ms: ..-600_000, .. })), "{behind:?}");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let store = Database::new().await.open().await;
    store.commit(Batch::default().put("key", "value")).await.unwrap();
    let store = Store::Postgres(store);
    store.close().await.unwrap();
    assert_eq!(store.get(b"key").await, Err(StoreError::Closed));
    assert_eq!(store.scan(b"", b"", 1).await, Err(StoreError::Closed));
    assert_eq!(store.commit(Batch::default().put("key", "value")).await, Err(StoreError::Closed.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_at_once_make_the_tables_once() {
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

#[tokio::test]
async fn a_newer_schema_is_refused_and_says_what_to_run() {
    let database = Database::new().await;
    database.open().await;
    database.client().await.batch_execute("UPDATE rallypoint_schema SET number = 7").await.unwrap();
    let refused = open_error(database.settings()).await;
    assert_eq!(refused, StoreError::UnknownSchema { found: 7, known: 1 });
    let message = refused.to_string();
    assert!(
        message.contains("run a server version that knows schema 7, or name another database"),
        "{message}"
    );
}

/// Why opening failed; an open store has no `Debug`.
async fn open_error(settings: PostgresSettings) -> StoreError {
    Postgres::open(settings).await.err().expect("the store does not open")
}

#[tokio::test]
async fn an_operator_is_told_what_to_do() {
    let database = Database::new().await;
    let client = database.client().await;
    let role = format!("r{}", uuid::Uuid::from_bytes(rallypoint::env::Entropy::System.bytes()).simple());
    let schema: String = client.query_one("SELECT current_schema()::text", &[]).await.unwrap().get(0);
    let created = format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}");
    client.batch_execute(&created).await.unwrap();
    let (url, settings) = (&database.url, database.settings());
    let user = settings.address.get_user().unwrap();
    let nobody_listens = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, told) in [
        (url.replace(&format!("{user}@"), &format!("{role}@")), "the user needs CREATE on the schema"),
        (url.replace(&format!("{user}@"), "stranger@"), "role \"stranger\" does not exist"),
        (
            url.replace("/postgres?", "/elsewhere?"),
            "create the database, or name another one in [postgres] url",
        ),
        (url.replace("%3Dtest", "%3Dabsent"), "create the schema that search_path names"),
        (format!("postgresql://{user}@{nobody_listens}/postgres"), "onnection refused"),
    ] {
        let address = parse_postgres_url(&url).unwrap();
        let message = open_error(PostgresSettings { address, ..settings.clone() }).await.to_string();
        assert!(message.starts_with("the store failed: cannot use the database "), "{message}");
        assert!(message.contains(told), "{message}");
    }
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test]
async fn a_user_who_may_not_make_tables_uses_those_that_are_there() {
    let database = Database::new().await;
    database.open().await;
    let client = database.client().await;
    let schema: String = client.query_one("SELECT current_schema()::text", &[]).await.unwrap().get(0);
    let role = format!("{schema}_user");
    let granted = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"
    );
    client.batch_execute(&granted).await.unwrap();
    let user = format!("{}@", database.settings().address.get_user().unwrap());
    let address = parse_postgres_url(&database.url.replace(&user, &format!("{role}@"))).unwrap();
    let store = Postgres::open(PostgresSettings { address, ..database.settings() }).await.unwrap();
    store.commit(Batch::default().put("key", "value")).await.unwrap();

    client.batch_execute(&format!("REVOKE INSERT ON rallypoint_entries FROM {role}")).await.unwrap();
    let refused = store.commit(Batch::default().put("key", "value")).await.unwrap_err().to_string();
    assert!(refused.contains("SELECT, INSERT, UPDATE and DELETE"), "{refused}");
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}
