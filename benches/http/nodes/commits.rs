//! Joins and leaves: beside one statement of pgbench's, beside the store alone, and with more servers.

use std::process::Stdio;
use std::time::Duration;

use super::asker::{self, Asker, Callers, Ratio};
use super::pgbench::Pgbench;
use super::{Bench, NODES, nodes_askers};
use crate::cases::{CALLERS, Case};
use crate::compare::callers;
use crate::process::Process;

const CASE: Case = Case::Join;
/// As many as there are callers, and as many as it is fast with.
const PGBENCH_CONNECTIONS: [u64; 2] = [CALLERS, 16];

/// Measures, and prints a table.
pub fn measure(bench: &Bench) {
    let database = bench.database(bench.size.sessions);
    let mut askers = Vec::new();
    for connections in PGBENCH_CONNECTIONS {
        let Some(pgbench) = Pgbench::new(bench, &database, connections) else {
            println!("\nThere is no pgbench beside the database's programs nor in PATH: no ratio to it.");
            break;
        };
        let name = format!("pgbench, {connections} connections");
        askers.push(Asker { name, callers: Callers::Pgbench(pgbench) });
    }
    let mut sets = 0..;
    askers.push(Asker::new("store alone", store_alone(bench, &database, sets.next().unwrap())));
    let one_node = askers.len();
    let (embedded, nodes) = (bench.embedded(), bench.nodes(&database, NODES[NODES.len() - 1]));
    askers.extend(nodes_askers(bench, CASE, &nodes, sets));
    let requests = bench.requests(CASE, &[0], &embedded, bench.size.sessions);
    let file = bench.write("embedded.json", &requests);
    askers.push(Asker::new("embedded store, 1 node", callers(CASE, &[&embedded], &file, None)));
    // pgbench counts in whole seconds, of which it takes some to connect.
    let time = bench.size.time.max(Duration::from_secs(2));
    let rounds = asker::rounds(&mut askers, &bench.cluster, bench.size.rounds, time);
    let first = if one_node == 1 { "answers, to store alone" } else { "answers, to pgbench" };
    let ratios = [
        Ratio { name: first, of: |cell| cell.sample.per_second, to: 0 },
        Ratio { name: "all CPU, to 1 node", of: asker::Cell::cpu_us, to: one_node },
    ];
    asker::print("join or leave", &askers, &rounds, &ratios);
}

/// Callers who commit what a server would, without one.
fn store_alone(bench: &Bench, database: &str, set: u64) -> Process {
    let (dir, url) = (bench.directory("store-alone"), bench.cluster.url(database));
    let (stored, set) = (bench.size.sessions.to_string(), set.to_string());
    let role = ["commit", &CASE.name(), &dir, &stored, "--set", &set, "--database", &url];
    Process::start(&role, Stdio::inherit())
}
