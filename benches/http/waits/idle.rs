//! CPU time of held requests while nothing happens: beyond that of the same connections without requests.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::watcher::Watcher;
use super::{Size, server, temp_dir};
use crate::compare::Server;
use crate::nodes::database;
use crate::process::{cpu_time_s, cpu_time_with_children_s};
use crate::requests;
use crate::sessions::{Kind, Sessions};
use crate::support::postgres::Cluster;

const DATABASE: &str = "idle";
/// Pause until new connections have settled.
const SETTLE: Duration = Duration::from_secs(3);

/// CPU time of a server and of its database, in milliseconds a second.
struct Cpu {
    server_ms: f64,
    database_ms: f64,
}

/// Measures waits of different lengths, and with a database, and prints a table.
pub fn measure(runtime: &Runtime, size: Size) {
    let sessions = size.waits.div_ceil(Kind::Game.players() as usize) as u64;
    let cluster = Cluster::start();
    runtime.block_on(async {
        database::create(&cluster, DATABASE).await;
        let deadline_ms = Sessions::new().deadline_from_now_ms();
        database::fill(&cluster, DATABASE, 0..sessions, deadline_ms).await;
        database::vacuum_and_checkpoint(&cluster, DATABASE).await;
    });
    let (without_s, with_s) = if size.is_quick { (1, 3) } else { (15, 55) };
    println!("CPU time while {} requests are held and nothing happens", size.waits);
    println!(
        "{:26} {:>14} {:>14} {:>22} {:>12} {:>12}",
        "", "connected ms/s", "holding ms/s", "us a player and minute", "database", "database"
    );
    for (name, wait_s, is_shared) in
        [("wait=25", 25, false), ("wait=55", 55, false), ("wait=55, on a database", 55, true)]
    {
        let dir = temp_dir();
        let server = if is_shared {
            on_database(&dir, &cluster, size)
        } else {
            server(runtime, dir.path(), Kind::Game, sessions, size.waits)
        };
        let mut watchers =
            runtime.block_on(Watcher::open_all(server.address, 0, size.waits, requests::token));
        let cpu = |seconds| runtime.block_on(cpu(&server, &cluster, Duration::from_secs(seconds)));
        let without = cpu(without_s);
        let mut waiting = JoinSet::new();
        let _entered = runtime.enter();
        for (number, watcher) in watchers.drain(..).enumerate() {
            waiting.spawn(wait_forever(watcher, number, wait_s));
        }
        let with = cpu(with_s);
        let each_us = |of: fn(&Cpu) -> f64| (of(&with) - of(&without)) * 1e3 * 60.0 / size.waits as f64;
        let (without_ms, with_ms) = (without.server_ms, with.server_ms);
        let each = each_us(|cpu| cpu.server_ms);
        print!("{name:26} {without_ms:>14.1} {with_ms:>14.1} {each:>22.0}");
        if is_shared {
            print!(" {:>7.1} ms/s {:>9.0} us", with.database_ms, each_us(|cpu| cpu.database_ms));
        }
        println!();
    }
}

fn on_database(dir: &TempDir, cluster: &Cluster, size: Size) -> Server {
    let (dir, url, waits) = (dir.path().to_str().unwrap(), cluster.url(DATABASE), size.waits.to_string());
    Server::start(&["serve", dir, "--database", &url, "--waits-max", &waits], Stdio::null())
}

async fn cpu(server: &Server, cluster: &Cluster, time: Duration) -> Cpu {
    tokio::time::sleep(SETTLE).await;
    let now_s = || [cpu_time_s(server.process.id()), cpu_time_with_children_s(cluster.pid)];
    let (start, before_s) = (Instant::now(), now_s());
    tokio::time::sleep(time).await;
    let (after_s, seconds) = (now_s(), start.elapsed().as_secs_f64());
    let [server_ms, database_ms] = [0, 1].map(|index| (after_s[index] - before_s[index]) * 1e3 / seconds);
    Cpu { server_ms, database_ms }
}

/// Sends one wait after the other. The first ones differ in their length, so that waits end evenly over time.
async fn wait_forever(mut watcher: Watcher, number: usize, wait_s: u64) {
    watcher.begin_wait(1 + number as u64 % wait_s);
    loop {
        watcher.finish().await;
        watcher.begin_wait(wait_s);
    }
}
