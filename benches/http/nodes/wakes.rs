//! From the answer to a change at one node until a wait at another node is answered, compared with a statement of the
//! database at the same time.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::Bench;
use crate::cases::Case;
use crate::compare::{Server, callers};
use crate::connection::Connection;
use crate::requests;
use crate::sessions::Which;
use crate::waits::watcher::Watcher;

const WAIT_S: u64 = 50;
/// Pause until a request is held.
const SETTLE: Duration = Duration::from_millis(20);
/// Statements beside each change.
const STATEMENTS: usize = 5;
/// Sessions that change in turn.
const SESSIONS: usize = 64;
/// Interval at which each caller joins or leaves, if there is load.
const JOIN_EVERY: Duration = Duration::from_millis(200);
/// One measurement with load lasts longer than all rounds.
const LOAD_TIME: Duration = Duration::from_secs(3_600);

/// What was measured, in milliseconds, in ascending order.
#[derive(Default)]
struct Times {
    wakes_ms: Vec<f64>,
    statements_ms: Vec<f64>,
}

/// Measures with and without load, and with and without messages, and prints a table.
pub fn measure(bench: &Bench) {
    let database = bench.database(bench.size.sessions);
    let client = bench.runtime.block_on(bench.cluster.client(&database));
    let rounds = if bench.size.rounds < super::WHOLE.rounds { 20 } else { 1_000 };
    println!(
        "\n| wake across nodes | wakes | p50 ms | p99 ms | most ms | `SELECT 1` p50 ms | p99 ms | wake p99 beyond it |\n\
         | --- |{}",
        " --: |".repeat(7)
    );
    let mut first = 0;
    for (name, option, is_loaded, rounds) in [
        ("nothing else", None, false, rounds),
        ("64 callers join, 320 a second", None, true, rounds),
        ("`hints = off`: only looks", Some("--no-hints"), false, rounds / 20),
    ] {
        let node = |number| {
            let dir = format!("wakes-{}-{number}", option.unwrap_or_default());
            let options: Vec<_> = option.into_iter().collect();
            bench.node(&dir, &bench.cluster.url(&database), &options)
        };
        let nodes = [node(0), node(1)];
        let load = is_loaded.then(|| {
            let requests = bench.requests(Case::Join, &[0], &nodes[0], bench.size.sessions);
            let file = bench.write("wakes.json", &requests);
            let mut load = callers(Case::Join, &[&nodes[0]], &file, Some(JOIN_EVERY));
            load.begin(LOAD_TIME);
            load
        });
        // Callers join sessions of another set.
        let sessions = Case::Join.sessions_of_callers(bench.size.sessions, 1).concat();
        let numbers = first..first + rounds;
        first = numbers.end;
        let mut times = bench.runtime.block_on(run(&nodes, &client, &sessions[..SESSIONS], numbers));
        if let Some(load) = load {
            load.kill();
        }
        times.print(name);
    }
}

/// Makes changes of these numbers. A change of the same number as the last one would change nothing.
async fn run(nodes: &[Server; 2], client: &Client, sessions: &[Which], numbers: Range<u64>) -> Times {
    let (mut watchers, mut changer) = (VecDeque::new(), Connection::open(nodes[0].address).await);
    let tokens: Vec<_> = sessions.iter().map(|which| requests::token(which.player(1))).collect();
    for (which, token) in sessions.iter().zip(&tokens) {
        watchers.push_back(Watcher::open(nodes[1].address, requests::session(*which, token)).await);
    }
    let mut times = Times::default();
    for ((which, token), number) in sessions.iter().zip(&tokens).cycle().zip(numbers) {
        let mut watcher = watchers.pop_front().unwrap();
        watcher.begin_wait(WAIT_S);
        let waiting = tokio::spawn(async move {
            assert_eq!(watcher.finish().await, 200);
            (watcher, Instant::now())
        });
        tokio::time::sleep(SETTLE).await;
        for _ in 0..STATEMENTS {
            let start = Instant::now();
            client.simple_query("SELECT 1").await.unwrap();
            times.statements_ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        changer.send(&requests::change(*which, number, token)).await;
        let answered = Instant::now();
        let (watcher, woken) = waiting.await.unwrap();
        times.wakes_ms.push(woken.saturating_duration_since(answered).as_secs_f64() * 1e3);
        watchers.push_back(watcher);
    }
    times
}

impl Times {
    fn print(&mut self, name: &str) {
        for times in [&mut self.wakes_ms, &mut self.statements_ms] {
            times.sort_by(f64::total_cmp);
        }
        let at = |times: &[f64], part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
        let (wake_ms, statement_ms) = (at(&self.wakes_ms, 0.99), at(&self.statements_ms, 0.99));
        println!(
            "| {name} | {} | {:.2} | {wake_ms:.2} | {:.2} | {:.2} | {statement_ms:.2} | {:.2} |",
            self.wakes_ms.len(),
            at(&self.wakes_ms, 0.5),
            at(&self.wakes_ms, 1.0),
            at(&self.statements_ms, 0.5),
            wake_ms - statement_ms,
        );
    }
}
