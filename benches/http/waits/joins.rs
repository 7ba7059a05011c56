//! Joins while others wait, compared with joins while nobody does.

use std::time::Duration;

use tokio::runtime::Runtime;

use super::watcher::Watcher;
use super::{Size, server, temp_dir};
use crate::cases::{CALLERS, Case, SESSIONS_EACH};
use crate::compare::{callers, print, print_head};
use crate::sessions::Kind;

/// Longer than the measurement: no wait ends in it.
const WAIT_S: u64 = 55;
const SETTLE: Duration = Duration::from_secs(1);
/// The sessions that players join are the first ones.
const JOINED: usize = (CALLERS * SESSIONS_EACH) as usize;

/// Measures a server with and one without waits in turn, and prints a table.
pub fn measure(runtime: &Runtime, size: Size) {
    let (dirs, case) = ([temp_dir(), temp_dir()], Case::Join);
    let sessions = (JOINED + size.waits.div_ceil(Kind::Game.players() as usize)) as u64;
    let servers = dirs.each_ref().map(|dir| server(runtime, dir.path(), Kind::Game, sessions, size.waits));
    let file = dirs[0].path().join("requests.json");
    std::fs::write(&file, serde_json::to_vec(&case.requests(JOINED as u64, 0)).unwrap()).unwrap();
    let load = |index: usize| callers(case, &[&servers[index]], file.to_str().unwrap(), None);
    let mut variants = [load(0), load(1)];
    let (rounds, time) = if size.is_quick { (2, 200) } else { (15, 1_000) };
    let mut watchers = runtime.block_on(Watcher::open_all(servers[1].address, JOINED, size.waits));
    runtime.block_on(async { watchers.iter_mut().for_each(|watcher| watcher.begin_wait(WAIT_S)) });
    runtime.block_on(async { tokio::time::sleep(SETTLE).await });
    let mut samples = Vec::new();
    for round in 0..rounds {
        let mut pair = [None; 2];
        for turn in [round % 2, (round + 1) % 2] {
            pair[turn] = Some(variants[turn].measure(Duration::from_millis(time)));
        }
        samples.push(pair.map(Option::unwrap).to_vec());
    }
    println!("joins with {} requests held elsewhere", size.waits);
    print_head();
    print("join", &["nobody waits", "others wait"], &samples);
}
