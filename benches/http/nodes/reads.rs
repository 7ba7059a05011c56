//! Polls: beside the embedded store, and with more servers.

use super::asker::{self, Asker, Ratio};
use super::{Bench, NODES, nodes_name};
use crate::cases::Case;
use crate::compare::callers;

/// Measures, and prints a table for each answer.
pub fn measure(bench: &Bench) {
    let database = bench.database(bench.size.sessions);
    let (embedded, nodes) = (bench.embedded(), bench.nodes(&database, NODES[NODES.len() - 1]));
    for (case, title) in [(Case::Get, "200"), (Case::NotModified, "304")] {
        let asked = |name: &str, server| bench.requests(name, case, 0, server, bench.size.sessions);
        let file = asked("embedded", &embedded);
        let mut askers = vec![Asker::new("embedded store", callers(case, &[&embedded], &file, None))];
        // The same for all: every node gives the same ETag.
        let file = asked("nodes", &nodes[0]);
        for count in NODES {
            let servers: Vec<_> = nodes.iter().take(count).collect();
            askers.push(Asker::new(nodes_name(count), callers(case, &servers, &file, None)));
        }
        let rounds = asker::rounds(&mut askers, &bench.cluster, bench.size.rounds, bench.size.time);
        let ratios = [
            Ratio { name: "answers, to embedded", of: |cell| cell.sample.per_second, to: 0 },
            Ratio { name: "all CPU, to 1 node", of: asker::Cell::cpu_us, to: 1 },
        ];
        asker::print(title, &askers, &rounds, &ratios);
    }
}
