//! All held requests wait for the same session: time until the last one is answered, and what other requests see
//! meanwhile. Compared with a bare hyper server that holds as many.

use std::time::Duration;

use tokio::runtime::Runtime;

use super::wake::Crowd;
use super::{Size, bare, game, server, temp_dir};
use crate::cases::{CALLERS, Case, SESSIONS_EACH};
use crate::compare::{Server, callers};
use crate::load::Sample;
use crate::process::Process;
use crate::requests;
use crate::sessions::Kind;
use crate::support::{median, spread};

/// Interval at which each other caller polls: 1,280 polls a second in all.
const POLL_EVERY: Duration = Duration::from_millis(50);
/// Sessions that others poll. The next one is that of the herd.
const POLLED: usize = (CALLERS * SESSIONS_EACH) as usize;

/// One wake-up of all.
struct Herd {
    last: Duration,
    /// Polls of others before, and while the requests are answered.
    polls: [Sample; 2],
}

/// Measures both servers in turn and prints a table. A process has not enough files for connections to both at once.
pub fn measure(runtime: &Runtime, size: Size) {
    let dir = temp_dir();
    let (which, reader) = (game(POLLED), requests::reader_token());
    let read = requests::session(which, &reader);
    let server = server(runtime, dir.path(), Kind::Game, POLLED as u64 + 1, size.waits);
    let bare = bare(runtime, dir.path(), server.address, &read);
    let file = dir.path().join("polls.json");
    std::fs::write(&file, serde_json::to_vec(&Case::Get.requests(POLLED as u64, 0)).unwrap()).unwrap();
    let polls = |server: &Server| callers(Case::Get, &[server], file.to_str().unwrap(), Some(POLL_EVERY));
    let (turns, rounds) = if size.is_quick { (1, 2) } else { (4, 4) };
    let mut herds = [Vec::new(), Vec::new()];
    for turn in 0..turns {
        for (index, server) in [&bare, &server].into_iter().enumerate() {
            let mut crowd = runtime.block_on(Crowd::open(server.address, which, &read, size.waits));
            let mut polls = polls(server);
            // Each change differs from the one before, also from that of the last turn: the number of rounds is even.
            let numbers = turn * rounds..(turn + 1) * rounds;
            herds[index].extend(numbers.map(|number| wake(runtime, &mut crowd, &mut polls, number)));
        }
    }
    print(size, &herds);
}

fn wake(runtime: &Runtime, crowd: &mut Crowd, polls: &mut Process, round: usize) -> Herd {
    // The time that the wake-up takes, about.
    let time = Duration::from_millis(500);
    runtime.block_on(crowd.begin_waits());
    let before = polls.measure(time);
    polls.begin(time);
    let last = runtime.block_on(crowd.change(round));
    Herd { last, polls: [before, polls.sample()] }
}

fn print(size: Size, herds: &[Vec<Herd>; 2]) {
    println!("{} requests that wait for one session wake at once", size.waits);
    println!(
        "{:14} {:>12} {:>8} {:>18} {:>16} {:>10} {:>20}",
        "", "last, p50 ms", "most ms", "ratio to bare", "polls p99 us", "meanwhile", "ratio"
    );
    for (herds_of, name) in herds.iter().zip(["bare hyper", "rallypoint"]) {
        let last_ms = |herd: &Herd| herd.last.as_secs_f64() * 1e3;
        let most = herds_of.iter().map(last_ms).fold(0.0, f64::max);
        let pairs = herds_of.iter().zip(&herds[0]);
        let polls = |index: usize| median(herds_of.iter().map(move |herd| herd.polls[index].p99_us));
        println!(
            "{name:14} {:>12.0} {most:>8.0} {:>18} {:>16.0} {:>10.0} {:>20}",
            median(herds_of.iter().map(last_ms)),
            spread(pairs.map(|(herd, bare)| last_ms(herd) / last_ms(bare))),
            polls(0),
            polls(1),
            spread(herds_of.iter().map(|herd| herd.polls[1].p99_us / herd.polls[0].p99_us)),
        );
    }
}
