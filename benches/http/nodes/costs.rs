//! What a request costs in the database: statements and bytes, counted by a relay in front of it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::Bench;
use super::database::Log;
use super::relay::Relay;
use super::variants::shown;
use crate::cases::{CALLERS, Case};
use crate::compare::{Server, callers};
use crate::connection::Connection;
use crate::process::{cpu_time_s, cpu_time_with_children_s};
use crate::requests;
use crate::sessions::{Kind, Which};

/// Longest time until idle processes of the database have reported their statistics.
const STATISTICS_DELAY_MAX: Duration = Duration::from_secs(11);
/// Time for which an idle node is observed.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// Numbers of callers. The more callers, the more requests share a statement.
const CALLERS_COUNTED: [usize; 3] = [1, 8, CALLERS as usize];
/// Number of sessions that are created and ended, one after the other.
const LIVES: u64 = 200;

const COLUMNS: [&str; 7] = [
    "statements",
    "bytes to the database",
    "bytes from it",
    "node's CPU µs",
    "database's CPU µs",
    "bytes of its log",
    "fsyncs",
];

struct Counter<'a> {
    bench: &'a Bench<'a>,
    database: String,
    relay: Relay,
}

/// Measures, and prints a table.
pub fn measure(bench: &Bench) {
    let database = bench.database(bench.size.sessions);
    let relay = bench.runtime.block_on(Relay::start(bench.cluster.port()));
    let counter = Counter { bench, database, relay };
    println!("\n| each | number |{}", COLUMNS.map(|name| format!(" {name} |")).concat());
    println!("| --- |{}", " --: |".repeat(1 + COLUMNS.len()));
    let node = counter.node("counted", &[]);
    for callers in CALLERS_COUNTED {
        counter.count_case("304", Case::NotModified, callers, &node);
    }
    counter.count_case("200", Case::Get, CALLERS as usize, &node);
    let no_cache = counter.node("no-cache", &["--cache-bytes", "0"]);
    counter.count_case("200, nothing in memory", Case::Get, CALLERS as usize, &no_cache);
    drop(no_cache);
    for callers in CALLERS_COUNTED {
        counter.count_case("join or leave", Case::Join, callers, &node);
    }
    counter.count("session made, linked and left", &node, true, || {
        bench.runtime.block_on(create_and_end(node.address));
        LIVES as f64
    });
    counter.count("second of an idle node", &node, false, || {
        bench.runtime.block_on(async { tokio::time::sleep(IDLE_TIME).await });
        IDLE_TIME.as_secs_f64()
    });
}

impl Counter<'_> {
    /// A server that reaches the database through the relay.
    fn node(&self, name: &str, more: &[&str]) -> Server {
        self.bench.node(name, &self.bench.cluster.url_at(self.relay.port, &self.database), more)
    }

    /// Counts for a case with `number` callers.
    fn count_case(&self, title: &str, case: Case, number: usize, node: &Server) {
        let mut requests = self.bench.requests(case, &[0], node, self.bench.size.sessions);
        requests.truncate(number);
        let file = self.bench.write("counted.json", &requests);
        let mut process = callers(case, &[node], &file, None);
        // The first sample is the warm-up.
        process.measure(self.bench.size.time);
        let title = format!("{title}, {number} {}", if number == 1 { "caller" } else { "callers" });
        self.count(&title, node, case.is_change(), || {
            process.measure(3 * self.bench.size.time).answers as f64
        });
    }

    /// Prints a row: the costs of each of the things that `doing` does and counts.
    fn count(&self, title: &str, node: &Server, is_change: bool, doing: impl FnOnce() -> f64) {
        let (log_before, before) = (self.log(is_change), self.counted(node));
        let number = doing();
        let (after, log_after) = (self.counted(node), self.log(is_change));
        let before = before.into_iter().chain(log_before);
        let each =
            after.into_iter().chain(log_after).zip(before).map(|(after, before)| (after - before) / number);
        let each: String = each.map(|each| format!(" {} |", shown_exactly(each))).collect();
        println!("| {title} | {} |{each}", shown(number));
    }

    /// Statements, bytes in both directions, and CPU time of the node and of the database, up to now.
    fn counted(&self, node: &Server) -> [f64; 5] {
        let [statements, there, back] = self.relay.passed();
        let database_cpu_s = cpu_time_with_children_s(self.bench.cluster.pid);
        [statements, there, back, cpu_time_s(node.process.id()) * 1e6, database_cpu_s * 1e6]
    }

    /// Bytes of the database's write-ahead log and its syncs, once all processes have reported; for changes only.
    fn log(&self, is_change: bool) -> [f64; 2] {
        if !is_change {
            return [f64::NAN; 2];
        }
        let log = self.bench.runtime.block_on(async {
            tokio::time::sleep(STATISTICS_DELAY_MAX).await;
            Log::of(&self.bench.cluster.client(&self.database).await).await
        });
        [log.bytes, log.syncs]
    }
}

/// Formats a number; small ones with two decimals.
fn shown_exactly(number: f64) -> String {
    if number.abs() < 10.0 && !number.is_nan() { format!("{number:.2}") } else { shown(number) }
}

/// Creates, links and ends sessions of one player, one after the other.
async fn create_and_end(address: SocketAddr) {
    let which = Which { kind: Kind::Game, number: 0 };
    // A player who is in no other session.
    let token = requests::token(which.player(100));
    let mut connection = Connection::open(address).await;
    for number in 0..LIVES {
        connection.send(&requests::create(&token)).await;
        let made: Value = serde_json::from_str(connection.body()).unwrap();
        let id = made["session_id"].as_str().unwrap();
        connection.send(&requests::link(id, number, &token)).await;
        connection.send(&requests::leave(id, &token)).await;
    }
}
