//! Measures what a session costs in memory: the server's memory after all sessions were read, minus that of the store
//! alone.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rallypoint::records::keys::{self, KEY_UPGRADE};
use rallypoint::store::{Backend, Embedded};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::compare::Server;
use crate::connection::Connection;
use crate::process::{Process, resident_bytes};
use crate::requests::{self, Request};
use crate::sessions::{Kind, PLATFORM, Sessions, Which};

/// Number of connections that read.
const READERS: u64 = 16;

/// Resident memory of processes with `sessions` sessions, in bytes.
struct Resident {
    sessions: u64,
    fill_time: Duration,
    /// The store alone, after every session was read.
    store: u64,
    /// The server after its start.
    started: u64,
    /// The server after each platform session was read.
    platform_read: u64,
    /// The server after each session was read too.
    all_read: u64,
}

/// Measures with each of these numbers of sessions, and prints a table.
pub fn measure(runtime: &Runtime, kind: Kind, sessions: &[u64]) {
    println!(
        "{:>10} {:>7} {:>10} {:>10} {:>13} {:>10} {:>18} {:>12}",
        "sessions",
        "fill s",
        "store MB",
        "start MB",
        "platform MB",
        "both MB",
        "platform B/session",
        "both B/session"
    );
    let empty = Resident::of(runtime, kind, 0);
    empty.print(&empty);
    for sessions in sessions {
        Resident::of(runtime, kind, *sessions).print(&empty);
    }
}

impl Resident {
    fn of(runtime: &Runtime, kind: Kind, sessions: u64) -> Self {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (path, start) = (dir.path().to_str().unwrap(), Instant::now());
        runtime.block_on(Sessions::new().fill(dir.path(), kind, sessions));
        let fill_time = start.elapsed();
        let store = {
            let mut store =
                Process::start(&["read-store", &kind.name(), path, &sessions.to_string()], Stdio::inherit());
            store.line();
            resident_bytes(store.id())
        };
        let server = Server::start(&["serve", path], Stdio::null());
        let resident = || resident_bytes(server.process.id());
        let read = |request| runtime.block_on(read_all(server.address, kind, sessions, request));
        let started = resident();
        read(requests::platform_session);
        let platform_read = resident();
        read(requests::session);
        Self { sessions, fill_time, store, started, platform_read, all_read: resident() }
    }

    /// Prints a row. `empty` is a server without sessions.
    fn print(&self, empty: &Self) {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let beyond = |of: fn(&Self) -> u64| of(self) as f64 - self.store as f64;
        let beyond_empty = |of: fn(&Self) -> u64| of(empty) as f64 - empty.store as f64;
        let each = |of| (beyond(of) - beyond_empty(of)) / self.sessions.max(1) as f64;
        println!(
            "{:>10} {:>7.1} {:>10.1} {:>10.1} {:>13.1} {:>10.1} {:>18.0} {:>12.0}",
            self.sessions,
            self.fill_time.as_secs_f64(),
            mb(self.store),
            mb(self.started),
            mb(self.platform_read),
            mb(self.all_read),
            each(|resident| resident.platform_read),
            each(|resident| resident.all_read),
        );
    }
}

/// Reads every session once.
async fn read_all(address: SocketAddr, kind: Kind, sessions: u64, request: fn(Which, &str) -> Request) {
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        readers.spawn(async move {
            let mut connection = Connection::open(address).await;
            let token = requests::reader_token();
            for number in (reader..sessions).step_by(READERS as usize) {
                connection.send(&request(Which { kind, number }, &token)).await;
            }
        });
    }
    readers.join_all().await;
}

/// Reads from the store what the server reads for the same requests. Returns the store.
pub async fn read_store(dir: &Path, kind: Kind, sessions: u64) -> Embedded {
    let store = Embedded::open(dir, KEY_UPGRADE).unwrap();
    for number in 0..sessions {
        let which = Which { kind, number };
        let id = which.id();
        let platform_session = keys::platform_session(PLATFORM, &which.platform_session_id());
        for key in [platform_session, keys::session(&id), keys::deadline_of(&id)] {
            assert!(store.get(&key).await.unwrap().is_some());
        }
    }
    store
}
