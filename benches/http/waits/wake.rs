//! Time from the answer to a change until the last held request is answered, compared with that of a bare hyper server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::watcher::Watcher;
use super::{Size, bare, game, server, temp_dir};
use crate::connection::Connection;
use crate::requests::{self, Request};
use crate::sessions::{Kind, Which};
use crate::support::{median, spread};

/// Numbers of requests that wait for the same session.
const WAITERS: [usize; 3] = [4, 100, 5_000];
const WAIT_S: u64 = 50;
/// Shorter times have no ratio.
const SHORT: Duration = Duration::from_millis(1);
/// Pause until all requests are held.
const SETTLE: Duration = Duration::from_millis(300);
/// After each wake-up a session with many waits rests: a second for this many.
const WAITS_PER_SECOND: usize = 20_000;

/// Measures with each number of waiters and prints a table.
pub fn measure(runtime: &Runtime, size: Size) {
    let dir = temp_dir();
    let server = server(runtime, dir.path(), Kind::Game, 1, size.waits);
    let read = requests::session(game(0), &requests::reader_token());
    let bare = bare(runtime, dir.path(), server.address, &read);
    let rounds = if size.is_quick { 4 } else { 40 };
    println!("time from the answer to a change until the last waiter is answered");
    println!("{:>8} {:14} {:>8} {:>8} {:>20}", "waiters", "", "p50 us", "most us", "ratio");
    for waiters in WAITERS.into_iter().filter(|waiters| *waiters <= size.waits) {
        let mut took = Vec::new();
        let addresses = [bare.address, server.address];
        let mut crowds =
            addresses.map(|address| runtime.block_on(Crowd::open(address, game(0), &read, waiters)));
        for round in 0..rounds {
            let mut pair = [Duration::ZERO; 2];
            for turn in [round % 2, (round + 1) % 2] {
                pair[turn] = runtime.block_on(crowds[turn].wake(round));
            }
            took.push(pair);
        }
        for (variant, name) in ["bare hyper", "rallypoint"].into_iter().enumerate() {
            let after_us = || took.iter().map(move |pair| pair[variant].as_secs_f64() * 1e6);
            let of = |pair: &[Duration; 2], variant: usize| pair[variant].as_secs_f64();
            // The least times are those of single answers, whose ratio says nothing.
            let is_long = variant > 0 && took.iter().all(|pair| pair[0] > SHORT);
            let ratio = if is_long {
                spread(took.iter().map(|pair| of(pair, variant) / of(pair, 0)))
            } else {
                String::new()
            };
            let most_us = after_us().fold(0.0, f64::max);
            println!("{waiters:>8} {name:14} {:>8.0} {most_us:>8.0} {ratio:>20}", median(after_us()));
        }
    }
}

/// Waiters for one session, and a connection that changes it.
pub struct Crowd {
    watchers: Vec<Watcher>,
    /// The waiters while they wait, each with the time of its answer.
    waiting: JoinSet<(Watcher, Instant)>,
    changer: Connection,
    changes: [Request; 2],
    /// Reads by the players of the session, who are removed if they are not heard for a while.
    reads: Vec<Request>,
}

impl Crowd {
    /// Opens a connection for each waiter.
    pub async fn open(address: SocketAddr, which: Which, read: &Request, waiters: usize) -> Self {
        let mut watchers = Vec::new();
        for _ in 0..waiters {
            watchers.push(Watcher::open(address, read.clone()).await);
        }
        let changes = requests::move_there_and_back(which);
        let players = (1..=which.kind.players()).map(|player| requests::token(which.player(player)));
        let reads = players.map(|token| requests::session(which, &token)).collect();
        let changer = Connection::open(address).await;
        Self { watchers, waiting: JoinSet::new(), changer, changes, reads }
    }

    /// Lets all wait and makes a change. Returns the time from its answer to that of the last waiter.
    async fn wake(&mut self, round: usize) -> Duration {
        self.begin_waits().await;
        self.change(round).await
    }

    /// Lets all wait. Returns when the server holds all requests.
    pub async fn begin_waits(&mut self) {
        for read in &self.reads {
            self.changer.send(read).await;
        }
        self.watchers.iter_mut().for_each(|watcher| watcher.begin_wait(WAIT_S));
        let rest = Duration::from_secs(1) * self.watchers.len() as u32 / WAITS_PER_SECOND as u32;
        tokio::time::sleep(SETTLE + rest).await;
        for mut watcher in self.watchers.drain(..) {
            self.waiting.spawn(async move {
                assert_eq!(watcher.finish().await, 200);
                (watcher, Instant::now())
            });
        }
        // All tasks wait for their sockets before the change is sent.
        tokio::time::sleep(SETTLE).await;
    }

    /// Makes a change. Returns the time from its answer to that of the last waiter.
    pub async fn change(&mut self, round: usize) -> Duration {
        self.changer.send(&self.changes[round % 2]).await;
        let answered = Instant::now();
        let mut last = answered;
        for (watcher, at) in std::mem::take(&mut self.waiting).join_all().await {
            self.watchers.push(watcher);
            last = last.max(at);
        }
        last - answered
    }
}
