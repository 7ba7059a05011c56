//! Joins while others wait, compared with joins while nobody does, and with those of an earlier build.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::watcher::Watcher;
use super::{Size, server, temp_dir};
use crate::cases::{CALLERS, Case, SESSIONS_EACH};
use crate::compare::{Server, callers, print, print_head};
use crate::requests;
use crate::sessions::{Kind, Sessions};

/// Longer than the measurement: no wait ends in it.
const WAIT_S: u64 = 55;
const SETTLE: Duration = Duration::from_secs(1);
/// The sessions that players join are the first ones.
const JOINED: usize = (CALLERS * SESSIONS_EACH) as usize;
/// The program of this bench in an earlier build, to compare with.
const BEFORE_VARIABLE: &str = "BEFORE";

/// Measures a server with and one without waits in turn, and prints a table.
pub fn measure(runtime: &Runtime, size: Size) {
    let (dirs, case) = ([temp_dir(), temp_dir(), temp_dir()], Case::Join);
    let sessions = (JOINED + size.waits.div_ceil(Kind::Game.players() as usize)) as u64;
    let mut servers: Vec<_> = dirs
        .iter()
        .take(2)
        .map(|dir| server(runtime, dir.path(), Kind::Game, sessions, size.waits))
        .collect();
    let mut names = vec!["nobody waits", "others wait"];
    if let Some(program) = std::env::var_os(BEFORE_VARIABLE) {
        runtime.block_on(Sessions::new().fill(dirs[2].path(), Kind::Game, sessions));
        servers.push(before(program, dirs[2].path().to_str().unwrap()));
        names.push("earlier build");
    }
    let file = dirs[0].path().join("requests.json");
    std::fs::write(&file, serde_json::to_vec(&case.requests(JOINED as u64, 0)).unwrap()).unwrap();
    let load = |server| callers(case, &[server], file.to_str().unwrap(), None);
    let mut variants: Vec<_> = servers.iter().map(load).collect();
    let (rounds, time) = if size.is_quick { (2, 200) } else { (15, 1_000) };
    let mut watchers =
        runtime.block_on(Watcher::open_all(servers[1].address, JOINED, size.waits, requests::token));
    runtime.block_on(async { watchers.iter_mut().for_each(|watcher| watcher.begin_wait(WAIT_S)) });
    runtime.block_on(async { tokio::time::sleep(SETTLE).await });
    let (mut samples, count) = (Vec::new(), variants.len());
    for round in 0..rounds {
        let mut cells = vec![None; count];
        for turn in (0..count).map(|turn| (round + turn) % count) {
            cells[turn] = Some(variants[turn].measure(Duration::from_millis(time)));
        }
        samples.push(cells.into_iter().map(Option::unwrap).collect::<Vec<_>>());
    }
    println!("joins with {} requests held elsewhere", size.waits);
    print_head();
    print("join", &names, &samples);
}

/// A server of an earlier build, on a data directory.
fn before(program: OsString, dir: &str) -> Server {
    Server::start_program(program, &["serve", dir], Stdio::null())
}
