//! Many sessions end at the same moment, while clients use other sessions.

use std::ops::Range;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rallypoint::env::Clock;
use rallypoint::records::keys::KEY_UPGRADE;
use rallypoint::store::Embedded;

use super::variants::shown;
use super::{Bench, database, nodes_name};
use crate::cases::{CALLERS, Case, SESSIONS_EACH};
use crate::compare::{Server, callers};
use crate::connection::Connection;
use crate::load::Sample;
use crate::process::{Process, cpu_time_s, cpu_time_with_children_s};
use crate::requests;
use crate::sessions::{Kind, Sessions};
use crate::support::{median, spread};

/// Sessions that clients keep using.
const OTHERS: u64 = CALLERS * SESSIONS_EACH;
/// Interval at which each caller polls, and joins or leaves: together about half of the load that two cores can take.
const POLL_EVERY: Duration = Duration::from_millis(50);
const JOIN_EVERY: Duration = Duration::from_millis(100);
/// Time to store a session; an upper bound, which decides when the sessions fall due.
const FILL_TIME_EACH: Duration = Duration::from_micros(400);
/// Time for servers and callers to start and warm up.
const START_TIME: Duration = Duration::from_secs(5);
/// Most cells until all sessions must have ended.
const CELLS_MAX: usize = 900;

/// A cell of the measurement.
struct Cell {
    polls: Sample,
    joins: Sample,
    /// When it ended.
    over_ms: i64,
    /// Sessions that had expired by then.
    ended: u64,
    /// CPU time up to then.
    nodes_cpu_s: f64,
    database_cpu_s: f64,
}

/// Measures, and prints a table.
pub fn measure(bench: &Bench) {
    println!(
        "\n| {} sessions end | seconds | polls' p99 µs before | meanwhile | ratio | joins' p99 µs before | meanwhile \
         | ratio | nodes' CPU µs each | database's CPU µs each |\n| --- |{}",
        shown(bench.size.due as f64),
        " --: |".repeat(9)
    );
    let due_ms = due_ms(bench);
    let dir = bench.directory("expiry");
    bench.runtime.block_on(fill_embedded(Path::new(&dir), bench.size.due, due_ms));
    let server = Server::start(&["serve", &dir], Stdio::null());
    run(bench, "embedded store", &[server], due_ms);
    for count in [1, 2] {
        let (due_ms, name) = (self::due_ms(bench), format!("expiry_{count}"));
        bench.runtime.block_on(async {
            database::create(&bench.cluster, &name).await;
            for (numbers, deadline_ms) in parts(bench.size.due, due_ms) {
                database::fill(&bench.cluster, &name, numbers, deadline_ms).await;
            }
            database::vacuum_and_checkpoint(&bench.cluster, &name).await;
        });
        run(bench, &nodes_name(count), &bench.nodes(&name, count), due_ms);
    }
}

/// When the sessions fall due that are stored next.
fn due_ms(bench: &Bench) -> i64 {
    let before = bench.size.time * bench.size.rounds as u32;
    let from_now = FILL_TIME_EACH * bench.size.due as u32 + START_TIME + before;
    Clock::System.now_ms() + from_now.as_millis() as i64
}

/// The sessions that clients keep using and those that fall due, with their deadlines.
fn parts(due: u64, due_ms: i64) -> [(Range<u64>, i64); 2] {
    [(0..OTHERS, Sessions::new().deadline_from_now_ms()), (OTHERS..OTHERS + due, due_ms)]
}

async fn fill_embedded(dir: &Path, due: u64, due_ms: i64) {
    let (store, sessions) = (Embedded::open(dir, KEY_UPGRADE).unwrap(), Sessions::new());
    for (numbers, deadline_ms) in parts(due, due_ms) {
        sessions.store(&store, Kind::Game, numbers, deadline_ms).await;
    }
    store.close().await.unwrap();
}

fn run(bench: &Bench, name: &str, servers: &[Server], due_ms: i64) {
    let all: Vec<_> = servers.iter().collect();
    let file = |case: Case| bench.write(&format!("{}.json", case.name()), &case.requests(OTHERS, 0));
    let mut polls = callers(Case::Get, &all, &file(Case::Get), Some(POLL_EVERY));
    let mut joins = callers(Case::Join, &all, &file(Case::Join), Some(JOIN_EVERY));
    let mut cells: Vec<Cell> = Vec::new();
    while cells.last().is_none_or(|cell| cell.ended < bench.size.due) {
        assert!(cells.len() < CELLS_MAX, "sessions do not end");
        cells.push(cell(bench, servers, [&mut polls, &mut joins]));
    }
    let before = cells.iter().take_while(|cell| cell.over_ms <= due_ms).count();
    assert!(before > bench.size.rounds, "sessions were stored too slowly");
    let meanwhile = cells.split_off(before);
    print(bench, name, &cells[before - bench.size.rounds..], &meanwhile, due_ms);
}

fn cell(bench: &Bench, servers: &[Server], mut callers: [&mut Process; 2]) -> Cell {
    callers.iter_mut().for_each(|callers| callers.begin(bench.size.time));
    let [polls, joins] = callers.map(Process::sample);
    let ended = servers.iter().map(|server| bench.runtime.block_on(ended(server))).sum();
    Cell {
        polls,
        joins,
        over_ms: Clock::System.now_ms(),
        ended,
        nodes_cpu_s: servers.iter().map(|server| cpu_time_s(server.process.id())).sum(),
        database_cpu_s: cpu_time_with_children_s(bench.cluster.pid),
    }
}

/// Number of sessions that a server has expired.
async fn ended(server: &Server) -> u64 {
    const NAME: &str = "rallypoint_sessions_expired_total ";
    let mut connection = Connection::open(server.admin.unwrap()).await;
    connection.send(&requests::metrics()).await;
    connection.body().lines().find_map(|line| line.strip_prefix(NAME)).unwrap().parse().unwrap()
}

fn print(bench: &Bench, name: &str, before: &[Cell], meanwhile: &[Cell], due_ms: i64) {
    let last = &meanwhile[meanwhile.len() - 1];
    let seconds = (last.over_ms - due_ms) as f64 / 1e3;
    let p99s = |of: fn(&Cell) -> f64| {
        let (usual, now) = (median(before.iter().map(of)), median(meanwhile.iter().map(of)));
        let ratio = spread(meanwhile.iter().map(|cell| of(cell) / usual));
        format!(" {} | {} | {ratio} |", shown(usual), shown(now))
    };
    let each_us = |of: fn(&Cell) -> f64| {
        let used_s = |cells: &[Cell]| of(&cells[cells.len() - 1]) - of(&cells[0]);
        let usual_s = used_s(before) / (before.len() - 1) as f64;
        // The first of these cells begins where the last one before ended.
        let used_s = of(last) - of(&before[before.len() - 1]);
        shown((used_s - usual_s * meanwhile.len() as f64) * 1e6 / bench.size.due as f64)
    };
    println!(
        "| {name} | {seconds:.1} |{}{} {} | {} |",
        p99s(|cell| cell.polls.p99_us),
        p99s(|cell| cell.joins.p99_us),
        each_us(|cell| cell.nodes_cpu_s),
        each_us(|cell| cell.database_cpu_s)
    );
}
