//! Measures what requests cost with several servers on one database: compared with the embedded store and with the
//! database alone, with more servers, with more sessions, and while many sessions end.

mod commits;
mod costs;
pub mod database;
mod exact;
mod expiry;
mod hints;
mod pgbench;
mod reads;
mod relay;
mod sizes;
mod variants;
mod wakes;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use variants::Variant;

use crate::cases::{CALLERS, Case};
use crate::compare::{Server, callers, make_conditional};
use crate::requests::Request;
use crate::sessions::{Kind, Sessions};
use crate::support::postgres::Cluster;

/// Numbers of servers that share a database.
const NODES: [usize; 3] = [1, 2, 4];
/// Numbers of servers that are also measured with `CALLERS` callers for each server.
const CROWDED: [usize; 2] = [2, 4];

/// A part of the bench.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Part {
    /// Get Platform Session Info, answered 200 and 304.
    Reads,
    /// Players join and leave. Each response follows an fsync of the database.
    Commits,
    /// What a request costs in the database.
    Costs,
    /// Reads and commits with few and with many stored sessions, and their size on disk.
    Sizes,
    /// Many sessions end at the same moment, while clients use others.
    Expiry,
    /// From a change at one node until a wait at another one is answered.
    Wakes,
    /// Players join and leave, with and without messages between nodes.
    Hints,
    /// Players join and leave with `Idempotency-Key` and with `If-Match`.
    Exact,
}

/// Size of a run.
pub struct Size {
    /// Stored sessions, in the parts that do not vary their number.
    sessions: u64,
    sizes: [u64; 3],
    /// Sessions that fall due at the same moment.
    due: u64,
    rounds: usize,
    time: Duration,
}

pub const WHOLE: Size = Size {
    sessions: 100_000,
    sizes: [1_024, 100_000, 1_000_000],
    due: 100_000,
    rounds: 15,
    time: Duration::from_secs(1),
};
pub const QUICK: Size = Size {
    sessions: 16_384,
    sizes: [1_024, 2_048, 4_096],
    due: 2_048,
    rounds: 3,
    time: Duration::from_secs(1),
};

struct Bench<'a> {
    runtime: &'a Runtime,
    dir: &'a Path,
    cluster: Cluster,
    size: Size,
    filled: RefCell<BTreeSet<String>>,
}

/// Measures the parts, and prints their tables.
pub fn measure(runtime: &Runtime, size: Size, parts: &[Part]) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cluster = Cluster::start();
    let bench = Bench { runtime, dir: dir.path(), cluster, size, filled: RefCell::default() };
    println!("{}", runtime.block_on(database::description(&bench.cluster)));
    for part in Part::value_variants().iter().filter(|part| parts.is_empty() || parts.contains(part)) {
        match part {
            Part::Reads => reads::measure(&bench),
            Part::Commits => commits::measure(&bench),
            Part::Costs => costs::measure(&bench),
            Part::Sizes => sizes::measure(&bench),
            Part::Expiry => expiry::measure(&bench),
            Part::Wakes => wakes::measure(&bench),
            Part::Hints => hints::measure(&bench),
            Part::Exact => exact::measure(&bench),
        }
    }
}

impl Bench<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A directory of this name.
    fn directory(&self, name: &str) -> String {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir.to_str().unwrap().to_owned()
    }

    /// Writes a value to a JSON file for the processes of the bench. Returns its path.
    fn write<T: Serialize>(&self, name: &str, value: &T) -> String {
        let file = self.path(name);
        std::fs::write(&file, serde_json::to_vec(value).unwrap()).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Whether this is the first call with this name.
    fn is_new(&self, name: &str) -> bool {
        self.filled.borrow_mut().insert(name.to_owned())
    }

    /// A database with `sessions` sessions. It is filled on first use.
    fn database(&self, sessions: u64) -> String {
        let name = format!("sessions_{sessions}");
        if self.is_new(&name) {
            self.runtime.block_on(async {
                database::create(&self.cluster, &name).await;
                let deadline_ms = Sessions::new().deadline_from_now_ms();
                database::fill(&self.cluster, &name, 0..sessions, deadline_ms).await;
                database::vacuum_and_checkpoint(&self.cluster, &name).await;
            });
        }
        name
    }

    /// A server on a database.
    fn node(&self, name: &str, url: &str, more: &[&str]) -> Server {
        let dir = self.directory(name);
        Server::start(&[&["serve", &dir, "--database", url], more].concat(), Stdio::null())
    }

    /// `count` servers on a database.
    fn nodes(&self, database: &str, count: usize) -> Vec<Server> {
        let node = |number| self.node(&format!("node-{number}"), &self.cluster.url(database), &[]);
        (0..count).map(node).collect()
    }

    /// A server on the embedded store, with the same number of sessions.
    fn embedded(&self) -> Server {
        let dir = self.directory("embedded");
        if self.is_new("embedded") {
            self.runtime.block_on(Sessions::new().fill(Path::new(&dir), Kind::Game, self.size.sessions));
        }
        Server::start(&["serve", &dir], Stdio::null())
    }

    /// The requests of one or several sets of callers to a server with `sessions` stored sessions.
    fn requests(&self, case: Case, sets: &[u64], server: &Server, sessions: u64) -> Vec<Vec<Request>> {
        let mut requests: Vec<_> = sets.iter().flat_map(|set| case.requests(sessions, *set)).collect();
        if case.is_conditional() {
            self.runtime.block_on(make_conditional(server.address, &mut requests));
        }
        requests
    }
}

/// The name of a number of servers in a table.
fn nodes_name(count: usize) -> String {
    if count == 1 { "1 node".into() } else { format!("{count} nodes") }
}

/// The variants with 1, 2 and 4 servers: first with `CALLERS` callers in all, then with `CALLERS` for each server. Each
/// variant takes its own `sets`, so that those that change sessions do not meet.
fn nodes_variants(
    bench: &Bench,
    case: Case,
    nodes: &[Server],
    mut sets: impl Iterator<Item = u64>,
) -> Vec<Variant> {
    let together = NODES.map(|count| (count, 1, nodes_name(count)));
    let each = CROWDED.map(|count| (count, count, format!("{}, {CALLERS} callers each", nodes_name(count))));
    let variant = |(count, times, name): (usize, usize, String)| {
        let sets: Vec<_> = sets.by_ref().take(times).collect();
        let requests = bench.requests(case, &sets, &nodes[0], bench.size.sessions);
        let file = bench.write(&format!("{name}.json"), &requests);
        let servers: Vec<_> = nodes.iter().take(count).collect();
        Variant::new(name, callers(case, &servers, &file, None))
    };
    together.into_iter().chain(each).map(variant).collect()
}
