//! Measures held requests: their memory, how soon a change wakes them, what they save against polls, and what they cost
//! those who change something.

pub mod bare;
mod freshness;
mod herd;
mod idle;
mod joins;
mod memory;
mod wake;
pub mod watcher;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use clap::ValueEnum;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::compare::{Server, fetch};
use crate::requests::Request;
use crate::sessions::{Kind, Sessions, Which};

/// A part of the bench.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Part {
    /// Memory of held requests.
    Memory,
    /// Time from the answer to a change until all held requests are answered.
    Wake,
    /// Requests, CPU time and age of the news, against polls.
    Freshness,
    /// Joins while others wait.
    Joins,
    /// All held requests wait for the same session, and wake at once.
    Herd,
    /// CPU time of held requests while nothing happens.
    Idle,
}

/// Size of a run.
#[derive(Clone, Copy)]
struct Size {
    /// Most held requests.
    waits: usize,
    is_quick: bool,
}

/// Measures the parts and prints a table for each.
pub fn measure(runtime: &Runtime, is_quick: bool, parts: &[Part], waits: usize) {
    let size = Size { waits: if is_quick { waits.min(400) } else { waits }, is_quick };
    let is_selected = |part: &&Part| parts.is_empty() || parts.contains(part);
    for part in Part::value_variants().iter().filter(is_selected) {
        match part {
            Part::Memory => memory::measure(runtime, size),
            Part::Wake => wake::measure(runtime, size),
            Part::Freshness => freshness::measure(runtime, size),
            Part::Joins => joins::measure(runtime, size),
            Part::Herd => herd::measure(runtime, size),
            Part::Idle => idle::measure(runtime, size),
        }
        println!();
    }
}

/// A server on sessions of four players, with room for waits.
fn server(runtime: &Runtime, dir: &Path, kind: Kind, sessions: u64, waits: usize) -> Server {
    runtime.block_on(Sessions::new().fill(dir, kind, sessions));
    let waits = waits.to_string();
    Server::start(&["serve", dir.to_str().unwrap(), "--waits-max", &waits], Stdio::null())
}

/// A bare server that sends the same response as the server at this address.
fn bare(runtime: &Runtime, dir: &Path, address: SocketAddr, request: &Request) -> Server {
    let (answer, _) = runtime.block_on(fetch(address, request));
    let file = dir.join("answer.json");
    std::fs::write(&file, serde_json::to_vec(&answer).unwrap()).unwrap();
    Server::start(&["serve-bare-waits", file.to_str().unwrap()], Stdio::inherit())
}

fn temp_dir() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A session by its number.
fn game(number: usize) -> Which {
    Which { kind: Kind::Game, number: number as u64 }
}
