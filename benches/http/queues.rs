//! Measures what queues and the audit cost, compared with joins of sessions, and how soon players hear of their match.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cases::{CALLERS, Case, SESSIONS_EACH};
use crate::compare::{Server, callers, print, print_head};
use crate::connection::{Client, Connection};
use crate::load::{self, Pace, Sample};
use crate::requests::{self, Request};
use crate::sessions::{DUEL_QUEUE, GAME, Kind, LARGE_QUEUE, Sessions, Which};

/// The sessions that callers join, or with which they join a queue.
const SESSIONS: u64 = CALLERS * SESSIONS_EACH;
/// Players who wait for the news of their match, one after the other on each connection. The others only queue.
const WATCHERS: u64 = 8;
/// The most parties that a watcher queues with.
const PARTIES_OF_WATCHER: u64 = 2_000;
/// Longer than any match takes.
const WAIT_S: u64 = 50;

/// Prints a table for each.
pub fn measure(runtime: &Runtime, is_quick: bool, rate: u64) {
    costs(runtime, is_quick);
    println!();
    matches(runtime, is_quick, rate);
}

/// A server on sessions of a kind.
fn server(runtime: &Runtime, dir: &Path, (kind, sessions): (Kind, u64), option: Option<&str>) -> Server {
    runtime.block_on(Sessions::new().fill(dir, kind, sessions));
    let role: Vec<_> = ["serve", dir.to_str().unwrap()].into_iter().chain(option).collect();
    Server::start(&role, Stdio::null())
}

fn temp_dir() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Joins of sessions with and without the audit, and joins of a queue in which nobody finds a match.
fn costs(runtime: &Runtime, is_quick: bool) {
    let (with_audit, without, files) = (temp_dir(), temp_dir(), temp_dir());
    let stored = (Kind::Game, SESSIONS);
    let audited = server(runtime, with_audit.path(), stored, None);
    let silent = server(runtime, without.path(), stored, Some("--no-audit"));
    let load = |server: &Server, name: &str, requests: Vec<Vec<Request>>| {
        let file = files.path().join(name);
        std::fs::write(&file, serde_json::to_vec(&requests).unwrap()).unwrap();
        callers(Case::Join, &[server], file.to_str().unwrap(), None)
    };
    let queueing = Case::Join.sessions_of_callers(SESSIONS, 0).into_iter();
    let queueing = queueing
        .map(|its| its.into_iter().flat_map(|which| requests::join_and_leave_queue(which, LARGE_QUEUE)));
    let mut variants = [
        load(&silent, "silent.json", Case::Join.requests(SESSIONS, 0)),
        load(&audited, "join.json", Case::Join.requests(SESSIONS, 0)),
        load(&audited, "queue.json", queueing.map(Iterator::collect).collect()),
    ];
    let (rounds, time) = if is_quick { (2, 200) } else { (15, 1_000) };
    let mut samples: Vec<[Sample; 3]> = Vec::new();
    for round in 0..rounds {
        let mut cells = [None; 3];
        for turn in (0..3).map(|turn| (round + turn) % 3) {
            cells[turn] = Some(variants[turn].measure(Duration::from_millis(time)));
        }
        samples.push(cells.map(Option::unwrap));
    }
    print_head();
    let of = |pair: [usize; 2]| -> Vec<Vec<Sample>> {
        samples.iter().map(|cells| pair.map(|variant| cells[variant]).into()).collect()
    };
    print("join", &["without audit", "with audit"], &of([0, 1]));
    print("join", &["a session", "a queue"], &of([1, 2]));
}

/// Parties of one queue for a duel at this rate. Any two of them fit, so a match is possible as soon as a party has
/// queued. Some of the players wait for the news of their match.
fn matches(runtime: &Runtime, is_quick: bool, rate: u64) {
    let seconds = if is_quick { 2 } else { 30 };
    let dir = temp_dir();
    // With some to spare: each caller may be a request late.
    let parties = (rate * seconds).div_ceil(CALLERS) * CALLERS + 2 * CALLERS;
    let of_watchers = WATCHERS * PARTIES_OF_WATCHER;
    let server = server(runtime, dir.path(), (Kind::Meeting, parties + of_watchers), None);
    let party = |number| Which { kind: Kind::Meeting, number };
    let join =
        |number| requests::join_queue(party(number), DUEL_QUEUE, &requests::token(party(number).player(1)));
    let each = parties / CALLERS;
    let requests = (0..CALLERS).map(|caller| (0..each).map(|turn| join(caller * each + turn)).collect());
    let requests: Vec<Vec<Request>> = requests.collect();
    let time = Duration::from_secs(seconds);
    let every = Duration::from_secs_f64(CALLERS as f64 / rate as f64);
    let (sample, mut heard) = runtime.block_on(async {
        let watchers: Vec<_> = (0..WATCHERS)
            .map(|watcher| {
                let first = parties + watcher * PARTIES_OF_WATCHER;
                tokio::spawn(watch(
                    server.address,
                    (first..first + PARTIES_OF_WATCHER).map(party).collect(),
                    time,
                ))
            })
            .collect();
        let mut clients = Client::open_all(&[server.address], requests, 1).await;
        let sample = load::measure(&mut clients, Pace::Every(every), &[server.process.id()], time).await;
        let mut heard = Vec::new();
        for watcher in watchers {
            heard.extend(watcher.await.unwrap());
        }
        (sample, heard)
    });
    heard.sort_unstable();
    let ms = |part: f64| heard[(heard.len() as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{rate} parties queue in a second, for {seconds} s: {} did, {:.0} a second",
        sample.answers, sample.per_second
    );
    println!("{:42} {:>10} {:>10}", "", "p50 ms", "p99 ms");
    println!(
        "{:42} {:>10.1} {:>10.1}",
        "answer to the join of the queue",
        sample.p50_us / 1e3,
        sample.p99_us / 1e3
    );
    println!("{:42} {:>10.1} {:>10.1}", "then, until the player has the invite", ms(0.5), ms(0.99));
    println!("{} players were asked; CPU of the server for each party: {:.0} us", heard.len(), sample.cpu_us);
}

/// Queues with one party after the other, and waits for the invite of each. Returns how long each invite took.
async fn watch(address: std::net::SocketAddr, parties: Vec<Which>, time: Duration) -> Vec<Duration> {
    let mut connection = Connection::open(address).await;
    let (start, mut took) = (Instant::now(), Vec::new());
    for party in parties {
        if start.elapsed() > time {
            break;
        }
        let token = requests::token(party.player(1));
        let list = requests::own_sessions(&token);
        connection.send(&list).await;
        let known = connection.header("etag").unwrap().to_owned();
        connection.send(&requests::join_queue(party, DUEL_QUEUE, &token)).await;
        let queued = Instant::now();
        connection.send(&list.waiting(&known, WAIT_S)).await;
        took.push(queued.elapsed());
        let list: Value = serde_json::from_str(connection.body()).unwrap();
        let invites = list["sessions"][GAME]["pending_invites"].as_object();
        assert!(invites.is_some_and(|invites| !invites.is_empty()), "{list}");
    }
    took
}
