//! What does a request cost beside the HTTP library and the store that carry it, and a session in memory? See
//! `../README.md`.

mod cases;
mod committer;
mod compare;
mod connection;
mod load;
mod memory;
mod process;
mod requests;
mod servers;
mod sessions;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cases::Case;
use clap::{Parser, Subcommand, ValueEnum};
use committer::Committer;
use connection::Client;
use load::Caller;
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
    #[arg(long)]
    quick: bool,
    /// These cases alone, in the order of the list.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Case>,
    /// Given by cargo.
    #[arg(long, hide = true)]
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
    #[command(hide = true)]
    Serve { dir: PathBuf },
    #[command(hide = true)]
    ServeBare { answer: PathBuf },
    #[command(hide = true)]
    ReadStore { kind: Kind, dir: PathBuf, stored: u64 },
    #[command(hide = true)]
    Load { case: Case, address: SocketAddr, server_pid: u32, requests: PathBuf },
    #[command(hide = true)]
    Commit { case: Case, dir: PathBuf, stored: u64 },
}

fn main() {
    let args = Args::parse();
    let runtime = Runtime::new().unwrap();
    match args.role {
        Some(role) => play(&runtime, role),
        None => {
            let size = if args.quick { compare::QUICK } else { compare::WHOLE };
            let is_asked_for = |case: &&Case| args.only.is_empty() || args.only.contains(case);
            let cases: Vec<_> = Case::value_variants().iter().filter(is_asked_for).copied().collect();
            compare::compare(&runtime, size, &cases);
        }
    }
}

/// Plays a role; all but one until the process that asked for it goes away.
fn play(runtime: &Runtime, role: Role) {
    match role {
        Role::Memory { kind, sessions } => memory::measure(runtime, kind, &sessions),
        Role::Serve { dir } => {
            let server = runtime.block_on(servers::start(&dir));
            process::print_line(&server.api_address.to_string());
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
        Role::Load { case, address, server_pid, requests } => {
            let clients = runtime.block_on(Client::open_all(address, read(&requests)));
            answer_times(runtime, case, clients, server_pid);
        }
        Role::Commit { case, dir, stored } => {
            let committers = runtime.block_on(Committer::open_all(case, &dir, stored));
            answer_times(runtime, case, committers, std::process::id());
        }
    }
}

fn read<T: DeserializeOwned>(file: &Path) -> T {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn answer_times<C: Caller>(runtime: &Runtime, case: Case, mut callers: Vec<C>, server_pid: u32) {
    runtime.block_on(load::warm(&mut callers));
    for time in process::times() {
        let sample = runtime.block_on(load::measure(&mut callers, case.is_at_once(), server_pid, time));
        process::print_line(&serde_json::to_string(&sample).unwrap());
    }
}
