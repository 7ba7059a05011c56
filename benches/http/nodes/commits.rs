//! Joins and leaves: compared with one statement of pgbench, with the store alone, and with more servers.

use std::process::Stdio;
use std::time::Duration;

use super::pgbench::Pgbench;
use super::variants::{self, Callers, Ratio, Variant};
use super::{Bench, NODES, nodes_variants};
use crate::cases::{CALLERS, Case};
use crate::compare::callers;
use crate::process::Process;

const CASE: Case = Case::Join;
/// As many as there are callers, and as many as pgbench is fastest with.
const PGBENCH_CONNECTIONS: [u64; 2] = [CALLERS, 16];

/// Measures, and prints a table.
pub fn measure(bench: &Bench) {
    let database = bench.database(bench.size.sessions);
    let mut variants = Vec::new();
    for connections in PGBENCH_CONNECTIONS {
        let Some(pgbench) = Pgbench::new(bench, &database, connections) else {
            println!("\nThere is no pgbench beside the database's programs nor in PATH: no ratio to it.");
            break;
        };
        let name = format!("pgbench, {connections} connections");
        variants.push(Variant { name, callers: Callers::Pgbench(pgbench) });
    }
    let mut sets = 0..;
    variants.push(Variant::new("store alone", store_alone(bench, &database, sets.next().unwrap())));
    let one_node = variants.len();
    let (embedded, nodes) = (bench.embedded(), bench.nodes(&database, NODES[NODES.len() - 1]));
    variants.extend(nodes_variants(bench, CASE, &nodes, sets));
    let requests = bench.requests(CASE, &[0], &embedded, bench.size.sessions);
    let file = bench.write("embedded.json", &requests);
    variants.push(Variant::new("embedded store, 1 node", callers(CASE, &[&embedded], &file, None)));
    // pgbench measures in whole seconds, and needs a part of the first to connect.
    let time = bench.size.time.max(Duration::from_secs(2));
    let rounds = variants::rounds(&mut variants, &bench.cluster, bench.size.rounds, time);
    let first = if one_node == 1 { "answers, to store alone" } else { "answers, to pgbench" };
    let ratios = [
        Ratio { name: first, of: |cell| cell.sample.per_second, to: 0 },
        Ratio { name: "all CPU, to 1 node", of: variants::Cell::cpu_us, to: one_node },
    ];
    variants::print("join or leave", &variants, &rounds, &ratios);
}

/// Callers that commit what a server commits, without a server.
fn store_alone(bench: &Bench, database: &str, set: u64) -> Process {
    let (dir, url) = (bench.directory("store-alone"), bench.cluster.url(database));
    let (stored, set) = (bench.size.sessions.to_string(), set.to_string());
    let role = ["commit", &CASE.name(), &dir, &stored, "--set", &set, "--database", &url];
    Process::start(&role, Stdio::inherit())
}
