//! What waits save against polls: requests, CPU time, and the age of news. A change in each session every 140 seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::watcher::Watcher;
use super::{Size, game, server, temp_dir};
use crate::compare::Server;
use crate::connection::Connection;
use crate::process::cpu_time_s;
use crate::requests;
use crate::sessions::Kind;
use crate::support::{median, spread};

/// Most players, so that polls each second do not take the whole machine.
const PLAYERS_MAX: usize = 10_000;
/// Time between two changes of a session.
const CHANGE_EVERY: Duration = Duration::from_secs(140);
/// How clients learn of changes.
const WAYS: [(&str, Way); 4] = [
    ("nobody watches", Way::Nothing),
    ("poll each 1 s", Way::Poll(Duration::from_secs(1))),
    ("poll each 5 s", Way::Poll(Duration::from_secs(5))),
    ("wait=30", Way::Wait(30)),
];

#[derive(Clone, Copy)]
enum Way {
    /// They do not. What the changes themselves cost.
    Nothing,
    Poll(Duration),
    /// Seconds.
    Wait(u64),
}

/// What one way took in one round.
#[derive(Default)]
struct Took {
    requests_per_second: f64,
    /// Of the server, for each second.
    cpu_ms: f64,
    /// From the answer to the change until the news was there, in milliseconds, in ascending order.
    ages_ms: Vec<f64>,
}

impl Took {
    fn age_ms(&self, part: f64) -> f64 {
        self.ages_ms.get((self.ages_ms.len() as f64 * part) as usize).copied().unwrap_or(0.0)
    }
}

/// When the last change of each session was answered, in microseconds since the start.
struct Changes {
    /// Number of the round and the way, so that each change differs from all before.
    number: u64,
    start: Instant,
    at_us: Vec<AtomicU64>,
}

