//! PostgreSQL servers for the tests of this process. The first test that needs one starts it in a temporary
//! directory. It stops when the process ends, also after a crash. Each test gets its own schema.

pub mod pair;
pub mod programs;
pub mod server;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rallypoint::env::Entropy;
use rallypoint::store::{MessageMode, Postgres, PostgresSettings, PostgresTls, parse_postgres_url};
use tokio_postgres::{Client, NoTls};

use super::proxy::Proxy;
use server::Server;

/// Environment variable with the URL of a server to use instead of a started one: `postgresql://USER@HOST/DATABASE`.
pub const URL_VARIABLE: &str = "RALLYPOINT_TEST_POSTGRES_URL";

/// The URL of the server that the tests use.
pub fn server_url() -> String {
    std::env::var(URL_VARIABLE).unwrap_or_else(|_| Server::usual().url.clone())
}

/// The URL of a server of the newest available version.
pub fn newest_server_url() -> &'static str {
    &Server::newest().url
}

/// A schema of its own for a store, empty at first.
#[derive(Clone)]
pub struct Database {
    /// The URL for the configuration of a server.
    pub url: String,
    schema: String,
}

impl Database {
    /// A new schema on the server that the tests use.
    pub async fn new() -> Self {
        Self::on(&server_url()).await
    }

    /// A new schema on this server.
    pub async fn on(server: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let schema = format!("test_{}_{number}", std::process::id());
        let join = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{join}application_name={schema}&options=-csearch_path%3D{schema}");
        let database = Self { url, schema };
        let created = format!("DROP SCHEMA IF EXISTS {0} CASCADE; CREATE SCHEMA {0}", database.schema);
        database.client().await.batch_execute(&created).await.unwrap();
        database
    }

    /// A new schema on the started server, which supports TLS, and its URL with TLS.
    pub async fn new_with_tls() -> (Self, String) {
        let server = Server::usual();
        let schema = format!("tls_{}", uuid::Uuid::from_bytes(Entropy::System.bytes()).simple());
        let url = format!("{}?application_name={schema}&options=-csearch_path%3D{schema}", server.url);
        let database = Self { url, schema };
        database.client().await.batch_execute(&format!("CREATE SCHEMA {}", database.schema)).await.unwrap();
        let query = database.url.split_once('?').unwrap().1;
        let encrypted = format!("postgresql://rallypoint@localhost:{}/postgres?{query}", server.port);
        (database, encrypted)
    }

    /// The number of encrypted and of plain connections to this schema.
    pub async fn encrypted(&self) -> (i64, i64) {
        let count = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl)
            FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
            WHERE application_name = $1 AND pid <> pg_backend_pid()";
        let row = self.client().await.query_one(count, &[&self.schema]).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// The same schema, with another value for a setting of its connections.
    pub fn where_usual(&self, setting: &str, value: &str) -> Self {
        Self { url: format!("{}%20-c{setting}%3D{value}", self.url), ..self.clone() }
    }

    /// The settings of a test's store.
    pub fn settings(&self) -> PostgresSettings {
        PostgresSettings {
            address: parse_postgres_url(&self.url).unwrap(),
            tls: PostgresTls::new(None, None).unwrap(),
            write_connections: 4,
            read_connections: 2,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            retry_deadline: Duration::from_secs(60),
            // Most tests use a manual clock.
            clock_skew_max_ms: i64::MAX,
            messages: MessageMode::Auto,
        }
    }

    /// The settings of a test's store that connects through a proxy.
    pub fn settings_through(&self, proxy: &Proxy) -> PostgresSettings {
        self.settings_at(proxy.address)
    }

    /// The same settings with short timeouts and without retries.
    pub fn settings_without_retries_through(&self, proxy: &Proxy) -> PostgresSettings {
        PostgresSettings {
            statement_timeout: Duration::from_millis(100),
            connect_timeout: Duration::from_millis(500),
            retry_deadline: Duration::ZERO,
            ..self.settings_through(proxy)
        }
    }

    /// The settings of a test's store that connects to these hosts.
    pub fn settings_at(&self, hosts: impl std::fmt::Display) -> PostgresSettings {
        let direct = self.settings();
        let address = &direct.address;
        let (user, name) = (address.get_user().unwrap(), address.get_dbname().unwrap());
        let options = self.url.split_once("options=").unwrap().1;
        let url = format!("postgresql://{user}@{hosts}/{name}?options={options}");
        PostgresSettings { address: parse_postgres_url(&url).unwrap(), ..direct }
    }

    /// Opens a store there.
    pub async fn open(&self) -> Postgres {
        Postgres::open(self.settings()).await.unwrap()
    }

    /// A connection that is not one of the store's.
    pub async fn client(&self) -> Client {
        let (client, connection) = parse_postgres_url(&self.url).unwrap().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// The same schema, used by another user.
    pub fn as_user(&self, user: &str) -> Self {
        let (_, rest) = self.url.split_once('@').unwrap();
        Self { url: format!("postgresql://{user}@{rest}"), ..self.clone() }
    }

    /// The number of the stores' statements that wait for a lock. Call it outside a transaction: inside one, the
    /// result never changes.
    pub async fn waiting(&self, client: &Client) -> usize {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid() AND application_name = $1";
        let waiting: i64 = client.query_one(waiting, &[&self.schema]).await.unwrap().get(0);
        usize::try_from(waiting).unwrap()
    }

    /// The number of server processes that wait for a standby.
    pub async fn waiting_for_standby(&self, client: &Client) -> i64 {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        client.query_one(waiting, &[]).await.unwrap().get(0)
    }

    /// Closes every connection except the given one; returns their number.
    pub async fn cut(&self, client: &Client) -> i64 {
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND application_name = $1";
        client.query_one(others, &[&self.schema]).await.unwrap().get(0)
    }
}
