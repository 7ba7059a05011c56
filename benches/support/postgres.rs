//! A PostgreSQL server for a bench, which keeps what it answers: with `fsync`, beside the files of the embedded store,
//! reached over TCP as from another machine. It stops when the process ends, however it ends.
#![allow(dead_code, reason = "each bench uses a part of this")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::tests::postgres::programs;
use super::tests::postgres::server::NOBODY;

/// Makes a server in the directory `$1`, with the programs in `$2`, on the port `$3`; says its process id, and takes
/// everything away when its input ends. Beside the defaults: room in memory, and for a log that is not cut off every
/// few seconds.
const SCRIPT: &str = r#"
cd "$1" || exit 1
export PATH="$2:$PATH"
initdb -D data -U rallypoint -A trust -E UTF8 --locale=C --no-sync >log 2>&1 &&
pg_ctl -D data -l log -w -o "-p $3 -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c max_connections=400 -c shared_buffers=1GB -c max_wal_size=4GB" start >>log 2>&1 &&
head -n 1 data/postmaster.pid || cat log
cat >/dev/null
pg_ctl -D data -m immediate -w stop >>log 2>&1
rm -rf data log programs
"#;

/// The server, for as long as the process holds its input open.
pub struct Cluster {
    port: u16,
    /// The process id of the server, of which all others are children.
    pub pid: u32,
    /// Where its programs are.
    pub programs: PathBuf,
    script: Child,
    /// What the script leaves of it, since that may not be whose it is around it.
    _dir: TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        // Where it failed, it has said so.
        let _ = self.script.wait();
    }
}

impl Cluster {
    pub fn start() -> Self {
        let binaries = programs::oldest();
        let dir = tempfile::Builder::new().prefix("postgres-").tempdir_in(files_parent()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let programs = programs::readable(&binaries, dir.path());
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).arg(dir.path()).arg(&programs).arg(port.to_string());
        if is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            command.uid(NOBODY).gid(NOBODY);
        }
        // A group of its own: whoever interrupts the bench must not interrupt the taking away.
        let mut script =
            command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(script.stdout.take().unwrap()).lines();
        let first = said.next().expect("the script says something").unwrap();
        let Ok(pid) = first.parse() else {
            drop(script.stdin.take());
            panic!("the server does not start: {first:?}, {:?}", said.collect::<Vec<_>>());
        };
        Self { port, pid, programs, script, _dir: dir }
    }

    /// A database as an operator would name it.
    pub fn url(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    /// The same where something else stands before the server, on a port of its own.
    pub fn url_at(&self, port: u16, database: &str) -> String {
        format!("postgresql://rallypoint@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection to a database.
    pub async fn client(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Makes a database, of nothing or of another one to which nobody is connected.
    pub async fn create(&self, database: &str, template: Option<&str>) {
        let template = template.unwrap_or("template1");
        let create = format!("CREATE DATABASE {database} TEMPLATE {template}");
        self.client("postgres").await.batch_execute(&create).await.unwrap();
    }
}

/// Where the server may keep its files: with the build, on a disk rather than in memory, unless whom it runs as is not
/// let through to there.
fn files_parent() -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lets_through = |dir: &Path| fs::metadata(dir).is_ok_and(|dir| dir.permissions().mode() & 1 != 0);
    if is_root() && !parent.ancestors().all(lets_through) { std::env::temp_dir() } else { parent.to_owned() }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