impl Changes {
    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

/// Measures each way in turn and prints a table.
pub fn measure(runtime: &Runtime, size: Size) {
    let (dir, players) = (temp_dir(), size.waits.min(PLAYERS_MAX));
    let sessions = players / Kind::Game.players() as usize;
    let server = server(runtime, dir.path(), Kind::Game, sessions as u64, size.waits);
    let (rounds, time) = if size.is_quick { (1, 4) } else { (3, 25) };
    let time = Duration::from_secs(time);
    let mut watchers = runtime.block_on(Watcher::open_all(server.address, 0, players, requests::token));
    let mut took: Vec<Vec<Took>> = Vec::new();
    for number in 0..rounds {
        let mut round = Vec::new();
        for ((_, way), which) in WAYS.into_iter().zip(0..) {
            let changes = Changes {
                number: number * WAYS.len() as u64 + which,
                start: Instant::now(),
                at_us: (0..sessions).map(|_| AtomicU64::new(0)).collect(),
            };
            let (back, of_way) = runtime.block_on(run(&server, watchers, Arc::new(changes), way, time));
            watchers = back;
            round.push(of_way);
        }
        took.push(round);
    }
    println!(
        "{players} players in {sessions} sessions, each of which changes every {} s",
        CHANGE_EVERY.as_secs()
    );
    println!(
        "{:14} {:>10} {:>10} {:>10} {:>10} {:>18} {:>18} {:>18}",
        "",
        "requests/s",
        "CPU ms/s",
        "age p50 ms",
        "age p99 ms",
        "requests ratio",
        "CPU ratio",
        "age p99 ratio"
    );
    for (way, (name, _)) in WAYS.iter().enumerate() {
        let of = |number: fn(&Took) -> f64| median(took.iter().map(|round| number(&round[way])));
        let ratio = |number: fn(&Took) -> f64| match way {
            0 | 1 => String::new(),
            // Beyond what the changes cost.
            _ => spread(took.iter().map(move |round| {
                let beyond = |way: usize| number(&round[way]) - number(&round[0]);
                beyond(way) / beyond(1)
            })),
        };
        println!(
            "{name:14} {:>10.0} {:>10.1} {:>10.1} {:>10.1} {:>18} {:>18} {:>18}",
            of(|took| took.requests_per_second),
            of(|took| took.cpu_ms),
            of(|took| took.age_ms(0.5)),
            of(|took| took.age_ms(0.99)),
            ratio(|took| took.requests_per_second),
            ratio(|took| took.cpu_ms),
            ratio(|took| took.age_ms(0.99)),
        );
    }
}

/// Lets all watchers watch for `time` while sessions change.
async fn run(
    server: &Server,
    watchers: Vec<Watcher>,
    changes: Arc<Changes>,
    way: Way,
    time: Duration,
) -> (Vec<Watcher>, Took) {
    let end = changes.start + time;
    let cpu_before_s = cpu_time_s(server.process.id());
    let changer = tokio::spawn(change(server.address, Arc::clone(&changes), end));
    let mut watching = JoinSet::new();
    for (number, watcher) in watchers.into_iter().enumerate() {
        watching.spawn(watch(number, watcher, Arc::clone(&changes), way, end));
    }
    tokio::time::sleep_until(end.into()).await;
    let cpu_s = cpu_time_s(server.process.id()) - cpu_before_s;
    changer.await.unwrap();
    let (mut back, mut requests, mut ages_ms) = (Vec::new(), 0, Vec::new());
    for (number, watcher, sent, ages) in watching.join_all().await {
        back.push((number, watcher));
        requests += sent;
        ages_ms.extend(ages);
    }
    back.sort_by_key(|(number, _)| *number);
    ages_ms.sort_by(f64::total_cmp);
    let seconds = time.as_secs_f64();
    let took =
        Took { requests_per_second: requests as f64 / seconds, cpu_ms: cpu_s * 1e3 / seconds, ages_ms };
    (back.into_iter().map(|(_, watcher)| watcher).collect(), took)
}

/// Changes one session after the other, each at the interval of its own.
async fn change(address: std::net::SocketAddr, changes: Arc<Changes>, end: Instant) {
    let sessions = changes.at_us.len();
    let mut connection = Connection::open(address).await;
    for (session, turn) in (0..sessions).cycle().zip(0..) {
        let due = changes.start + CHANGE_EVERY / sessions as u32 * turn;
        if due >= end {
            return;
        }
        tokio::time::sleep_until(due.into()).await;
        let token = requests::token(game(session).player(1));
        connection.send(&requests::change(game(session), changes.number, &token)).await;
        changes.at_us[session].store(changes.now_us(), Ordering::Relaxed);
    }
}

/// Watches a session until the end. Returns the number of requests, and the age of each news in milliseconds.
async fn watch(
    number: usize,
    mut watcher: Watcher,
    changes: Arc<Changes>,
    way: Way,
    end: Instant,
) -> (usize, Watcher, usize, Vec<f64>) {
    let session = number / Kind::Game.players() as usize;
    let players = changes.at_us.len() * Kind::Game.players() as usize;
    let (mut requests, mut ages_ms, mut is_first) = (0, Vec::new(), true);
    while Instant::now() < end {
        let status = match way {
            Way::Nothing => break,
            Way::Poll(every) => {
                // Watchers start one after the other, so that their polls are spread evenly.
                let pause = if is_first { every * number as u32 / players as u32 } else { every };
                let next = (Instant::now() + pause).min(end);
                tokio::time::sleep_until(next.into()).await;
                if next == end {
                    break;
                }
                watcher.poll().await
            }
            Way::Wait(wait_s) => {
                let wait_s = if is_first { 1 + number as u64 % wait_s } else { wait_s };
                watcher.begin_wait(wait_s);
                watcher.finish().await
            }
        };
        // A wait can last beyond the end.
        if Instant::now() >= end {
            break;
        }
        requests += 1;
        let changed_us = changes.at_us[session].load(Ordering::Relaxed);
        // The first news of a round may be of the round before.
        if status == 200 && !is_first && changed_us > 0 {
            ages_ms.push(changes.now_us().saturating_sub(changed_us) as f64 / 1e3);
        }
        is_first = false;
    }
    (number, watcher, requests, ages_ms)
}
