//! Polls: beside the embedded store, and with more servers.

use super::asker::{self, Asker, Ratio};
use super::{Bench, NODES, nodes_askers};
use crate::cases::Case;
use crate::compare::callers;

/// How old reads may be of a node that may spare the database most of them.
const BOUNDED_MS: &str = "250";

/// Measures, and prints a table for each answer.
pub fn measure(bench: &Bench) {
    let database = bench.database(bench.size.sessions);
    let (embedded, nodes) = (bench.embedded(), bench.nodes(&database, NODES[NODES.len() - 1]));
    let bounded = bench.node("bounded", &bench.cluster.url(&database), &["--bounded-ms", BOUNDED_MS]);
    for (case, title) in [(Case::Get, "200"), (Case::NotModified, "304")] {
        let requests = bench.requests(case, &[0], &embedded, bench.size.sessions);
        let file = bench.write("embedded.json", &requests);
        let mut askers = vec![Asker::new("embedded store", callers(case, &[&embedded], &file, None))];
        askers.extend(nodes_askers(bench, case, &nodes, std::iter::repeat(0)));
        // The same: every node gives the same ETag.
        let file = bench.write("bounded.json", &bench.requests(case, &[0], &bounded, bench.size.sessions));
        let name = format!("1 node, bounded_ms = {BOUNDED_MS}");
        askers.push(Asker::new(name, callers(case, &[&bounded], &file, None)));
        let rounds = asker::rounds(&mut askers, &bench.cluster, bench.size.rounds, bench.size.time);
        let ratios = [
            Ratio { name: "answers, to embedded", of: |cell| cell.sample.per_second, to: 0 },
            Ratio { name: "all CPU, to 1 node", of: asker::Cell::cpu_us, to: 1 },
        ];
        asker::print(title, &askers, &rounds, &ratios);
    }
}
