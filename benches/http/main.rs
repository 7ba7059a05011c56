//! What does a request cost beside the HTTP library and the store that carry it, and a session in memory? See
//! `../README.md`.

mod cases;
mod committer;
mod compare;
mod connection;
mod load;
mod memory;
mod nodes;
mod process;
mod requests;
mod servers;
mod sessions;
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

/// As in the binary; the bare server has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What does a request cost beside the HTTP library and the store that carry it?
#[derive(Parser)]
struct Args {
    /// A short check that everything works; its numbers mean little.
    #[arg(long, global = true)]
    quick: bool,
    /// These cases alone, in the order of the list.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Case>,
    /// Given by cargo.
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What a process of the bench does.
#[derive(Subcommand)]
enum Role {
    /// What does a session in memory cost?
    Memory {
        /// The kind of sessions.
        #[arg(long, default_value = "game")]
        kind: Kind,
        /// Numbers of sessions to measure with.
        #[arg(default_values_t = [10_000, 1_000_000])]
        sessions: Vec<u64>,
    },
    /// What do requests cost where several servers share a database, beside the embedded store and the database alone?
    Nodes {
        /// These parts alone, in the order of the list.
        parts: Vec<nodes::Part>,
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
    ReadStore { kind: Kind, dir: PathBuf, stored: u64 },
    #[command(hide = true)]
    Load {
        case: Case,
        requests: PathBuf,
        /// Of the servers that answer.
        #[arg(long, value_delimiter = ',')]
        addresses: Vec<SocketAddr>,
        /// Of the same.
        #[arg(long, value_delimiter = ',')]
        pids: Vec<u32>,
        /// How often each caller asks, at most.
        #[arg(long)]
        every_ms: Option<u64>,
    },
    #[command(hide = true)]
    Commit {
        case: Case,
        dir: PathBuf,
        stored: u64,
        /// Tells those apart who must not meet in a session.
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
            let is_asked_for = |case: &&Case| args.only.is_empty() || args.only.contains(case);
            let cases: Vec<_> = Case::value_variants().iter().filter(is_asked_for).copied().collect();
            compare::compare(&runtime, size, &cases);
        }
    }
}

/// Plays a role; all but one until the process that asked for it goes away.
fn play(runtime: &Runtime, role: Role, quick: bool) {
    match role {
        Role::Memory { kind, sessions } => memory::measure(runtime, kind, &sessions),
        Role::Nodes { parts } => {
            let size = if quick { nodes::QUICK } else { nodes::WHOLE };
            nodes::measure(runtime, size, &parts);
        }
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
            answer_times(runtime, pace, clients, &pids);
        }
        Role::Commit { case, dir, stored, set, options } => {
            let store = runtime.block_on(servers::open_store(&dir, &options));
            let committers = runtime.block_on(Committer::open_all(case, &store, stored, set));
            answer_times(runtime, case.pace(), committers, &[std::process::id()]);
        }
    }
}

fn read<T: DeserializeOwned>(file: &Path) -> T {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn answer_times<C: Caller>(runtime: &Runtime, pace: Pace, mut callers: Vec<C>, pids: &[u32]) {
    runtime.block_on(load::warm(&mut callers));
    for time in process::times() {
        let sample = runtime.block_on(load::measure(&mut callers, pace, pids, time));
        process::print_line(&serde_json::to_string(&sample).unwrap());
    }
}
