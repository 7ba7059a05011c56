//! What an operator reads if the database cannot be used: at the start, in `/ready`, and in the answers of a running
//! server. The server recovers by itself once the database can be used again.

use std::time::Duration;

use rallypoint::env::Entropy;
use rallypoint::runtime::admin;
use rallypoint::store::{
    Backend as _, Batch, Postgres, PostgresSettings, Store, StoreError, parse_postgres_url,
};
use serde_json::json;

use crate::harness::{Server, contents};
use crate::support::postgres::Database;
use crate::support::process::soon;

/// Status and body of `/ready`.
async fn ready(server: &Server) -> (u16, String) {
    let request = http::Request::get("/ready").body(()).unwrap();
    let (parts, body) = admin::handle(&server.readiness(), request).await.into_parts();
    let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    (parts.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

/// A store that does not retry.
async fn open_without_retries(settings: PostgresSettings) -> Postgres {
    Postgres::open(PostgresSettings { retry_deadline: Duration::ZERO, ..settings }).await.unwrap()
}

/// A role name that no other test uses.
fn new_role() -> String {
    format!("r{}", uuid::Uuid::from_bytes(Entropy::System.bytes()).simple())
}

/// A trigger that reports a full disk for every row of a statement after the first.
const FULL: &str = r#"CREATE SEQUENCE written;
    CREATE FUNCTION write_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('written') > 1 THEN
            RAISE 'could not extend file "base/5/16384": No space left on device' USING ERRCODE = 'disk_full';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON rallypoint_entries FOR EACH ROW EXECUTE FUNCTION write_row()"#;

#[tokio::test]
async fn on_a_full_disk_changes_fail_as_a_whole_until_there_is_space() {
    let database = Database::new().await;
    let store = open_without_retries(database.settings()).await;
    let server = Server::over(Store::Postgres(store.clone()), |_| {});
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    let before = contents(&server).await;
    let etag = alice.session(&session).await.etag();
    let client = database.client().await;
    client.batch_execute(FULL).await.unwrap();
    for refused in [
        bob.joins(&session).await,
        alice.patch(&format!("/v1/session/{session}"), &json!({"region_id": "eu"})).await,
        alice.links(&session).await,
    ] {
        assert_eq!(refused.headers["retry-after"], "1");
        refused.refused(503, "store_unavailable");
        client.batch_execute("ALTER SEQUENCE written RESTART").await.unwrap();
    }
    client.batch_execute("SELECT nextval('written')").await.unwrap();
    let (status, body) = ready(&server).await;
    assert_eq!(status, 503);
    assert!(body.contains("No space left on device; free space on the database's disk"), "{body}");
    client.batch_execute("ALTER SEQUENCE written RESTART").await.unwrap();
    let failed =
        store.commit(Batch::default().put("a", "new").put("b", "new")).await.unwrap_err().to_string();
    assert!(failed.contains("No space left on device; free space on the database's disk"), "{failed}");
    assert_eq!(alice.session(&session).await.expect(200).etag(), etag, "reads go on");
    assert_eq!(before, contents(&server).await);

    client.batch_execute("DROP TRIGGER full_disk ON rallypoint_entries").await.unwrap();
    assert_eq!(ready(&server).await, (200, "ready\n".into()));
    bob.joins(&session).await.expect(200);
    alice.links(&session).await.expect(200);
}

#[tokio::test]
async fn a_server_is_not_ready_once_its_database_becomes_read_only() {
    let alone = crate::support::postgres::server::Server::alone();
    let database = Database::on(&alone.url).await;
    let store = open_without_retries(database.settings()).await;
    let server = Server::over(Store::Postgres(store.clone()), |_| {});
    assert_eq!(ready(&server).await, (200, "ready\n".into()), "no commit was made yet");
    let session = server.player().creates("game").await;
    let client = database.client().await;
    // This holds for open connections, too.
    let set = async |mode: &str| {
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {mode}");
        client.batch_execute("SET transaction_read_only = off").await.unwrap();
        client.batch_execute(&set).await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    };
    set("on").await;
    let refused = async { while store.commit(Batch::default().put("key", "value")).await.is_ok() {} };
    soon("changes are refused", refused).await;
    // Each connection reads the new configuration when it gets to it.
    let not_ready = async {
        loop {
            if let (503, body) = ready(&server).await {
                break body;
            }
        }
    };
    let body = soon("the server is not ready", not_ready).await;
    assert!(body.contains("check that default_transaction_read_only is off there"), "{body}");
    server.player().session(&session).await.expect(200);
    set("off").await;
    soon("the server is ready again", async { while ready(&server).await.0 != 200 {} }).await;
}

#[tokio::test]
async fn a_read_only_database_is_refused_with_advice() {
    let database = Database::new().await;
    let read_only = database.where_usual("default_transaction_read_only", "on");
    let refused = open_error(read_only.settings()).await.to_string();
    assert!(refused.contains("name the primary, or all hosts, in [postgres] url"), "{refused}");

    let client = database.client().await;
    let role = new_role();
    client.batch_execute(&format!("CREATE ROLE {role} LOGIN SUPERUSER")).await.unwrap();
    let server =
        Server::over(Store::Postgres(open_without_retries(database.as_user(&role).settings()).await), |_| {});
    let alice = server.player();
    let session = alice.creates("game").await;
    let set_read_only = |mode: &str| format!("ALTER ROLE {role} SET default_transaction_read_only = {mode}");
    client.batch_execute(&set_read_only("on")).await.unwrap();
    let readiness = async {
        loop {
            database.cut(&client).await;
            if let (503, body) = ready(&server).await
                && body.contains("takes no writes")
            {
                break body;
            }
        }
    };
    let body = soon("the server is not ready", readiness).await;
    assert!(body.contains("check that default_transaction_read_only is off there"), "{body}");
    alice.leaves(&session).await.refused(503, "store_unavailable");
    client.batch_execute(&set_read_only("off")).await.unwrap();
    soon("the server recovers", async { while alice.leaves(&session).await.status != 204 {} }).await;
    client
        .batch_execute(&format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP ROLE {role}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn tables_with_other_columns_are_refused_with_advice() {
    const ADVICE: &str = "check that database and search_path are those of the store";
    for changed in [
        "DROP TABLE rallypoint_entries",
        "ALTER TABLE rallypoint_entries RENAME COLUMN version TO number",
        "ALTER TABLE rallypoint_entries ALTER COLUMN key TYPE text USING 'key'",
        "ALTER TABLE rallypoint_entries ALTER COLUMN version TYPE text",
    ] {
        let database = Database::new().await;
        let store = open_without_retries(database.settings()).await;
        store.commit(Batch::default().put("key", "value")).await.unwrap();
        let client = database.client().await;
        client.batch_execute(changed).await.unwrap();
        let refused = open_error(database.settings()).await.to_string();
        assert!(refused.starts_with("the store failed: cannot use the database "), "{changed}: {refused}");
        assert!(refused.contains(ADVICE), "{changed}: {refused}");
        database.cut(&client).await;
        let failed = async {
            loop {
                if let Err(error) = store.commit(Batch::default().put("key", "new")).await
                    && error.to_string().contains(ADVICE)
                {
                    break;
                }
            }
        };
        soon("a running server reports it", failed).await;
    }
}

#[tokio::test]
async fn a_table_without_its_primary_key_is_reported() {
    let database = Database::new().await;
    let store = open_without_retries(database.settings()).await;
    let client = database.client().await;
    let dropped = "ALTER TABLE rallypoint_entries DROP CONSTRAINT rallypoint_entries_pkey";
    client.batch_execute(dropped).await.unwrap();
    let failed = store.commit(Batch::default().put("key", "value")).await.unwrap_err().to_string();
    assert!(failed.contains("the tables are not the ones that a server creates"), "{failed}");
}

/// Waits until a statement of a store has waited for a lock for two seconds, twice its time limit.
async fn waits_for_long(database: &Database) {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
        AND application_name = current_setting('application_name') AND now() - xact_start > '2 s'";
    let client = database.client().await;
    let waits = async { while client.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0) == 0 {} };
    soon("a server waits", waits).await;
}

#[tokio::test]
async fn a_server_waits_while_another_upgrades_the_schema() {
    let database = Database::new().await;
    database.open().await;
    let client = database.client().await;
    client.batch_execute("UPDATE rallypoint_schema SET number = 0").await.unwrap();
    client.batch_execute("BEGIN; SELECT number FROM rallypoint_schema FOR UPDATE").await.unwrap();
    let statement_timeout = Duration::from_millis(100);
    let settings =
        PostgresSettings { statement_timeout, retry_deadline: Duration::ZERO, ..database.settings() };
    let opening = tokio::spawn(Postgres::open(settings));
    // Each attempt waits in a transaction of its own.
    let observer = database.client().await;
    let attempts = async {
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 3 {
            const ATTEMPT: &str =
                "SELECT xact_start::text FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                AND application_name = current_setting('application_name')";
            seen.extend(
                observer.query(ATTEMPT, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)),
            );
        }
    };
    soon("the server tries again", attempts).await;
    assert!(!opening.is_finished());
    client.batch_execute("UPDATE rallypoint_schema SET number = 1; COMMIT").await.unwrap();
    let store = soon("the server starts", opening).await.unwrap().unwrap();
    store.commit(Batch::default().put("key", "value")).await.unwrap();
}

#[tokio::test]
async fn an_upgrade_may_take_longer_than_a_statement() {
    let database = Database::new().await;
    let client = database.client().await;
    client.batch_execute("BEGIN; CREATE TABLE rallypoint_entries ()").await.unwrap();
    let settings = PostgresSettings { statement_timeout: Duration::from_secs(1), ..database.settings() };
    let opening = tokio::spawn(Postgres::open(settings));
    waits_for_long(&database).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    let store = soon("the server starts", opening).await.unwrap().unwrap();
    store.commit(Batch::default().put("key", "value")).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_advice() {
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
async fn errors_at_the_start_have_advice() {
    let database = Database::new().await;
    let client = database.client().await;
    let role = new_role();
    let schema: String = client.query_one("SELECT current_schema()::text", &[]).await.unwrap().get(0);
    let created = format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}");
    client.batch_execute(&created).await.unwrap();
    let (url, settings) = (&database.url, database.settings());
    let user = settings.address.get_user().unwrap();
    let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, expected) in [
        (url.replace(&format!("{user}@"), &format!("{role}@")), "the user needs CREATE on the schema"),
        (url.replace(&format!("{user}@"), "stranger@"), "role \"stranger\" does not exist"),
        (
            url.replace("/postgres?", "/elsewhere?"),
            "create the database, or name another one in [postgres] url",
        ),
        (url.replace("%3Dtest", "%3Dabsent"), "create the schema that search_path names"),
        (format!("postgresql://{user}@{closed_port}/postgres"), "onnection refused"),
    ] {
        let address = parse_postgres_url(&url).unwrap();
        let message = open_error(PostgresSettings { address, ..settings.clone() }).await.to_string();
        assert!(message.starts_with("the store failed: cannot use the database "), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test]
async fn a_user_without_the_right_to_create_tables_uses_existing_ones() {
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
