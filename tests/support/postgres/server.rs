//! PostgreSQL servers that stop when the test process ends, also after a crash.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::programs;

/// The user id of `nobody`. A server runs as this user if the tests run as root, because PostgreSQL refuses root.
pub const NOBODY: u32 = 65_534;

/// Starts a server in the directory `$1`, with the programs in `$2`, on the port `$3`, and prints `ready`. At the end
/// of its input it says whether it failed, and removes everything. On an encrypted connection to the port, the user rallypoint needs a client
/// certificate. The user keeper has a password. The script ignores SIGPIPE: a closed output must not end it before
/// the cleanup.
const SCRIPT: &str = r#"
trap '' PIPE
cd "$1" || exit 1
export PATH="$2:$PATH"
initdb -D data -U rallypoint -A trust -E UTF8 --locale=C --no-sync >log 2>&1 &&
chmod 600 server.key && mv *.pem *.key data &&
{ echo 'hostssl all rallypoint 127.0.0.1/32 cert' && echo 'local all keeper scram-sha-256'; } |
    cat - data/pg_hba.conf >hba && cat hba >data/pg_hba.conf &&
pg_ctl -D data -l log -w -o "-k '$1' -p $3 -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off \
    -c max_connections=400 -c shared_buffers=64MB \
    -c ssl=on -c ssl_cert_file=server.pem -c ssl_key_file=server.key -c ssl_ca_file=ca.pem" start >>log 2>&1 &&
echo ready || cat log
exec >/dev/null
cat
grep -E 'PANIC|No space left|terminated by signal' log | tail -n 3 >&2
pg_ctl -D data -m immediate -w stop >>log 2>&1
cd / && rm -rf "$1"
"#;

/// The certificates of the server and of a client, their keys, and the certificate authority that signed both.
const TLS_FILES: [(&str, &str); 5] = [
    ("ca.pem", include_str!("../tls/ca.pem")),
    ("server.pem", include_str!("../tls/server.pem")),
    ("server.key", include_str!("../tls/server.key")),
    ("client.pem", include_str!("../tls/client.pem")),
    ("client.key", include_str!("../tls/client.key")),
];

/// A server that runs while this process holds its input open.
pub struct Server {
    pub url: String,
    pub port: u16,
    _script: Child,
}

impl Server {
    /// The server that most tests share.
    pub fn usual() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(&programs::oldest()))
    }

    /// A server of the newest available version.
    pub fn newest() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(&programs::newest()))
    }

    /// A server for one test alone.
    pub fn alone() -> Self {
        Self::start(&programs::oldest())
    }

    fn start(binaries: &Path) -> Self {
        let [port] = free_ports();
        let (dir, mut command) = script(SCRIPT, binaries, &[port], &TLS_FILES);
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = said.next().expect("the script says something").unwrap();
        assert_eq!(first, "ready", "the server does not start: {:?}", said.collect::<Vec<_>>());
        let host = dir.to_str().unwrap().replace('/', "%2F");
        Self { url: format!("postgresql://rallypoint@{host}:{port}/postgres"), port, _script: child }
    }
}

/// Free ports.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// A command that runs a script in a new directory. Its arguments are the directory, the directory of the programs,
/// and the ports. The user that it runs as owns the directory and the given files in it.
pub fn script(text: &str, binaries: &Path, ports: &[u16], files: &[(&str, &str)]) -> (PathBuf, Command) {
    let dir = tempfile::Builder::new().prefix("rallypoint-postgres-").tempdir().unwrap().keep();
    let mut command = Command::new("sh");
    command.args(["-c", text, "sh"]).arg(&dir).arg(programs::readable(binaries, &dir));
    command.args(ports.iter().map(u16::to_string));
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        let owned = Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(&dir).status();
        assert!(owned.is_ok_and(|status| status.success()), "cannot give {} away", dir.display());
        command.uid(NOBODY).gid(NOBODY);
    }
    // Its own process group: an interrupt of the tests must not interrupt the cleanup.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    (dir, command)
}
