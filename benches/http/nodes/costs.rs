//! What a request asks of the database, counted by a relay before it, in cells of their own.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::Bench;
use super::asker::shown;
use super::database::Log;
use super::relay::Relay;
use crate::cases::{CALLERS, Case};
use crate::compare::{Server, callers};
use crate::connection::Connection;
use crate::process::{cpu_time_s, cpu_time_with_children_s};
use crate::requests;
use crate::sessions::{Kind, Which};

/// How long the database's processes may keep to themselves what they have done.
const TOLD_WITHIN: Duration = Duration::from_millis(1_500);
/// How long an idle node is watched.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// Fewer callers share fewer statements.
const CALLERS_COUNTED: [usize; 3] = [1, 8, CALLERS as usize];
/// Sessions that are made and ended, one after the other.
const LIVES: u64 = 200;

/// What was counted up to a moment.
struct Counted([f64; 7]);

const COLUMNS: [&str; 7] = [
    "statements",
    "bytes to the database",
    "bytes from it",
    "bytes of its log",
    "fsyncs",
    "nodes' CPU µs",
    "database's CPU µs",
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
    counter.count("session made, linked and left", &node, || {
        bench.runtime.block_on(live(node.address));
        LIVES as f64
    });
    counter.count("second of an idle node", &node, || {
        bench.runtime.block_on(async { tokio::time::sleep(IDLE_TIME).await });
        IDLE_TIME.as_secs_f64()
    });
}

impl Counter<'_> {
    /// A server whose connections pass the relay.
    fn node(&self, name: &str, more: &[&str]) -> Server {
        self.bench.node(name, &self.bench.cluster.url_at(self.relay.port, &self.database), more)
    }

    /// Counts what so many callers ask.
    fn count_case(&self, title: &str, case: Case, number: usize, node: &Server) {
        let mut requests = self.bench.requests(case, &[0], node, self.bench.size.sessions);
        requests.truncate(number);
        let file = self.bench.write("counted.json", &requests);
        let mut process = callers(case, &[node], &file, None);
        // They tell when they are warm by what they answer.
        process.measure(self.bench.size.time);
        self.count(&format!("{title}, {number} callers"), node, || {
            process.measure(3 * self.bench.size.time).answers as f64
        });
    }

    /// Prints what each of the things that are done comes to.
    fn count(&self, title: &str, node: &Server, doing: impl FnOnce() -> f64) {
        let before = self.counted(node);
        let number = doing();
        let after = self.counted(node);
        let each = after.0.iter().zip(before.0).map(|(after, before)| (after - before) / number);
        let each: String = each.map(|each| format!(" {} |", shown_exactly(each))).collect();
        println!("| {title} | {} |{each}", shown(number));
    }

    fn counted(&self, node: &Server) -> Counted {
        let cpu_s = cpu_time_with_children_s(self.bench.cluster.pid);
        let log = self.bench.runtime.block_on(async {
            tokio::time::sleep(TOLD_WITHIN).await;
            Log::of(&self.bench.cluster.client(&self.database).await).await
        });
        let [statements, there, back] = self.relay.passed();
        let node_cpu_s = cpu_time_s(node.process.id());
        Counted([statements, there, back, log.bytes, log.syncs, node_cpu_s * 1e6, cpu_s * 1e6])
    }
}

/// Small numbers are what this is about.
fn shown_exactly(number: f64) -> String {
    if number.abs() < 10.0 { format!("{number:.2}") } else { shown(number) }
}

/// The life of sessions of one player, one after the other.
async fn live(address: SocketAddr) {
    let which = Which { kind: Kind::Game, number: 0 };
    // Somebody who is nowhere else.
    let token = requests::token(which.player(100));
    let mut connection = Connection::open(address).await;
    for number in 0..LIVES {
        connection.ask(&requests::create(&token)).await;
        let made: Value = serde_json::from_str(connection.body()).unwrap();
        let id = made["session_id"].as_str().unwrap();
        connection.ask(&requests::link(id, number, &token)).await;
        connection.ask(&requests::leave(id, &token)).await;
    }
}
