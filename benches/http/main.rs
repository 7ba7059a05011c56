//! Measures what a request costs, compared with the HTTP library and the store below it, what a session costs in
//! memory, and what a login costs. See `../README.md`.

mod cases;
mod committer;
mod compare;
mod connection;
mod load;
mod login;
mod memory;
mod nodes;
mod process;
mod queues;
mod requests;
mod servers;
mod sessions;
mod waits;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cases::Case;
use clap::{Parser, Subcommand, ValueEnum};
use committer::Committer;
use connection::Client;
use load::{Caller, Pace};
use serde::de::DeserializeOwned;
use sessions::Kind;
use tokio::runtime::Runtime;

/// The allocator of the `rallypoint` binary. The bare server uses it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure what a request costs, compared with the HTTP library and the store below it.
#[derive(Parser)]
struct Args {
    /// Run a short check that everything works. Its numbers mean little.
    #[arg(long, global = true)]
    quick: bool,
    /// Measure these cases only, in the order of the list.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Case>,
    /// Measure polls also with `[http] fast_path = false`, with CORS, and on the normal path.
    #[arg(long)]
    paths: bool,
    /// Passed by cargo.
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The role of a process of the bench.
#[derive(Subcommand)]
enum Role {
    /// Measure what a session costs in memory.
    Memory {
        /// Kind of the sessions.
        #[arg(long, default_value = "game")]
        kind: Kind,
        /// Numbers of sessions to measure.
        #[arg(default_values_t = [10_000, 1_000_000])]
        sessions: Vec<u64>,
    },
    /// Measure what a login costs, compared with the creation of a session.
    Login,
    /// Measure what requests cost with several servers on one database, compared with the embedded store and the
    /// database alone.
    Nodes {
        /// Measure these parts only, in the order of the list.
        parts: Vec<nodes::Part>,
    },
    /// Measure what queues and the audit cost, compared with joins, and how soon players hear of their match.
    Queues {
        /// Parties that join the queue of duels in a second.
        #[arg(long, default_value_t = 1_000)]
        rate: u64,
    },
    /// Measure what held requests cost, compared with a bare hyper server that holds as many, and with polls.
    Waits {
        /// Measure these parts only, in the order of the list.
        parts: Vec<waits::Part>,
        /// Number of held requests. The limit of open files must be higher.
        #[arg(long, default_value_t = 19_000)]
        waits: usize,
    },
    #[command(hide = true)]
    Serve {
        dir: PathBuf,
        #[command(flatten)]
        options: servers::Options,
    },
    #[command(hide = true)]
    ServeBare { answer: PathBuf },
    #[command(hide = true)]
    ServeBareWaits { answer: PathBuf },
    #[command(hide = true)]
    ReadStore { kind: Kind, dir: PathBuf, stored: u64 },
    #[command(hide = true)]
    Load {
        case: Case,
        requests: PathBuf,
        /// Addresses of the servers.
        #[arg(long, value_delimiter = ',')]
        addresses: Vec<SocketAddr>,
        /// Process ids of the servers.
        #[arg(long, value_delimiter = ',')]
        pids: Vec<u32>,
        /// Shortest time between two requests of a caller, in milliseconds.
        #[arg(long)]
        every_ms: Option<u64>,
    },
    #[command(hide = true)]
    Commit {
        case: Case,
        dir: PathBuf,
        stored: u64,
        /// Number of this set of callers. Callers of different sets change different sessions.
        #[arg(long, default_value_t = 0)]
        set: u64,
        #[command(flatten)]
        options: servers::Options,
    },
}

fn main() {
    let args = Args::parse();
    let runtime = Runtime::new().unwrap();
    match args.role {
        Some(role) => play(&runtime, role, args.quick),
        None => {
            let size = if args.quick { compare::QUICK } else { compare::WHOLE };
            let is_selected = |case: &&Case| args.only.is_empty() || args.only.contains(case);
            let cases: Vec<_> = Case::value_variants().iter().filter(is_selected).copied().collect();
            compare::compare(&runtime, size, &cases, args.paths);
        }
    }
}

/// Runs a role. Hidden roles run until the parent process closes their standard input.
fn play(runtime: &Runtime, role: Role, quick: bool) {
    match role {
        Role::Memory { kind, sessions } => memory::measure(runtime, kind, &sessions),
        Role::Login => login::measure(runtime, if quick { &compare::QUICK } else { &compare::WHOLE }),
        Role::Nodes { parts } => {
            let size = if quick { nodes::QUICK } else { nodes::WHOLE };
            nodes::measure(runtime, size, &parts);
        }
        Role::Queues { rate } => queues::measure(runtime, quick, rate),
        Role::Waits { parts, waits } => waits::measure(runtime, quick, &parts, waits),
        Role::Serve { dir, options } => {
            let server = runtime.block_on(servers::start(&dir, options));
            let admin = server.admin_address.unwrap();
            process::print_line(&format!("{} {admin}", server.api_address));
            process::times().for_each(drop);
            runtime.block_on(server.stop()).unwrap();
        }
        Role::ServeBare { answer } => {
            let address = runtime.block_on(servers::start_bare(&read(&answer)));
            process::print_line(&address.to_string());
            process::times().for_each(drop);
        }
        Role::ServeBareWaits { answer } => {
            let address = runtime.block_on(waits::bare::start(&read(&answer)));
            process::print_line(&address.to_string());
            process::times().for_each(drop);
        }
        Role::ReadStore { kind, dir, stored } => {
            let store = runtime.block_on(memory::read_store(&dir, kind, stored));
            process::print_line("read");
            process::times().for_each(drop);
            drop(store);
        }
        Role::Load { case, requests, addresses, pids, every_ms } => {
            let clients = runtime.block_on(Client::open_all(&addresses, read(&requests), case.steps()));
            let pace = match every_ms.map(Duration::from_millis) {
                Some(every) => Pace::Every(every),
                None => case.pace(),
            };
            measure_on_demand(runtime, pace, clients, &pids);
        }
        Role::Commit { case, dir, stored, set, options } => {
            let store = runtime.block_on(servers::open_store(&dir, &options));
            let committers = runtime.block_on(Committer::open_all(case, &store, stored, set));
            measure_on_demand(runtime, case.pace(), committers, &[std::process::id()]);
        }
    }
}

/// Reads a JSON file.
fn read<T: DeserializeOwned>(file: &Path) -> T {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Measures once for each duration on standard input, and prints each sample as a line of JSON.
fn measure_on_demand<C: Caller>(runtime: &Runtime, pace: Pace, mut callers: Vec<C>, pids: &[u32]) {
    runtime.block_on(load::warm(&mut callers));
    for time in process::times() {
        let sample = runtime.block_on(load::measure(&mut callers, pace, pids, time));
        process::print_line(&serde_json::to_string(&sample).unwrap());
    }
}
